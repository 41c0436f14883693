"""What `decide` does about requests: they are proposed, answered, sent, and come to a defined end."""

from dataclasses import replace
from typing import assert_never

from agent.actions import Action, AnnounceMode, AnnounceRequest, FinishSession, Notice, SendCommand
from agent.booking import circumstances, release, reserve
from agent.events import Approve, CommandEnded, Deny, OperatorSpoke, SetMode, Stop
from agent.frames import FrameRef
from agent.halting import BLANKING, blanking_ended, halt, resume
from agent.in_vain import note_end
from agent.interlocks import find_objection, must_ask
from agent.patience import GRACE_S, disagreement, timeout_s
from agent.policy import rest
from agent.requests import Request, Wish, moved_to, request_of
from agent.state import State
from drivers.contract.instrument import Command, SwitchEnergy

Step = tuple[State, tuple[Action, ...]]

#: How the agent goes on after an answer of the operator, or none, while nothing is scanned.
_TO_GO_ON = "`columnist mode advise` or `auto` has it choose anew; so does a frame that is scanned"

#: Times of commands that are kept: as many as may be allowed in a minute.
_SENT_KEPT = 600

#: Ended requests that are kept to be shown.
_ENDED_KEPT = 20


def may_propose(state: State) -> bool:
    """Whether the agent may ask for anything now."""
    return (
        state.mode != "observe"
        and state.link == "up"
        and not state.is_reader
        and not state.halted
        and not state.is_finishing
        and not any(request.is_open for request in state.requests)
    )


def propose(state: State, now_s: float, wish: Wish, frame: FrameRef | None) -> Step:
    """Make a wish a request, unless one is open; in auto it is approved at once where rules allow."""
    if any(request.is_open for request in state.requests) or state.link != "up" or state.halted:
        return state, ()
    number = state.requests_made + 1
    limits = state.rules.limits
    request = Request(
        id=f"r{number}",
        wish=wish,
        frame=frame,
        proposed_s=now_s,
        expires_s=now_s + state.rules.policy.expiry_s,
        needs_approval=state.mode != "auto" or any(must_ask(command, limits) for command in wish.commands),
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
            return end(state, denied)
        case SetMode():
            state = replace(state, mode=order.mode)
            announced: tuple[Action, ...] = (AnnounceMode(mode=order.mode),)
            if order.mode != "observe":
                state, resumed = resume(_anew(state))
                return state, (*announced, *resumed)
            state, actions = give_up(state, "the operator set the mode to observe")
            return state, (*announced, *actions)
        case Stop():
            state, actions = give_up(state, order.why)
            finish = FinishSession(reason=order.why, is_aborted=False)
            return replace(state, is_finishing=True), (*actions, finish)
        case _:
            assert_never(order)


def command_ended(state: State, event: CommandEnded) -> Step:
    """Go on with the request that sent a command; an answer to one that has ended changes nothing."""
    told, name = event.outcome, event.request
    if told.state is not None:
        state = state.with_instrument(told.state)
        if told.status == "confirmed":
            state = replace(state, confirmed_s=told.state.monotonic_s)
    if name.startswith(BLANKING):
        return state, (blanking_ended(told),)
    sent = [r for r in state.requests if r.status == "sent" and r.command_name == name]
    if not sent:
        text = f"an answer ({told.status}) came to request {request_of(name)}, which is not under way"
        return state, (Notice(level="warning", text=text, remedy="nothing is done about it"),)
    request = sent[0]
    if told.status == "confirmed":
        command = request.wish.commands[request.done]
        strange = disagreement(command, told.state)
        if not strange:
            return _confirmed(state, event.at_s, request)
        return _fail(state, request, f"the instrument confirmed something else: {strange}", is_doubt=True)
    if told.status == "refused":
        state = release(state, name)
        if isinstance(request.wish.command, SwitchEnergy) and request.done == 0:
            state = replace(state, energy_doubt="")
    reason = f"{told.status}: {told.reason or 'no reason given'}"
    return _fail(state, request, reason, is_doubt=told.status != "refused")


def expire(state: State, now_s: float) -> Step:
    """End what has waited too long: for an answer of the operator, of the instrument, or for its frame."""
    actions: tuple[Action, ...] = ()
    for request in state.requests:
        if now_s < request.expires_s or not request.is_open:
            continue
        waited_s = now_s - request.proposed_s
        if request.status == "sent":
            outcome = f"the instrument never answered; {waited_s:.0f} s have passed since it was proposed"
            state, more = _fail(state, request, outcome, is_doubt=True)
        elif request.status == "confirmed":
            lost = moved_to(request, "unscored", "its frame never came into the evidence")
            state, more = end(state, lost, came=False)
        else:
            state, more = end(state, moved_to(request, "expired", f"nobody answered within {waited_s:.0f} s"))
        actions += more
    return state, actions


def give_up(state: State, why: str, *, is_last: bool = False) -> Step:
    """End what is open: what waits is denied; what was sent, and will not be heard of, may have been done."""
    actions: tuple[Action, ...] = ()
    state = replace(state, evidence=replace(state.evidence, pending=None))
    for request in state.requests:
        if request.status in ("proposed", "approved"):
            state, more = end(state, moved_to(request, "denied", why, "rules"))
            actions += more
        elif request.status == "sent" and (is_last or state.link == "down"):
            outcome = f"{why} while it was under way; whether it was done is not known"
            state, more = _fail(state, request, outcome, is_doubt=not is_last)
            actions += more
        elif request.status == "confirmed" and request.is_open and is_last:
            state, more = end(state, moved_to(request, "unscored", why), came=False)
            actions += more
    return state, actions


def end(state: State, request: Request, *, came: bool = True) -> Step:
    """Note the end of a request, and pause before the next; `came` is whether its frame did."""
    state = replace(_with(state, request), memory=rest(state.memory, state.rules.policy))
    state, told = note_end(state, request, came=came)
    actions: tuple[Action, ...] = (AnnounceRequest(request=request), *told)
    if request.status == "expired" or request.was_turned_down:
        actions += _resting(state)
    return state, actions


def _resting(state: State) -> tuple[Action, ...]:
    """Say what the agent waits for, where nothing that is under way would have it choose anew."""
    told = state.instrument
    is_moving = told is not None and told.is_scanning
    if is_moving or state.evidence.is_stale or state.halted or state.rules.policy.rule != "value":
        return ()
    text = "nothing more is asked for until a frame comes or a mode is set, for nothing is scanned"
    return (Notice(level="info", text=text, remedy=_TO_GO_ON),)


def _anew(state: State) -> State:
    """Have what to ask for chosen anew: the operator has set a mode, so earlier answers count no more."""
    kept = tuple(repeat for repeat in state.evidence.repeats if repeat.is_unreadable)
    return replace(state, evidence=replace(state.evidence, repeats=kept, pending=None, is_stale=True))


def _send(state: State, now_s: float, approved: Request) -> Step:
    """Send the next command of what is approved, if no limit speaks against this one or those after it."""
    state = _with(state, approved)
    announced = AnnounceRequest(request=approved)
    left = approved.wish.commands[approved.done :]
    objection = _objection(state, left, now_s)
    if objection is not None:
        done = "its first part was done; the frame was " if approved.done else ""
        state, actions = _fail(state, approved, f"{done}not sent: {objection}", is_doubt=False)
        return state, (announced, *actions)
    command = left[0]
    limit_s = timeout_s(command, state)
    sent = moved_to(approved, "sent", expires_s=now_s + limit_s + GRACE_S)
    state = replace(_with(state, sent), sent_s=(*state.sent_s, now_s)[-_SENT_KEPT:])
    state = reserve(state, command, sent.command_name)
    if isinstance(command, SwitchEnergy):
        state = replace(state, energy_doubt=f"request {sent.id} changes the beam energy")
    send = SendCommand(request=sent.command_name, command=command, timeout_s=limit_s)
    return state, (announced, AnnounceRequest(request=sent), send)


def _objection(state: State, commands: tuple[Command, ...], now_s: float) -> str | None:
    """Why the first of some commands may not be sent, or one of the others never could."""
    if state.link != "up":
        return "there is no link"
    if state.is_reader:
        return "another client controls the instrument"
    if state.halted:
        return f"the agent has stopped acting: {state.halted}"
    now = circumstances(state)
    objections = (find_objection(command, state.rules.limits, now, now_s) for command in commands)
    return next((objection for objection in objections if objection is not None), None)


def _confirmed(state: State, now_s: float, request: Request) -> Step:
    """Send the rest of a request whose command was confirmed, or wait for what it promised."""
    done = request.done + 1
    if isinstance(request.wish.commands[request.done], SwitchEnergy):
        state = replace(state, energy_doubt="")
    if done < len(request.wish.commands):
        return _send(state, now_s, moved_to(request, "approved", done=done))
    outcome = "the instrument confirmed it"
    promise = request.wish.promise
    wait_s = state.rules.policy.expiry_s + (0.0 if promise is None else promise.seconds)
    confirmed = moved_to(request, "confirmed", outcome, expires_s=now_s + wait_s)
    if promise is None:
        return end(state, confirmed)
    early = state.evidence.early
    if early is not None and early[0] == request.id:
        state = replace(state, evidence=replace(state.evidence, early=None))
        state, actions = end(_with(state, confirmed), moved_to(confirmed, early[1], early[2]))
        return state, (AnnounceRequest(request=confirmed), *actions)
    return _with(state, confirmed), (AnnounceRequest(request=confirmed),)


def _fail(state: State, request: Request, outcome: str, *, is_doubt: bool) -> Step:
    """End a request that failed; if it is not known how the instrument stands, stop acting."""
    state, actions = end(state, moved_to(request, "failed", outcome))
    if not is_doubt:
        return state, (*actions, *(_resting(state) if request.wish.promise is None else ()))
    state, more = halt(state, f"request {request.id} failed ({outcome})")
    return state, (*actions, *more)


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
