"""What six moments cost: a small convolutional network on the pixels around a column, with the context.

It is trained and tested on frames of its own, of some of the contexts, and compared there with a classifier
that reads the moments of the same columns.  Nothing of it is shipped.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from drivers.contract.errors import InputError
from models.checkpoint import Weights
from models.contexts import context_table, reference_contexts
from models.encoding import CONTEXT_FEATURES
from models.frames import standardise
from models.levels import level_frame
from models.networks.mlp import CLASSES
from models.patches import cut_patches
from models.reading import read_columns
from models.training.columns import label_columns, read_as_classified
from models.training.conditions import Ranges, draw_frame
from models.training.evaluation import REFERENCE_DOSE
from models.training.pools import reading_pool
from models.training.samples import column_weights

#: Frames, and columns of a class that each gives.
_RANGES, _MOST_A_FRAME = Ranges(pixels=256), 60

#: Samples along the edge of a patch.
_SIZE = 16

_BATCH, _LEARNING_RATE = 512, 2e-3


@dataclass(frozen=True)
class Patches:
    """Columns with their surroundings; n columns.

    Parameters
    ----------
    image : Tensor of shape (n, 16, 16)
        Of the levelled frame, float16.
    contrast : Tensor of shape (n, 8)
        What classifiers read of the same columns.
    context, label : Tensor of shape (n,)
        long.
    weight : Tensor of shape (n,)
    is_reference : Tensor of shape (n,)
        Whether the dose is that of the reference noise.
    is_test : Tensor of shape (n,)
        Whether the column's frame is kept from training.
    """

    image: Tensor
    contrast: Tensor
    context: Tensor
    label: Tensor
    weight: Tensor
    is_reference: Tensor
    is_test: Tensor

    def part(self, mask: Tensor) -> "Patches":
        """The columns that a mask or an index chooses."""
        return Patches(*(value[mask] for value in vars(self).values()))


class PatchNetwork(nn.Module):
    """Three convolutions, then the context and the flag join."""

    def __init__(self) -> None:
        super().__init__()
        self.see = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),  # (B, 16, 16, 16)
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),  # (B, 32, 8, 8)
            nn.ReLU(),
            nn.Conv2d(32, 48, 3, stride=2, padding=1),  # (B, 48, 4, 4)
            nn.ReLU(),
            nn.Flatten(),  # (B, 768)
        )
        self.join = nn.Sequential(
            nn.Linear(768 + 2 + CONTEXT_FEATURES, 128),
            nn.ReLU(),
            nn.Linear(128, 64),
            nn.ReLU(),
            nn.Linear(64, CLASSES),
        )

    def forward(self, image: Tensor, flag: Tensor, context: Tensor) -> Tensor:
        """Logits (B, 5) of patches (B, 16, 16), flags (B, 2) and context vectors (B, 23)."""
        logits: Tensor = self.join(torch.cat([self.see(image[:, None]), flag, context], dim=1))
        return logits


def make_patches(number: int, seed: int, frames: int) -> list[Patches]:
    """Columns of some frames of a context, of which the last is for the test.

    It shares its annulus with the frames before it that are of its group of four (`draw_frame`), which
    favours the network that is trained on them, unless there is one frame more than a multiple of four.
    """
    found = []
    for index in range(frames):
        try:
            frame = draw_frame(reference_contexts()[number], _RANGES, [seed, number, index])
            torch.set_num_threads(1)  # the simulator's compiled loops have raised it
            reading = read_columns(frame.image, with_edges=False)
            labelled = label_columns(frame, reading)
            contrast, _ = read_as_classified(labelled, reference_contexts()[number])
        except InputError:
            continue
        rng = np.random.default_rng([seed, number, index])
        order = rng.permutation(len(labelled.label))
        keep = np.concatenate([order[labelled.label[order] == k][:_MOST_A_FRAME] for k in range(CLASSES)])
        image, _ = level_frame(standardise(frame.image), reading.lattice, reading.whole)
        positions = torch.from_numpy(labelled.positions[keep])
        label, count = labelled.label[keep], len(keep)
        dose = frame.acquisition.dose_e_per_a2 or np.inf
        found.append(
            Patches(
                cut_patches(image, positions, reading.disc, _SIZE).half(),
                contrast[torch.from_numpy(keep)],
                torch.full((count,), number),
                torch.from_numpy(label.astype(np.int64)),
                column_weights(label, np.zeros(count, np.uint16)),
                torch.full((count,), bool(np.log10(dose) >= REFERENCE_DOSE)),
                torch.full((count,), index == frames - 1),
            )
        )
    return found


def gather(contexts: list[int], seed: int, frames: int, workers: int, on_done: Callable[[], None]) -> Patches:
    """Columns of all frames of some contexts."""
    found: list[Patches] = []
    with reading_pool(workers) as pool:
        for future in as_completed([pool.submit(make_patches, k, seed, frames) for k in contexts]):
            found += future.result()
            on_done()
    if not found:
        raise InputError("none of the frames shows a lattice; take more --frames")
    found.sort(key=lambda one: int(one.context[0]))  # whatever order they came in
    return Patches(
        *(torch.cat(values) for values in zip(*(vars(one).values() for one in found), strict=True))
    )


def train_patches(patches: Patches, epochs: int, seed: int) -> PatchNetwork:
    """Train the convolutional network; patches are turned and mirrored at random."""
    torch.manual_seed(seed)
    network, table = PatchNetwork(), context_table()
    optimiser = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE)
    batches = -(-len(patches.label) // _BATCH) * epochs
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, batches)
    for chosen in _orders(len(patches.label), epochs):
        some = patches.part(chosen)
        image = torch.rot90(some.image.float(), int(torch.randint(4, ())), (1, 2))
        image = image.flip(2) if torch.rand(()) < 0.5 else image
        logits = network(image, some.contrast[:, 6:], table[some.context])
        loss = (some.weight * cross_entropy(logits, some.label, reduction="none")).mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
    return network.eval()


def _orders(count: int, epochs: int) -> Iterator[Tensor]:
    """Batches of all epochs, each in an order of its own."""
    for _ in range(epochs):
        yield from torch.split(torch.randperm(count), _BATCH)


@torch.no_grad()
def compare(network: PatchNetwork, weights: Weights, patches: Patches) -> dict[str, Any]:
    """Accuracies [%] of both on the test frames at the reference noise, and their difference.

    Raises
    ------
    InputError
        If there are no such frames.
    """
    test = patches.part(patches.is_test & patches.is_reference)
    if not len(test.label):
        raise InputError("no test frame has the reference noise; take more contexts (a smaller --every)")
    context = context_table()[test.context]
    by_pixels = torch.cat(
        [
            network(test.image[some].float(), test.contrast[some, 6:], context[some])
            for some in torch.split(torch.arange(len(test.label)), _BATCH)
        ]
    )
    by_moments = weights.network(test.contrast, context)
    accuracy = {
        name: 100 * float((test.weight * (logits.argmax(1) == test.label)).sum() / test.weight.sum())
        for name, logits in (("pixels", by_pixels), ("moments", by_moments))
    }
    return {
        "accuracy": accuracy["pixels"],
        "default": weights.card["network"],
        "default_accuracy": accuracy["moments"],
        "gap": accuracy["pixels"] - accuracy["moments"],
        "parameters": sum(p.numel() for p in network.parameters()),
        "columns_trained": int((~patches.is_test).sum()),
        "columns_tested": len(test.label),
        "contexts": len(set(patches.context.tolist())),
        "made_by": "columnist derive pixels",
    }


def study(
    weights: Weights,
    *,
    every: int,
    frames: int,
    epochs: int,
    seed: int,
    workers: int,
    on_done: Callable[[], None],
) -> dict[str, Any]:
    """Train the convolutional network on every so many-th context, and compare."""
    contexts = list(range(0, len(reference_contexts()), every))
    patches = gather(contexts, seed, frames, workers, on_done)
    train = patches.part(~patches.is_test)
    if not len(train.label):
        raise InputError("no frame to train on shows a lattice; take more --frames")
    return compare(train_patches(train, epochs, seed), weights, patches)
