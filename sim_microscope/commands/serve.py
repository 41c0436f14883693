"""`columnist sim serve`, `python -m sim_microscope`: the simulated microscope on the wire."""

import argparse
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from drivers.addresses import CONTROL_PORT
from drivers.bridge import Bridge, Options
from drivers.commands.options import count
from drivers.contract.codec import explain
from drivers.contract.context import Specimen, parse_detector
from drivers.contract.errors import InputError
from drivers.contract.instrument import StopScan
from sim_microscope.commands.options import finite
from sim_microscope.instrument import Instrument
from sim_microscope.server import Clock, FastClock, RealClock, SimulatedMicroscope
from sim_microscope.settings import SimulatorSettings
from sim_microscope.simulate import load_kernels
from sim_microscope.truth import TruthServer

_DEFAULTS = SimulatorSettings()

#: Options that are a field of the settings: group, option, field, help.
_NUMBERS = (
    ("specimen", "--vac1", "vac1", "single vacancies a chalcogen column"),
    ("specimen", "--vac2", "vac2", "double vacancies a chalcogen column"),
    ("specimen", "--dopant-fraction", "dopant_fraction", "dopants a metal column (0.04 with a dopant)"),
    ("specimen", "--rotation-deg", "rotation_deg", "rotation of the lattice (default: drawn)"),
    ("specimen", "--contamination-nm", "contamination_nm", "mean thickness of carbon at the start"),
    (
        "specimen",
        "--contamination-growth",
        "contamination_nm_per_dose",
        "nm of carbon that 10^6 electrons/Å² bring",
    ),
    ("specimen", "--drift-x", "drift_x_nm_per_s", "steady drift along columns, nm/s"),
    ("specimen", "--drift-y", "drift_y_nm_per_s", "steady drift along rows, nm/s"),
    ("specimen", "--drift-walk", "drift_walk_nm", "random walk, nm after one second"),
    (
        "specimen",
        "--radiolysis-barn",
        "radiolysis_barn",
        "cross-section of damage by electronic excitation, at any energy",
    ),
    ("beam", "--energy-kev", "energy_kev", "beam energy at first"),
    ("beam", "--convergence-mrad", "convergence_mrad", "semi-angle; kernels are for 31"),
    ("beam", "--current-pa", "beam_current_pa", "beam current"),
    ("beam", "--source-angstrom", "source_sigma_angstrom", "standard deviation of the source"),
    ("beam", "--defocus-angstrom", "defocus_angstrom", "defocus that stays"),
    ("beam", "--energy-ramp-s", "energy_ramp_s", "duration of an energy change, beam off"),
    ("beam", "--energy-settle-s", "energy_settle_s", "time from then on in which the focus comes back"),
    ("scan", "--fov-nm", "fov_nm", "width of the field"),
    ("scan", "--dwell-us", "dwell_us", "time at every point"),
    ("scan", "--flyback-us", "flyback_us", "time between two rows"),
    ("scan", "--row-jitter-px", "row_jitter_px", "standard deviation of the shift of rows"),
    (
        "scan",
        "--pixel-size-error",
        "pixel_size_error",
        "calibration error, true over declared pixel size less one, for example 0.04",
    ),
    ("scan", "--gain", "gain_counts_per_e", "counts an electron"),
    ("scan", "--offset", "offset_counts", "counts in the dark"),
    ("scan", "--readout", "readout_sigma_counts", "counts, standard deviation"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    groups = {name: parser.add_argument_group(name) for name in ("specimen", "beam", "scan", "session")}
    groups["specimen"].add_argument(
        "--host", default=_DEFAULTS.specimen.host, help="1H monolayer (default WSe2)"
    )
    groups["specimen"].add_argument(
        "--dopant", help="dopant of the metal site, or none (default Ti where the host is WSe2)"
    )
    groups["specimen"].add_argument("--no-damage", action="store_true", help="the beam makes no vacancies")
    groups["beam"].add_argument(
        "--detectors",
        nargs="+",
        default=["HAADF", "MAADF"],
        metavar="DETECTOR",
        help="what it has: HAADF, MAADF, or INNER-OUTER in mrad (default HAADF MAADF)",
    )
    groups["beam"].add_argument(
        "--active",
        nargs="+",
        metavar="DETECTOR",
        help="those that read at first, at once if several (default: the first)",
    )
    groups["beam"].add_argument(
        "--energies-kev",
        nargs="+",
        type=finite,
        help="energies that it can be switched to (default 60 80 100)",
    )
    groups["scan"].add_argument("--pixels", type=count, default=_DEFAULTS.pixels, help="points along an edge")
    for group, option, field, summary in _NUMBERS:
        default = getattr(_DEFAULTS, field)
        shown = "" if default is None else f" (default {default:g})"
        groups[group].add_argument(option, dest=field, type=finite, default=default, help=summary + shown)
    session = groups["session"]
    session.add_argument("--seed", type=int, default=0, help="the same seed makes the same specimen")
    session.add_argument(
        "--pace",
        choices=("real", "fast"),
        default="real",
        help="frames at the pace of dwell times pixels, or as fast as they can be made",
    )
    session.add_argument(
        "--frames", type=count, help="end the session after so many, and stop when they are delivered"
    )
    session.add_argument("--idle", action="store_true", help="take no frames until told to")
    session.add_argument("--method", choices=("kernels", "multislice"), default="kernels")
    session.add_argument(
        "--listen", default="127.0.0.1", help="address to listen on; others than 127.0.0.1 need --keys"
    )
    session.add_argument(
        "--keys", type=Path, metavar="FOLDER", help="let in only holders of these (`columnist keys`)"
    )
    session.add_argument(
        "--port",
        type=int,
        default=CONTROL_PORT,
        help=f"control port; data is on the next; 0 takes free ones (default {CONTROL_PORT})",
    )
    session.add_argument(
        "--serve-truth",
        type=int,
        metavar="PORT",
        help="serve the columns of every frame on this port (0: a free one); for tests",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until interrupted."""
    microscope = build_microscope(arguments)
    truth = None
    if arguments.serve_truth is not None:
        truth = TruthServer(microscope.truth, arguments.serve_truth)
    try:
        bridge = Bridge(
            microscope,
            Options(host=arguments.listen, port=arguments.port, keys=arguments.keys, unblanks=True),
        )
        name = bridge.capabilities.instrument
        print(f"serving {name} on {bridge.address}, session {bridge.session}", flush=True)
        if truth is not None:
            print(f"truth on {truth.address}", flush=True)
        bridge.run(until_done=arguments.frames is not None)
    except KeyboardInterrupt:
        print("stopped", flush=True)
    finally:
        if truth is not None:
            truth.close()
    return 0


def build_microscope(arguments: argparse.Namespace) -> SimulatedMicroscope:
    """Make the microscope that the command line describes, and one frame, so that the first comes in time.

    Raises
    ------
    InputError
        If the options contradict each other.
    """
    settings = build_settings(arguments)
    find_kernels = cache(load_kernels)
    if settings.method == "kernels":
        trial = Instrument(settings, find_kernels=find_kernels)
        trial.begin_scan(0.0)
    clock: Clock = FastClock() if arguments.pace == "fast" else RealClock()
    instrument = Instrument(settings, at_s=clock.now_s(), find_kernels=find_kernels)
    if arguments.idle:
        instrument.execute(StopScan(), clock.now_s())
    return SimulatedMicroscope(instrument, clock, frames=arguments.frames)


def build_settings(arguments: argparse.Namespace) -> SimulatorSettings:
    """Settings from the options.

    Raises
    ------
    InputError
        If one is out of range.
    """
    dopant = arguments.dopant
    if dopant is None and arguments.host == _DEFAULTS.specimen.host:
        dopant = _DEFAULTS.specimen.dopant
    detectors = tuple(parse_detector(text) for text in arguments.detectors)
    active = tuple(parse_detector(text).name for text in arguments.active or ())
    known: dict[str, Any] = {field: getattr(arguments, field) for _, _, field, _ in _NUMBERS}
    if arguments.energies_kev:
        known["energies_kev"] = tuple(arguments.energies_kev)
    try:
        return SimulatorSettings(
            specimen=Specimen(host=arguments.host, dopant=None if dopant == "none" else dopant),
            detectors=detectors,
            active=active or (detectors[0].name,),
            pixels=arguments.pixels,
            seed=arguments.seed,
            is_damaging=not arguments.no_damage,
            method=arguments.method,
            **known,
        )
    except ValidationError as error:
        raise InputError(explain(error)) from error
