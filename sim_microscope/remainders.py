"""What pair terms leave out beyond their support and their shells: a constant under the image.

Interference in a ring that cuts the direct beam reaches far: the terms of near pairs go on beyond the
distance at which they are cut off, and pairs too far apart to have a term add a little each.  Locally
all that is flat, so it is enough to know its integral.  A probe averaged over its position is an incoherent
sum of plane waves, which makes that integral one over a single frequency for any distance.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.special import j0

from drivers.contract.context import CONVERGENCE_MRAD
from sim_microscope.interference import ACROSS_ANGSTROM, ALONG_ANGSTROM, Atom
from sim_microscope.scattering import FREQUENCIES, wavelength_angstrom

#: Pairs further apart than the first distance count less and less, beyond the second not at all [Å].
_FADE_ANGSTROM = (12.0, 20.0)

#: Step of the integral over frequency [1/Å], and its largest angle [mrad].
_STEP, _MAX_ANGLE_MRAD = 0.002, 180.0


def displaced_share(
    displacement_mrad: NDArray[np.float64], edges_mrad: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Share of the direct beam, displaced by an angle, that falls into every ring, (displacements, rings)."""
    shift, radius = displacement_mrad[:, None], CONVERGENCE_MRAD
    # Common area of two discs, by their circular segments.
    with np.errstate(divide="ignore", invalid="ignore"):
        to_ring = (shift**2 + edges_mrad**2 - radius**2) / (2 * shift * edges_mrad)
        to_beam = (shift**2 + radius**2 - edges_mrad**2) / (2 * shift * radius)
        kite = (radius + edges_mrad) ** 2 - shift**2, shift**2 - (radius - edges_mrad) ** 2
        lens = (
            edges_mrad**2 * np.arccos(np.clip(to_ring, -1, 1))
            + radius**2 * np.arccos(np.clip(to_beam, -1, 1))
            - 0.5 * np.sqrt(np.clip(kite[0], 0, None) * np.clip(kite[1], 0, None))
        )
    contained = shift <= np.abs(radius - edges_mrad)
    common = np.where(contained, np.pi * np.minimum(radius, edges_mrad) ** 2, lens)
    return np.asarray(np.diff(common, axis=1) / (np.pi * radius**2))


class PlaneIntegral:
    """Integral over all probe positions of the second-order terms of pairs of atoms.

    Parameters
    ----------
    energy_kev : float
        Beam energy [keV].
    edges_mrad : ndarray of shape (rings + 1,)
        Edges of the detector rings [mrad].
    """

    def __init__(self, energy_kev: float, edges_mrad: NDArray[np.float64]):
        self._wavelength = wavelength_angstrom(energy_kev)
        self.frequency = np.arange(0.0, _MAX_ANGLE_MRAD * 1e-3 / self._wavelength, _STEP)
        self._share = displaced_share(self.frequency * self._wavelength * 1e3, edges_mrad)
        self._area = 2 * np.pi * self.frequency * _STEP

    def __call__(self, first: Atom, second: Atom, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        """Integral in every ring [Å²].

        Parameters
        ----------
        first, second : Atom
            The two atoms.
        distances : ndarray of shape (frequencies,)
            Sum over the pairs of J0(2πkd), at `frequency`.
        """
        one, two = (CubicSpline(FREQUENCIES, atom.amplitude)(self.frequency) for atom in (first, second))
        apart = abs(second.height_angstrom - first.height_angstrom)
        chirp = np.exp(-1j * np.pi * self._wavelength * apart * self.frequency**2)
        if first.height_angstrom > second.height_angstrom:
            one, two = two, one
        together = 2 * (one * two.conj() * chirp).real * distances * self._area
        double = 2 * np.sum((one * two * chirp).real * distances * self._area)
        return np.asarray(together @ self._share + double * self._share[0])


def lattice_sum(
    lattice_constant_angstrom: float, same_sublattice: bool, frequency: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Sum of J0(2πkd) over the columns around one, of its own sublattice or of the other."""
    a = lattice_constant_angstrom
    i, j = (index.ravel() for index in np.meshgrid(*[np.arange(-12, 13)] * 2, indexing="ij"))
    offset = 0.0 if same_sublattice else a / np.sqrt(3)
    distances = np.hypot(a * (i + j / 2), a * j * np.sqrt(3) / 2 + offset).round(6)
    shells, counts = np.unique(
        distances[(distances > 0) & (distances < _FADE_ANGSTROM[1])], return_counts=True
    )
    faded = np.clip((shells - _FADE_ANGSTROM[0]) / np.ptp(_FADE_ANGSTROM), 0.0, 1.0)
    weights = counts * np.cos(np.pi / 2 * faded) ** 2
    return np.asarray(j0(2 * np.pi * frequency[:, None] * shells) @ weights)


def captured(term: NDArray[np.float32], support_angstrom: float) -> NDArray[np.float64]:
    """Integral of a pair term (rings, across, along) over the disc in which it is added [Å²]."""
    step = 0.05
    across, along = (np.arange(-support_angstrom, support_angstrom, step) + step / 2,) * 2
    fine = CubicSpline(ALONG_ANGSTROM, CubicSpline(ACROSS_ANGSTROM, term, axis=1)(np.abs(across)), axis=2)(
        along
    )
    inside = np.hypot(across[:, None], along) <= support_angstrom
    return np.asarray((fine * inside).sum(axis=(1, 2)) * step**2)


def site_remainders(
    of_pair: Callable[[str, str, bool], NDArray[np.float64]], metal: str, others: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """Share every pair's remainder among its columns, in a crystal where defects stand alone.

    Columns of the perfect crystal carry half of what each of their pairs leaves; another content carries what
    its own pairs leave, less the half that its neighbours carry already for the column that it stands for.

    Parameters
    ----------
    of_pair : callable
        Remainder of a content, summed over the neighbours of a content on its own sublattice or the
        other one.
    metal : str
        The host's metal.
    others : sequence of str
        Contents other than the metal and ``"X2"``: dopants, ``"X1top"``, ``"X1bottom"``.

    Returns
    -------
    dict of ndarray of shape (rings,)
        Remainder of every content [Å²].
    """

    def around(content: str) -> NDArray[np.float64]:
        chalcogen = content.startswith("X")
        own, other = ("X2", metal) if chalcogen else (metal, "X2")
        return of_pair(content, own, True) + of_pair(content, other, False)

    whole = {content: around(content) for content in (metal, "X2", *others)}
    halves = {content: whole["X2" if content.startswith("X") else metal] / 2 for content in whole}
    return {content: whole[content] - halves[content] for content in whole}
