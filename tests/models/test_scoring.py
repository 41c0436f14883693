import numpy as np
import pytest

from models.scoring import cohen_kappa, f1


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
