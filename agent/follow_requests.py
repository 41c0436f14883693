"""What `decide` does about requests: they are proposed, answered, sent, and come to a defined end."""

from dataclasses import replace
from typing import assert_never

from agent.actions import Action, AnnounceMode, AnnounceRequest, FinishSession, Notice, SendCommand
from agent.events import Approve, CommandEnded, Deny, OperatorSpoke, SetMode, Stop
from agent.frames import FrameRef
from agent.interlocks import find_objection, must_ask
from agent.policy import rest
from agent.requests import Request, Wish, moved_to
from agent.state import State

Step = tuple[State, tuple[Action, ...]]

#: Ended requests that are kept to be shown.
_ENDED_KEPT = 20


def propose(state: State, now_s: float, wish: Wish, frame: FrameRef | None) -> Step:
    """Make a wish a request, unless one is open; in auto it is approved at once where rules allow."""
    if any(request.is_open for request in state.requests) or state.link != "up":
        return state, ()
    number = state.requests_made + 1
    request = Request(
        id=f"r{number}",
        wish=wish,
        frame=frame,
        proposed_s=now_s,
        expires_s=now_s + state.rules.policy.expiry_s,
        needs_approval=state.mode != "auto" or must_ask(wish.command, state.rules.limits),
    )
    state = replace(state, requests_made=number, requests=_kept((*state.requests, request)))
    announced = AnnounceRequest(request=request)
    if request.needs_approval:
        return state, (announced,)
    state, actions = _send(state, now_s, moved_to(request, "approved", answered_by="rules"))
    return state, (announced, *actions)


def operator_spoke(state: State, event: OperatorSpoke) -> Step:
    """Carry out what the operator says."""
    order = event.order
    match order:
        case Approve():
            request = _waiting(state, order.request)
            if request is None:
                return state, (_unknown(state, order.request),)
            if event.at_s >= request.expires_s:
                return expire(state, event.at_s)
            return _send(state, event.at_s, moved_to(request, "approved", answered_by="operator"))
        case Deny():
            request = _waiting(state, order.request)
            if request is None:
                return state, (_unknown(state, order.request),)
            denied = moved_to(request, "denied", "the operator denied it", "operator")
            return _ended(state, denied)
        case SetMode():
            state = replace(state, mode=order.mode)
            announced: tuple[Action, ...] = (AnnounceMode(mode=order.mode),)
            if order.mode != "observe":
                return state, announced
            state, actions = give_up(state, "the operator set the mode to observe")
            return state, (*announced, *actions)
        case Stop():
            state, actions = give_up(state, order.why)
            finish = FinishSession(reason=order.why, is_aborted=False)
            return replace(state, is_finishing=True), (*actions, finish)
        case _:
            assert_never(order)


def command_ended(state: State, event: CommandEnded) -> Step:
    """Close the request that sent a command; an answer to one that has ended changes nothing."""
    sent = [request for request in state.requests if request.id == event.request and request.status == "sent"]
    told = event.outcome
    if told.state is not None:
        state = state.with_instrument(told.state)
        if told.status == "confirmed":
            state = replace(state, confirmed_s=told.state.monotonic_s)
    if not sent:
        text = f"an answer ({told.status}) came to request {event.request}, which is not under way"
        return state, (Notice(level="warning", text=text, remedy="nothing is done about it"),)
    if told.status == "confirmed":
        return _ended(state, moved_to(sent[0], "confirmed", "the instrument confirmed it"))
    return _ended(state, moved_to(sent[0], "failed", f"{told.status}: {told.reason or 'no reason given'}"))


def expire(state: State, now_s: float) -> Step:
    """End the requests that nobody answered in time, and the commands that were never answered."""
    actions: tuple[Action, ...] = ()
    for request in state.requests:
        if request.status == "proposed" and now_s >= request.expires_s:
            waited_s = now_s - request.proposed_s
            state, more = _ended(
                state, moved_to(request, "expired", f"nobody answered within {waited_s:.0f} s")
            )
            actions += more
    return state, actions


def give_up(state: State, why: str, *, is_last: bool = False) -> Step:
    """End what is open: what waits is denied; what was sent, and will not be heard of, may have been done."""
    actions: tuple[Action, ...] = ()
    for request in state.requests:
        if request.status in ("proposed", "approved"):
            state, more = _ended(state, moved_to(request, "denied", why, "rules"))
            actions += more
        elif request.status == "sent" and (is_last or state.link == "down"):
            outcome = f"{why} while it was under way; whether it was done is not known"
            state, more = _ended(state, moved_to(request, "failed", outcome))
            actions += more
    return state, actions


def _send(state: State, now_s: float, approved: Request) -> Step:
    """Send what is approved, if no limit speaks against it."""
    state = _with(state, approved)
    announced = AnnounceRequest(request=approved)
    command = approved.wish.command
    objection = find_objection(
        command, state.rules.limits, state.capabilities, state.instrument, state.sent_s, now_s
    )
    if objection is None and (state.link != "up" or state.is_reader):
        objection = "another client controls the instrument" if state.is_reader else "there is no link"
    if objection is not None:
        state, actions = _ended(state, moved_to(approved, "failed", f"not sent: {objection}"))
        return state, (announced, *actions)
    sent = moved_to(approved, "sent")
    recent = tuple(when for when in state.sent_s if now_s - when < 60.0)
    state = replace(_with(state, sent), sent_s=(*recent, now_s))
    send = SendCommand(request=sent.id, command=command, timeout_s=state.rules.command_timeout_s)
    return state, (announced, AnnounceRequest(request=sent), send)


def _ended(state: State, request: Request) -> Step:
    """Note the end of a request, and pause before the next."""
    state = replace(_with(state, request), memory=rest(state.memory, state.rules.policy))
    return state, (AnnounceRequest(request=request),)


def _with(state: State, changed: Request) -> State:
    """Put a request in the place of its former self."""
    requests = tuple(changed if request.id == changed.id else request for request in state.requests)
    return replace(state, requests=_kept(requests))


def _kept(requests: tuple[Request, ...]) -> tuple[Request, ...]:
    """Forget the oldest of those that have ended."""
    ended = [request.id for request in requests if not request.is_open]
    forgotten = set(ended[: max(len(ended) - _ENDED_KEPT, 0)])
    return tuple(request for request in requests if request.id not in forgotten)


def _waiting(state: State, name: str) -> Request | None:
    """The request of a name, if it waits for an answer."""
    return next((r for r in state.requests if r.id == name and r.status == "proposed"), None)


def _unknown(state: State, name: str) -> Notice:
    """Say that an answer names no request that waits for one."""
    known = next((request for request in state.requests if request.id == name), None)
    waiting = ", ".join(request.id for request in state.requests if request.status == "proposed") or "none"
    what = f"request {name} is already {known.status}" if known else f"there is no request {name}"
    return Notice(
        level="warning", text=f"{what}; nothing is done", remedy=f"waiting for an answer: {waiting}"
    )
