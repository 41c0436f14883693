from dataclasses import replace

import pytest

from agent.booking import circumstances
from agent.events import FramesDropped
from agent.settings import ContextSettings, Rules
from drivers.contract.header import Simultaneous
from drivers.contract.messages import Dropped


def dose(state):
    return state.doses.ledger.highest_e_per_a2


def dropped(make, count, at_s=12.0):
    told = Dropped(
        session=make.SESSION, first_sequence=1, last_sequence=count, count=count, reason="too slow to keep"
    )
    return FramesDropped(at_s=at_s, dropped=told)


def test_what_detectors_read_at_once_cost_the_specimen_one_scan(make):
    first, second = (Simultaneous(group="g1", index=index, count=2) for index in range(2))
    later = Simultaneous(group="g2", index=0, count=2)
    events = [make.opened(), make.link_made()]
    state, _ = make.run_through([*events, make.seen(0, simultaneous=first)])
    assert dose(state) == 100.0
    state, _ = make.run_through([make.seen(1, simultaneous=second)], state)
    assert dose(state) == 100.0
    state, _ = make.run_through([make.seen(2, simultaneous=later)], state)
    assert dose(state) == 200.0


def test_a_frame_that_was_asked_for_is_booked_as_it_is_and_not_as_it_was_reserved_too(make, begun):
    """125 e/Å² are reserved on top of the 100 of the first frame; the second frame says that it took 40."""
    state, _ = begun(make.wish_of())
    assert dose(state) == pytest.approx(100.0 + 124.8, abs=0.1)
    state, _ = make.run_through([make.seen(1, dose_e_per_a2=40.0, command_id="s1.r1")], state)
    assert dose(state) == pytest.approx(140.0)
    assert state.doses.reserved == ()


def test_a_frame_that_somebody_else_asked_for_leaves_what_was_reserved(make, begun):
    state, _ = begun(make.wish_of())
    state, _ = make.run_through([make.seen(1, dose_e_per_a2=40.0, command_id="another.r1")], state)
    assert dose(state) == pytest.approx(140.0 + 124.8, abs=0.1)
    assert len(state.doses.reserved) == 1


def test_what_is_given_back_is_given_back_where_it_was_taken(make, begun):
    """The specimen has drifted by three regions between request and refusal."""
    state, _ = begun(make.wish_of())
    moved = replace(state, evidence=replace(state.evidence, drift_angstrom=(60.0, 0.0)))
    state, _ = make.run_through([make.ended(13.0, "refused")], moved)
    assert [*state.doses.ledger.doses.values()] == pytest.approx([100.0] * 4)


def test_frames_that_were_lost_count_as_the_last_that_came_each(make):
    events = [make.opened(), make.link_made(), make.seen(0), dropped(make, 3)]
    state, _ = make.run_through(events)
    assert dose(state) == 400.0
    unknown, _ = make.run_through([make.opened(), make.link_made(), dropped(make, 3)])
    assert unknown.doses.ledger.unknown == 1


def test_a_limit_that_the_instrument_itself_passes_is_said_once(make):
    events = [make.opened(make.rules_of(dose_e_per_a2=150.0)), make.link_made(), make.seen(0)]
    state, actions = make.run_through(events)
    assert "has passed it" not in make.texts(actions)
    state, actions = make.run_through([make.seen(1)], state)
    assert "200 e/Å², and limits.dose_e_per_a2 is 150" in make.texts(actions)
    _, actions = make.run_through([make.seen(2)], state)
    assert "has passed it" not in make.texts(actions)


def test_regions_are_as_large_as_the_limits_say(make):
    state, _ = make.run_through([make.opened(make.rules_of(region_nm=3.5))])
    assert state.doses.ledger.edge_angstrom == 35.0


def test_the_operators_word_on_the_host_counts_before_the_instruments(make):
    """Which host it is decides at which energy the beam begins to knock chalcogens out."""
    rules = Rules(context=ContextSettings(host="MoS2"))
    state, _ = make.run_through([make.opened(rules), make.link_made()])
    assert circumstances(state).host == "MoS2"
    silent, _ = make.run_through([make.opened(), make.link_made()])
    assert circumstances(silent).host == "WSe2"
