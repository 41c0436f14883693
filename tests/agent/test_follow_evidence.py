"""Requests that rest on evidence, through their whole life."""

import pytest

from agent.assessment import Score
from agent.events import (
    AnalysisFailed,
    Approve,
    Deny,
    LinkLost,
    OperatorSpoke,
    SetMode,
    Stop,
    Ticked,
)
from agent.frames import FrameRef
from agent.settings import PolicySettings, Rules
from drivers.contract.context import MAADF
from drivers.contract.header import Window
from drivers.contract.instrument import (
    AcquireImage,
    SwitchDetector,
    SwitchEnergy,
)

WINDOW = Window(row_px=0, col_px=0, rows_px=8, cols_px=8)


def test_a_published_map_is_weighed_and_one_at_a_time(make):
    events = [make.opened(make.rules_of()), make.link_made(), make.seen(0), make.frame_mapped(0)]
    state, actions = make.run_through(events)
    kinds = make.kinds(actions)
    assert kinds.index("publish_map") < kinds.index("weigh_evidence")
    state, actions = make.run_through([make.seen(1), make.frame_mapped(1)], state)
    assert "weigh_evidence" not in make.kinds(actions)
    _, actions = make.run_through([make.weighed(0)], state)
    assert [a.frame.sequence for a in actions if a.kind == "weigh_evidence"] == [1]


def test_when_behind_the_oldest_maps_are_left_out_unless_every_one_counts(make):
    def after(when_behind):
        rules = Rules(policy=PolicySettings(when_behind=when_behind))
        events = [make.opened(rules), make.link_made()]
        for number in range(6):
            events += [make.seen(number), make.frame_mapped(number)]
        return make.run_through(events)

    state, actions = after("newest")
    assert [a.frame.sequence for a in actions if a.kind == "leave_out"] == [1, 2, 3]
    state, actions = after("every")
    assert "leave_out" not in make.kinds(actions)
    assert state.busy is None, "the next frame waits until maps are weighed"


def test_a_request_is_approved_sent_confirmed_and_scored(make, begun):
    state, actions = begun(make.wish_of(), "advise")
    assert make.told(actions) == [("r1", "proposed")]
    state, actions = make.run_through([OperatorSpoke(at_s=12.0, order=Approve(request="r1"))], state)
    assert make.sent(actions) == [("r1", "acquire_image")]
    state, actions = make.run_through(
        [make.seen(1, command_id="s1.r1"), make.ended(13.0), make.frame_mapped(1)], state
    )
    assert make.told(actions) == [("r1", "confirmed")]
    (order,) = [a for a in actions if a.kind == "weigh_evidence"]
    assert (order.situation.request, order.situation.promised_nats) == ("r1", 10.0)
    score = Score().scored(10.0, 8.0)
    state, actions = make.run_through([make.weighed(1, score=score)], state)
    assert make.told(actions) == [("r1", "scored")]
    assert "8 nats came, 10 were promised" in state.requests[-1].outcome
    assert state.evidence.score == score


def test_a_frame_that_is_read_before_the_answer_comes_is_scored_with_the_answer(make, begun):
    state, _ = begun(make.wish_of())
    events = [make.seen(1, command_id="s1.r1"), make.frame_mapped(1)]
    state, actions = make.run_through([*events, make.weighed(1, wish=make.wish_of(gain=5.0))], state)
    assert make.told(actions) == []
    state, actions = make.run_through([make.ended(13.0)], state)
    assert make.told(actions)[:3] == [("r1", "confirmed"), ("r1", "scored"), ("r2", "proposed")]


def test_a_switch_and_its_frame_are_one_approval_and_two_commands(make, begun):
    switch = SwitchDetector(detectors=("MAADF",))
    state, actions = begun(make.wish_of(switch, AcquireImage(window=WINDOW)))
    assert make.sent(actions) == [("r1", "switch_detector")]
    now = make.state_of(20.0, detectors=(MAADF,), **make.SCAN)
    state, actions = make.run_through([make.ended(13.0, state=now)], state)
    assert make.sent(actions) == [("r1.2", "acquire_image")]
    _, actions = make.run_through([make.ended(14.0, request="r1.2", state=now)], state)
    assert make.told(actions) == [("r1", "confirmed")]


def test_a_switch_is_not_sent_if_the_frame_after_it_may_not_be(make, begun):
    rules = make.rules_of(dose_e_per_a2=150.0)  # 100 e/Å² were given, and the window would bring 125
    frame = AcquireImage(dwell_us=2.0, window=WINDOW)
    state, actions = begun(make.wish_of(SwitchDetector(detectors=("MAADF",)), frame), rules=rules)
    assert make.sent(actions) == []
    assert "would pass the limit of 150" in state.requests[0].outcome


def test_a_switch_of_a_live_scan_is_scored_by_the_first_frame_that_follows(make, begun):
    state, _ = begun(make.wish_of(SwitchDetector(detectors=("MAADF",))), is_scanning=True)
    now = make.state_of(11.5, detectors=(MAADF,), is_scanning=True, **make.SCAN)
    events = [make.ended(13.0, state=now)]
    for number in (1, 2):  # the first was taken before the switch
        events += [make.seen(number, detector=MAADF), make.frame_mapped(number, detector="MAADF")]
        events.append(make.weighed(number, at_s=14.0))
    state, actions = make.run_through(events, state)
    orders = [a.situation.request for a in actions if a.kind == "weigh_evidence"]
    assert orders == [None, "r1"]
    assert ("r1", "scored") in make.told(actions)


@pytest.mark.parametrize("how", ["unreadable", "doubtful", "quarantined", "lost"])
def test_a_frame_that_tells_nothing_leaves_its_request_unscored(make, begun, how):
    state, _ = begun(make.wish_of())
    is_settled = how != "quarantined"
    events = [make.ended(13.0)]
    if how != "lost":
        events.append(make.seen(1, command_id="s1.r1", is_settled=is_settled))
    ref = FrameRef(session=make.SESSION, sequence=1)
    if how == "unreadable":
        events.append(AnalysisFailed(at_s=14.0, frame=ref, reason="no lattice"))
    elif how == "doubtful":
        events += [make.frame_mapped(1), make.weighed(1, is_entered=False, realised_nats=None)]
    elif how == "lost":
        events.append(Ticked(at_s=200.0))
    state, actions = make.run_through(events, state)
    assert ("r1", "unscored") in make.told(actions)
    assert state.evidence.score.realised_nats == 0.0
    assert state.evidence.score.correction < 1.0
    assert state.evidence.repeats[0].is_unreadable == (how != "lost")


@pytest.mark.parametrize(("window", "most"), [(None, 3), (WINDOW, 12)], ids=["field", "window"])
def test_what_tells_nothing_again_and_again_comes_to_an_end_and_that_is_said(make, begun, window, most):
    def wish():
        return make.wish_of(AcquireImage(dwell_us=2.0, window=window))

    state, _ = begun(wish())
    orders, notices = 0, []
    for number in range(1, most + 3):
        name = f"r{number}"
        if not any(r.id == name for r in state.requests):
            break
        ref = FrameRef(session=make.SESSION, sequence=number)
        state, actions = make.run_through(
            [
                make.seen(number, command_id=f"s1.{name}"),
                AnalysisFailed(at_s=14.0, frame=ref, reason="no lattice"),
                make.ended(15.0 + 100 * number, request=name),
            ],
            state,
        )
        notices += [a.text for a in actions if a.kind == "notice" and "told nothing" in a.text]
        again = [a for a in actions if a.kind == "weigh_evidence"]
        assert all(a.is_again for a in again)
        orders += len(again)
        if again:
            frame = again[0].frame.sequence
            state, _ = make.run_through(
                [make.weighed(frame, at_s=16.0 + 100 * number, is_entered=False, wish=wish())], state
            )
    assert orders == most - 1
    assert state.requests_made == most
    (notice,) = notices
    assert notice.startswith(f"{most} scans of {'the field' if window is None else 'windows'} told nothing")


def in_vain(make, state, number, *, status="confirmed"):
    """The request of a number comes to nothing: its frame cannot be read, or the instrument refuses it."""
    name = f"r{number}"
    events = [make.ended(15.0 + 100 * number, request=name, status=status)]
    if status == "confirmed":
        ref = FrameRef(session=make.SESSION, sequence=number)
        failed = AnalysisFailed(at_s=14.0, frame=ref, reason="no lattice")
        events = [make.seen(number, command_id=f"s1.{name}"), failed, *events]
    state, actions = make.run_through(events, state)
    assert any(request == name for request, _ in make.told(actions))
    return state


def wish_again(make, state, number, window=WINDOW):
    again = make.wish_of(AcquireImage(dwell_us=2.0, window=window))
    asked = [make.weighed(0, at_s=16.0 + 100 * number, is_entered=False, wish=again)]
    return make.run_through(asked, state)[0]


def test_a_refusal_after_windows_in_vain_is_not_the_end(make, begun):
    state, _ = begun(make.wish_of())
    for number in (1, 2, 3):
        state = wish_again(make, in_vain(make, state, number), number)
    state = wish_again(make, in_vain(make, state, 4), 4, window=None)
    state = in_vain(make, state, 5, status="refused")
    assert (state.evidence.vain_windows, state.evidence.vain_fields) == (4, 0)
    assert state.evidence.weighing is not None  # it chooses anew


@pytest.mark.parametrize(("maps", "is_named"), [(10, True), (60, False)], ids=["soon", "much later"])
def test_what_could_not_be_read_is_left_alone_for_a_while(make, begun, maps, is_named):
    state, _ = begun(make.wish_of())
    state = in_vain(make, state, 1)
    events = [make.weighed(0, is_entered=False)]
    for number in range(2, 2 + maps):
        events += [make.seen(number), make.frame_mapped(number), make.weighed(number, at_s=300.0)]
    _, actions = make.run_through(events, state)
    last = [action.situation for action in actions if action.kind == "weigh_evidence"][-1]
    assert any(repeat.is_unreadable for repeat in last.repeats) == is_named


def test_what_is_denied_does_not_drive_out_what_was_in_vain(make, begun):
    state, _ = begun(make.wish_of())
    state = in_vain(make, state, 1)
    state, _ = make.run_through([OperatorSpoke(at_s=200.0, order=SetMode(mode="advise"))], state)
    for number in range(2, 30):
        state = wish_again(make, state, number)
        deny = OperatorSpoke(at_s=17.0 + 100 * number, order=Deny(request=f"r{number}"))
        state, _ = make.run_through([deny], state)
    assert [repeat.is_unreadable for repeat in state.evidence.repeats].count(True) == 1
    assert len(state.requests) == 20, "of those that have ended the last are kept, to be shown"


def test_a_denied_wish_is_named_to_the_next_weighing(make, begun):
    state, _ = begun(make.wish_of(), "advise")
    state, _ = make.run_through([OperatorSpoke(at_s=12.0, order=Deny(request="r1"))], state)
    _, actions = make.run_through([make.seen(1), make.frame_mapped(1)], state)
    (order,) = [a for a in actions if a.kind == "weigh_evidence"]
    assert order.situation.repeats[0].acquire.window == WINDOW


@pytest.mark.parametrize("mode", ["advise", "auto"])
def test_once_a_mode_is_set_what_was_denied_may_be_asked_for_again(make, begun, mode):
    state, _ = begun(make.wish_of(), "advise")
    deny, set_mode = (
        OperatorSpoke(at_s=at_s, order=order)
        for at_s, order in ((12.0, Deny(request="r1")), (13.0, SetMode(mode=mode)))
    )
    state, _ = make.run_through([deny], state)
    assert len(state.evidence.repeats) == 1
    state, _ = make.run_through([set_mode], state)
    assert state.evidence.repeats == ()


def test_what_a_lost_link_withdrew_nobody_has_denied(make, begun):
    state, _ = begun(make.wish_of(), "advise")
    state, actions = make.run_through([LinkLost(at_s=12.0, reason="silence")], state)
    assert make.told(actions) == [("r1", "denied")]
    assert state.evidence.repeats == ()
    assert state.evidence.is_stale, "it is chosen anew once the link is back"


def test_in_observe_nothing_is_asked_for(make, begun):
    _, actions = begun(make.wish_of(), "observe")
    assert make.told(actions) == []
    (order,) = [a for a in actions if a.kind == "weigh_evidence"]
    assert not order.situation.is_asking


def test_in_auto_a_wish_waits_for_the_limit_of_requests_a_minute(make, begun):
    rules = make.rules_of(requests_per_minute=1)
    state, actions = begun(make.wish_of(), rules=rules)
    assert make.sent(actions) == [("r1", "acquire_image")]
    events = [make.seen(1, command_id="s1.r1"), make.ended(13.0), make.frame_mapped(1)]
    state, actions = make.run_through([*events, make.weighed(1, at_s=14.0, wish=make.wish_of())], state)
    assert make.sent(actions) == []
    state, actions = make.run_through([Ticked(at_s=40.0)], state)
    assert make.sent(actions) == []
    _, actions = make.run_through([Ticked(at_s=72.0)], state)
    assert make.sent(actions) == [("r2", "acquire_image")]


# In doubt.


@pytest.mark.parametrize("status", ["failed", "timed_out"])
def test_a_command_that_may_have_been_done_stops_the_agent_and_blanks_the_beam(make, begun, status):
    state, _ = begun(make.wish_of())
    state, actions = make.run_through([make.ended(13.0, status)], state)
    assert make.told(actions) == [("r1", "failed")]
    assert make.sent(actions) == [("blank1", "blank_beam")]
    assert "stopped acting" in make.texts(actions)
    events = [make.seen(1), make.frame_mapped(1), make.weighed(1, wish=make.wish_of())]
    state, actions = make.run_through([make.ended(14.0, request="blank1"), *events], state)
    assert "the beam is blanked" in make.texts(actions)
    assert make.told(actions) == []
    state, actions = make.run_through(
        [
            OperatorSpoke(at_s=15.0, order=SetMode(mode="auto")),
            make.seen(2),
            make.frame_mapped(2),
            make.weighed(2, wish=make.wish_of()),
        ],
        state,
    )
    assert "acts again" in make.texts(actions)
    assert ("r2", "sent") in make.told(actions)


def test_a_refusal_begins_nothing_and_stops_nobody(make, begun):
    state, _ = begun(make.wish_of())
    before = state.doses.ledger.highest_e_per_a2
    state, actions = make.run_through([make.ended(13.0, "refused")], state)
    assert make.told(actions) == [("r1", "failed")]
    assert not state.halted
    assert state.doses.ledger.highest_e_per_a2 < before, "the dose that was reserved is free again"


def test_what_was_confirmed_must_be_what_was_asked_for(make, begun):
    state, _ = begun(make.wish_of(SwitchDetector(detectors=("MAADF",))))
    state, actions = make.run_through([make.ended(13.0, state=make.state_of(20.0, **make.SCAN))], state)
    assert make.told(actions) == [("r1", "failed")]
    assert "confirmed something else" in state.requests[0].outcome
    assert state.halted


def test_an_instrument_that_never_answers_or_answers_too_late_moves_nothing_again(make, begun):
    state, _ = begun(make.wish_of())
    state, actions = make.run_through([Ticked(at_s=300.0)], state)
    assert make.told(actions) == [("r1", "failed")]
    assert "never answered" in state.requests[0].outcome
    assert state.halted, "it may have been done, or be done yet"
    assert make.sent(actions) == [("blank1", "blank_beam")]
    state, actions = make.run_through([make.ended(301.0), make.ended(302.0)], state)
    assert make.told(actions) == []
    assert make.texts(actions).count("not under way") == 2


def test_a_link_lost_in_the_middle_of_an_energy_change_quarantines_until_the_energy_is_told(make, begun):
    rules = make.rules_of(energy_without_asking=True)
    state, actions = begun(make.wish_of(SwitchEnergy(energy_kev=60.0)), rules=rules)
    assert make.sent(actions) == [("r1", "switch_energy")]
    state, actions = make.run_through([LinkLost(at_s=13.0, reason="silence")], state)
    assert make.told(actions) == [("r1", "failed")]
    assert state.halted
    settling = make.state_of(14.0, energy_kev=70.0, is_settling=True)
    state, _ = make.run_through([make.link_made(14.0, state=settling)], state)
    state, actions = make.run_through([make.seen(1, at_s=15.0)], state)
    (rejected,) = [a for a in actions if a.kind == "reject_frame"]
    assert rejected.is_quarantined
    assert "energy is in doubt" in rejected.reason
    state, actions = make.run_through(
        [make.state_seen(30.0, energy_kev=60.0), make.seen(22, at_s=31.0, energy_kev=60.0)], state
    )
    assert "analyse_frame" in make.kinds(actions)


def test_an_energy_change_waits_for_the_operator_in_auto_too(make, begun):
    _, actions = begun(make.wish_of(SwitchEnergy(energy_kev=60.0)))
    assert make.told(actions) == [("r1", "proposed")]


def test_frames_are_quarantined_while_the_energy_changes(make, begun):
    rules = make.rules_of(energy_without_asking=True)
    state, _ = begun(make.wish_of(SwitchEnergy(energy_kev=60.0)), rules=rules)
    state, actions = make.run_through([make.seen(1)], state)
    assert [a.is_quarantined for a in actions if a.kind == "reject_frame"] == [True]
    before = make.state_seen(12.2, energy_kev=80.0)  # it has not begun yet
    state, actions = make.run_through([before, make.seen(2, at_s=12.5, monotonic_s=12.4)], state)
    assert [a.is_quarantined for a in actions if a.kind == "reject_frame"] == [True]
    now = make.state_of(20.0, energy_kev=60.0)
    state, actions = make.run_through([make.ended(21.0, state=now), make.seen(12, energy_kev=60.0)], state)
    assert "analyse_frame" in make.kinds(actions)


@pytest.mark.parametrize("measured_kev", [60.0, 60.02])
def test_a_live_frame_at_the_new_energy_is_what_its_request_asked_for(make, begun, measured_kev):
    rules = make.rules_of(energy_without_asking=True)
    state, _ = begun(make.wish_of(SwitchEnergy(energy_kev=60.0)), rules=rules)
    now = make.state_of(20.0, energy_kev=60.0)
    frame = make.seen(12, energy_kev=measured_kev)
    _, actions = make.run_through([make.ended(21.0, state=now), frame, make.frame_mapped(12)], state)
    (weighing,) = [action for action in actions if action.kind == "weigh_evidence"]
    assert weighing.situation.request == "r1"


def test_the_ledger_counts_all_frames_and_stops_what_would_pass_the_limit(make):
    rules = make.rules_of(dose_e_per_a2=10_150.0)
    silent = [make.opened(rules), make.link_made(state=make.state_of(**make.SCAN)), make.frame_seen(0)]
    state, actions = make.run_through([*silent, make.frame_mapped(0), make.weighed(0, wish=make.wish_of())])
    assert make.sent(actions) == []
    assert "is not known" in state.requests[0].outcome, "the frame's header says nothing of its dose"

    def dosed(number, dose):
        return [make.seen(number, dose_e_per_a2=dose), make.frame_mapped(number)]

    events = [make.opened(rules), make.link_made(state=make.state_of(**make.SCAN)), *dosed(0, 1e4)]
    state, actions = make.run_through([*events, make.weighed(0, wish=make.wish_of())])
    assert make.sent(actions) == [("r1", "acquire_image")]  # 125 e/Å² more
    state, _ = make.run_through([make.ended(12.0, "failed")], state)
    assert state.doses.ledger.highest_e_per_a2 == pytest.approx(10_125, abs=1), "it may have been scanned"
    events = [OperatorSpoke(at_s=13.0, order=SetMode(mode="auto")), *dosed(1, 10.0)]
    state, actions = make.run_through([*events, make.weighed(1, wish=make.wish_of())], state)
    assert make.sent(actions) == []
    assert "would pass the limit" in state.requests[-1].outcome


def test_a_dose_past_the_limit_by_the_instruments_own_scanning_is_said_once(make):
    rules = make.rules_of(dose_e_per_a2=250.0)
    state, _ = make.run_through([make.opened(rules), make.link_made(state=make.state_of(**make.SCAN))])
    said = []
    for number in range(5):
        state, actions = make.run_through([make.seen(number)], state)
        said.append(make.texts(actions))
    assert [bool(text) for text in said] == [False, False, True, False, False]
    assert "has taken 300 e/Å², and limits.dose_e_per_a2 is 250" in said[2]


def test_without_a_limit_of_dose_nothing_is_said_of_it(make):
    rules = make.rules_of(dose_e_per_a2=0.0)
    events = [make.opened(rules), make.link_made(state=make.state_of(**make.SCAN))]
    _, actions = make.run_through([*events, make.seen(0, dose_e_per_a2=1e7)])
    assert "e/Å²" not in make.texts(actions)


def test_stopping_ends_what_is_open(make, begun):
    state, _ = begun(make.wish_of())
    state, actions = make.run_through([make.ended(13.0), OperatorSpoke(at_s=14.0, order=Stop())], state)
    assert state.is_finishing
    from agent.events import SessionEnding

    ending = SessionEnding(at_s=15.0, reason="done", is_aborted=False, wall_time="2026-11-25T00:00:00Z")
    _, actions = make.run_through([ending], state)
    assert make.told(actions) == [("r1", "unscored")]


def test_an_instrument_without_a_second_detector_is_told_of_once(make):
    alone = make.CAPABILITIES.model_copy(update={"detectors": make.CAPABILITIES.detectors[:1]})
    _, actions = make.run_through([make.opened(make.rules_of()), make.link_made(capabilities=alone)])
    assert make.texts(actions).count("no second detector is offered and allowed (HAADF)") == 1
    _, actions = make.run_through([make.opened(make.rules_of("observe")), make.link_made(capabilities=alone)])
    assert "no second detector" not in make.texts(actions)


def test_an_agent_that_only_watches_asks_for_nothing_and_has_nothing_chosen(make):
    link = make.link_made(role="reader", state=make.state_of(**make.SCAN))
    events = [make.opened(make.rules_of()), link, make.seen(0), make.frame_mapped(0)]
    _, actions = make.run_through([*events, make.weighed(0, wish=make.wish_of())])
    assert make.told(actions) == []
    assert [one.situation.is_asking for one in actions if one.kind == "weigh_evidence"] == [False]


def test_while_the_agent_does_not_act_nothing_is_chosen(make, begun):
    state, _ = begun(make.wish_of())
    state, _ = make.run_through([make.ended(13.0, "failed"), make.ended(14.0, request="blank1")], state)
    _, actions = make.run_through([make.seen(1), make.frame_mapped(1)], state)
    assert [one.situation.is_asking for one in actions if one.kind == "weigh_evidence"] == [False]
