"""`columnist simulate`: frames of a doped monolayer, with their truth."""

import argparse
import os
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from drivers.contract.context import CONVERGENCE_MRAD, Context, Detector, Specimen, find_detector
from drivers.contract.errors import InputError
from sim_microscope.commands.kernels import find_device, progress_bar
from sim_microscope.crystal import DefectConcentrations, GrainBoundary
from sim_microscope.frame_files import summary, write_frame, write_picture, write_truth
from sim_microscope.imaging import Acquisition, Frame
from sim_microscope.kernels import load_table
from sim_microscope.pairs import load_pairs
from sim_microscope.simulate import SpecimenPlan, load_kernels, simulate_frame, simulate_multislice


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `columnist simulate`."""
    what = parser.add_argument_group("specimen")
    what.add_argument("--host", required=True, help="1H monolayer, for example WSe2")
    what.add_argument("--dopant", help="substitutional dopant of the metal site, for example Ti")
    what.add_argument("--vac1", type=float, default=0.04, help="single vacancies a chalcogen column")
    what.add_argument("--vac2", type=float, default=0.005, help="double vacancies a chalcogen column")
    what.add_argument("--dopant-fraction", type=float, help="dopants a metal column (0.02 with a dopant)")
    what.add_argument("--rotation-deg", type=float, help="rotation of the lattice (default: drawn)")
    what.add_argument(
        "--strain", type=float, nargs=4, metavar=("RR", "RC", "CR", "CC"), help="displacement gradient"
    )
    what.add_argument("--grain-boundary-deg", type=float, help="misorientation of a second grain")
    context = parser.add_argument_group("context")
    context.add_argument("--energy-kev", type=float, required=True)
    context.add_argument("--detector", required=True, help="HAADF, MAADF, or INNER-OUTER in mrad")
    context.add_argument("--convergence-mrad", type=float, default=CONVERGENCE_MRAD)
    scan = parser.add_argument_group("acquisition")
    scan.add_argument("--fov-nm", type=float, default=10.0)
    scan.add_argument("--pixels", type=int, default=512)
    scan.add_argument("--dose", type=float, default=1e5, help="electrons a square ångström; 0 for no noise")
    scan.add_argument("--dwell-us", type=float, default=10.0)
    scan.add_argument("--source-angstrom", type=float, default=0.4, help="standard deviation of the source")
    scan.add_argument("--defocus-nm", type=float, default=0.0)
    scan.add_argument("--astigmatism-nm", type=float, default=0.0)
    scan.add_argument("--astigmatism-deg", type=float, default=0.0)
    scan.add_argument("--spherical-um", type=float, default=0.0)
    scan.add_argument(
        "--drift-angstrom-per-s", type=float, nargs=2, default=(0.0, 0.0), metavar=("ROW", "COL")
    )
    scan.add_argument("--row-jitter-px", type=float, default=0.0)
    scan.add_argument("--distortion", type=float, nargs=4, metavar=("RR", "RC", "CR", "CC"))
    scan.add_argument(
        "--contamination", type=float, default=0.0, help="largest background, fraction of the beam"
    )
    scan.add_argument("--gain", type=float, default=1.0, help="counts an electron")
    scan.add_argument("--offset", type=float, default=0.0, help="counts")
    scan.add_argument("--readout", type=float, default=0.0, help="counts, standard deviation")
    scan.add_argument("--saturation", type=float, help="counts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=int, default=1, help="frames, with seeds from --seed upwards")
    parser.add_argument("--method", choices=["kernels", "multislice"], default="kernels")
    parser.add_argument("--table", type=Path, help="folder of another kernel table")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes of --method multislice"
    )
    parser.add_argument(
        "--device", choices=["auto", "cpu", "gpu"], default="auto", help="of --method multislice"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")


def run(arguments: argparse.Namespace) -> int:
    """Make the frames and write each as it is done."""
    try:
        context, acquisition = _context(arguments), _acquisition(arguments)
    except ValidationError as error:
        raise InputError("; ".join(_explain(problem) for problem in error.errors())) from error
    plan = _plan(arguments)
    if arguments.frames < 1:
        raise InputError(f"--frames {arguments.frames}: expected at least 1")
    for seed in range(arguments.seed, arguments.seed + arguments.frames):
        if seed < 0:
            raise InputError(f"--seed {arguments.seed}: expected 0 or more")
        if arguments.method == "kernels":
            kernels, device = _kernels(arguments, context), _torch_device(arguments.device)
            frame = simulate_frame(context, acquisition, plan, seed=seed, kernels=kernels, device=device)
        else:
            frame = _multislice(arguments, context, acquisition, plan, seed)
        _write(frame, arguments.out)
    return 0


def _explain(problem: object) -> str:
    """One problem of a validation in the words of the command line."""
    assert isinstance(problem, dict)
    place = ".".join(str(part) for part in problem["loc"])
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{place}: {message} (given: {problem['input']!r})" if place and "ctx" in problem else message


def _context(arguments: argparse.Namespace) -> Context:
    """Context from the options."""
    if arguments.energy_kev > 1000:
        raise InputError(
            f"--energy-kev {arguments.energy_kev:g}: expected kiloelectronvolts; "
            f"for {arguments.energy_kev:g} V give {arguments.energy_kev / 1e3:g}"
        )
    return Context(
        specimen=Specimen(host=arguments.host, dopant=arguments.dopant),
        energy_kev=arguments.energy_kev,
        detector=_detector(arguments.detector),
        convergence_mrad=arguments.convergence_mrad,
    )


def _detector(text: str) -> Detector:
    """Detector by name, or from its two angles."""
    inner, dash, outer = text.partition("-")
    try:
        angles = (float(inner), float(outer)) if dash else None
    except ValueError:
        angles = None
    if angles is None:
        return find_detector(text)
    return Detector(name=f"ADF {text} mrad", inner_mrad=angles[0], outer_mrad=angles[1])


def _acquisition(arguments: argparse.Namespace) -> Acquisition:
    """Acquisition from the options."""
    if arguments.dose < 0:
        raise InputError(f"--dose {arguments.dose:g}: expected electrons a square ångström, 0 for no noise")
    rr, rc, cr, cc = arguments.distortion or (0.0, 0.0, 0.0, 0.0)
    return Acquisition(
        pixels=arguments.pixels,
        fov_nm=arguments.fov_nm,
        dose_e_per_a2=arguments.dose or None,
        dwell_us=arguments.dwell_us,
        source_sigma_angstrom=arguments.source_angstrom,
        defocus_angstrom=arguments.defocus_nm * 10,
        astigmatism_angstrom=arguments.astigmatism_nm * 10,
        astigmatism_deg=arguments.astigmatism_deg,
        spherical_um=arguments.spherical_um,
        drift_row_angstrom_per_s=arguments.drift_angstrom_per_s[0],
        drift_column_angstrom_per_s=arguments.drift_angstrom_per_s[1],
        row_jitter_px=arguments.row_jitter_px,
        distortion=((rr, rc), (cr, cc)),
        contamination=arguments.contamination,
        gain_counts_per_e=arguments.gain,
        offset_counts=arguments.offset,
        readout_sigma_counts=arguments.readout,
        saturation_counts=arguments.saturation,
    )


def _plan(arguments: argparse.Namespace) -> SpecimenPlan:
    """Crystal from the options."""
    fraction = arguments.dopant_fraction
    if fraction is None:
        fraction = 0.02 if arguments.dopant else 0.0
    angle = arguments.grain_boundary_deg
    return SpecimenPlan(
        rotation_deg=arguments.rotation_deg,
        concentrations=DefectConcentrations(arguments.vac1, arguments.vac2, fraction),
        strain=None if arguments.strain is None else np.array(arguments.strain).reshape(2, 2),
        boundary=None if angle is None else GrainBoundary(angle),
    )


def _torch_device(wanted: str) -> str:
    """Device of the kernels' fields: the GPU only where it is asked for, as the CPU is exact to the bit."""
    return "cuda" if wanted == "gpu" else "cpu"


def _kernels(arguments: argparse.Namespace, context: Context):  # type: ignore[no-untyped-def]
    """Kernels of the context, from the shipped or the given table."""
    if arguments.table is None:
        return load_kernels(context)
    table, pairs = arguments.table / "kernels.npz", arguments.table / "pairs.npz"
    return load_kernels(context, load_table(table), load_pairs(pairs))


def _multislice(
    arguments: argparse.Namespace, context: Context, acquisition: Acquisition, plan: SpecimenPlan, seed: int
) -> Frame:
    """Make a frame by multislice behind a progress bar."""
    with progress_bar() as progress:
        bar = progress.add_task("multislice", total=None)
        return simulate_multislice(
            context,
            acquisition,
            plan,
            seed=seed,
            workers=arguments.workers,
            device=find_device(arguments.device),
            on_start=lambda total: progress.update(bar, total=total),
            on_done=lambda probes: progress.advance(bar, probes),
        )


def _write(frame: Frame, folder: Path) -> None:
    """Write frame, truth and picture, and say so."""
    context = frame.context
    folder.mkdir(parents=True, exist_ok=True)
    dopant = f"-{context.specimen.dopant}" if context.specimen.dopant else ""
    detector = context.detector.name.replace(" ", "_")
    stem = f"{context.specimen.host}{dopant}_{context.energy_kev:g}keV_{detector}_{frame.seed:04d}"
    write_frame(frame, folder / f"{stem}.hspy")
    write_truth(frame, folder / f"{stem}.csv")
    write_picture(frame, folder / f"{stem}.png")
    print(f"{folder / stem}.{{hspy,csv,png}}  {len(frame.pixel_positions)} columns {summary(frame)}")
