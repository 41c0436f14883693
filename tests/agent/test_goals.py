import re
from dataclasses import replace

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from scipy.stats import beta

from agent.goals import (
    ColumnsGoal,
    ConcentrationGoal,
    DoseLimit,
    FindGoal,
    Goal,
    Knowledge,
    MeanGoal,
    judge,
    needed_nats,
)
from models.concentrations import share_quantiles


def knowledge(entropy, attainable=None, dose=1e4, dopants=0.0, doubt=0.0):
    """Half of the columns are metals, of which some part are surely, some possibly dopants."""
    count = len(entropy)
    is_metal = np.arange(count) % 2 == 0
    probability = np.zeros((count, 5))
    probability[~is_metal, 0] = 1.0
    metals = np.flatnonzero(is_metal)
    certain = metals[: round(dopants * len(metals))]
    probability[metals, 3] = 1.0 - doubt
    probability[metals, 4] = doubt
    probability[certain, 3], probability[certain, 4] = 0.0, 1.0
    return Knowledge(probability, np.asarray(entropy), is_metal, np.full(count, dose), attainable)


def test_columns_are_counted_against_the_goal():
    goal = ColumnsGoal(most_entropy_nats=0.05, fraction=0.9)
    entropy = np.where(np.arange(100) < 89, 0.01, 0.3)
    verdict = judge([goal], knowledge(entropy))
    assert verdict.status == "not_yet"
    assert verdict.standings[0].value == 0.89
    assert "89 of 100" in verdict.standings[0].sentence
    assert judge([goal], knowledge(np.where(np.arange(100) < 90, 0.01, 0.3))).status == "reached"


def test_what_the_limits_do_not_allow_cannot_be():
    held = knowledge(np.full(100, 0.3))
    out_of_reach = replace(held, chances=np.where(np.arange(100) < 99, 1.0, 0.0))
    verdict = judge([ColumnsGoal()], out_of_reach)
    assert verdict.status == "cannot_be"
    assert "99 are expected" in verdict.standings[0].sentence
    assert judge([ColumnsGoal()], replace(held, chances=np.ones(100))).status == "not_yet"
    assert judge([ColumnsGoal(fraction=0.99)], out_of_reach).status == "not_yet"
    mean = MeanGoal(most_entropy_nats=0.05)
    assert judge([mean], replace(held, attainable_nats=np.full(100, 0.06))).status == "cannot_be"
    assert judge([mean], replace(held, attainable_nats=np.full(100, 0.04))).status == "not_yet"


def test_a_goal_of_columns_is_given_up_only_if_chance_will_not_bring_it():
    """Of 100 columns of a chance of 0.72 each, 72 are expected, give or take 4.5."""
    held = replace(knowledge(np.full(100, 0.3), np.full(100, 0.083)), chances=np.full(100, 0.72))
    for fraction, status in ((0.7, "not_yet"), (0.8, "not_yet"), (0.82, "cannot_be")):
        assert judge([ColumnsGoal(fraction=fraction)], held).status == status


def test_a_concentration_needs_sites_enough_however_well_they_are_known():
    few = judge([ConcentrationGoal(defect="dopant", relative=0.1)], knowledge(np.zeros(400), dopants=0.05))
    assert few.status == "cannot_be"
    # 10 dopants of 200: Jeffreys' interval; 10 % needs (1.96 / 0.1)^2 (1 - x) / x sites.
    low, value, high = beta.ppf([0.025, 0.5, 0.975], 10.5, 190.5)
    assert few.standings[0].value == pytest.approx((high - low) / 2 / value, abs=0.001)
    sites = int(re.search(r"about (\d+) sites", few.standings[0].sentence)[1])
    assert sites == pytest.approx(19.6**2 * (1 - value) / value, rel=0.001)
    many = judge(
        [ConcentrationGoal(defect="dopant", relative=0.1)], knowledge(np.zeros(16_000), dopants=0.05)
    )
    assert many.status == "reached"


def test_doubt_about_columns_widens_a_concentration():
    goal = ConcentrationGoal(defect="dopant", relative=0.1)
    shares = np.array([1.0, 0.0, 0.0, 0.93, 0.07])
    unsure = judge([goal], replace(knowledge(np.zeros(16_000), dopants=0.05, doubt=0.02), shares=shares))
    assert unsure.status == "not_yet"
    assert judge([goal], knowledge(np.zeros(16_000))).standings[0].value is None


def test_a_concentration_is_known_as_well_as_a_map_says_of_its_own():
    """Also that all columns' likelihoods may be off alike (decision 0086)."""
    rng = np.random.default_rng(0)
    odds = np.log(0.05 / 0.95) + np.where(rng.random(4000) < 0.05, 4.0, -4.0) + 8**0.5 * rng.normal(size=4000)
    chance = 1 / (1 + np.exp(-odds))
    probability = np.zeros((4000, 5))
    probability[:, 3], probability[:, 4] = 1 - chance, chance
    shares = np.array([1.0, 0.0, 0.0, 0.95, 0.05])
    none = np.zeros(4000)
    held = Knowledge(probability, none, none == 0, none, shares=shares)
    low, value, high = share_quantiles(chance, 0.05)
    standing = judge([ConcentrationGoal(defect="dopant")], held).standings[0]
    assert standing.value == pytest.approx((high - low) / 2 / value)
    assert f"{value:.3%} of 4000 sites" in standing.sentence


def test_a_spent_dose_ends_what_is_not_reached():
    limit, goal = DoseLimit(most_e_per_a2=1e5), ColumnsGoal()
    assert judge([limit], knowledge(np.zeros(10), dose=1e4)).status == "not_yet"
    assert judge([limit], knowledge(np.zeros(10), dose=1e5)).status == "reached"
    assert judge([goal, limit], knowledge(np.full(10, 0.3), dose=2e5)).status == "cannot_be"
    assert judge([goal, limit], knowledge(np.zeros(10), dose=2e5)).status == "reached"
    assert judge([goal, limit], knowledge(np.full(10, 0.3), dose=1e4)).status == "not_yet"


def test_nothing_seen_is_not_yet():
    nothing = Knowledge(np.zeros((0, 5)), np.zeros(0), np.zeros(0, bool), np.zeros(0))
    goals = [ColumnsGoal(), ConcentrationGoal(defect="vac1"), DoseLimit(most_e_per_a2=1e5)]
    assert judge(goals, nothing).status == "not_yet"
    assert judge([], nothing).status == "not_yet"


def test_goals_travel_as_json_and_refuse_nonsense():
    adapter: TypeAdapter[Goal] = TypeAdapter(Goal)
    for goal in (ColumnsGoal(fraction=0.9), ConcentrationGoal(defect="vac2"), DoseLimit(most_e_per_a2=1e6)):
        assert adapter.validate_json(goal.model_dump_json()) == goal
    for bad in ('{"kind": "columns", "fraction": 1.5}', '{"kind": "dose"}', '{"kind": "fame"}'):
        with pytest.raises(ValidationError):
            adapter.validate_json(bad)


def test_defects_are_found_once_the_posteriors_expect_it():
    sure = knowledge(np.zeros(400), dopants=0.5)
    assert judge([FindGoal()], sure).status == "reached"
    assert judge([FindGoal()], sure).standings[0].value == pytest.approx(1.0)
    some_missed = replace(sure, unseen_defects=10.0, unseen_nats=3.0)
    verdict = judge([FindGoal()], some_missed)
    assert verdict.status == "not_yet"
    assert verdict.standings[0].value == pytest.approx(1 - 10 / 210)
    assert "0.952" in verdict.standings[0].sentence


def test_goals_say_how_many_nats_they_still_need():
    entropy = np.array([0.0, 0.1, 0.2, 0.5])
    held = knowledge(entropy)
    assert needed_nats([ColumnsGoal(most_entropy_nats=0.1)], held) == pytest.approx(0.1 + 0.4)
    assert needed_nats([ColumnsGoal(most_entropy_nats=0.1, fraction=0.75)], held) == pytest.approx(0.1)
    assert needed_nats([MeanGoal(most_entropy_nats=0.1)], held) == pytest.approx(0.4)
    assert needed_nats([DoseLimit(most_e_per_a2=1e5)], held) == np.inf
    assert needed_nats([], held) == np.inf
    missed = replace(knowledge(np.full(400, 0.01), dopants=0.5), unseen_defects=10.0, unseen_nats=3.0)
    part = 1 - 0.02 * 210 / 10
    assert needed_nats([FindGoal()], missed) == pytest.approx(part * 7.0)
    assert needed_nats([FindGoal()], replace(missed, unseen_defects=1.0)) == 0.0
