import pytest
from pydantic import TypeAdapter

from agent.actions import ACTIONS
from agent.decide import decide
from agent.events import (
    EVENTS,
    AnalysisFailed,
    CheckpointDue,
    Event,
    FramesDropped,
    FrameSpoiled,
    HealthTaken,
    LinkLost,
    SessionEnding,
    SourceEnded,
    Ticked,
)
from agent.frames import FrameRef
from agent.settings import PolicySettings, Rules
from agent.state import State
from drivers.contract.messages import Dropped, Rejected


@pytest.fixture
def linked(make):
    return make.run_through([make.opened(), make.link_made()])[0]


def test_a_frame_is_analysed_and_its_map_published(make, linked):
    state, actions = make.run_through([make.frame_seen(0)], linked)
    assert make.kinds(actions) == ["analyse_frame"]
    assert actions[0].settled.context.detector.name == "HAADF"
    state, actions = make.run_through([make.frame_mapped(0)], state)
    assert make.kinds(actions) == ["publish_map"]
    assert (state.counts.seen, state.counts.mapped, state.counts.columns, state.busy) == (1, 1, 1000, None)


def test_when_behind_the_newest_is_next_and_the_others_are_counted(make, linked):
    state, actions = make.run_through([make.frame_seen(n) for n in range(4)], linked)
    assert make.kinds(actions) == ["analyse_frame", "skip_frame", "skip_frame"]
    assert [action.frame.sequence for action in actions] == [0, 1, 2]
    state, actions = make.run_through([make.frame_mapped(0)], state)
    assert actions[1].frame.sequence == 3
    assert state.counts.skipped == 2


def test_every_frame_is_analysed_where_the_rules_say_so(make):
    state, _ = make.run_through([make.opened(when_behind="every"), make.link_made()])
    state, actions = make.run_through([make.frame_seen(n) for n in range(3)], state)
    assert make.kinds(actions) == ["analyse_frame"]
    _, actions = make.run_through([make.frame_mapped(n) for n in range(3)], state)
    assert [a.frame.sequence for a in actions if a.kind == "analyse_frame"] == [1, 2]


def test_a_repeated_or_reordered_frame_is_rejected(make, linked):
    state, actions = make.run_through([make.frame_seen(0), make.frame_seen(1)], linked)
    state, actions = make.run_through([make.frame_seen(0)], state)
    assert make.kinds(actions) == ["reject_frame"]
    assert "expected number 2 or later" in actions[0].reason
    assert actions[0].remedy
    assert state.counts.rejected == 1


def test_a_skipped_number_is_told_and_counted(make, linked):
    state, actions = make.run_through([make.frame_seen(0), make.frame_seen(4)], linked)
    assert "3 frames are missing: of the numbers 1 to 3" in actions[1].text
    assert state.counts.missing == 3


def test_a_frame_of_another_session_is_rejected(make, linked):
    strange = make.frame_seen(0)
    strange = strange.model_validate_json(strange.model_dump_json().replace('"bridge-1"', '"bridge-2"'))
    _, actions = make.run_through([strange], linked)
    assert "while the session is bridge-1" in actions[0].reason


def test_numbers_start_anew_with_a_new_session_of_the_bridge(make, linked):
    state, _ = make.run_through([make.frame_seen(0), make.frame_seen(1)], linked)
    state, _ = make.run_through([make.link_made(session="bridge-2", next_sequence=0)], state)
    assert state.next_sequence == 0


def test_a_doubtful_context_quarantines_the_frame(make, linked):
    _, actions = make.run_through([make.frame_seen(0, energy_kev=60.0)], linked)
    (action,) = actions
    assert action.kind == "reject_frame"
    assert action.is_quarantined
    assert "60.0" in action.reason
    assert "override" in action.remedy


def test_what_the_edge_refused_is_announced_and_its_number_is_no_gap(make, linked):
    told = Rejected(
        session=make.SESSION, sequence=0, fault="ChecksumError", reason="the bytes differ", remedy="again"
    )
    state, actions = make.run_through([FrameSpoiled(at_s=2.0, rejected=told), make.frame_seen(1)], linked)
    assert make.kinds(actions) == ["reject_frame", "analyse_frame"]
    assert actions[0].reason == "the bytes differ"
    assert state.counts.missing == 0


def test_a_frame_that_was_altered_on_its_way_may_come_again(make, linked):
    told = Rejected(session=make.SESSION, sequence=0, fault="ChecksumError", reason="differs", remedy="again")
    _, actions = make.run_through([FrameSpoiled(at_s=2.0, rejected=told), make.frame_seen(0)], linked)
    assert make.kinds(actions) == ["reject_frame", "analyse_frame"]


def test_what_the_bridge_dropped_is_told_and_is_no_gap(make, linked):
    told = Dropped(session=make.SESSION, first_sequence=0, last_sequence=4, count=5, reason="full")
    state, actions = make.run_through([FramesDropped(at_s=2.0, dropped=told), make.frame_seen(5)], linked)
    assert make.kinds(actions) == ["notice", "analyse_frame"]
    assert (state.counts.dropped, state.counts.missing) == (5, 0)


def test_a_frame_that_cannot_be_mapped_is_rejected_and_the_next_is_taken(make, linked):
    failed = AnalysisFailed(at_s=3.0, frame=FrameRef(session=make.SESSION, sequence=0), reason="no lattice")
    _, actions = make.run_through([make.frame_seen(0), make.frame_seen(1), failed], linked)
    assert make.kinds(actions) == ["analyse_frame", "reject_frame", "analyse_frame"]
    assert actions[1].reason == "no lattice"
    assert "columnist run --replay" in actions[1].remedy, "`columnist replay` takes no other settings"


def test_the_watchdog_is_not_armed_before_there_is_a_link(make):
    _, actions = make.run_through([make.opened(), Ticked(at_s=1e4)])
    assert make.kinds(actions) == ["announce_mode"]


def test_the_watchdog_warns_once_and_is_armed_again_by_a_frame(make, linked):
    state, actions = make.run_through([Ticked(at_s=20.0), Ticked(at_s=32.0), Ticked(at_s=99.0)], linked)
    assert [action.text for action in actions] == ["no frame for 31 s"]
    state, _ = make.run_through([make.frame_seen(0, at_s=100.0), make.frame_mapped(0, at_s=101.0)], state)
    _, actions = make.run_through([Ticked(at_s=130.0), Ticked(at_s=132.0)], state)
    assert [action.text for action in actions] == ["no frame for 31 s"]


def test_the_watchdog_names_a_blanked_beam(make, linked):
    blanked = make.state_seen(6.0, is_blanked=True)
    _, actions = make.run_through([blanked, Ticked(at_s=32.0)], linked)
    assert "the instrument says that the beam is blanked" in actions[0].text
    assert actions[0].remedy == "unblank it at the instrument"


def test_an_analysis_that_does_not_end_is_told_as_what_it_is(make, linked):
    state, _ = make.run_through([make.frame_seen(0, at_s=100.0)], linked)
    _, actions = make.run_through([Ticked(at_s=131.0)], state)
    assert "frame 0 of bridge-1 has been analysed for 31 s" in actions[0].text


def test_enough_maps_end_the_session(make):
    rules = Rules(policy=PolicySettings(rule="entropy"), max_maps=2)
    events = [make.opened(rules), make.link_made(), *map(make.frame_seen, range(2))]
    state, actions = make.run_through([*events, make.frame_mapped(0), make.frame_mapped(1)])
    assert actions[-1].kind == "finish_session"
    assert not actions[-1].is_aborted
    _, actions = make.run_through([make.frame_seen(2)], state)
    assert make.kinds(actions) == ["skip_frame"]


def test_enough_is_enough_and_what_waits_is_told_as_skipped(make):
    rules = Rules(policy=PolicySettings(rule="entropy", when_behind="every"), max_maps=1)
    events = [make.opened(rules), make.link_made(), *map(make.frame_seen, range(3)), make.frame_mapped(0)]
    ending = SessionEnding(at_s=99.0, reason="done", is_aborted=False, wall_time="2026-11-25T00:00:00Z")
    state, actions = make.run_through([*events, ending])
    last = ["publish_map", "finish_session", "skip_frame", "skip_frame"]
    assert make.kinds(actions)[-4:] == last
    assert (state.counts.seen, state.counts.mapped, state.counts.skipped) == (3, 1, 2)


@pytest.mark.parametrize("is_aborted", [True, False])
def test_a_source_that_ends_ends_the_session_once_all_is_mapped(make, is_aborted):
    rules = Rules(policy=PolicySettings(rule="entropy", when_behind="every"), end_with_source=True)
    ended = SourceEnded(at_s=9.0, reason="no more files", is_aborted=is_aborted)
    events = [make.opened(rules), make.link_made(), make.frame_seen(0), make.frame_seen(1), ended]
    state, actions = make.run_through(events)
    assert "finish_session" not in make.kinds(actions)
    _, actions = make.run_through([make.frame_mapped(0), make.frame_mapped(1)], state)
    assert actions[-1].kind == "finish_session"
    assert actions[-1].is_aborted == is_aborted


def test_a_live_instrument_that_ends_its_session_is_waited_for(make, linked):
    ended = SourceEnded(at_s=9.0, reason="restart", is_aborted=False)
    _, actions = make.run_through([ended], linked)
    assert make.kinds(actions) == ["notice"]


def test_a_lost_link_is_told_and_the_watchdog_rests(make, linked):
    _, actions = make.run_through([LinkLost(at_s=3.0, reason="silence"), Ticked(at_s=1e4)], linked)
    assert make.kinds(actions) == ["notice"]


def test_a_full_disk_is_told_once_and_so_is_its_end(make, linked):
    def health(at_s, free):
        return HealthTaken(at_s=at_s, memory_bytes=1, threads=1, descriptors=1, disk_free_bytes=free)

    _, actions = make.run_through([health(1.0, 10), health(2.0, 10), health(3.0, 2**40)], linked)
    assert [action.level for action in actions] == ["warning", "info"]
    _, actions = make.run_through([health(1.0, 2**30 - 1)], linked)
    assert make.kinds(actions) == ["notice"], "the limit is 1 GiB, and no 10^9 bytes"
    assert make.run_through([health(1.0, 2**30)], linked)[1] == []


def test_a_checkpoint_that_is_due_is_made(make, linked):
    assert make.kinds(make.run_through([CheckpointDue(at_s=1.0)], linked)[1]) == ["checkpoint_journal"]


def test_a_reader_is_told_that_it_only_watches(make):
    _, actions = make.run_through([make.opened(), make.link_made(role="reader")])
    assert "only watches" in actions[-1].text


def test_events_and_actions_survive_their_json(make):
    ending = SessionEnding(at_s=99.0, reason="done", is_aborted=False, wall_time="2026-11-25T00:00:00Z")
    events = [make.opened(), make.link_made(), make.frame_seen(0), make.frame_mapped(0, 0.25), ending]
    adapter: TypeAdapter[Event] = EVENTS
    assert [adapter.validate_json(event.model_dump_json()) for event in events] == events
    _, actions = make.run_through(events)
    assert [ACTIONS.validate_json(action.model_dump_json()) for action in actions] == actions


def test_the_same_events_give_the_same_actions(make):
    events = [make.opened(mode="auto"), make.link_made()]
    for number in range(30):
        events += [make.frame_seen(number), make.frame_mapped(number, 0.3)]
    assert make.run_through(events) == make.run_through(events)


def test_deciding_leaves_the_state_before_as_it_was(make, linked):
    before = repr(linked)
    decide(linked, make.frame_seen(0))
    assert repr(linked) == before
    assert isinstance(linked, State)
