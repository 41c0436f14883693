import json

import pytest

from agent.__main__ import main
from models.networks.catalogue import NETWORKS

BAD = {
    "frames": (["--frames", "0"], "at least 1"),
    "network": (["--model", "resnet"], "mlp-simple"),
}


@pytest.mark.parametrize(("words", "told"), BAD.values(), ids=BAD)
def test_bad_options_are_refused_and_the_possible_named(words, told, capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "simulated", *words])
    assert told in capsys.readouterr().err


def test_a_seed_out_of_range_is_answered_in_one_line(capsys):
    assert main(["evaluate", "simulated", "--seed", "-1"]) == 2
    assert "--seed -1" in capsys.readouterr().err


def test_a_reference_that_nothing_would_be_measured_against_is_refused(tmp_path, capsys):
    words = [
        "evaluate",
        "simulated",
        "--model",
        "mlp-deep",
        "--reference",
        str(tmp_path / "none.safetensors"),
    ]
    assert main(words) == 2
    assert "add --model mlp-simple" in capsys.readouterr().err


def test_weights_that_are_not_there_are_named(tmp_path, capsys):
    assert main(["evaluate", "simulated", "--weights", str(tmp_path)]) == 2
    assert "expected weights" in capsys.readouterr().err


@pytest.mark.slow
def test_the_report_holds_every_figure_of_the_issue(tmp_path, capsys):
    main(["evaluate", "simulated", "--frames", "1", "--out", str(tmp_path), "--json"])
    report = json.loads(capsys.readouterr().out)
    assert set(report["limits"]) <= set(report)
    assert set(report["models"]) == set(NETWORKS)
    assert report == json.loads((tmp_path / "report.json").read_text())
    drawn = {path.stem for path in tmp_path.glob("*.png")}
    assert drawn == {"reliability", "confidence", "accuracy-entropy", "dose", "umap", "attention"}
