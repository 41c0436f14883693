"""Trials: an instrument behind a real bridge, one fault, a real client, and whether all is well afterwards.

For whoever writes a bridge or a driver: `run_trial` takes any `Microscope` that goes on giving frames and
whose field of view can be set.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from drivers.bridge import Bridge, serving
from drivers.bridge import Options as BridgeOptions
from drivers.client import BridgeClient
from drivers.client import Options as ClientOptions
from drivers.contract.frame import Frame
from drivers.contract.instrument import Command, CommandOutcome, SetFieldOfView, SwitchEnergy
from drivers.contract.messages import Dropped, LinkUp, Rejected
from drivers.fault_relay import FaultRelay, relaying
from drivers.faults import INSTRUMENT_FAULTS, Fault
from drivers.faulty_microscope import FaultyMicroscope
from drivers.microscope import Microscope

#: Frames that come before the fault, so that all is under way.
_BEFORE = 5

#: A command that gets no answer is sent anew, under another id, after this [s].
_ANSWER_S = 1.0

#: Each field of view is larger than the one before by more than is taken for the same.
_STEP = 1.03


@dataclass
class Trial:
    """How it went.

    Parameters
    ----------
    recovered_s : float or None
        From the end of the fault until every frame of before had come, and a command was confirmed;
        None if that did not happen in time.
    lost : list of int
        Frames that never came and were not announced as dropped either.
    repeated : int
        Frames that came twice or out of order.
    executed_twice : int
        Commands that reached the instrument more than once.
    """

    fault: Fault
    seed: int
    recovered_s: float | None = None
    lost: list[int] = field(default_factory=list)
    repeated: int = 0
    executed_twice: int = 0
    rejected: int = 0
    links: int = 0

    @property
    def is_good(self) -> bool:
        """Whether all is well again, and nothing came twice or was lost."""
        return self.recovered_s is not None and not (self.lost or self.repeated or self.executed_twice)


async def run_trial(
    make: Callable[[], Microscope],
    fault: Fault,
    seed: int = 0,
    *,
    bridge_options: BridgeOptions | None = None,
    client_options: ClientOptions | None = None,
    patience_s: float = 20.0,
) -> Trial:
    """Let an instrument meet one fault.

    Parameters
    ----------
    make : callable
        Makes the instrument; called twice where the fault is its restart.
    fault : Fault
    seed : int
    bridge_options, client_options : Options, optional
    patience_s : float
        How long after the fault's end all must be well.

    Returns
    -------
    Trial
    """
    trial = Trial(fault, seed)
    options = bridge_options or BridgeOptions(port=0)
    with contextlib.ExitStack() as stack:
        microscope = FaultyMicroscope(make())
        bridge = stack.enter_context(serving(microscope, options))
        relay = stack.enter_context(relaying(bridge.address, seed=seed))
        stage = _Stage(trial, microscope, bridge, relay, stack, make, options)
        async with BridgeClient(relay.address, client_options) as client:
            reading = asyncio.create_task(stage.read(client))
            try:
                async with asyncio.timeout(patience_s + fault.lasts_s + 10.0):
                    await stage.go_through(client, patience_s)
            except TimeoutError:
                trial.recovered_s = None
            finally:
                reading.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await reading
        stage.count()
    return trial


@dataclass
class _Stage:
    """Everybody on it."""

    trial: Trial
    microscope: FaultyMicroscope
    bridge: Bridge
    relay: FaultRelay
    stack: contextlib.ExitStack
    make: Callable[[], Microscope]
    options: BridgeOptions
    seen: dict[str, list[int]] = field(default_factory=dict)
    excused: dict[str, set[int]] = field(default_factory=dict)
    sent: list[Command] = field(default_factory=list)
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    session: str = ""
    target: int = 0

    async def read(self, client: BridgeClient) -> None:
        """Note what comes."""
        async for arrival in client.arrivals():
            match arrival.content:
                case Frame() as frame:
                    self.seen.setdefault(frame.header.session, []).append(frame.header.sequence)
                case Dropped() as dropped:
                    numbers = range(dropped.first_sequence, dropped.last_sequence + 1)
                    self.excused.setdefault(dropped.session, set()).update(numbers)
                case Rejected():
                    self.trial.rejected += 1
                case LinkUp():
                    self.trial.links += 1
            self.moved.set()

    async def go_through(self, client: BridgeClient, patience_s: float) -> None:
        """Wait for frames, begin the fault, try a command in it, and wait for its end and what follows."""
        await self._until(lambda: len(self.seen.get(self.bridge.session, ())) >= _BEFORE)
        fault, began_s = self.trial.fault, time.monotonic()
        if fault.kind == "restart":
            self._restart()
        elif fault.kind in INSTRUMENT_FAULTS:
            self.microscope.begin(fault)
        else:
            self.relay.begin(fault)
        ends_s = began_s + fault.lasts_s
        meanwhile = asyncio.create_task(self._command(client, max(0.2, fault.lasts_s)))
        await asyncio.sleep(max(0.0, ends_s - time.monotonic()))
        ended_s, target, session = time.monotonic(), self.bridge.next_sequence, self.bridge.session
        async with asyncio.timeout(patience_s):
            await self._until(lambda: self._has(session, target))
            while (await self._command(client, _ANSWER_S)).status != "confirmed":
                await asyncio.sleep(0.05)
            self.trial.recovered_s = time.monotonic() - ended_s
            await meanwhile
        self.session, self.target = session, target

    def count(self) -> None:
        """Compare what came with what there was."""
        for session, numbers in self.seen.items():
            self.trial.repeated += sum(one >= other for one, other in itertools.pairwise(numbers))
            end = self.target if session == self.session else max(numbers) + 1
            excused = self.excused.get(session, set())
            self.trial.lost += sorted(set(range(end)) - set(numbers) - excused)
        executed = [command for command in self.microscope.executed if command in self.sent]
        self.trial.executed_twice = len(executed) - len(set(executed))

    def _has(self, session: str, target: int) -> bool:
        numbers = self.seen.get(session, [])
        excused = self.excused.get(session, set())
        return max([*numbers, *excused], default=-1) >= target - 1

    async def _until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            self.moved.clear()
            await self.moved.wait()

    async def _command(self, client: BridgeClient, timeout_s: float) -> CommandOutcome:
        """Send a command that is like none before, so that one that is carried out twice is seen."""
        capabilities = self.bridge.capabilities
        if self.trial.fault.kind == "ramp_hangs" and not self.sent and capabilities.energies_kev:
            command: Command = SwitchEnergy(energy_kev=capabilities.energies_kev[0])
        else:
            least, most = capabilities.field_of_view_nm_range or (1.0, 100.0)
            field_nm = least * _STEP ** len(self.sent)
            command = SetFieldOfView(field_of_view_nm=least + (field_nm - least) % (most - least))
        self.sent.append(command)
        return await client.execute(command, timeout_s=timeout_s)

    def _restart(self) -> None:
        """Another bridge takes the place of the first one."""
        self.microscope = FaultyMicroscope(self.make())
        self.bridge = self.stack.enter_context(serving(self.microscope, self.options))
        self.relay.redirect(self.bridge.address)
