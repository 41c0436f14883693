"""Whatever comes, in whatever order: no command outside the limits, and every request ends."""

import random
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.assessment import Assessment
from agent.decide import decide
from agent.events import (
    AnalysisFailed,
    Approve,
    CommandEnded,
    Deny,
    EvidenceWeighed,
    FramesDropped,
    LinkLost,
    OperatorSpoke,
    SessionEnding,
    SessionResumed,
    SetMode,
    Stop,
    Ticked,
)
from agent.frames import FrameRef
from agent.requests import Promise, Wish
from agent.settings import LimitSettings, PolicySettings, Rules
from agent.state import State
from drivers.contract.context import MAADF
from drivers.contract.header import Window
from drivers.contract.instrument import AcquireImage, CommandOutcome, SwitchDetector, SwitchEnergy
from drivers.contract.knock_on import onset_kev
from drivers.contract.messages import Dropped

#: MoS2 loses sulphur from 73 keV on; a frame at 10 pA and 1 us puts 624 e/Å² onto 10 x 10 nm.
LIMITS = LimitSettings(
    detectors=("HAADF", "MAADF"), energies_kev=(60.0, 80.0), requests_per_minute=3, dose_e_per_a2=4000.0
)
SCAN = {"field_of_view_nm": 1.6, "shape_px": (16, 16), "beam_current_pa": 10.0, "dwell_us": 10.0}

#: "open" is whatever request is open, as the instrument knows its present command.
names = st.sampled_from(["open"] * 6 + ["r1", "r2", "r1.2", "r9", "blank1"])
windows = st.sampled_from([None, Window(row_px=0, col_px=0, rows_px=8, cols_px=8)])
acquisitions = st.builds(AcquireImage, dwell_us=st.sampled_from([None, 1.0, 30.0]), window=windows)
commands = st.one_of(
    acquisitions,
    st.sampled_from([("MAADF",), ("HAADF", "MAADF"), ("BF",)]).map(lambda d: SwitchDetector(detectors=d)),
    st.sampled_from([60.0, 80.0, 100.0]).map(lambda e: SwitchEnergy(energy_kev=e)),
)
wishes = st.tuples(commands, st.one_of(st.none(), acquisitions))
weighings = st.tuples(st.just("weighed"), st.one_of(wishes, wishes, wishes, st.none()), st.booleans())
answers = st.tuples(
    st.just("end"),
    names,
    st.sampled_from(["confirmed", "confirmed", "confirmed", "refused", "failed", "timed_out"]),
    st.sampled_from([None, 60.0, 80.0]),
)
modes = st.tuples(st.just("mode"), st.sampled_from(["auto", "auto", "auto", "advise", "observe"]))
troubles = st.one_of(
    st.tuples(st.just("unread")),
    st.tuples(st.just("deny"), names),
    st.tuples(st.just("lost")),
    st.tuples(st.just("dropped")),
    st.tuples(st.just("link"), st.sampled_from([False, False, True])),
    st.tuples(st.just("settling"), st.sampled_from([False, False, True])),
)
steps = st.one_of(
    weighings,
    answers,
    weighings,
    answers,
    st.tuples(st.just("map"), st.booleans(), st.one_of(st.none(), names)),
    st.tuples(st.just("approve"), names),
    st.tuples(st.just("tick"), st.floats(-50, 400)),
    modes,
    troubles,
    st.tuples(st.just("restart")),
)


def wish_of(command, then):
    promise = Promise(
        gain_nats=1.0,
        plain_nats=1.0,
        columns=1,
        detectors=("HAADF",),
        energy_kev=60.0,
        dose_e_per_a2=1.0,
        electrons=1.0,
        seconds=1.0,
    )
    then = None if isinstance(command, AcquireImage) else then
    return Wish(command=command, then=then, reason="because", figures=(), promise=promise)


def story(make, parts, rule, limits, look):
    """Events of a made-up session; its clock may jump, back too."""
    policy = PolicySettings(rule=rule, mode="auto", settle_frames=1, cooldown_frames=0)
    yield make.opened(Rules(policy=policy, limits=limits))
    known = {"host": "MoS2", "energy_kev": 60.0, "dopants": ("V",)} | SCAN
    yield make.link_made(state=make.state_of(**known))

    def named(name):
        request = next((r for r in look().requests if r.is_open), None)
        return name if name != "open" else request.command_name if request else "r1"

    at_s, number = 10.0, 0
    for kind, *given_values in parts:
        at_s += 0.5
        frame = FrameRef(session=make.SESSION, sequence=max(number - 1, 0))
        match kind:
            case "map":
                is_maadf, name = given_values
                facts = {"detector": MAADF} if is_maadf else {}
                facts |= {"command_id": None if name is None else f"s1.{named(name)}", "dose_e_per_a2": 624.0}
                facts |= {"host": "MoS2", "energy_kev": 60.0, "dopants": ("V",)}
                yield make.frame_seen(number, at_s=at_s, **facts)
                detector = "MAADF" if is_maadf else "HAADF"
                yield make.frame_mapped(number, 0.3, at_s=at_s, detector=detector)
                number += 1
            case "unread":
                yield AnalysisFailed(at_s=at_s, frame=frame, reason="no lattice")
            case "weighed":
                wanted, is_entered = given_values
                told = Assessment(
                    is_entered=is_entered,
                    wish=None if wanted is None else wish_of(*wanted),
                    realised_nats=0.5 if is_entered else None,
                )
                yield EvidenceWeighed(at_s=at_s, frame=frame, assessment=told, weighing_s=0.1)
            case "approve":
                yield OperatorSpoke(at_s=at_s, order=Approve(request=named(given_values[0])))
            case "deny":
                yield OperatorSpoke(at_s=at_s, order=Deny(request=named(given_values[0])))
            case "mode":
                yield OperatorSpoke(at_s=at_s, order=SetMode(mode=given_values[0]))
            case "end":
                name, status, energy = given_values
                state = None if energy is None else make.state_of(at_s, **(known | {"energy_kev": energy}))
                outcome = CommandOutcome(id="x", status=status, state=state)
                yield CommandEnded(at_s=at_s, request=named(name), outcome=outcome)
            case "tick":
                at_s = max(at_s + given_values[0], 0.0)
                yield Ticked(at_s=at_s)
            case "lost":
                yield LinkLost(at_s=at_s, reason="silence")
            case "dropped":
                dropped = Dropped(
                    session=make.SESSION, first_sequence=number, last_sequence=number, count=1, reason="full"
                )
                yield FramesDropped(at_s=at_s, dropped=dropped)
                number += 1
            case "link":
                role = "reader" if given_values[0] else "controller"
                yield make.link_made(at_s, role=role, state=make.state_of(at_s, **known))
            case "settling":
                yield make.state_seen(at_s, is_settling=given_values[0], **known)
            case "restart":
                yield SessionResumed(at_s=at_s, session="s1", wall_time="", position=number, bytes_cut=0)
            case "stop":
                yield OperatorSpoke(at_s=at_s, order=Stop())
    yield SessionEnding(at_s=at_s + 1, reason="done", is_aborted=False, wall_time="2026-11-25T00:00:00Z")


def check_command(command, limits, before, state):
    """What no mode and no sequence of events may pass."""
    assert state.link == "up"
    assert not state.is_reader
    if command.kind == "blank_beam":
        assert state.halted
        assert state.mode != "observe"
        return
    assert not before.halted or not state.halted
    assert not state.halted
    assert before.mode != "observe" or state.mode != "observe"
    assert state.instrument is not None
    assert not state.instrument.is_settling
    match command:
        case SwitchDetector():
            assert set(command.detectors) <= set(limits.detectors)
        case SwitchEnergy():
            assert command.energy_kev in limits.energies_kev
            assert limits.above_knock_on or command.energy_kev < onset_kev("MoS2")
        case AcquireImage():
            assert state.doses.ledger.highest_e_per_a2 <= max(
                limits.dose_e_per_a2, before.doses.ledger.highest_e_per_a2
            )
        case _:
            raise AssertionError(f"{command.kind} is the operator's")


def check_story(make, parts, rule, asks):
    """Go through a story, and check every command and every request."""
    limits = LIMITS.model_copy(update={"energy_without_asking": not asks})
    state, sent, begun, ended, approved = State(), [], set(), set(), set()

    def look():
        return state

    for event in story(make, parts, rule, limits, look):
        before = state
        state, actions = decide(state, event)
        if event.kind == "operator_spoke" and event.order.kind == "approve":
            approved.add(event.order.request)
        for action in actions:
            if action.kind == "send_command":
                check_command(action.command, limits, before, state)
                if action.command.kind != "blank_beam":
                    sent.append((action.request, event.at_s))
                if action.command.kind == "switch_energy" and asks:
                    assert action.request.partition(".")[0] in approved
            elif action.kind == "announce_request":
                request = action.request
                assert request.id not in ended, "an ended request moved again"
                begun.add(request.id)
                if not request.is_open:
                    ended.add(request.id)
            elif action.kind == "analyse_frame":
                assert not state.energy_doubt
        assert sum(request.is_open for request in state.requests) <= 1
    assert begun == ended
    assert len({request for request, _ in sent}) == len(sent), "a request was sent twice"
    times = [at_s for _, at_s in sent]
    for place, at_s in enumerate(times):  # by a clock that may go back, too
        assert sum(at_s - before < 60 for before in times[:place]) < limits.requests_per_minute


QUIET = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize=True,
)


@pytest.mark.parametrize("rule", ["entropy", "value"])
@settings(QUIET, max_examples=150)
@given(parts=st.lists(steps, min_size=8, max_size=60), asks=st.booleans())
def test_no_command_leaves_the_limits_and_every_request_ends(make: SimpleNamespace, rule, parts, asks):
    check_story(make, parts, rule, asks)


def long_story(rng):
    """Many steps of a session in which requests are mostly answered."""
    parts = []
    for _ in range(120):
        window = rng.choice([None, Window(row_px=0, col_px=0, rows_px=8, cols_px=8)])
        acquire = AcquireImage(dwell_us=rng.choice([None, 1.0, 30.0]), window=window)
        command = rng.choice(
            [
                acquire,
                SwitchDetector(detectors=rng.choice([("MAADF",), ("HAADF", "MAADF"), ("BF",)])),
                SwitchEnergy(energy_kev=rng.choice([60.0, 80.0, 100.0])),
            ]
        )
        name = rng.choice(["open"] * 8 + ["r1", "r9", "r2.2"])
        status = rng.choice(["confirmed"] * 6 + ["refused", "failed"])
        answer = ("end", name, status, rng.choice([None, 60.0]))
        trouble = rng.choice(
            [("unread",), ("deny", name), ("lost",), ("dropped",), ("link", False), ("settling", False)]
        )
        parts += rng.choice(
            [
                [("weighed", (command, rng.choice([None, acquire])), True), ("approve", "open"), answer],
                [("weighed", (command, None), True), answer, answer],
                [("map", rng.random() < 0.5, rng.choice([None, name])), ("weighed", None, True)],
                [("tick", rng.uniform(-50.0, 100.0)), ("mode", rng.choice(["auto", "auto", "advise"]))],
                [trouble, ("link", False), ("settling", False), ("mode", "auto")],
            ]
        )
    return parts


@pytest.mark.parametrize("rule", ["entropy", "value"])
@settings(QUIET, max_examples=60)
@given(seed=st.integers(0, 10**9), asks=st.booleans())
def test_long_sessions_stay_within_the_limits_too(make: SimpleNamespace, rule, seed, asks):
    check_story(make, long_story(random.Random(seed)), rule, asks)
