import json
import shutil

import pytest
import torch

from agent.__main__ import build_parser, main
from drivers.contract.errors import InputError
from models.checkpoint import load_weights
from models.training.fit import Progress, Training, train
from models.training.samples import load_samples
from models.training.workers import Worker


class KilledError(Exception):
    """Stands for a kill."""


def training(dataset, out, name="mlp-simple", **changes) -> Training:
    return Training(name, dataset, out, **{"epochs": 3, "batch": 1024, **changes})


@pytest.mark.parametrize("name", ["mlp-simple", "attn-4k"])
def test_a_training_that_was_killed_ends_with_the_same_weights(made_up_dataset, tmp_path, name):
    def kill_in_the_last_epoch(progress: Progress) -> None:
        if progress.epoch == 2:
            raise KilledError

    train(training(made_up_dataset, tmp_path / "whole", name))
    with pytest.raises(KilledError):
        train(training(made_up_dataset, tmp_path / "killed", name), kill_in_the_last_epoch)
    assert list((tmp_path / "killed").glob("*.checkpoint.safetensors"))
    epochs = []
    train(training(made_up_dataset, tmp_path / "killed", name), lambda p: epochs.append(p.epoch))
    assert set(epochs) == {2}
    whole, killed = ((tmp_path / f / f"{name}.safetensors").read_bytes() for f in ("whole", "killed"))
    assert whole == killed
    assert not list((tmp_path / "killed").glob("*.checkpoint.safetensors"))


def test_context_resolves_what_the_features_alone_do_not(made_up_dataset, tmp_path):
    accuracy = {
        name: train(training(made_up_dataset, tmp_path, name, epochs=6, batch=512, learning_rate=3e-3))[
            "figures"
        ]["test"]
        for name in ("mlp-simple", "mlp-nocontext")
    }
    assert accuracy["mlp-simple"]["accuracy"] > accuracy["mlp-nocontext"]["accuracy"] + 0.15
    assert accuracy["mlp-simple"]["entropy_nats"] < accuracy["mlp-nocontext"]["entropy_nats"] - 0.2


def test_the_command_writes_weights_that_can_be_used_and_a_card_that_says_how(
    made_up_dataset, tmp_path, capsys
):
    words = ["train", "mlp-simple", "--dataset", str(made_up_dataset), "--out", str(tmp_path)]
    assert main([*words, "--epochs", "1", "--seed", "3"]) == 0
    assert "test accuracy" in capsys.readouterr().out
    card = load_weights(tmp_path / "mlp-simple.safetensors").card
    assert (card["seed"], card["epochs"], card["batch"]) == (3, 1, 4096)
    assert card["data"]["columns"] == 576 * 120
    assert 0 < card["figures"]["test"]["ece"] < 1
    json.dumps(card, allow_nan=False)


def test_a_checkpoint_of_another_training_is_not_mixed_in(made_up_dataset, tmp_path):
    def kill(progress: Progress) -> None:
        if progress.epoch == 1:
            raise KilledError

    with pytest.raises(KilledError):
        train(training(made_up_dataset, tmp_path), kill)
    with pytest.raises(InputError, match="of another training"):
        train(training(made_up_dataset, tmp_path, seed=1))


def test_an_altered_checkpoint_is_refused(made_up_dataset, tmp_path):
    (tmp_path / "mlp-simple.checkpoint.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{")
    with pytest.raises(InputError, match="cut short or altered"):
        train(training(made_up_dataset, tmp_path))


def test_a_feature_that_never_varies_does_not_divide_by_zero(made_up_dataset, tmp_path):
    train(training(made_up_dataset, tmp_path, epochs=1))
    network = load_weights(tmp_path / "mlp-simple.safetensors").network
    assert torch.isfinite(network(torch.randn(4, 8), torch.rand(4, 23))).all()


BAD = {
    "network": (["resnet"], "mlp-deep"),
    "epochs": (["mlp-simple", "--epochs", "0"], "--epochs 0"),
    "batch": (["mlp-simple", "--batch", "-4"], "--batch -4"),
    "rate": (["mlp-simple", "--learning-rate", "7"], "--learning-rate 7"),
    "seed": (["mlp-simple", "--seed", str(2**64)], "--seed 18446744073709551616"),
    "data set": (["mlp-simple"], "columnist dataset build"),
}


@pytest.mark.parametrize(("words", "told"), BAD.values(), ids=BAD)
def test_bad_input_is_answered_in_one_line(words, told, tmp_path, capsys):
    assert main(["train", *words, "--dataset", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert told in capsys.readouterr().err


def test_a_checkpoint_of_another_data_set_is_not_mixed_in(made_up_dataset, tmp_path):
    def kill(progress: Progress) -> None:
        if progress.epoch == 1:
            raise KilledError

    other = tmp_path / "other"
    shutil.copytree(made_up_dataset, other)
    card = json.loads((other / "card.json").read_text())
    (other / "card.json").write_text(json.dumps(card | {"seed": 5}))
    with pytest.raises(KilledError):
        train(training(made_up_dataset, tmp_path / "out"), kill)
    with pytest.raises(InputError, match="another data"):
        train(training(other, tmp_path / "out"))


def test_the_command_of_the_card_trains_the_same_again(made_up_dataset, tmp_path):
    made = train(
        training(made_up_dataset, tmp_path, epochs=1, learning_rate=0.0012345678, decay=True, seed=4)
    )
    words = made["made_by"].split()
    assert words[0] == "columnist"
    asked = build_parser("train").parse_args(words[1:])
    assert (asked.name, asked.seed, asked.epochs, asked.batch) == ("mlp-simple", 4, 1, 1024)
    assert (asked.learning_rate, asked.decay) == (0.0012345678, True)


def test_the_card_is_all_that_is_printed_where_it_is_asked_for(made_up_dataset, tmp_path, capsys):
    words = ["train", "mlp-simple", "--dataset", str(made_up_dataset), "--out", str(tmp_path)]
    assert main([*words, "--epochs", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == 1


@pytest.mark.parametrize("name", ["mlp-simple", "attn-4k"])
def test_a_last_batch_too_small_to_be_shared_teaches_every_process_the_same(
    made_up_dataset, tmp_path, monkeypatch, name
):
    columns = len(load_samples(made_up_dataset, "metal")["train"])
    gradients = []

    def keep(worker: Worker, network: torch.nn.Module) -> None:
        gradients.append([parameter.grad.clone() for parameter in network.parameters()])

    monkeypatch.setattr(Worker, "share_gradients", keep)
    for rank in (1, 0):  # the one that writes last
        worker = Worker(torch.device("cpu"), rank, 2)
        train(training(made_up_dataset, tmp_path, name, epochs=1, batch=columns - 1), worker=worker)
    assert all(bool(gradient.isfinite().all()) for batch in gradients for gradient in batch)
    assert len(gradients) == 4
    assert all(any(bool(gradient.any()) for gradient in batch) for batch in gradients)
