"""Where the specimen goes under the beam: a Kalman filter of one place and one velocity along each axis.

What a scan shows beyond what was foreseen is shared out.  The specimen may have gone on otherwise than it
was going, or may have stood elsewhere all the time: that lasts, and the columns follow it.  The rest is the
scan's own: the beam is never quite where it should be, and a small faint scan shows all its columns some
tenths of an ångström aside.  Followed in full, a hundred such scans would lead the register astray.

The beam goes over a frame's first row seconds before its last one.  A specimen that drifts meanwhile is seen
sheared, and the velocity, once it is known, sets that right: a column that was passed a `lever` of seconds
before the middle of its scan stands by lever times velocity off the place where it was seen.  What is learnt
later tells less and less of the velocity of then.  See docs/decisions/0082.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: A velocity is forgotten over this time [s].
_LASTING_S = 600.0

#: Besides its velocity the specimen wanders: by this part of the velocity's standard deviation, times the
#: root of the time passed and of so many seconds.
_WANDER, _WANDER_S = 0.2, 3.0


@dataclass(frozen=True)
class Steadiness:
    """How far the specimen may go unseen.

    Parameters
    ----------
    stage_sigma_angstrom : float
        Of where the stage says it is.
    scan_sigma_angstrom : float
        Of where the beam is while the stage stands still.
    drift_sigma_angstrom_per_s : float
        Of the velocity of drift that has not been seen before.
    """

    stage_sigma_angstrom: float = 5.0
    scan_sigma_angstrom: float = 0.4
    drift_sigma_angstrom_per_s: float = 2.0


@dataclass(frozen=True)
class Drift:
    """What is known of where the specimen is and how fast it goes.

    Parameters
    ----------
    velocity_angstrom_per_s : ndarray of shape (2,)
    covariance : ndarray of shape (2, 2)
        Of (place, velocity) along each axis [Å², Å²/s, Å²/s²]: how far all columns may stand off their places
        together, and how far the velocity may be off.
    """

    velocity_angstrom_per_s: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @classmethod
    def at_first(cls, steadiness: Steadiness) -> "Drift":
        """Drift of a specimen that was seen once."""
        spread = [steadiness.scan_sigma_angstrom, steadiness.drift_sigma_angstrom_per_s]
        return cls(np.zeros(2), np.diag(np.square(spread)))

    def later(self, elapsed_s: float, steadiness: Steadiness, *, is_still: bool) -> "Drift":
        """Drift after a time, or before; the stage may have been moved."""
        most = steadiness.drift_sigma_angstrom_per_s**2
        step = np.array([[1.0, elapsed_s], [0.0, 1.0]])
        covariance = step @ self.covariance @ step.T
        covariance[0, 0] += most * _WANDER**2 * _WANDER_S * abs(elapsed_s)
        covariance[1, 1] += (most - covariance[1, 1]) * -math.expm1(-2 * abs(elapsed_s) / _LASTING_S)
        if not is_still:
            covariance[0, 0] += steadiness.stage_sigma_angstrom**2
        return Drift(self.velocity_angstrom_per_s, covariance)

    def variance(self, lever_s: float) -> float:
        """Of where columns of a mean lever are."""
        seen = np.array([1.0, lever_s])
        return float(seen @ self.covariance @ seen)

    def corrected(
        self, aside_angstrom: NDArray[np.float64], lever_s: float, noise: float
    ) -> tuple["Drift", NDArray[np.float64]]:
        """Take into account that columns were seen aside of where they were foreseen.

        Parameters
        ----------
        aside_angstrom : ndarray of shape (2,)
        lever_s : float
            Mean of the columns' levers, less that of the scan that shows them.
        noise : float
            Variance of what is the scan's own [Å²].

        Returns
        -------
        drift : Drift
        place_angstrom : ndarray of shape (2,)
            How far all columns are aside, besides what the velocity makes of their levers.
        """
        seen = np.array([1.0, lever_s])
        gain = self.covariance @ seen / (self.variance(lever_s) + noise)
        covariance = self.covariance - np.outer(gain, seen @ self.covariance)
        velocity = self.velocity_angstrom_per_s + gain[1] * aside_angstrom
        return Drift(velocity, (covariance + covariance.T) / 2), gain[0] * aside_angstrom
