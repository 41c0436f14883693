from types import SimpleNamespace

import numpy as np
import pytest

from drivers.contract.maps import CLASS_NAMES, COLUMN_DTYPE
from models.scoring import Labels, Score, cohen_kappa, f1, score_map

#: A row of columns 10 px apart, and what they are labelled.
CLASSES = ["x2", "metal", "vac1", "metal", "vac2", "dopant", "x2", "metal"]


def scored(said: list[str], labelled: list[str], *, moved: dict[int, float] | None = None) -> Score:
    """Score of a row of columns that are said to be of some classes; some stand aside of their labels."""
    columns = np.zeros(len(said), dtype=COLUMN_DTYPE)
    columns["row_px"], columns["col_px"] = 20.0, 10 * np.arange(len(said))
    columns["cls"] = [CLASS_NAMES.index(name) for name in said]
    columns["sublattice"] = np.isin(said, ("x2", "vac1", "vac2"))
    points = np.stack([columns["row_px"], columns["col_px"]], axis=1).astype(float)
    points = np.concatenate([points, points + [40, 0]])  # labels span a rectangle
    for column, aside in (moved or {}).items():
        columns["row_px"][column] += aside
    below = columns.copy()
    below["row_px"] = 60.0
    both = SimpleNamespace(columns=np.concatenate([columns, below]))
    return score_map(both, Labels(points, np.array(labelled + labelled)), radius_px=2.5)  # type: ignore[arg-type]


def test_a_map_that_says_what_the_labels_say_has_the_best_of_all_scores():
    score = scored(CLASSES, CLASSES)
    assert (score.labelled, score.scored) == (16, 16)
    assert (score.recall, score.recall_vacancy, score.sublattice_right) == (1, 1, 1)
    assert score.kappa == pytest.approx(1)
    assert set(score.f1.values()) == {1.0}
    assert score.missed == score.spurious == score.wrong == []


def test_a_vacancy_that_is_not_found_is_missed_whatever_its_kind():
    for vacancy in (2, 4):
        score = scored(CLASSES, CLASSES, moved={vacancy: 3.0})
        assert score.recall == 15 / 16
        assert score.recall_vacancy == 3 / 4
        assert score.missed == [(20.0, 10.0 * vacancy)]


def test_a_column_that_nobody_labelled_costs_precision_only_where_labels_were_made():
    labels = Labels(np.array([[20.0, 20], [20, 60], [60, 20], [60, 60]]), np.array(["x2"] * 4))
    columns = np.zeros(7, dtype=COLUMN_DTYPE)
    columns["sublattice"] = 1
    columns["row_px"] = [20, 20, 60, 60, 40, 18, 21]  # between labels, beyond them, and on their border
    columns["col_px"] = [20, 60, 20, 60, 40, 40, 40]
    score = score_map(SimpleNamespace(columns=columns), labels, radius_px=2.5)  # type: ignore[arg-type]
    assert score.spurious == [(40.0, 40.0)]
    assert score.precision == 0.0


def test_columns_to_be_reported_apart_count_for_nothing_else():
    labelled = ["apart" if name == "metal" else name for name in CLASSES]
    score = scored(CLASSES, labelled, moved={1: 5.0})
    assert (score.labelled, score.scored) == (16, 10)
    assert score.apart == {"x2": 0, "vac1": 0, "vac2": 0, "metal": 5, "dopant": 0}
    assert score.kappa == pytest.approx(1)
    assert score.f1["metal"] is None


def test_where_labels_do_not_tell_kinds_of_vacancies_apart_the_score_does_not_either():
    labelled = ["vacancy" if name == "vac1" else name for name in CLASSES]
    score = scored(CLASSES, [name.replace("vac2", "vacancy") for name in labelled])
    assert score.f1["vac1"] == 1.0
    assert score.f1["vac2"] is None
    assert not score.wrong


def test_what_is_wrong_is_listed_with_what_was_said_and_its_side():
    score = scored(["x2", *CLASSES[1:5], "metal", "vac1", "x2"], CLASSES)
    assert [(one["labelled"], one["said"]) for one in score.wrong[:3]] == [
        ("dopant", "metal"),
        ("x2", "vac1"),
        ("metal", "x2"),
    ]
    assert score.sublattice_right == 14 / 16
    assert score.f1["vac1"] == pytest.approx(2 / 3)


def test_of_two_labels_within_reach_of_a_column_the_nearer_is_found():
    labels = Labels(np.array([[20.0, 20], [20, 22], [60, 60]]), np.array(["x2", "metal", "x2"]))
    columns = np.zeros(2, dtype=COLUMN_DTYPE)
    columns["row_px"], columns["col_px"], columns["sublattice"] = [20, 60], [21.5, 60], 1
    score = score_map(SimpleNamespace(columns=columns), labels, radius_px=2.5)  # type: ignore[arg-type]
    assert score.missed == [(20.0, 20.0)]
    assert [one["labelled"] for one in score.wrong] == ["metal"]


def test_kappa_is_one_if_all_agree_and_zero_by_chance():
    truth = np.array(["a", "b"] * 50)
    assert cohen_kappa(truth, truth) == pytest.approx(1)
    said = np.array(["a", "a", "b", "b"] * 25)
    assert cohen_kappa(said, truth) == pytest.approx(0)


def test_kappa_of_a_worked_example():
    # Cohen (1960): 20 and 15 agreements of 50, margins 25/25 and 30/20.
    said = np.array(["y"] * 25 + ["n"] * 25)
    truth = np.array(["y"] * 20 + ["n"] * 5 + ["y"] * 10 + ["n"] * 15)
    assert cohen_kappa(said, truth) == pytest.approx(0.4)


def test_f1_of_an_absent_class_is_none():
    nothing = np.zeros(4, dtype=bool)
    assert f1(nothing, nothing) is None
    assert f1(np.array([True, True]), np.array([True, False])) == pytest.approx(2 / 3)
