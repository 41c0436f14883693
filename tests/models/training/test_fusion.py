import numpy as np
import pytest
import torch

from drivers.contract.context import HAADF, MAADF, ColumnClass, Context, Specimen
from drivers.contract.errors import InputError
from models.calibration import Calibration
from models.checkpoint import Weights
from models.contexts import context_number
from models.fusion_law import FusionLaw
from models.training.fusion import (
    SHARES,
    _fit_separations,
    calibrated,
    calibration_error,
    cross_entropy,
    fit,
    fuse_slots,
    score,
    tabulate,
)
from models.training.observations import Observations

HALF, CORRELATION = 3e4, 0.3


class ReadsLogits(torch.nn.Module):
    """Says what the first five features hold."""

    def forward(self, contrast: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        return contrast[:, :5]


WEIGHTS = Weights(ReadsLogits(), Calibration.none(), {"network": "none", "sha256": "0"})


def made_up(series: int, columns: int) -> Observations:
    """Series in which every source obeys the law, with separations of 20, 20 and 30 at an endless dose."""
    rng = np.random.default_rng(0)
    place = np.array([0.0, 20**0.5, 2 * 20**0.5, 0.0, 30**0.5])
    rows = {
        name: []
        for name in (
            "contrast",
            "depth",
            "centre",
            "spread",
            "tail",
            "noise",
            "say",
            "second",
            "is_regular",
            "label",
            "column",
            "frame",
        )
    }
    frames = []
    for number in range(series):
        label = rng.choice(5, columns, p=[0.5, 0.1, 0.07, 0.26, 0.07])
        shared = rng.normal(size=columns)
        dose = 10 ** rng.uniform(3.5, 4.8)
        errors = {}
        for scan, factor in enumerate((1, 1, 1, 3, 1)):
            for name, detector in (("HAADF", HAADF), ("MAADF", MAADF)):
                energy = 60.0 if scan == 4 else 80.0
                own = errors.setdefault((name, energy), rng.normal(size=columns))
                error = CORRELATION**0.5 * shared + (1 - CORRELATION) ** 0.5 * own
                variance = 1 + HALF / (factor * dose)
                measured = place[label] + error + rng.normal(size=columns) * (variance - 1) ** 0.5
                logits = -((measured[:, None] - place) ** 2) / (2 * variance)
                is_metal = label >= 3
                logits[is_metal, :3] = logits[~is_metal, 3:] = -60.0
                context = Context(
                    specimen=Specimen(host="WSe2", dopant="Ti"), energy_kev=energy, detector=detector
                )
                rows["contrast"].append(np.pad(logits, ((0, 0), (0, 3))).astype(np.float32))
                rows["label"].append(label.astype(np.uint8))
                rows["depth"].append(np.zeros(columns, np.float32))
                rows["second"].append(np.where(is_metal, np.inf, 2).astype(np.float32))
                rows["centre"].append(np.zeros(columns, np.float32))
                rows["spread"].append(np.full(columns, 0.1, np.float32))
                rows["tail"].append(np.full(columns, np.nan, np.float32))
                rows["noise"].append(np.full(columns, 0.1, np.float32))
                rows["say"].append(np.full(columns, 0.75, np.float32))
                rows["is_regular"].append(np.ones(columns, bool))
                rows["column"].append(np.arange(columns, dtype=np.int32))
                rows["frame"].append(np.full(columns, len(frames), np.int32))
                frames.append((number, scan, context_number(context), np.log10(factor * dose)))
    table = np.array(frames)
    return Observations(
        **{name: np.concatenate(parts) for name, parts in rows.items()},
        series=table[:, 0].astype(np.int32),
        scan=table[:, 1].astype(np.int32),
        context=table[:, 2].astype(np.int32),
        log10_dose=table[:, 3].astype(np.float32),
        doubt=np.zeros(len(table), np.float32),
    )


@pytest.fixture(scope="module")
def table():
    return tabulate(made_up(12, 300), WEIGHTS)


@pytest.fixture(scope="module")
def law(table):
    return fit(table)


@pytest.mark.slow
def test_constants_that_the_series_were_made_with_are_found(law):
    assert law.half_dose_e_per_a2 == pytest.approx(HALF, rel=0.5)
    # Frames of these doses have said a quarter of all they can: so much of what they are off by is error.
    assert law.correlation == pytest.approx(CORRELATION / 4, abs=0.1)
    for rows in law.scales.values():
        np.testing.assert_allclose(rows[:, 1:4], 1.0, rtol=0, atol=0.35)  # where there are doses
    found = law.separations["WSe2-Ti 80 keV HAADF"]
    np.testing.assert_allclose(found, (20.0, 20.0, 30.0), rtol=0.4)
    assert 0.0 <= law.transfer <= 1.0


@pytest.mark.slow
def test_the_law_beats_the_sum_and_the_mean_on_series_it_was_not_fitted_to(table, law):
    figures = score(table, law)
    for name in ("three HAADF", "four MAADF", "three HAADF, one MAADF"):
        row = figures[name]
        assert row["law"]["cross_entropy"] < min(row[way]["cross_entropy"] for way in ("sum", "mean"))
        assert row["law"]["ece"] < 0.02


@pytest.mark.slow
def test_columns_are_lined_up_by_series_and_column(table, law):
    assert table.logs.shape == (12 * 300, 10, 5)
    assert not np.isnan(table.dose).any()
    np.testing.assert_array_equal(table.context[:, 0] + 1, table.context[:, 1])  # HAADF, then MAADF
    np.testing.assert_allclose(table.dose[:, 6], 3 * table.dose[:, 0], rtol=1e-5)
    right = (fuse_slots(calibrated(table, law), [0], law).argmax(axis=1) == table.label).mean()
    assert right > 0.8
    # Of 300 columns a series: those of another would be right no more often than by chance.
    other = (np.roll(table.logs[:, 0], 300, axis=0).argmax(axis=1) == table.label).mean()
    assert other < 0.5


def test_figures_give_the_classes_their_shares():
    label = np.repeat(np.arange(5), [50, 300, 300, 50, 300])
    flat = np.where((label >= 3)[:, None] == (np.arange(5) >= 3), 0.0, -np.inf)
    entropy = -(SHARES * np.log(SHARES))
    # Half of the weight lies on either sublattice, as 650 and 350 of 1000 columns.
    expected = 0.65 * entropy[:3].sum() + 0.35 * entropy[3:].sum()
    assert cross_entropy(flat, label) == pytest.approx(expected)
    assert calibration_error(flat, label) < 1e-12


def test_nothing_to_fit_is_said():
    empty = made_up(1, 1)
    nothing = Observations(**{name: getattr(empty, name)[:0] for name in Observations.__dataclass_fields__})
    with pytest.raises(InputError, match="found none"):
        tabulate(nothing, WEIGHTS)


def test_scans_that_nobody_could_read_keep_their_slots():
    whole = made_up(2, 50)
    keep = whole.scan[whole.frame] < 3
    few = Observations(
        **{
            name: values[keep] if len(values) == len(whole.frame) else values
            for name, values in vars(whole).items()
        }
    )
    assert tabulate(few, WEIGHTS).logs.shape == (100, 10, 5)


def test_too_little_of_a_class_is_said():
    seen = tabulate(made_up(3, 60), WEIGHTS)
    law = FusionLaw(HALF, CORRELATION, np.array([3.3, 5.6]), {}, {}, 0.0)
    with pytest.raises(InputError, match="no frame on HAADF shows enough VAC1 and VAC2"):
        _fit_separations(seen.take(seen.label != ColumnClass.VAC2), law)
