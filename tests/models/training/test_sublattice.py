from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from drivers.contract.context import ColumnClass
from drivers.contract.errors import InputError
from models.contexts import reference_contexts
from models.contrasts import expected_contrast
from models.training.sublattice import Sample, as_text, draw_sample, fit, score, study

NUMBER = 333


def sample(rng, *, off: float = 0.0, depth: float = 1.0, metal: int = 1) -> Sample:
    """Contrasts exactly as the context expects, but for a ratio off by a factor exp(off), and noise."""
    expected = expected_contrast(reference_contexts()[NUMBER])
    classes = np.where(rng.random(500) < 0.05, ColumnClass.VAC1, ColumnClass.X2).astype(np.uint8)
    vacancy = 1 - depth * (1 - expected.vacancy1)
    chalcogen = np.where(classes == ColumnClass.VAC1, vacancy, 1.0) + rng.normal(0, 0.03, 500)
    metals = expected.metal * np.exp(off) * (1 + rng.normal(0, 0.03, 500))
    kinds = np.full(500, ColumnClass.METAL, np.uint8)
    sides = [(metals, kinds), (chalcogen, classes)]
    if metal == 1:
        sides.reverse()
    return Sample(NUMBER, (sides[0][0], sides[1][0]), (sides[0][1], sides[1][1]), metal)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.mark.parametrize("metal", [0, 1])
def test_frames_as_expected_are_decided_rightly(rng, metal):
    figures = score([sample(rng, metal=metal) for _ in range(4)])
    assert figures["right"] == figures["decided"] == figures["right_of_decided"] == 1


def test_the_fit_recovers_how_far_ratios_and_depths_scatter(rng):
    samples = [sample(rng, off=rng.normal(0.1, 0.2), depth=np.exp(rng.normal(0, 0.1))) for _ in range(300)]
    fitted = fit(samples)
    assert fitted["ratio"]["mean"] == pytest.approx(0.1, abs=0.03)
    assert fitted["ratio"]["deviation"] == pytest.approx(0.2, abs=0.03)
    assert fitted["depth"]["deviation"] == pytest.approx(0.1, abs=0.03)
    assert fitted["outliers"]["fraction"] < 0.01


def test_a_simulated_frame_becomes_a_sample_with_its_truth_and_the_figures_a_text():
    drawn = [one for one in (draw_sample(0, index) for index in range(3)) if one is not None]
    assert drawn
    figures = {
        "frames": 3,
        "seed": 0,
        "refused": 3 - len(drawn),
        "shipped": score(drawn),
        "fitted": {
            "ratio": {"frames": 1, "mean": 0, "deviation": 0, "robust_deviation": 0},
            "depth": {"frames": 1, "mean": 0, "deviation": 0, "robust_deviation": 0},
            "outliers": {"fraction": 0.01, "distance": None},
        },
        "caps": {},
    }
    assert "log ratio" in as_text(figures)


def test_what_no_frame_shows_is_said(rng):
    shown = sample(rng)
    whole = replace(
        shown, classes=tuple(np.where(k == ColumnClass.VAC1, ColumnClass.X2, k) for k in shown.classes)
    )
    fitted = fit([whole])
    assert fitted["depth"] is None
    figures = {"frames": 1, "seed": 0, "refused": 0, "shipped": score([whole]), "fitted": fitted, "caps": {}}
    assert "log depth, measured over expected: no frame shows it" in as_text(figures)
    dark = replace(shown, pair=tuple(-side for side in shown.pair))
    fitted = fit([dark])
    assert fitted["ratio"] is fitted["outliers"]["fraction"] is None
    assert "outliers: none" in as_text(figures | {"fitted": fitted})


def test_frames_of_which_none_can_be_read_are_said(monkeypatch):
    monkeypatch.setattr(
        "models.training.sublattice.reading_pool", lambda workers: ThreadPoolExecutor(workers)
    )
    monkeypatch.setattr("models.training.sublattice.draw_sample", lambda seed, index: None)
    with pytest.raises(InputError, match="none of 2 frames"):
        study(2, 0, workers=1)
