"""Whatever comes, in whatever order: no command outside the limits, and every request ends."""

from types import SimpleNamespace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.decide import decide
from agent.events import (
    Approve,
    CommandEnded,
    Deny,
    LinkLost,
    OperatorSpoke,
    SessionEnding,
    SetMode,
    Stop,
    Ticked,
)
from agent.settings import LimitSettings, PolicySettings, Rules
from agent.state import State
from drivers.contract.context import MAADF
from drivers.contract.instrument import CommandOutcome

LIMITS = LimitSettings(detectors=("HAADF", "MAADF"), requests_per_minute=2)

names = st.sampled_from(["r1", "r2", "r3", "r9"])
steps = st.one_of(
    st.tuples(st.just("map"), st.floats(0, 1.6), st.booleans()),
    st.tuples(st.just("approve"), names),
    st.tuples(st.just("deny"), names),
    st.tuples(st.just("mode"), st.sampled_from(["observe", "advise", "auto"])),
    st.tuples(st.just("end"), names, st.sampled_from(["confirmed", "refused", "failed", "timed_out"])),
    st.tuples(st.just("tick"), st.floats(0, 100)),
    st.tuples(st.just("lost")),
    st.tuples(st.just("link"), st.booleans()),
    st.tuples(st.just("settling"), st.booleans()),
    st.tuples(st.just("stop")),
)


def story(make, parts):
    """Events of a made-up session; its clock may jump."""
    rules = Rules(
        policy=PolicySettings(rule="entropy", mode="auto", settle_frames=1, cooldown_frames=0), limits=LIMITS
    )
    yield make.opened(rules)
    yield make.link_made()
    at_s, number = 10.0, 0
    for kind, *given_values in parts:
        at_s += 0.5
        match kind:
            case "map":
                entropy_nats, is_maadf = given_values
                facts = {"detector": MAADF} if is_maadf else {}
                yield make.frame_seen(number, at_s=at_s, **facts)
                name = "MAADF" if is_maadf else "HAADF"
                yield make.frame_mapped(number, entropy_nats, at_s=at_s, detector=name)
                number += 1
            case "approve":
                yield OperatorSpoke(at_s=at_s, order=Approve(request=given_values[0]))
            case "deny":
                yield OperatorSpoke(at_s=at_s, order=Deny(request=given_values[0]))
            case "mode":
                yield OperatorSpoke(at_s=at_s, order=SetMode(mode=given_values[0]))
            case "end":
                outcome = CommandOutcome(id="x", status=given_values[1])
                yield CommandEnded(at_s=at_s, request=given_values[0], outcome=outcome)
            case "tick":
                at_s += given_values[0]
                yield Ticked(at_s=at_s)
            case "lost":
                yield LinkLost(at_s=at_s, reason="silence")
            case "link":
                yield make.link_made(at_s, role="reader" if given_values[0] else "controller")
            case "settling":
                yield make.state_seen(at_s, is_settling=given_values[0])
            case "stop":
                yield OperatorSpoke(at_s=at_s, order=Stop())
    yield SessionEnding(at_s=at_s + 1, reason="done", is_aborted=False, wall_time="2026-11-25T00:00:00Z")


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(st.lists(steps, max_size=40))
def test_no_command_leaves_the_limits_and_every_request_ends(make: SimpleNamespace, parts):
    state, sent, begun, ended = State(), [], set(), set()
    for event in story(make, parts):
        before = state
        state, actions = decide(state, event)
        for action in actions:
            if action.kind == "send_command":
                if action.command.kind == "blank_beam":
                    assert state.link == "up"
                    assert state.halted
                    assert state.mode != "observe"
                    continue
                assert state.link == "up"
                assert not state.halted
                assert not state.is_reader
                assert before.mode != "observe" or event.kind == "operator_spoke"
                assert before.instrument is not None
                assert not before.instrument.is_settling
                assert action.command.kind == "switch_detector"
                assert set(action.command.detectors) <= set(LIMITS.detectors)
                sent.append((action.request, event.at_s))
            elif action.kind == "announce_request":
                request = action.request
                assert request.id not in ended, "an ended request moved again"
                begun.add(request.id)
                if not request.is_open:
                    ended.add(request.id)
        assert sum(request.is_open for request in state.requests) <= 1
    assert begun == ended
    assert len({request for request, _ in sent}) == len(sent), "a request was sent twice"
    times = [at_s for _, at_s in sent]
    assert all(later - early >= 60 for early, later in zip(times, times[2:], strict=False))
