"""Denoising by principal components of patches, and its inverse.

The filter takes every patch of `edge` x `edge` pixels, keeps its part along the strongest principal
components of all patches, and averages where patches overlap ("SVD denoising").  Away from the edges that is
a convolution; near them fewer patches overlap.  It is linear in the frame once its components are known, so
it can be undone (`docs/decisions/0026-frames-that-others-denoised.md`).
"""

from dataclasses import dataclass

import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.fft import irfft2, rfft2

#: Frequencies of which the filter keeps a smaller part than this stay as they are: components are not known
#: exactly, and what little is left of those frequencies is more wrong than right.
_LEAST_KEPT = 3e-3

#: Rounds of the conjugate gradient; more change no class.
_ROUNDS = 12

#: Values of filtered frames that are worked on at once.
_FILTERED_AT_ONCE = 2**22


@dataclass(frozen=True)
class PatchFilter:
    """A filter that keeps K components of patches of E x E pixels.

    Parameters
    ----------
    components : Tensor of shape (K, E, E)
        Orthonormal, float32, strongest first.
    mean : Tensor of shape (E, E)
        Of all patches; the filter leaves it.
    """

    components: Tensor
    mean: Tensor

    @property
    def edge(self) -> int:
        """Edge of a patch [px]."""
        return int(self.mean.shape[0])

    def first(self, count: int) -> "PatchFilter":
        """The filter that keeps only this many components."""
        return PatchFilter(self.components[:count], self.mean)

    def part_kept(self, shape: tuple[int, int]) -> Tensor:
        """Part of each frequency of a frame (M, N) that is kept away from its edges, (M, N // 2 + 1)."""
        power: Tensor = rfft2(self.components, s=shape).abs().square().sum(0)
        return power / self.edge**2

    def apply(self, frame: Tensor) -> Tensor:
        """Denoise a frame (M, N), float32."""
        return (self._overlaid(frame) + self._rest(frame.shape)) / self._overlaps(frame.shape)

    def undo(self, frame: Tensor) -> Tensor:
        """The frame (M, N) that the filter made this one of, as far as it can be told.

        Solves (A + c 1) (x - y) = n y - A y by conjugate gradients: y the frame, x the one before, A the sum
        over overlapping patches, n their number at each pixel.  The convolution that the filter is away from
        the edges preconditions.
        """
        small = _LEAST_KEPT * self.edge**2
        shape = (int(frame.shape[0]), int(frame.shape[1]))
        kept = self.part_kept(shape) * self.edge**2 + small
        left = frame * self._overlaps(shape) - self._rest(shape) - self._overlaid(frame)
        change, step, size = torch.zeros_like(frame), torch.zeros_like(frame), torch.ones(())
        for _ in range(_ROUNDS):
            conditioned = irfft2(rfft2(left) / kept, s=shape)
            before, size = size, (left * conditioned).sum()
            if not size > 0:
                break
            step = conditioned + size / before * step
            applied = self._overlaid(step) + small * step
            length = size / (step * applied).sum()
            change, left = change + length * step, left - length * applied
        return frame + change

    def _overlaid(self, frame: Tensor) -> Tensor:
        """Sum over all patches of what the components keep of each, (M, N)."""
        rows, columns = frame.shape
        padded = self._padded(frame.shape)
        spectrum = rfft2(frame, s=padded)
        total = torch.zeros_like(spectrum)
        for some in torch.split(self.components, max(1, _FILTERED_AT_ONCE // (padded[0] * padded[1]))):
            of_components = rfft2(some, s=padded)
            part = irfft2(spectrum * of_components.conj(), s=padded)  # of each patch, at its first pixel
            part[:, rows - self.edge + 1 :] = 0
            part[:, :, columns - self.edge + 1 :] = 0
            total += (rfft2(part) * of_components).sum(0)
        overlaid: Tensor = irfft2(total, s=padded)
        return overlaid[:rows, :columns]

    def _rest(self, shape: tuple[int, ...]) -> Tensor:
        """Sum over all patches of what the components do not keep of their mean, (M, N)."""
        kept = torch.einsum("k,kij->ij", (self.components * self.mean).sum((1, 2)), self.components)
        padded = self._padded(shape)
        patches = self.mean.new_zeros(padded)
        patches[: shape[0] - self.edge + 1, : shape[1] - self.edge + 1] = 1
        rest: Tensor = irfft2(rfft2(patches) * rfft2(self.mean - kept, s=padded), s=padded)
        return rest[: shape[0], : shape[1]]

    def _padded(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Shape that patches do not wrap around in, and that transforms are fast for."""
        rows, columns = (next_fast_len(pixels + self.edge - 1, real=True) for pixels in shape)
        return rows, columns

    def _overlaps(self, shape: tuple[int, ...]) -> Tensor:
        """Number of patches that hold each pixel, (M, N)."""
        along = []
        for pixels in shape:
            place = torch.arange(1.0, pixels + 1)
            along.append(
                torch.minimum(place, place.flip(0)).clamp(max=min(self.edge, pixels - self.edge + 1))
            )
        return torch.outer(along[0], along[1])


def learn_filter(frame: Tensor, edge: int, components: int) -> PatchFilter:
    """The filter that a frame (M, N) gives rise to."""
    centre = frame.mean().double()
    mean, square = _patch_moments(frame.double() - centre, edge)
    _, vectors = torch.linalg.eigh(square - torch.outer(mean, mean))
    strongest = vectors.flip(1)[:, :components].T
    return PatchFilter(strongest.reshape(-1, edge, edge).float(), (mean + centre).reshape(edge, edge).float())


def _patch_moments(frame: Tensor, edge: int) -> tuple[Tensor, Tensor]:
    """Mean (E E,) of all patches' pixels and of their products (E E, E E), without making the patches.

    Products of two columns of the patches, row by row, follow from those of the two columns before them: one
    column of the frame goes, one comes.  Of rows, only those less than an edge apart are in one patch.
    """
    rows, columns = frame.shape
    high, wide = rows - edge + 1, columns - edge + 1  # patches along either axis
    near, first = edge - 1, torch.arange(edge)
    lagged = torch.nn.functional.pad(frame, (0, 0, near, near)).unfold(0, rows, 1)  # (2 E - 1, N, M)
    place = near + first[None] - first[:, None]  # of the lag from one row of a patch to another

    def products(one: int, other: int) -> Tensor:
        """Of two columns of the frame, (2 E - 1, M): at every lag, from every row."""
        return lagged[:, other] * frame[:, one]

    square = frame.new_empty(edge, edge, edge, edge)  # row and column of one pixel, of the other
    for apart in range(edge):
        whole = torch.einsum("rc,dcr->dr", frame[:, :wide], lagged[:, apart : apart + wide])
        for one in range(edge - apart):
            other = one + apart
            if one:
                whole = whole + products(one - 1 + wide, other - 1 + wide) - products(one - 1, other - 1)
            until = torch.nn.functional.pad(whole.cumsum(1), (1, 0))
            sums = until[:, high : high + edge] - until[:, :edge]  # (2 E - 1, E): over patches, by their row
            square[:, one, :, other] = sums[place, first[:, None]]
            square[:, other, :, one] = square[:, one, :, other].T
    until = torch.nn.functional.pad(frame.cumsum(0).cumsum(1), (1, 0, 1, 0))
    mean = until[high:, wide:] - until[high:, :edge] - until[:edge, wide:] + until[:edge, :edge]
    patches = high * wide
    return mean.reshape(-1) / patches, square.reshape(edge * edge, edge * edge) / patches
