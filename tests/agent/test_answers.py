"""What becomes of a request that is denied or waits in vain, and what is said of goals."""

import pytest

from agent.events import (
    Deny,
    LinkLost,
    OperatorSpoke,
    SetMode,
    Ticked,
)
from agent.goals import ColumnsGoal, Standing, Verdict
from agent.state import LASTING


def test_where_nothing_is_scanned_one_first_frame_is_asked_for(make):
    state, _ = make.run_through(
        [make.opened(make.rules_of()), make.link_made(state=make.state_of(**make.SCAN))]
    )
    state, actions = make.run_through([Ticked(at_s=2.0), Ticked(at_s=3.0)], state)
    assert make.sent(actions) == [("r1", "acquire_image")]
    assert "Nothing is known" in state.requests[0].wish.reason


@pytest.fixture
def idle(make):
    """A session on an instrument that scans nothing, whose first request waits for an answer."""
    link = make.link_made(state=make.state_of(**make.SCAN))
    state, actions = make.run_through([make.opened(make.rules_of("advise")), link, Ticked(at_s=2.0)])
    assert make.told(actions) == [("r1", "proposed")]
    return state


DENIED = (OperatorSpoke(at_s=3.0, order=Deny(request="r1")), 4.0)
EXPIRED = (Ticked(at_s=1000.0), 1001.0)


@pytest.mark.parametrize(("answer", "at_s"), [DENIED, EXPIRED], ids=["denied", "expired"])
def test_a_first_request_that_is_not_wanted_is_asked_again_once_a_mode_is_set(make, idle, answer, at_s):
    state, actions = make.run_through([answer], idle)
    assert make.texts(actions).count("until a frame comes or a mode is set, for nothing is scanned") == 1
    state, actions = make.run_through([Ticked(at_s=at_s), Ticked(at_s=at_s + 100)], state)
    assert (make.told(actions), make.texts(actions).count("nothing more is asked for")) == ([], 0)
    auto = OperatorSpoke(at_s=at_s + 101, order=SetMode(mode="auto"))
    state, actions = make.run_through([auto, Ticked(at_s=at_s + 102)], state)
    assert make.sent(actions) == [("r2", "acquire_image")]
    refused = make.ended(at_s + 103, "refused", "r2")
    _, actions = make.run_through([refused, Ticked(at_s=at_s + 104), Ticked(at_s=at_s + 200)], state)
    assert make.told(actions) == [("r2", "failed")], "it is not asked again for ever"
    assert "until a frame comes or a mode is set" in make.texts(actions)


def test_a_first_request_that_was_denied_does_not_keep_a_frame_from_being_weighed(make, idle):
    events = [DENIED[0], make.seen(0), make.frame_mapped(0), make.weighed(0, wish=make.wish_of())]
    _, actions = make.run_through(events, idle)
    assert make.told(actions) == [("r1", "denied"), ("r2", "proposed")]


def test_after_a_denial_a_mode_has_the_agent_choose_anew_from_what_it_knows(make, begun):
    state, _ = begun(make.wish_of(), "advise")
    deny = OperatorSpoke(at_s=12.0, order=Deny(request="r1"))
    state, actions = make.run_through([deny, Ticked(at_s=13.0)], state)
    assert "weigh_evidence" not in make.kinds(actions)
    state, actions = make.run_through([OperatorSpoke(at_s=14.0, order=SetMode(mode="advise"))], state)
    _, actions = make.run_through([Ticked(at_s=15.0)], state)
    (order,) = [a for a in actions if a.kind == "weigh_evidence"]
    assert order.is_again
    assert order.situation.repeats == (), "the operator has spoken anew: what was denied may be asked for"


def test_what_waited_for_the_limit_is_chosen_anew_too_and_an_expiry_does_not_lead_to_more(make, begun):
    state, _ = begun(make.wish_of(), rules=make.rules_of(requests_per_minute=1))
    events = [make.seen(1, command_id="s1.r1"), make.ended(13.0), make.frame_mapped(1)]
    state, _ = make.run_through([*events, make.weighed(1, at_s=14.0, wish=make.wish_of())], state)
    assert state.evidence.pending is not None
    advise = OperatorSpoke(at_s=15.0, order=SetMode(mode="advise"))
    state, actions = make.run_through([advise, Ticked(at_s=16.0)], state)
    assert "weigh_evidence" in make.kinds(actions)
    state, actions = make.run_through([make.weighed(1, at_s=17.0, wish=make.wish_of())], state)
    assert make.told(actions) == [("r2", "proposed")]
    _, actions = make.run_through([Ticked(at_s=1000.0), Ticked(at_s=1001.0)], state)
    assert make.told(actions) == [("r2", "expired")]
    assert "weigh_evidence" not in make.kinds(actions)


def test_while_the_instrument_scans_nothing_need_be_said_of_what_is_waited_for(make, begun):
    state, _ = begun(make.wish_of(), "advise", is_scanning=True)
    _, actions = make.run_through([OperatorSpoke(at_s=12.0, order=Deny(request="r1"))], state)
    assert make.texts(actions) == ""


def test_what_a_lost_link_withdrew_is_chosen_anew_once_it_is_back(make, begun):
    state, _ = begun(make.wish_of(), "advise")
    lost = LinkLost(at_s=12.0, reason="silence")
    back = make.link_made(13.0, state=make.state_of(13.0, **make.SCAN))
    _, actions = make.run_through([lost, back, Ticked(at_s=14.0)], state)
    assert make.told(actions) == [("r1", "denied")]
    (order,) = [a for a in actions if a.kind == "weigh_evidence"]
    assert order.situation.repeats == (), "nobody has judged what was withdrawn"


def test_nothing_is_chosen_while_the_beam_is_blanked(make, begun):
    state, _ = begun(make.wish_of(), "advise")
    blanked = make.state_seen(13.0, is_blanked=True, **make.SCAN)
    mode = OperatorSpoke(at_s=14.0, order=SetMode(mode="auto"))
    deny = OperatorSpoke(at_s=12.0, order=Deny(request="r1"))
    state, actions = make.run_through([deny, blanked, mode, Ticked(at_s=15.0)], state)
    assert "weigh_evidence" not in make.kinds(actions)
    _, actions = make.run_through([make.state_seen(16.0, **make.SCAN), Ticked(at_s=17.0)], state)
    assert "weigh_evidence" in make.kinds(actions)


def test_the_first_frame_is_read_by_all_detectors_that_can_be_read_at_once(make):
    both = make.CAPABILITIES.model_copy(update={"max_simultaneous": 2})
    link = make.link_made(state=make.state_of(**make.SCAN), capabilities=both)
    state, _ = make.run_through([make.opened(make.rules_of()), link])
    state, actions = make.run_through([Ticked(at_s=2.0)], state)
    assert make.sent(actions) == [("r1", "switch_detector")]
    now = make.state_of(20.0, **make.SCAN).model_copy(update={"detectors": both.detectors})
    _, actions = make.run_through([make.ended(3.0, state=now)], state)
    assert make.sent(actions) == [("r1.2", "acquire_image")]


def test_a_goal_that_is_reached_or_cannot_be_is_told_once(make, begun):
    goal = ColumnsGoal(most_entropy_nats=0.05)
    standing = Standing(goal=goal, status="cannot_be", value=0.1, sentence="100 of 900 columns are known")
    verdict = Verdict(status="cannot_be", standings=(standing,))
    state, _ = begun(None)
    events = [make.seen(1), make.frame_mapped(1), make.weighed(1, verdict=verdict)]
    events += [make.seen(2), make.frame_mapped(2), make.weighed(2, verdict=verdict)]
    state, actions = make.run_through(events, state)
    assert make.texts(actions).count("the goal cannot be reached: nothing more is asked for; 100 of 900") == 1
    assert make.told(actions) == []


def test_a_goal_that_flaps_is_told_again_only_when_the_change_lasts(make, begun):
    def verdict(status):
        return Verdict(
            status=status, standings=(Standing(goal=goal, status=status, value=0.1, sentence="n of m"),)
        )

    goal, state, said = ColumnsGoal(most_entropy_nats=0.05), begun(None)[0], []
    course = [*["reached", "cannot_be"] * 10, *["reached"] * LASTING, *["not_yet"] * LASTING]
    for number, status in enumerate(course, 1):
        events = [
            make.seen(number),
            make.frame_mapped(number),
            make.weighed(number, verdict=verdict(status)),
        ]
        state, actions = make.run_through(events, state)
        said += [(number, text) for text in make.texts(actions).split(" | ") if text]
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
    events = [make.seen(1), make.frame_mapped(1), make.weighed(1, changed=count)]
    _, actions = make.run_through(events, state)
    assert make.texts(actions).startswith(text)
