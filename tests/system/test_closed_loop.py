"""The agent and the simulated microscope in one process: what is asked for is worth it, within limits."""

import pytest

from agent.settings import GoalSettings, LimitSettings, PolicySettings, Rules
from benchmarks.rig.lab import Lab
from drivers.contract.context import Specimen
from sim_microscope.settings import SimulatorSettings

pytestmark = pytest.mark.system

SETTINGS = SimulatorSettings(
    specimen=Specimen(host="WSe2", dopant="Ti"),
    fov_nm=8.0,
    pixels=256,
    dwell_us=2.0,
    beam_current_pa=20.0,
    source_sigma_angstrom=0.5,
    drift_x_nm_per_s=0.02,
    seed=3,
)


def session(limits=None, goals=None, turns=24):
    rules = Rules(
        policy=PolicySettings(mode="auto", least_gain_nats=0.2, drift_angstrom_per_s=0.5),
        limits=LimitSettings(**({"requests_per_minute": 600, "dose_e_per_a2": 0.0} | (limits or {}))),
        goals=goals or GoalSettings(),
    )
    lab = Lab(SETTINGS, rules)
    looks = []
    for _ in range(turns):
        scans = lab.scans
        if not lab.carry_out_order():
            lab.tick()
        if lab.scans > scans:
            looks.append(lab.look())
    return lab, looks


def test_it_asks_by_itself_learns_and_keeps_its_promises_about():
    lab, looks = session()
    scored = [request for request in lab.requests.values() if request.status == "scored"]
    assert len(scored) >= 3
    assert "MAADF" in {name for request in scored for name in request.wish.promise.detectors}
    assert looks[-1].entropy_nats < looks[0].entropy_nats / 4
    assert looks[-1].f1 >= looks[0].f1
    promised, realised = (sum(column) for column in zip(*lab.promises, strict=True))
    assert 0.5 < promised / realised < 2.0


def test_the_same_session_comes_to_the_same_requests_to_the_bit():
    one, other = (session(turns=10)[0] for _ in range(2))
    assert [r.model_dump_json() for r in one.requests.values()] == [
        r.model_dump_json() for r in other.requests.values()
    ]


def test_no_part_of_the_simulated_specimen_takes_more_than_the_limit():
    limit = 9000.0
    lab, looks = session({"dose_e_per_a2": limit})
    assert len(looks) >= 2
    assert 3000.0 < lab.instrument.specimen.dose.highest_e_per_a2 <= limit
    assert lab.state.doses.ledger.highest_e_per_a2 <= limit


def test_a_goal_ends_the_asking():
    lab, looks = session(goals=GoalSettings(mean_entropy_nats=0.01))
    assert any("the goal is reached" in action.text for action in lab.told if action.kind == "notice")
    scans = lab.scans
    for _ in range(5):
        lab.tick()
        lab.carry_out_order()
    assert lab.scans == scans
    assert looks[-1].entropy_nats < 0.02
