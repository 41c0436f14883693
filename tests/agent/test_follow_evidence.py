"""Requests that rest on evidence, through their whole life."""

import pytest

from agent.assessment import Assessment, Score
from agent.events import (
    AnalysisFailed,
    Approve,
    CommandEnded,
    Deny,
    EvidenceWeighed,
    LinkLost,
    OperatorSpoke,
    SetMode,
    Stop,
    Ticked,
)
from agent.frames import FrameRef
from agent.goals import ColumnsGoal, Standing, Verdict
from agent.requests import Promise, Wish
from agent.settings import LimitSettings, PolicySettings, Rules
from agent.state import LASTING
from drivers.contract.context import MAADF
from drivers.contract.header import Window
from drivers.contract.instrument import (
    AcquireImage,
    CommandOutcome,
    SwitchDetector,
    SwitchEnergy,
)

WINDOW = Window(row_px=0, col_px=0, rows_px=8, cols_px=8)
SCAN = {"field_of_view_nm": 1.6, "shape_px": (16, 16), "beam_current_pa": 10.0, "dwell_us": 1.0}


def rules_of(mode="auto", **limits):
    known = {"dose_e_per_a2": 1e9, "energies_kev": (60.0,)} | limits
    return Rules(policy=PolicySettings(mode=mode), limits=LimitSettings(**known))


def wish_of(command=None, then=None, gain=10.0):
    promise = Promise(
        gain_nats=gain,
        plain_nats=gain,
        columns=4,
        detectors=("HAADF",),
        energy_kev=80.0,
        dose_e_per_a2=1e4,
        electrons=1e6,
        seconds=1.0,
    )
    command = command or AcquireImage(dwell_us=2.0, window=WINDOW)
    return Wish(command=command, then=then, reason="Nine columns are in doubt.", figures=(), promise=promise)


@pytest.fixture
def begun(make):
    """A session that has one map, and an assessment of it that wishes for something."""

    def begin(wish, mode="auto", rules=None, **facts):
        events = [
            make.opened(rules or rules_of(mode)),
            make.link_made(state=make.state_of(**(SCAN | facts))),
            seen(make, 0),
            make.frame_mapped(0),
            weighed(make, 0, wish=wish),
        ]
        return make.run_through(events)

    return begin


def weighed(make, sequence, at_s=11.0, **fields):
    known = {"is_entered": True, "realised_nats": 8.0, "score": Score()} | fields
    frame = FrameRef(session=make.SESSION, sequence=sequence)
    return EvidenceWeighed(at_s=at_s, frame=frame, assessment=Assessment(**known), weighing_s=0.1)


def seen(make, number, **facts):
    return make.frame_seen(number, **({"dose_e_per_a2": 100.0} | facts))


def ended(at_s, status="confirmed", request="r1", **state):
    outcome = CommandOutcome(id=f"s1.{request}", status=status, reason="because", **state)
    return CommandEnded(at_s=at_s, request=request, outcome=outcome)


def told(actions):
    return [(a.request.id, a.request.status) for a in actions if a.kind == "announce_request"]


def sent(actions):
    return [(a.request, a.command.kind) for a in actions if a.kind == "send_command"]


def texts(actions):
    return " | ".join(a.text for a in actions if a.kind == "notice")


def test_a_published_map_is_weighed_and_one_at_a_time(make):
    events = [make.opened(rules_of()), make.link_made(), seen(make, 0), make.frame_mapped(0)]
    state, actions = make.run_through(events)
    kinds = make.kinds(actions)
    assert kinds.index("publish_map") < kinds.index("weigh_evidence")
    state, actions = make.run_through([seen(make, 1), make.frame_mapped(1)], state)
    assert "weigh_evidence" not in make.kinds(actions)
    _, actions = make.run_through([weighed(make, 0)], state)
    assert [a.frame.sequence for a in actions if a.kind == "weigh_evidence"] == [1]


def test_when_behind_the_oldest_maps_are_left_out_unless_every_one_counts(make):
    def after(when_behind):
        rules = Rules(policy=PolicySettings(when_behind=when_behind))
        events = [make.opened(rules), make.link_made()]
        for number in range(6):
            events += [seen(make, number), make.frame_mapped(number)]
        return make.run_through(events)

    state, actions = after("newest")
    assert [a.frame.sequence for a in actions if a.kind == "leave_out"] == [1, 2, 3]
    state, actions = after("every")
    assert "leave_out" not in make.kinds(actions)
    assert state.busy is None, "the next frame waits until maps are weighed"


def test_a_request_is_approved_sent_confirmed_and_scored(make, begun):
    state, actions = begun(wish_of(), "advise")
    assert told(actions) == [("r1", "proposed")]
    state, actions = make.run_through([OperatorSpoke(at_s=12.0, order=Approve(request="r1"))], state)
    assert sent(actions) == [("r1", "acquire_image")]
    state, actions = make.run_through(
        [seen(make, 1, command_id="s1.r1"), ended(13.0), make.frame_mapped(1)], state
    )
    assert told(actions) == [("r1", "confirmed")]
    (order,) = [a for a in actions if a.kind == "weigh_evidence"]
    assert (order.situation.request, order.situation.promised_nats) == ("r1", 10.0)
    score = Score().scored(10.0, 8.0)
    state, actions = make.run_through([weighed(make, 1, score=score)], state)
    assert told(actions) == [("r1", "scored")]
    assert "8 nats came, 10 were promised" in state.requests[-1].outcome
    assert state.evidence.score == score


def test_a_frame_that_is_read_before_the_answer_comes_is_scored_with_the_answer(make, begun):
    state, _ = begun(wish_of())
    events = [seen(make, 1, command_id="s1.r1"), make.frame_mapped(1)]
    state, actions = make.run_through([*events, weighed(make, 1, wish=wish_of(gain=5.0))], state)
    assert told(actions) == []
    state, actions = make.run_through([ended(13.0)], state)
    assert told(actions)[:3] == [("r1", "confirmed"), ("r1", "scored"), ("r2", "proposed")]


def test_a_switch_and_its_frame_are_one_approval_and_two_commands(make, begun):
    switch = SwitchDetector(detectors=("MAADF",))
    state, actions = begun(wish_of(switch, AcquireImage(window=WINDOW)))
    assert sent(actions) == [("r1", "switch_detector")]
    now = make.state_of(20.0, detectors=(MAADF,), **SCAN)
    state, actions = make.run_through([ended(13.0, state=now)], state)
    assert sent(actions) == [("r1.2", "acquire_image")]
    _, actions = make.run_through([ended(14.0, request="r1.2", state=now)], state)
    assert told(actions) == [("r1", "confirmed")]


def test_a_switch_of_a_live_scan_is_scored_by_the_first_frame_that_follows(make, begun):
    state, _ = begun(wish_of(SwitchDetector(detectors=("MAADF",))), is_scanning=True)
    now = make.state_of(11.5, detectors=(MAADF,), is_scanning=True, **SCAN)
    events = [ended(13.0, state=now)]
    for number in (1, 2):  # the first was taken before the switch
        events += [seen(make, number, detector=MAADF), make.frame_mapped(number, detector="MAADF")]
        events.append(weighed(make, number, at_s=14.0))
    state, actions = make.run_through(events, state)
    orders = [a.situation.request for a in actions if a.kind == "weigh_evidence"]
    assert orders == [None, "r1"]
    assert ("r1", "scored") in told(actions)


@pytest.mark.parametrize("how", ["unreadable", "doubtful", "quarantined", "lost"])
def test_a_frame_that_tells_nothing_leaves_its_request_unscored(make, begun, how):
    state, _ = begun(wish_of())
    is_settled = how != "quarantined"
    events = [ended(13.0)]
    if how != "lost":
        events.append(seen(make, 1, command_id="s1.r1", is_settled=is_settled))
    ref = FrameRef(session=make.SESSION, sequence=1)
    if how == "unreadable":
        events.append(AnalysisFailed(at_s=14.0, frame=ref, reason="no lattice"))
    elif how == "doubtful":
        events += [make.frame_mapped(1), weighed(make, 1, is_entered=False, realised_nats=None)]
    elif how == "lost":
        events.append(Ticked(at_s=200.0))
    state, actions = make.run_through(events, state)
    assert ("r1", "unscored") in told(actions)
    assert state.evidence.score.realised_nats == 0.0
    assert state.evidence.score.correction < 1.0
    assert state.evidence.repeats[0].is_unreadable == (how != "lost")


@pytest.mark.parametrize(("window", "most"), [(None, 3), (WINDOW, 12)], ids=["field", "window"])
def test_what_tells_nothing_again_and_again_comes_to_an_end_and_that_is_said(make, begun, window, most):
    def wish():
        return wish_of(AcquireImage(dwell_us=2.0, window=window))

    state, _ = begun(wish())
    orders, notices = 0, []
    for number in range(1, most + 3):
        name = f"r{number}"
        if not any(r.id == name for r in state.requests):
            break
        ref = FrameRef(session=make.SESSION, sequence=number)
        state, actions = make.run_through(
            [
                seen(make, number, command_id=f"s1.{name}"),
                AnalysisFailed(at_s=14.0, frame=ref, reason="no lattice"),
                ended(15.0 + 100 * number, request=name),
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
                [weighed(make, frame, at_s=16.0 + 100 * number, is_entered=False, wish=wish())], state
            )
    assert orders == most - 1
    assert state.requests_made == most
    (notice,) = notices
    assert notice.startswith(f"{most} scans of {'the field' if window is None else 'windows'} told nothing")


def in_vain(make, state, number, *, status="confirmed"):
    """The request of a number comes to nothing: its frame cannot be read, or the instrument refuses it."""
    name = f"r{number}"
    events = [ended(15.0 + 100 * number, request=name, status=status)]
    if status == "confirmed":
        ref = FrameRef(session=make.SESSION, sequence=number)
        failed = AnalysisFailed(at_s=14.0, frame=ref, reason="no lattice")
        events = [seen(make, number, command_id=f"s1.{name}"), failed, *events]
    state, actions = make.run_through(events, state)
    assert any(request == name for request, _ in told(actions))
    return state


def wish_again(make, state, number, window=WINDOW):
    again = wish_of(AcquireImage(dwell_us=2.0, window=window))
    asked = [weighed(make, 0, at_s=16.0 + 100 * number, is_entered=False, wish=again)]
    return make.run_through(asked, state)[0]


def test_a_refusal_after_windows_in_vain_is_not_the_end(make, begun):
    state, _ = begun(wish_of())
    for number in (1, 2, 3):
        state = wish_again(make, in_vain(make, state, number), number)
    state = wish_again(make, in_vain(make, state, 4), 4, window=None)
    state = in_vain(make, state, 5, status="refused")
    assert (state.evidence.vain_windows, state.evidence.vain_fields) == (4, 0)
    assert state.evidence.weighing is not None  # it chooses anew


@pytest.mark.parametrize(("maps", "is_named"), [(10, True), (60, False)], ids=["soon", "much later"])
def test_what_could_not_be_read_is_left_alone_for_a_while(make, begun, maps, is_named):
    state, _ = begun(wish_of())
    state = in_vain(make, state, 1)
    events = [weighed(make, 0, is_entered=False)]
    for number in range(2, 2 + maps):
        events += [seen(make, number), make.frame_mapped(number), weighed(make, number, at_s=300.0)]
    _, actions = make.run_through(events, state)
    last = [action.situation for action in actions if action.kind == "weigh_evidence"][-1]
    assert any(repeat.is_unreadable for repeat in last.repeats) == is_named


def test_what_is_denied_does_not_drive_out_what_was_in_vain(make, begun):
    state, _ = begun(wish_of())
    state = in_vain(make, state, 1)
    state, _ = make.run_through([OperatorSpoke(at_s=200.0, order=SetMode(mode="advise"))], state)
    for number in range(2, 30):
        state = wish_again(make, state, number)
        deny = OperatorSpoke(at_s=17.0 + 100 * number, order=Deny(request=f"r{number}"))
        state, _ = make.run_through([deny], state)
    assert [repeat.is_unreadable for repeat in state.evidence.repeats].count(True) == 1


def test_a_denied_wish_is_named_to_the_next_weighing(make, begun):
    state, _ = begun(wish_of(), "advise")
    state, _ = make.run_through([OperatorSpoke(at_s=12.0, order=Deny(request="r1"))], state)
    _, actions = make.run_through([seen(make, 1), make.frame_mapped(1)], state)
    (order,) = [a for a in actions if a.kind == "weigh_evidence"]
    assert order.situation.repeats[0].acquire.window == WINDOW


def test_in_observe_nothing_is_asked_for(make, begun):
    _, actions = begun(wish_of(), "observe")
    assert told(actions) == []
    (order,) = [a for a in actions if a.kind == "weigh_evidence"]
    assert not order.situation.is_asking


def test_in_auto_a_wish_waits_for_the_limit_of_requests_a_minute(make, begun):
    rules = rules_of(requests_per_minute=1)
    state, actions = begun(wish_of(), rules=rules)
    assert sent(actions) == [("r1", "acquire_image")]
    events = [seen(make, 1, command_id="s1.r1"), ended(13.0), make.frame_mapped(1)]
    state, actions = make.run_through([*events, weighed(make, 1, at_s=14.0, wish=wish_of())], state)
    assert sent(actions) == []
    state, actions = make.run_through([Ticked(at_s=40.0)], state)
    assert sent(actions) == []
    _, actions = make.run_through([Ticked(at_s=72.0)], state)
    assert sent(actions) == [("r2", "acquire_image")]


def test_where_nothing_is_scanned_one_first_frame_is_asked_for(make):
    state, _ = make.run_through([make.opened(rules_of()), make.link_made(state=make.state_of(**SCAN))])
    state, actions = make.run_through([Ticked(at_s=2.0), Ticked(at_s=3.0)], state)
    assert sent(actions) == [("r1", "acquire_image")]
    assert "Nothing is known" in state.requests[0].wish.reason


@pytest.fixture
def idle(make):
    """A session on an instrument that scans nothing, whose first request waits for an answer."""
    link = make.link_made(state=make.state_of(**SCAN))
    state, actions = make.run_through([make.opened(rules_of("advise")), link, Ticked(at_s=2.0)])
    assert told(actions) == [("r1", "proposed")]
    return state


DENIED = (OperatorSpoke(at_s=3.0, order=Deny(request="r1")), 4.0)
EXPIRED = (Ticked(at_s=1000.0), 1001.0)


@pytest.mark.parametrize(("answer", "at_s"), [DENIED, EXPIRED], ids=["denied", "expired"])
def test_a_first_request_that_is_not_wanted_is_asked_again_once_a_mode_is_set(make, idle, answer, at_s):
    state, actions = make.run_through([answer], idle)
    assert texts(actions).count("until a frame comes or a mode is set, for nothing is scanned") == 1
    state, actions = make.run_through([Ticked(at_s=at_s), Ticked(at_s=at_s + 100)], state)
    assert (told(actions), texts(actions).count("nothing more is asked for")) == ([], 0)
    auto = OperatorSpoke(at_s=at_s + 101, order=SetMode(mode="auto"))
    state, actions = make.run_through([auto, Ticked(at_s=at_s + 102)], state)
    assert sent(actions) == [("r2", "acquire_image")]
    refused = ended(at_s + 103, "refused", "r2")
    _, actions = make.run_through([refused, Ticked(at_s=at_s + 104), Ticked(at_s=at_s + 200)], state)
    assert told(actions) == [("r2", "failed")], "it is not asked again for ever"
    assert "until a frame comes or a mode is set" in texts(actions)


def test_a_first_request_that_was_denied_does_not_keep_a_frame_from_being_weighed(make, idle):
    events = [DENIED[0], seen(make, 0), make.frame_mapped(0), weighed(make, 0, wish=wish_of())]
    _, actions = make.run_through(events, idle)
    assert told(actions) == [("r1", "denied"), ("r2", "proposed")]


def test_after_a_denial_a_mode_has_the_agent_choose_anew_from_what_it_knows(make, begun):
    state, _ = begun(wish_of(), "advise")
    deny = OperatorSpoke(at_s=12.0, order=Deny(request="r1"))
    state, actions = make.run_through([deny, Ticked(at_s=13.0)], state)
    assert "weigh_evidence" not in make.kinds(actions)
    state, actions = make.run_through([OperatorSpoke(at_s=14.0, order=SetMode(mode="advise"))], state)
    _, actions = make.run_through([Ticked(at_s=15.0)], state)
    (order,) = [a for a in actions if a.kind == "weigh_evidence"]
    assert order.is_again
    assert order.situation.repeats == (), "the operator has spoken anew: what was denied may be asked for"


def test_what_waited_for_the_limit_is_chosen_anew_too_and_an_expiry_does_not_lead_to_more(make, begun):
    state, _ = begun(wish_of(), rules=rules_of(requests_per_minute=1))
    events = [seen(make, 1, command_id="s1.r1"), ended(13.0), make.frame_mapped(1)]
    state, _ = make.run_through([*events, weighed(make, 1, at_s=14.0, wish=wish_of())], state)
    assert state.evidence.pending is not None
    advise = OperatorSpoke(at_s=15.0, order=SetMode(mode="advise"))
    state, actions = make.run_through([advise, Ticked(at_s=16.0)], state)
    assert "weigh_evidence" in make.kinds(actions)
    state, actions = make.run_through([weighed(make, 1, at_s=17.0, wish=wish_of())], state)
    assert told(actions) == [("r2", "proposed")]
    _, actions = make.run_through([Ticked(at_s=1000.0), Ticked(at_s=1001.0)], state)
    assert told(actions) == [("r2", "expired")]
    assert "weigh_evidence" not in make.kinds(actions)


def test_while_the_instrument_scans_nothing_need_be_said_of_what_is_waited_for(make, begun):
    state, _ = begun(wish_of(), "advise", is_scanning=True)
    _, actions = make.run_through([OperatorSpoke(at_s=12.0, order=Deny(request="r1"))], state)
    assert texts(actions) == ""


def test_what_a_lost_link_withdrew_is_chosen_anew_once_it_is_back(make, begun):
    state, _ = begun(wish_of(), "advise")
    lost = LinkLost(at_s=12.0, reason="silence")
    back = make.link_made(13.0, state=make.state_of(13.0, **SCAN))
    _, actions = make.run_through([lost, back, Ticked(at_s=14.0)], state)
    assert told(actions) == [("r1", "denied")]
    (order,) = [a for a in actions if a.kind == "weigh_evidence"]
    assert order.situation.repeats == (), "nobody has judged what was withdrawn"


def test_nothing_is_chosen_while_the_beam_is_blanked(make, begun):
    state, _ = begun(wish_of(), "advise")
    blanked = make.state_seen(13.0, is_blanked=True, **SCAN)
    mode = OperatorSpoke(at_s=14.0, order=SetMode(mode="auto"))
    deny = OperatorSpoke(at_s=12.0, order=Deny(request="r1"))
    state, actions = make.run_through([deny, blanked, mode, Ticked(at_s=15.0)], state)
    assert "weigh_evidence" not in make.kinds(actions)
    _, actions = make.run_through([make.state_seen(16.0, **SCAN), Ticked(at_s=17.0)], state)
    assert "weigh_evidence" in make.kinds(actions)


def test_the_first_frame_is_read_by_all_detectors_that_can_be_read_at_once(make):
    both = make.CAPABILITIES.model_copy(update={"max_simultaneous": 2})
    link = make.link_made(state=make.state_of(**SCAN), capabilities=both)
    state, _ = make.run_through([make.opened(rules_of()), link])
    state, actions = make.run_through([Ticked(at_s=2.0)], state)
    assert sent(actions) == [("r1", "switch_detector")]
    now = make.state_of(20.0, **SCAN).model_copy(update={"detectors": both.detectors})
    _, actions = make.run_through([ended(3.0, state=now)], state)
    assert sent(actions) == [("r1.2", "acquire_image")]


def test_a_goal_that_is_reached_or_cannot_be_is_told_once(make, begun):
    goal = ColumnsGoal(most_entropy_nats=0.05)
    standing = Standing(goal=goal, status="cannot_be", value=0.1, sentence="100 of 900 columns are known")
    verdict = Verdict(status="cannot_be", standings=(standing,))
    state, _ = begun(None)
    events = [seen(make, 1), make.frame_mapped(1), weighed(make, 1, verdict=verdict)]
    events += [seen(make, 2), make.frame_mapped(2), weighed(make, 2, verdict=verdict)]
    state, actions = make.run_through(events, state)
    assert texts(actions).count("the goal cannot be reached: nothing more is asked for; 100 of 900") == 1
    assert told(actions) == []


def test_a_goal_that_flaps_is_told_again_only_when_the_change_lasts(make, begun):
    def verdict(status):
        return Verdict(
            status=status, standings=(Standing(goal=goal, status=status, value=0.1, sentence="n of m"),)
        )

    goal, state, said = ColumnsGoal(most_entropy_nats=0.05), begun(None)[0], []
    course = [*["reached", "cannot_be"] * 10, *["reached"] * LASTING, *["not_yet"] * LASTING]
    for number, status in enumerate(course, 1):
        events = [
            seen(make, number),
            make.frame_mapped(number),
            weighed(make, number, verdict=verdict(status)),
        ]
        state, actions = make.run_through(events, state)
        said += [(number, text) for text in texts(actions).split(" | ") if text]
    assert said == [
        (1, "the goal is reached: nothing more is asked for; n of m"),
        (2, "the goal cannot be reached: nothing more is asked for; n of m"),
        (20 + LASTING, "the goal is reached: nothing more is asked for; n of m"),
        (20 + 2 * LASTING, "the goal is not reached any more; n of m"),
    ]
    assert state.evidence.verdict.status == "not_yet", "the standing itself is always that of the last map"


@pytest.mark.parametrize(
    ("count", "text"), [(1, "1 column has changed since"), (3, "3 columns have changed since")]
)
def test_columns_that_changed_are_counted(make, begun, count, text):
    state, _ = begun(None)
    events = [seen(make, 1), make.frame_mapped(1), weighed(make, 1, changed=count)]
    _, actions = make.run_through(events, state)
    assert texts(actions).startswith(text)


# In doubt.


@pytest.mark.parametrize("status", ["failed", "timed_out"])
def test_a_command_that_may_have_been_done_stops_the_agent_and_blanks_the_beam(make, begun, status):
    state, _ = begun(wish_of())
    state, actions = make.run_through([ended(13.0, status)], state)
    assert told(actions) == [("r1", "failed")]
    assert sent(actions) == [("blank1", "blank_beam")]
    assert "stopped acting" in texts(actions)
    events = [seen(make, 1), make.frame_mapped(1), weighed(make, 1, wish=wish_of())]
    state, actions = make.run_through([ended(14.0, request="blank1"), *events], state)
    assert "the beam is blanked" in texts(actions)
    assert told(actions) == []
    state, actions = make.run_through(
        [
            OperatorSpoke(at_s=15.0, order=SetMode(mode="auto")),
            seen(make, 2),
            make.frame_mapped(2),
            weighed(make, 2, wish=wish_of()),
        ],
        state,
    )
    assert "acts again" in texts(actions)
    assert ("r2", "sent") in told(actions)


def test_a_refusal_begins_nothing_and_stops_nobody(make, begun):
    state, _ = begun(wish_of())
    before = state.doses.ledger.highest_e_per_a2
    state, actions = make.run_through([ended(13.0, "refused")], state)
    assert told(actions) == [("r1", "failed")]
    assert not state.halted
    assert state.doses.ledger.highest_e_per_a2 < before, "the dose that was reserved is free again"


def test_what_was_confirmed_must_be_what_was_asked_for(make, begun):
    state, _ = begun(wish_of(SwitchDetector(detectors=("MAADF",))))
    state, actions = make.run_through([ended(13.0, state=make.state_of(20.0, **SCAN))], state)
    assert told(actions) == [("r1", "failed")]
    assert "confirmed something else" in state.requests[0].outcome
    assert state.halted


def test_an_instrument_that_never_answers_or_answers_too_late_moves_nothing_again(make, begun):
    state, _ = begun(wish_of())
    state, actions = make.run_through([Ticked(at_s=300.0)], state)
    assert told(actions) == [("r1", "failed")]
    assert "never answered" in state.requests[0].outcome
    state, actions = make.run_through([ended(301.0), ended(302.0)], state)
    assert told(actions) == []
    assert texts(actions).count("not under way") == 2


def test_a_link_lost_in_the_middle_of_an_energy_change_quarantines_until_the_energy_is_told(make, begun):
    rules = rules_of(energy_without_asking=True)
    state, actions = begun(wish_of(SwitchEnergy(energy_kev=60.0)), rules=rules)
    assert sent(actions) == [("r1", "switch_energy")]
    state, actions = make.run_through([LinkLost(at_s=13.0, reason="silence")], state)
    assert told(actions) == [("r1", "failed")]
    assert state.halted
    settling = make.state_of(14.0, energy_kev=70.0, is_settling=True)
    state, _ = make.run_through([make.link_made(14.0, state=settling)], state)
    state, actions = make.run_through([seen(make, 1, at_s=15.0)], state)
    (rejected,) = [a for a in actions if a.kind == "reject_frame"]
    assert rejected.is_quarantined
    assert "energy is in doubt" in rejected.reason
    state, actions = make.run_through(
        [make.state_seen(30.0, energy_kev=60.0), seen(make, 22, at_s=31.0, energy_kev=60.0)], state
    )
    assert "analyse_frame" in make.kinds(actions)


def test_an_energy_change_waits_for_the_operator_in_auto_too(make, begun):
    _, actions = begun(wish_of(SwitchEnergy(energy_kev=60.0)))
    assert told(actions) == [("r1", "proposed")]


def test_frames_are_quarantined_while_the_energy_changes(make, begun):
    rules = rules_of(energy_without_asking=True)
    state, _ = begun(wish_of(SwitchEnergy(energy_kev=60.0)), rules=rules)
    state, actions = make.run_through([seen(make, 1)], state)
    assert [a.is_quarantined for a in actions if a.kind == "reject_frame"] == [True]
    now = make.state_of(20.0, energy_kev=60.0)
    state, actions = make.run_through([ended(21.0, state=now), seen(make, 12, energy_kev=60.0)], state)
    assert "analyse_frame" in make.kinds(actions)


def test_the_ledger_counts_all_frames_and_stops_what_would_pass_the_limit(make):
    rules = rules_of(dose_e_per_a2=10_150.0)
    silent = [make.opened(rules), make.link_made(state=make.state_of(**SCAN)), make.frame_seen(0)]
    state, actions = make.run_through([*silent, make.frame_mapped(0), weighed(make, 0, wish=wish_of())])
    assert sent(actions) == []
    assert "is not known" in state.requests[0].outcome, "the frame's header says nothing of its dose"

    def dosed(number, dose):
        return [seen(make, number, dose_e_per_a2=dose), make.frame_mapped(number)]

    events = [make.opened(rules), make.link_made(state=make.state_of(**SCAN)), *dosed(0, 1e4)]
    state, actions = make.run_through([*events, weighed(make, 0, wish=wish_of())])
    assert sent(actions) == [("r1", "acquire_image")]  # 125 e/Å² more
    state, _ = make.run_through([ended(12.0, "failed")], state)
    assert state.doses.ledger.highest_e_per_a2 == pytest.approx(10_125, abs=1), "it may have been scanned"
    events = [OperatorSpoke(at_s=13.0, order=SetMode(mode="auto")), *dosed(1, 10.0)]
    state, actions = make.run_through([*events, weighed(make, 1, wish=wish_of())], state)
    assert sent(actions) == []
    assert "would pass the limit" in state.requests[-1].outcome


def test_a_dose_past_the_limit_by_the_instruments_own_scanning_is_said_once(make):
    rules = rules_of(dose_e_per_a2=250.0)
    state, _ = make.run_through([make.opened(rules), make.link_made(state=make.state_of(**SCAN))])
    said = []
    for number in range(5):
        state, actions = make.run_through([seen(make, number)], state)
        said.append(texts(actions))
    assert [bool(text) for text in said] == [False, False, True, False, False]
    assert "has taken 300 e/Å², and limits.dose_e_per_a2 is 250" in said[2]


def test_without_a_limit_of_dose_nothing_is_said_of_it(make):
    rules = rules_of(dose_e_per_a2=0.0)
    events = [make.opened(rules), make.link_made(state=make.state_of(**SCAN))]
    _, actions = make.run_through([*events, seen(make, 0, dose_e_per_a2=1e7)])
    assert "e/Å²" not in texts(actions)


def test_stopping_ends_what_is_open(make, begun):
    state, _ = begun(wish_of())
    state, actions = make.run_through([ended(13.0), OperatorSpoke(at_s=14.0, order=Stop())], state)
    assert state.is_finishing
    from agent.events import SessionEnding

    ending = SessionEnding(at_s=15.0, reason="done", is_aborted=False, wall_time="2026-11-25T00:00:00Z")
    _, actions = make.run_through([ending], state)
    assert told(actions) == [("r1", "unscored")]


def test_an_instrument_without_a_second_detector_is_told_of_once(make):
    alone = make.CAPABILITIES.model_copy(update={"detectors": make.CAPABILITIES.detectors[:1]})
    _, actions = make.run_through([make.opened(rules_of()), make.link_made(capabilities=alone)])
    assert texts(actions).count("no second detector is offered and allowed (HAADF)") == 1
    _, actions = make.run_through([make.opened(rules_of("observe")), make.link_made(capabilities=alone)])
    assert "no second detector" not in texts(actions)
