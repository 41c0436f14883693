"""Train one network: Adam on weighted cross-entropy, a checkpoint an epoch, the same result after a kill."""

import json
import math
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn
from torch.nn.functional import cross_entropy

from drivers.contract.errors import InputError
from models.calibration import Calibration
from models.checkpoint import save_weights
from models.contexts import context_table
from models.networks.catalogue import find_recipe
from models.networks.mlp import Standardise
from models.training.evaluation import all_logits, evaluate, fit_calibration
from models.training.samples import Part, Samples, load_samples, read_card
from models.training.workers import Worker

#: Learning rate of Adam (Dan et al., arXiv 2606.09419).
LEARNING_RATE = 1e-3

#: Columns of the paper's data set, about.
PAPER_COLUMNS = 55_000_000

_ALONE = Worker(torch.device("cpu"))

#: Columns that statistics are summed over at a time.
_CHUNK = 1_000_000


@dataclass(frozen=True)
class Progress:
    """Where training stands, told after each batch.

    Parameters
    ----------
    epoch, epochs : int
        The running epoch, from 0, and how many there are.
    done, total : int
        Columns that training has seen, over all epochs, and will see.
    loss, accuracy : float
        Running means over the epoch, with dropout.
    """

    epoch: int
    epochs: int
    done: int
    total: int
    loss: float
    accuracy: float


@dataclass(frozen=True)
class Training:
    """What is trained, and how.

    Parameters
    ----------
    name : str
        One of `NETWORKS`.
    dataset : Path
        Folder of a finished data set.
    out : Path
        Folder of weights and checkpoint.
    seed : int
        Of weights, order and dropout.
    epochs, batch : int, optional
        By default the recipe's.
    learning_rate : float
        Of Adam; falls to zero along a cosine if `decay`.
    decay : bool
        The paper does not say that it lets the rate fall; without, the last epochs scatter.
    """

    name: str
    dataset: Path
    out: Path
    seed: int = 0
    epochs: int | None = None
    batch: int | None = None
    learning_rate: float = LEARNING_RATE
    decay: bool = False


def train(
    training: Training,
    on_batch: Callable[[Progress], None] = lambda progress: None,
    worker: Worker = _ALONE,
) -> dict[str, Any]:
    """Train, calibrate, test, and write the weights; returns their card.

    A checkpoint is written after each epoch; an interrupted training goes on from there and ends with the
    same weights as one that was not.  Of several workers each calls this, and only number 0 writes.

    Raises
    ------
    InputError
        If the network is unknown, the data set unusable, or the checkpoint of another training.
    """
    recipe = find_recipe(training.name)
    data = read_card(training.dataset)
    parts = load_samples(training.dataset, recipe.flag)
    epochs, batch = training.epochs or recipe.epochs, training.batch or recipe.batch
    torch.manual_seed(training.seed)
    network = recipe.make()
    set_statistics(network, parts["train"])
    network.to(worker.device)
    optimiser = torch.optim.Adam(network.parameters(), lr=training.learning_rate, fused=True)
    training.out.mkdir(parents=True, exist_ok=True)
    checkpoint = training.out / f"{training.name}.checkpoint.safetensors"
    made_by = made_with(training, epochs, batch)
    whole = made_by | {"device": worker.device.type, "processes": worker.world, "data": data}
    first = _resume(checkpoint, network, optimiser, whole)
    schedule = _Schedule(training, epochs, batch)
    for epoch in range(first, epochs):
        _one_epoch(network, optimiser, parts["train"], (schedule, epoch, worker), on_batch)
        if worker.rank == 0:
            _write_checkpoint(checkpoint, network, optimiser, epoch + 1, whole)
    card = made_by | {"scale": scale(len(parts["train"])), "device": worker.device.type}
    card |= {"processes": worker.world}
    if worker.rank > 0:
        return card
    network.cpu()
    card["data"] = data
    card["figures"], calibration = _figures(network, parts, knows_context=recipe.flag == "metal")
    save_weights(training.out / f"{training.name}.safetensors", training.name, network, calibration, card)
    checkpoint.unlink(missing_ok=True)
    return card


def made_with(training: Training, epochs: int, batch: int) -> dict[str, Any]:
    """What decides the outcome of a training, as plain data."""
    try:
        code = version("columnist")
    except PackageNotFoundError:
        code = "unknown"
    return {
        "made_by": _command(training, epochs, batch),
        "seed": training.seed,
        "epochs": epochs,
        "batch": batch,
        "optimiser": "Adam",
        "learning_rate": training.learning_rate,
        "decay": "cosine" if training.decay else "none",
        "code_version": code,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _command(training: Training, epochs: int, batch: int) -> str:
    """Command that trains the same again, but for the folders."""
    decay = " --decay" if training.decay else ""
    return (
        f"columnist train {training.name} --dataset FOLDER --seed {training.seed} --epochs {epochs} "
        f"--batch {batch} --learning-rate {training.learning_rate}{decay}"
    )


def scale(columns: int) -> str:
    """How much was trained on, beside the paper's set, in words for the card."""
    part = f"{columns / PAPER_COLUMNS:.1%} of" if columns < PAPER_COLUMNS else "no less than"
    return f"trained on {columns:,} columns, {part} the paper's {PAPER_COLUMNS:,} (before its 80/20 split)"


def set_statistics(network: nn.Module, samples: Samples) -> None:
    """Give the network's `Standardise` the mean and deviation of its training features."""
    table = context_table()
    share = torch.bincount(samples.context.long(), minlength=len(table)).double() / len(samples)
    context_mean = share @ table.double()
    context_deviation = (share @ (table.double() - context_mean).square()).sqrt()
    total = samples.contrast.new_zeros(2, samples.contrast.shape[1], dtype=torch.float64)
    for some in torch.split(samples.contrast, _CHUNK):
        total += torch.stack([some.double().sum(0), some.double().square().sum(0)])
    contrast_mean, square = total / len(samples)
    mean = torch.cat([contrast_mean, context_mean])
    deviation = torch.cat([(square - contrast_mean.square()).clamp(min=0).sqrt(), context_deviation])
    for module in network.modules():
        if isinstance(module, Standardise):
            features = len(module.mean)
            module.mean.copy_(mean[:features])
            # A feature that never varies (an empty shell) stays zero instead of being divided by zero.
            module.deviation.copy_(torch.where(deviation > 1e-6, deviation, 1.0)[:features])


@dataclass(frozen=True)
class _Schedule:
    """Batches and learning rates of a training with its defaults filled in."""

    training: Training
    epochs: int
    batch: int

    def rate(self, done: float) -> float:
        """Learning rate when this part of all columns has been seen."""
        if not self.training.decay:
            return self.training.learning_rate
        return 0.5 * self.training.learning_rate * (1 + math.cos(math.pi * done))


def _one_epoch(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    samples: Samples,
    state: tuple[_Schedule, int, Worker],
    on_batch: Callable[[Progress], None],
) -> None:
    """Go once through all columns, in an order that depends on seed and epoch alone."""
    schedule, epoch, worker = state
    torch.manual_seed(1_000_003 * (schedule.training.seed + 1) + epoch)
    order = torch.randperm(len(samples), dtype=torch.int32 if len(samples) < 2**31 else torch.int64)
    table = context_table().to(worker.device)
    network.train()
    loss_sum = right_sum = 0.0
    seen, total = 0, schedule.epochs * len(samples)
    for chosen in torch.split(order, schedule.batch):
        optimiser.param_groups[0]["lr"] = schedule.rate((epoch * len(samples) + seen * worker.world) / total)
        chosen = worker.part(chosen)
        contrast, context, label = (t.to(worker.device) for t in samples.take(chosen))
        with worker.precision():
            logits = network(contrast, table[context])
        losses = cross_entropy(logits.float(), label, reduction="none")
        loss = (samples.weight[chosen].to(worker.device) * losses).mean()
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        worker.share_gradients(network)
        optimiser.step()
        loss_sum += float(loss.detach()) * len(chosen)
        right_sum += float((logits.detach().argmax(1) == label).sum())
        seen += len(chosen)
        done = epoch * len(samples) + min(len(samples), seen * worker.world)
        on_batch(Progress(epoch, schedule.epochs, done, total, loss_sum / seen, right_sum / seen))


def _figures(
    network: nn.Module, parts: dict[Part, Samples], *, knows_context: bool
) -> tuple[dict[str, Any], Calibration]:
    """Figures of train and test parts, calibrated on neither; and the calibration."""
    held = parts["calibration"]
    calibration = fit_calibration(all_logits(network, held), held, knows_context=knows_context)
    figures: dict[str, Any] = {}
    for part in ("train", "test"):
        samples = parts[part]
        logits = all_logits(network, samples)
        calibrated = calibration.apply(logits, samples.context.long(), samples.is_metal, samples.spread)
        figures[part] = evaluate(calibrated, samples)
        if part == "test":
            figures["test_ece_before_calibration"] = evaluate(logits, samples)["ece"]
    temperature = calibration.temperature
    figures["temperature_range"] = [float(temperature.min()), float(temperature.max())]
    figures["power_of_spread"] = calibration.power.tolist()
    return figures, calibration


def _write_checkpoint(
    path: Path, network: nn.Module, optimiser: torch.optim.Optimizer, epoch: int, made_by: dict[str, Any]
) -> None:
    """Write all that is needed to go on, at once or not at all."""
    tensors = {f"network.{key}": value for key, value in network.state_dict().items()}
    for number, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{key}": torch.as_tensor(value) for key, value in state.items()}
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(save(tensors, metadata={"epoch": str(epoch), "made_by": json.dumps(made_by)}))
    partial.replace(path)


def _resume(path: Path, network: nn.Module, optimiser: torch.optim.Optimizer, made_by: dict[str, Any]) -> int:
    """Load a checkpoint if there is one; returns the epoch to go on with."""
    from safetensors import safe_open

    if not path.exists():
        return 0
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        tensors = load(path.read_bytes())
        found = dict(json.loads(metadata.get("made_by", "{}")))
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"the checkpoint {path} is cut short or altered ({error}); delete it to start anew"
        ) from error
    differing = [key for key, value in made_by.items() if found.get(key) != value]
    if differing:
        raise InputError(
            f"the checkpoint {path} is of another training (another {', '.join(differing)}); "
            "give the same options to go on with it, or delete it to start anew"
        )
    network.load_state_dict(
        {key.removeprefix("network."): v for key, v in tensors.items() if key.startswith("network.")}
    )
    state = optimiser.state_dict()
    for key, value in tensors.items():
        if key.startswith("optimiser."):
            _, number, name = key.split(".")
            state["state"].setdefault(int(number), {})[name] = value
    optimiser.load_state_dict(state)
    return int(metadata["epoch"])
