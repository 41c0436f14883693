"""The lattice's phase at places of a frame, from its fringes: for frames whose maxima are mostly noise.

Geometric phase analysis (Hytch, Snoeck and Kilaas, 1998, 10.1016/S0304-3991(98)00035-7) of the reflections
nearest to the origin, which a blurred frame keeps longest.
"""

import math

import torch
from torch import Tensor

#: Standard deviation of the window around a place [tiles].
_WINDOW = 1.2

#: Amplitude over the root mean square of noise at which a phase is as trustworthy as one of maxima whose
#: coherence is a half.
_HALF = 4.6

#: Frequencies as far out as the reflections and between them, in parts of these: there is noise alone.
_BETWEEN = tuple((h / math.sqrt(3), k / math.sqrt(3)) for h, k in ((2, 1), (1, 2), (-1, 1)))


def fringe_phases(
    image: Tensor, vectors: Tensor, tile_px: float, grid: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Phase of the lattice in the middle of each tile, how far it can be trusted, and what it is a phase of.

    Seen from a hexagon's centre, three reflections 120 degrees apart have the same phase.  So the sum of
    their phases is three times that one, wherever it is seen from.

    Parameters
    ----------
    image : Tensor of shape (M, N)
        Standardised frame.
    vectors : Tensor of shape (2, 2)
        Lattice vectors a1, a2 as rows, (row, column) [px], 60 degrees apart.
    tile_px : float
        Edge of a tile [px].
    grid : tuple of int
        Rows and columns of tiles, R and C.

    Returns
    -------
    phase : Tensor of shape (R, C, 2)
        How far the maxima of two reflections lie from the first pixel, in parts of a1 and a2, up to whole
        ones.
    coherence : Tensor of shape (R, C)
        0 to 1.
    triple : Tensor of shape (R, C)
        Complex; its argument is the sum of the three phases.
    """
    reciprocal = torch.linalg.inv(vectors.double()).T  # rows b1, b2 [cycles/px]
    third = -reciprocal.sum(0, keepdim=True)
    frequencies = torch.cat([reciprocal, third, torch.tensor(_BETWEEN, dtype=torch.float64) @ reciprocal])
    waves = torch.stack([_amplitude(image, frequency, tile_px, grid) for frequency in frequencies])
    noise = waves[3:].abs().square().mean().sqrt().clamp(min=1e-12)
    signal = waves[:2].abs().amin(0) / noise
    phase = -waves[:2].angle() / (2 * math.pi)
    return phase.permute(1, 2, 0), signal / (signal + _HALF), waves[:3].prod(0)


def _amplitude(image: Tensor, frequency: Tensor, tile_px: float, grid: tuple[int, int]) -> Tensor:
    """Amplitude of one wave in a window around the middle of each tile, complex, (R, C)."""
    sides = []
    for cycles, pixels, tiles in zip(frequency.tolist(), image.shape, grid, strict=True):
        place = torch.arange(pixels, dtype=torch.float64)
        middle = (torch.arange(tiles, dtype=torch.float64)[:, None] + 0.5) * tile_px
        window = torch.exp(-0.5 * ((place - middle) / (_WINDOW * tile_px)) ** 2)
        angle = -2 * math.pi * cycles * place
        sides.append((window * torch.exp(1j * angle)).to(torch.complex64).to(image.device))
    return sides[0] @ image.to(torch.complex64) @ sides[1].T
