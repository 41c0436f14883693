import json

import numpy as np
import pytest

from agent.__main__ import build_parser, main
from models.checkpoint import FEATURES_FORMAT, load_shipped
from models.fusion_law import FusionLaw

BAD = {
    "workers": (["templates", "--workers", "0"], "at least 1"),
    "seed": (["sublattice", "--seed", "-1"], "from 0 to 2147483647"),
    "seed of series": (["fusion", "--seed", "-1"], "from 0 to 2147483647"),
    "frames": (["sublattice", "--frames", "0"], "at least 1"),
    "every": (["pixels", "--every", "0"], "at least 1"),
}


@pytest.mark.parametrize(("words", "told"), BAD.values(), ids=BAD)
def test_bad_options_are_refused_in_one_line(words, told, capsys):
    with pytest.raises(SystemExit):
        main(["derive", *words])
    assert told in capsys.readouterr().err


def test_frames_that_weights_learnt_from_do_not_test_them(capsys):
    seed = load_shipped("mlp-simple").card["data"]["seed"]
    assert main(["derive", "pixels", "--seed", str(seed)]) == 2
    assert f"--seed {seed}: the weights learnt from frames of that seed" in capsys.readouterr().err


@pytest.fixture
def observations(tmp_path, monkeypatch):
    """A file that stands for series, and a law that nothing is fitted for."""
    path = tmp_path / "observations.npz"
    path.write_bytes(b"")
    card = {"features_format": FEATURES_FORMAT, "series": 12, "seed": 7}
    path.with_suffix(".json").write_text(json.dumps(card))
    law = FusionLaw(2e4, 0.3, np.array([3.3, 5.6]), {}, {}, 0.0)
    monkeypatch.setattr("models.training.observations.load_observations", lambda path: None)
    monkeypatch.setattr("models.training.fusion.tabulate", lambda observations, weights: None)
    monkeypatch.setattr("models.training.fusion.fit", lambda table: law)
    monkeypatch.setattr("models.training.fusion.score", lambda table, law: {})
    return path


def fuse(observations, *words):
    out = observations.parent / "law.json"
    return main(["derive", "fusion", "--observations", str(observations), "--out", str(out), *words])


def test_the_card_of_a_law_says_by_which_series_it_was_made(observations):
    assert fuse(observations) == 0
    words = json.loads((observations.parent / "law.json").read_text())["made_by"].split()
    asked = build_parser("derive").parse_args(words[1:])
    assert (asked.network, asked.series, asked.seed) == ("mlp-simple", 12, 7)


@pytest.mark.parametrize("words", [["--series", "24"], ["--seed", "0"]], ids=["series", "seed"])
def test_other_series_than_those_that_are_kept_are_not_silently_replaced_by_them(observations, words, capsys):
    assert fuse(observations, *words) == 2
    assert f"{words[0]} {words[1]}" in capsys.readouterr().err
    assert not (observations.parent / "law.json").exists()


@pytest.mark.parametrize("text", [None, "{"], ids=["no card", "cut short"])
def test_series_whose_card_says_nothing_are_refused(observations, text, capsys):
    card = observations.with_suffix(".json")
    card.unlink()
    if text is not None:
        card.write_text(text)
    assert fuse(observations) == 2
    assert "new series are made" in capsys.readouterr().err
