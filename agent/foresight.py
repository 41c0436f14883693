"""Where a scan should show the specimen, and the register where it has shown it (`agent.drift`)."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agent.boxes import Box, is_inside
from agent.drift import Drift, Steadiness
from agent.guiding import POSITION_ANGSTROM
from agent.register import Register
from agent.registration import Expectation
from agent.scans import Scan

#: A scan that is older than the last one by more than this [s] is of another clock.
_LATE_S = 60.0


@dataclass(frozen=True)
class Foresight:
    """Where a scan should show the specimen.

    Parameters
    ----------
    drift : Drift
        By then.
    gone_angstrom : ndarray of shape (2,)
        Since the last scan.
    own : float
        Variance of what is the scan's own, along each axis [Å²].
    lever_s : float
        Mean of the levers of what it shows, less the mean of its own.
    lasting : float
        How much of what is learnt of the velocity now holds for the velocity at earlier scans.
    """

    drift: Drift
    gone_angstrom: NDArray[np.float64]
    own: float = 0.0
    lever_s: float = 0.0
    lasting: float = 0.0

    @property
    def expectation(self) -> Expectation:
        """The same for those who compare columns."""
        return Expectation(self.gone_angstrom, (self.drift.variance(self.lever_s) + self.own) ** 0.5)


def foresee(register_: Register, scan: Scan, steadiness: Steadiness) -> Foresight:
    """Where the specimen should have gone since the last scan."""
    if not len(register_):
        return Foresight(Drift.at_first(steadiness), np.zeros(2))
    elapsed = scan.middle_s - register_.middle_s
    if elapsed < -_LATE_S:  # another clock
        elapsed = 0.0
    is_still = scan.stage_angstrom is not None and scan.stage_angstrom == register_.stage_angstrom
    drift = register_.drift.later(elapsed, steadiness, is_still=is_still)
    gone = drift.velocity_angstrom_per_s * elapsed
    if not is_still or not len(scan.grain):
        return Foresight(drift, gone)
    lasting = float(register_.drift.covariance[1, 1] / drift.covariance[1, 1])
    levers = register_.lever_s[is_inside(register_.position_angstrom + gone, extent_of(scan))]
    lever = float(lasting * levers.mean() - scan.levers_s.mean()) if len(levers) else 0.0
    return Foresight(drift, gone, steadiness.scan_sigma_angstrom**2, lever, lasting)


def levelled(scan: Scan, velocity: NDArray[np.float64]) -> Scan:
    """Scan with its columns where a velocity has taken them by the middle of it."""
    return replace(scan, positions_angstrom=scan.positions_angstrom + scan.levers_s[:, None] * velocity)


def moved(
    register_: Register, scan: Scan, shown_angstrom: NDArray[np.float64], foresight: Foresight
) -> tuple[Register, Scan, NDArray[np.float64]]:
    """Register with its columns where the specimen now is.

    Returns
    -------
    register : Register
    scan : Scan
        Without what is its own, levelled by the velocity that is now believed.
    drift : ndarray of shape (2,)
        How far the specimen has gone.
    """
    aside = shown_angstrom - foresight.gone_angstrom
    noise = foresight.own + POSITION_ANGSTROM**2 / len(scan.grain)
    drift, place = foresight.drift.corrected(aside, foresight.lever_s, noise)
    lever = foresight.lasting * register_.lever_s
    faster = drift.velocity_angstrom_per_s - foresight.drift.velocity_angstrom_per_s
    gone = foresight.gone_angstrom + place
    register_ = replace(
        register_,
        position_angstrom=register_.position_angstrom + gone + lever[:, None] * faster,
        lever_s=lever,
        drift=drift,
    )
    own = aside - place - foresight.lever_s * faster
    scan = levelled(scan, faster)
    return register_, replace(scan, positions_angstrom=scan.positions_angstrom - own), gone


def extent_of(scan: Scan) -> Box:
    """What a scan's columns cover."""
    (low_row, low_column), (high_row, high_column) = (
        f(scan.positions_angstrom, axis=0) for f in (np.min, np.max)
    )
    return (float(low_row), float(low_column), float(high_row), float(high_column))
