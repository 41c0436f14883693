"""What `decide` books in the ledger of doses: frames as they come, and scans as they are asked for."""

from dataclasses import replace

from agent.actions import Action, Notice
from agent.interlocks import Circumstances
from agent.ledger import Exposure, Ledger, exposure_of_command, exposure_of_frame
from agent.state import Doses, Reservation, State
from drivers.contract.header import FrameHeader
from drivers.contract.instrument import AcquireImage, Command


def open_ledger(state: State) -> State:
    """Begin a session's ledger, with regions of the size that its rules say."""
    return replace(state, doses=Doses(ledger=Ledger(state.rules.limits.region_nm * 10)))


def book_frame(state: State, header: FrameHeader) -> State:
    """Book a frame that has come; of those that detectors read at once, only the first."""
    doses, group = state.doses, header.simultaneous
    if group is not None and group.group == doses.group:
        return state
    name = header.command_id
    reserved = [one for one in doses.reserved if f"{state.session}.{one.command_name}" == name]
    for one in reserved:
        state = release(state, one.command_name)
    exposure = exposure_of_frame(header, header.shape)
    return _booked(
        replace(state, doses=replace(state.doses, group=None if group is None else group.group)), exposure
    )


def note_excess(state: State) -> tuple[State, tuple[Action, ...]]:
    """Say once when the frames that came, whoever asked for them, have brought a region past the limit."""
    doses, limit = state.doses, state.rules.limits.dose_e_per_a2
    if not limit or doses.is_over or doses.last is None:
        return state, ()
    taken = doses.ledger.most_in(doses.last.box, state.evidence.drift_angstrom)
    if taken <= limit:
        return state, ()
    text = (
        f"a region of the specimen has taken {taken:.3g} e/Å², and limits.dose_e_per_a2 is {limit:.3g}: the "
        "instrument's own scanning has passed it, and no scan there is asked for any more"
    )
    remedy = "a live scan is yours to stop; move on, or raise the limit"
    state = replace(state, doses=replace(doses, is_over=True))
    return state, (Notice(level="warning", text=text, remedy=remedy),)


def book_lost(state: State, count: int) -> State:
    """Book frames that were taken and did not come: each counts as the last one that did."""
    if count <= 0:
        return state
    last = state.doses.last
    lost = None if last is None else Exposure(last.box, last.dose_e_per_a2 * count)
    return _booked(state, lost, is_seen=False)


def reserve(state: State, command: Command, command_name: str) -> State:
    """Book a scan as it is asked for: whatever becomes of the answer, the beam may have been there."""
    if not isinstance(command, AcquireImage) or state.instrument is None:
        return state
    exposure, drift = exposure_of_command(command, state.instrument), state.evidence.drift_angstrom
    if exposure is None:
        return state  # without a limit; with one it would not have been sent
    doses = state.doses
    reservation = Reservation(command_name, exposure, drift)
    ledger = doses.ledger.booked(exposure, drift)
    return replace(state, doses=replace(doses, ledger=ledger, reserved=(*doses.reserved, reservation)[-16:]))


def release(state: State, command_name: str) -> State:
    """Take a reservation back: its scan was refused, or its frame has come and is booked as it is."""
    doses = state.doses
    kept = tuple(one for one in doses.reserved if one.command_name != command_name)
    ledger = doses.ledger
    for one in doses.reserved:
        if one.command_name == command_name and one.exposure is not None:
            undone = Exposure(one.exposure.box, -one.exposure.dose_e_per_a2)
            ledger = ledger.booked(undone, one.drift_angstrom)
    return replace(state, doses=replace(doses, ledger=ledger, reserved=kept))


def circumstances(state: State) -> Circumstances:
    """What a command has to be checked against."""
    told = state.instrument
    return Circumstances(
        capabilities=state.capabilities,
        state=told,
        sent_s=state.sent_s,
        host=state.rules.context.host or (told.host if told is not None else None),
        ledger=state.doses.ledger,
        drift_angstrom=state.evidence.drift_angstrom,
    )


def _booked(state: State, exposure: Exposure | None, *, is_seen: bool = True) -> State:
    """Book one scan."""
    ledger = state.doses.ledger.booked(exposure, state.evidence.drift_angstrom)
    last = exposure if is_seen and exposure is not None else state.doses.last
    return replace(state, doses=replace(state.doses, ledger=ledger, last=last))
