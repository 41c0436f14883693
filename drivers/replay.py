"""A recorded session, or a collection of files, as an instrument that plays it and answers requests.

Asked for another detector or energy, it goes on with the frames that it holds of that context, first at the
position that it played last, as an instrument does whose stage did not move.  What it does not hold, it
refuses.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from drivers.contract.errors import CommandRefusedError, InputError
from drivers.contract.header import Simultaneous, Window
from drivers.contract.instrument import (
    AcquireImage,
    BlankBeam,
    Capabilities,
    Command,
    InstrumentState,
    StartScan,
    StopScan,
    SwitchDetector,
    SwitchEnergy,
    UnblankBeam,
)
from drivers.frame_facts import wire_pixels
from drivers.microscope import EndOfFramesError, Exposure
from drivers.recording import (
    Held,
    Recording,
    Setting,
    detectors_of,
    energies_of,
    most_at_once,
    recorded_scans,
    scans_with,
    setting_of,
)

AtEnd = Literal["end", "hold", "loop"]

#: Largest relative difference of a dwell time that was asked for from one that is held.
DWELL_RELATIVE = 0.02


@dataclass(frozen=True)
class Options:
    """How a recording is played.

    Parameters
    ----------
    speed : float
        1 is its own pace, N is N times faster, infinity as fast as the frames are taken.
    at_end : str
        ``"end"`` the session after the last frame, ``"hold"`` there and wait for requests, or ``"loop"``.
    detectors : tuple of str
        Those to start with, in place of those of the first frame.
    """

    speed: float = 1.0
    at_end: AtEnd = "hold"
    detectors: tuple[str, ...] = ()


#: What the state has in common with the frame played last.
_STATE_AS_FRAME = (
    "host",
    "dopants",
    "convergence_mrad",
    "field_of_view_nm",
    "dwell_us",
    "beam_current_pa",
    "stage",
)


@dataclass
class _Scan:
    """A scan under way, complete at `due_s`; `left` holds the frames of it that were not taken yet."""

    indices: tuple[int, ...]
    window: Window | None
    due_s: float
    left: deque[int]

    @property
    def is_untouched(self) -> bool:
        """Whether none of its frames was taken."""
        return len(self.left) == len(self.indices)


class ReplayMicroscope:
    """Plays a recording; implements `Microscope`.

    Parameters
    ----------
    recording : Recording
    options : Options, optional
    clock, wait : callable
        Monotonic seconds, and a wait of some seconds.

    Raises
    ------
    InputError
        If the recording holds no frame of the detectors to start with.
    """

    def __init__(
        self,
        recording: Recording,
        options: Options | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], Any] = time.sleep,
    ) -> None:
        self._recording = recording
        self._options = options or Options()
        self._clock = clock
        self._wait = wait
        self._scans = recorded_scans(recording)
        self._setting = setting_of([recording.frames[index] for index in self._scans[0]])
        # A series changes its context by itself until it is asked for one.
        self._is_following = recording.is_series and not self._options.detectors
        self._last: tuple[int, ...] = ()
        self._first: tuple[int, ...] = ()
        self._scan: _Scan | None = None
        self._asked: deque[Window | None] = deque()
        self._group = 0
        self._is_scanning = True
        self._is_blanked = False
        if not self._is_following:
            detectors = self._options.detectors or self._setting.detectors
            try:
                self._switch(Setting(self._setting.energy_kev, detectors))
            except CommandRefusedError as error:
                raise InputError(str(error)) from error

    @property
    def unplayed(self) -> str:
        """Which frames are not played by themselves, and why, for people; empty if all are."""
        if self._is_following:
            return ""
        played = {index for scan in self._scans for index in scan}
        left = [held for index, held in enumerate(self._recording.frames) if index not in played]
        if not left:
            return ""
        return (
            f"{len(left)} of {len(self._recording.frames)} frames are not played unless they are asked for: "
            f"they are of {_contents(left)}, and what is played is of "
            f"{' and '.join(self._setting.detectors) or 'no known detector'} at "
            f"{_energy(self._setting.energy_kev)}"
        )

    def capabilities(self) -> Capabilities:
        """What the recording can answer."""
        detectors, energies = detectors_of(self._recording), energies_of(self._recording)
        commands = ["acquire_image", "start_scan", "stop_scan", "blank_beam", "unblank_beam"]
        commands += ["switch_detector"] if detectors else []
        commands += ["switch_energy"] if energies else []
        return Capabilities(
            instrument=f"recorded: {self._recording.name}"[:100],
            commands=tuple(commands),
            energies_kev=energies[:64],
            detectors=detectors[:64],
            max_simultaneous=most_at_once(self._recording),
            can_scan_windows=True,
        )

    def state(self) -> InstrumentState:
        """Tell the setting, and what the frame played last says of the rest."""
        held = self._recording.frames[(self._last or self._scans[0])[0]]
        by_name = {detector.name: detector for detector in detectors_of(self._recording)}
        known: dict[str, Any] = {name: getattr(held.facts, name) for name in _STATE_AS_FRAME}
        return InstrumentState(
            **known,
            monotonic_s=self._clock(),
            energy_kev=self._setting.energy_kev,
            detectors=tuple(by_name[name] for name in self._setting.detectors),
            shape_px=_grid(held),
            is_blanked=self._is_blanked,
            is_scanning=self._is_scanning,
        )

    def take_frame(self, timeout_s: float) -> Exposure | None:
        """Play the next frame when its time has come.

        Raises
        ------
        EndOfFramesError
            After the last frame, if the session is to end there.
        InputError
            If the frame cannot be read; the next call goes on behind it.
        """
        scan = self._scan = self._scan or self._next_scan()
        if scan is None or self._is_blanked:
            self._wait(timeout_s)
            return None
        ahead_s = scan.due_s - self._clock()
        if ahead_s > 0:
            self._wait(min(ahead_s, timeout_s))
            if scan.due_s > self._clock():
                return None
        index = scan.left.popleft()
        self._scan = scan if scan.left else None
        self._last, self._first = scan.indices, ()
        if self._is_following:
            self._setting = setting_of([self._recording.frames[one] for one in scan.indices])
        return self._expose(index, scan)

    def execute(self, command: Command) -> None:
        """Answer with what the recording holds.

        Raises
        ------
        CommandRefusedError
            If it holds no such frame.
        """
        match command:
            case SwitchDetector():
                self._switch(Setting(self._setting.energy_kev, command.detectors))
            case SwitchEnergy():
                self._switch(Setting(command.energy_kev, self._setting.detectors))
            case AcquireImage():
                self._check_scan(command, command.window)
                self._asked.append(command.window)
                self._break_off()
            case StartScan():
                self._check_scan(command, None)
                self._is_scanning = True
            case StopScan():
                self._is_scanning = False
                self._break_off()
            case BlankBeam() | UnblankBeam():
                self._is_blanked = isinstance(command, BlankBeam)
            case _:
                raise CommandRefusedError(f"a recording does not take {command.kind}")

    def close(self) -> None:
        """Nothing is held."""

    def _switch(self, setting: Setting) -> None:
        """Go on with the frames of a setting, at the position where it is."""
        scans = scans_with(self._recording, setting)
        if not scans:
            held = _contents(self._recording.frames)
            raise CommandRefusedError(
                f"{self._recording.name} holds no frame at {_energy(setting.energy_kev)} of "
                f"{' and '.join(setting.detectors) or 'no known detector'}; it holds {held}"
            )
        self._setting, self._scans, self._is_following = setting, scans, False
        self._break_off()
        if self._last:
            self._first = self._nearest()

    def _nearest(self) -> tuple[int, ...]:
        """Return the scan of the present setting where the instrument is, nearest in time; empty if none."""
        if not self._last:
            return self._scans[0]
        here = self._recording.frames[self._last[0]].position
        scans = [scan for scan in self._scans if self._recording.frames[scan[0]].position == here]
        return min(scans, key=lambda scan: abs(min(scan) - min(self._last)), default=())

    def _break_off(self) -> None:
        if self._scan is not None and self._scan.is_untouched:
            self._scan = None

    def _next_scan(self) -> _Scan | None:
        window = None
        if self._asked:
            window, indices = self._asked.popleft(), self._nearest()
        elif not self._is_scanning:
            return None
        else:
            indices = self._first or self._following()
        if not indices:
            return None
        held = self._recording.frames[indices[0]]
        lasts_s = held.lasts_s
        if window is not None:
            lasts_s *= window.rows_px * window.cols_px / (held.shape[0] * held.shape[1])
        due_s = self._clock() + lasts_s / self._options.speed
        self._group += 1
        return _Scan(indices, window, due_s, deque(indices))

    def _following(self) -> tuple[int, ...]:
        """Return the scan after the last one, or what comes at the end."""
        behind = min(self._last, default=-1)
        for scan in self._scans:
            if min(scan) > behind:
                return scan
        if self._options.at_end == "loop":
            return self._scans[0]
        if self._options.at_end == "end":
            raise EndOfFramesError(f"{self._recording.name} holds no more frames")
        return ()

    def _check_scan(self, command: AcquireImage | StartScan, window: Window | None) -> None:
        """Raise unless the frame where the instrument is can stand for what is asked for."""
        indices, name = self._nearest(), self._recording.name
        if not indices:
            wanted = " and ".join(self._setting.detectors)
            raise CommandRefusedError(f"{name} holds no frame of {wanted} at this position")
        held = self._recording.frames[indices[0]]
        dwell_us, grid = held.facts.dwell_us, _grid(held)
        if command.dwell_us is not None and (
            dwell_us is None or abs(command.dwell_us / dwell_us - 1) > DWELL_RELATIVE
        ):
            known = "an unknown dwell time" if dwell_us is None else f"{dwell_us:g} us"
            raise CommandRefusedError(
                f"{self._recording.name} holds a frame of {known}, not {command.dwell_us:g} us"
            )
        if command.shape_px is not None and command.shape_px != grid:
            raise CommandRefusedError(
                f"{name} holds a frame of {grid[0]} x {grid[1]} px, not "
                f"{command.shape_px[0]} x {command.shape_px[1]}"
            )
        if window is not None:
            if held.facts.window is not None:
                raise CommandRefusedError("the recorded frame is itself a window of its field")
            try:
                window.check_inside(grid)
            except InputError as error:
                raise CommandRefusedError(str(error)) from error

    def _expose(self, index: int, scan: _Scan) -> Exposure:
        held = self._recording.frames[index]
        pixels = wire_pixels(held.load())
        simultaneous = None
        if len(scan.indices) > 1:
            place = scan.indices.index(index)
            simultaneous = Simultaneous(group=f"scan-{self._group}", index=place, count=len(scan.indices))
        facts = held.facts.rebuilt(
            monotonic_s=None, wall_time_unix_s=None, command_id=None, simultaneous=simultaneous
        )
        window = scan.window
        if window is not None:
            rows = slice(window.row_px, window.row_px + window.rows_px)
            pixels = pixels[rows, window.col_px : window.col_px + window.cols_px].copy()
            facts = facts.rebuilt(window=window, field_shape_px=_grid(held))
        return Exposure(pixels, facts)


def _contents(frames: Sequence[Held]) -> str:
    """The contexts of some frames, each once."""
    found = dict.fromkeys(
        (
            held.facts.energy_kev,
            held.facts.detector.name if held.facts.detector else "an unnamed detector",
        )
        for held in frames
    )
    return ", ".join(f"{name} at {_energy(energy)}" for energy, name in found)


def _grid(held: Held) -> tuple[int, int]:
    return held.facts.field_shape_px or held.shape


def _energy(energy_kev: float | None) -> str:
    return "an unknown energy" if energy_kev is None else f"{energy_kev:g} keV"
