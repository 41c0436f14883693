"""What is decided when the agent comes back: nothing is repeated, and what was in flight is marked."""

import pytest

from agent.events import (
    AnalysisMoved,
    Approve,
    LinkLost,
    OperatorSpoke,
    RecordingHeld,
    SessionResumed,
    Stop,
    Ticked,
)
from drivers.contract.context import HAADF, MAADF, Detector


def resumed(at_s=1.0, position=9, bytes_cut=0):
    return SessionResumed(at_s=at_s, session="s1", wall_time="", position=position, bytes_cut=bytes_cut)


def story(make, mode="auto"):
    """Frames that lead to a request, and more of them."""
    events = [make.opened(mode=mode), make.link_made()]
    for number in range(12):
        events += [make.frame_seen(number), make.frame_mapped(number, 0.3)]
    return events


def requests_of(actions):
    return [(each.request.id, each.request.status) for each in actions if each.kind == "announce_request"]


def test_what_was_sent_is_marked_as_not_known_and_not_sent_again(make):
    state, actions = make.run_through(story(make))
    assert requests_of(actions)[-1] == ("r1", "sent")
    state, actions = make.run_through([resumed(), make.link_made(2.0)], state)
    assert requests_of(actions) == [("r1", "failed")]
    assert "whether it was done is not known" in state.requests[0].outcome
    assert "send_command" not in make.kinds(actions)


def test_what_waited_for_an_answer_is_denied_and_a_late_approval_does_nothing(make):
    state, _ = make.run_through(story(make, "advise"))
    late = OperatorSpoke(at_s=3.0, order=Approve(request="r1"))
    state, actions = make.run_through([resumed(), make.link_made(2.0), late], state)
    assert requests_of(actions) == [("r1", "denied")]
    assert "send_command" not in make.kinds(actions)


def test_frames_that_have_no_map_are_skipped_and_the_next_number_is_expected(make):
    waiting = [make.opened(when_behind="every"), make.link_made(), *map(make.frame_seen, range(4))]
    state, _ = make.run_through(waiting)
    state, actions = make.run_through([resumed()], state)
    assert [each.frame.sequence for each in actions if each.kind == "skip_frame"] == [0, 1, 2, 3]
    assert state.busy is None
    state, actions = make.run_through([make.link_made(2.0), make.frame_seen(4, at_s=3.0)], state)
    assert make.kinds(actions) == ["notice", "analyse_frame"]
    assert state.counts.missing == 0


@pytest.mark.parametrize("cut", range(3, 26))
def test_cut_anywhere_no_request_is_sent_twice_and_no_frame_analysed_twice(make, cut):
    events = story(make)
    restart = [resumed(), make.link_made(2.0)]
    more = [
        event
        for number in range(12, 40)
        for event in (make.frame_seen(number), make.frame_mapped(number, 0.3))
    ]
    first_new = sum(event.kind == "frame_seen" for event in events[:cut])
    rest = [make.frame_seen(number, at_s=50.0 + number) for number in range(first_new, 12)]
    _, actions = make.run_through([*events[:cut], *restart, *rest, *more])
    sent = [each.request for each in actions if each.kind == "send_command"]
    analysed = [each.frame for each in actions if each.kind == "analyse_frame"]
    assert len(sent) == len(set(sent))
    assert len(analysed) == len(set(analysed))


def test_a_first_frame_is_asked_for_on_detectors_whose_maps_can_be_read(make):
    bright_field = Detector(name="BF", inner_mrad=0.0, outer_mrad=20.0)
    can = make.CAPABILITIES.model_copy(
        update={"detectors": (bright_field, HAADF, MAADF), "max_simultaneous": 2}
    )
    rules = make.rules_of("advise", detectors=("BF", "HAADF", "MAADF"))
    events = [make.opened(rules), make.link_made(capabilities=can)]
    _, actions = make.run_through([*events, Ticked(at_s=102.0), Ticked(at_s=103.0)])
    (asked,) = [a.request for a in actions if a.kind == "announce_request"]
    assert asked.wish.command.detectors == ("HAADF", "MAADF")


def test_where_nothing_is_scanned_a_first_frame_is_asked_for_again(make):
    events = [make.opened(mode="advise", rule="value"), make.link_made(), make.frame_seen(0)]
    state, _ = make.run_through([*events, make.frame_mapped(0), resumed(), make.link_made(101.0)])
    state, actions = make.run_through([Ticked(at_s=102.0), Ticked(at_s=103.0)], state)
    (asked,) = [a.request for a in actions if a.kind == "announce_request"]
    assert (asked.id, asked.status) == ("r1", "proposed")
    assert "Nothing is known of this field" in asked.wish.reason


def test_the_limit_a_minute_holds_across_a_restart_whose_clock_begins_anew(make):
    state, _ = make.run_through(story(make))
    assert state.sent_s != ()
    state, _ = make.run_through([resumed(at_s=0.5)], state)
    assert state.sent_s == (0.5,)


def test_a_session_that_was_ending_goes_on(make):
    state, _ = make.run_through([*story(make), LinkLost(at_s=40.0, reason="silence")])
    state, _ = make.run_through([resumed()], state)
    assert state.link == "connecting"
    _, actions = make.run_through([Ticked(at_s=1e6)], state)
    assert actions == []


def test_a_session_that_was_killed_between_stop_and_its_end_reads_frames_again(make):
    stop = OperatorSpoke(at_s=40.0, order=Stop())
    state, actions = make.run_through([*story(make), stop, make.frame_seen(12, at_s=41.0)])
    assert "analyse_frame" not in make.kinds(actions[-2:])
    _, actions = make.run_through(
        [resumed(), make.link_made(2.0, next_sequence=13), make.frame_seen(13, at_s=3.0)], state
    )
    assert make.kinds(actions)[-1] == "analyse_frame"


def test_a_held_recording_and_a_lost_device_are_told(make):
    state, _ = make.run_through(story(make))
    held = RecordingHeld(at_s=60.0, held_s=12.0, reason="the disk is full")
    moved = AnalysisMoved(at_s=61.0, device="cpu", reason="CUDA error")
    _, actions = make.run_through([held, moved], state)
    assert "for 12 s nothing could be recorded" in actions[0].text
    assert (actions[1].level, "CUDA error" in actions[1].text) == ("error", True)
