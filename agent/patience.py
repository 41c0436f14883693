"""How long a command may take, and whether what confirmed it agrees with what was asked for."""

from agent.state import State
from drivers.confirm import Tolerances
from drivers.confirm import disagreement as differs
from drivers.contract.instrument import AcquireImage, Command, InstrumentState, SwitchEnergy

#: Longer than the command itself may take: until then its end must have been told [s].
GRACE_S = 10.0

#: A change may take this many times as long as the instrument says.
_TIMES = 3.0


def timeout_s(command: Command, state: State) -> float:
    """How long the instrument may take, by its own word or the settings, whichever is longer."""
    base, told, can = state.rules.command_timeout_s, state.instrument, state.capabilities
    if isinstance(command, SwitchEnergy) and can is not None:
        return max(base, _TIMES * can.energy_switch_s)
    if isinstance(command, AcquireImage) and told is not None:
        grid = command.shape_px or told.shape_px or (0, 0)
        rows, cols = grid if command.window is None else (command.window.rows_px, command.window.cols_px)
        dwell_us = command.dwell_us or told.dwell_us or 0.0
        flyback_us = 0.0 if can is None else can.flyback_us
        return base + _TIMES * rows * (cols * dwell_us + flyback_us) * 1e-6
    return base


def disagreement(command: Command, state: InstrumentState | None) -> str:
    """Say how the state that confirmed a command differs from what was asked for; empty if it agrees."""
    if state is None or isinstance(command, AcquireImage):
        return ""
    return differs(command, state, Tolerances())
