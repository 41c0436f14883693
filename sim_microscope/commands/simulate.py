"""`columnist simulate`: frames of a doped monolayer, with their truth."""

import argparse
import os
from pathlib import Path

from pydantic import ValidationError

from drivers.commands.options import count
from drivers.contract.context import CONVERGENCE_MRAD, Context, Specimen, parse_detector
from drivers.contract.errors import InputError
from sim_microscope.commands.options import find_device, finite, make_folder, progress_bar
from sim_microscope.crystal import Defect, DefectConcentrations, GrainBoundary, States
from sim_microscope.field import FieldKernels
from sim_microscope.frame_files import summary, write_frame, write_picture, write_truth
from sim_microscope.imaging import Acquisition
from sim_microscope.kernels import load_table
from sim_microscope.pairs import load_pairs
from sim_microscope.simulate import Frame, SpecimenPlan, load_kernels, simulate_frame, simulate_multislice

#: What a column can become.
_DEFECTS: tuple[States, ...] = ("dopant", "X1top", "X1bottom", "empty")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `columnist simulate`."""
    what = parser.add_argument_group("specimen")
    what.add_argument("--host", required=True, help="1H monolayer, for example WSe2")
    what.add_argument(
        "--dopant", help="substitutional dopant of the metal site, for example Ti, or none (default)"
    )
    what.add_argument("--vac1", type=finite, default=0.04, help="single vacancies a chalcogen column")
    what.add_argument("--vac2", type=finite, default=0.005, help="double vacancies a chalcogen column")
    what.add_argument("--dopant-fraction", type=finite, help="dopants a metal column (0.02 with a dopant)")
    what.add_argument(
        "--defect",
        nargs=3,
        action="append",
        default=[],
        metavar=("KIND", "ROW", "COL"),
        help=f"{', '.join(_DEFECTS)} at the column nearest to a place [Å]; repeatable",
    )
    what.add_argument(
        "--rotation-deg",
        type=finite,
        help="rotation of the lattice, from columns towards rows (default: drawn)",
    )
    what.add_argument(
        "--strain", type=finite, nargs=4, metavar=("RR", "RC", "CR", "CC"), help="displacement gradient"
    )
    what.add_argument("--grain-boundary-deg", type=finite, help="misorientation of a second grain")
    context = parser.add_argument_group("context")
    context.add_argument("--energy-kev", type=finite, required=True)
    context.add_argument("--detector", required=True, help="HAADF, MAADF, or INNER-OUTER in mrad")
    context.add_argument("--convergence-mrad", type=finite, default=CONVERGENCE_MRAD)
    scan = parser.add_argument_group("acquisition")
    scan.add_argument("--fov-nm", type=finite, default=10.0)
    scan.add_argument("--pixels", type=count, default=512)
    scan.add_argument("--dose", type=finite, default=1e5, help="electrons a square ångström; 0 for no noise")
    scan.add_argument("--dwell-us", type=finite, default=10.0)
    scan.add_argument("--source-angstrom", type=finite, default=0.4, help="standard deviation of the source")
    scan.add_argument(
        "--defocus-nm", type=finite, default=0.0, help="C1; positive: focus in front of the layer"
    )
    scan.add_argument("--astigmatism-nm", type=finite, default=0.0)
    scan.add_argument("--astigmatism-deg", type=finite, default=0.0)
    scan.add_argument("--spherical-um", type=finite, default=0.0)
    scan.add_argument(
        "--drift-angstrom-per-s", type=finite, nargs=2, default=(0.0, 0.0), metavar=("ROW", "COL")
    )
    scan.add_argument("--row-jitter-px", type=finite, default=0.0)
    scan.add_argument("--distortion", type=finite, nargs=4, metavar=("RR", "RC", "CR", "CC"))
    scan.add_argument(
        "--contamination", type=finite, default=0.0, help="largest background, fraction of the beam"
    )
    scan.add_argument("--gain", type=finite, default=1.0, help="counts an electron")
    scan.add_argument("--offset", type=finite, default=0.0, help="counts")
    scan.add_argument("--readout", type=finite, default=0.0, help="counts, standard deviation")
    scan.add_argument("--saturation", type=finite, help="counts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=count, default=1, help="frames, with seeds from --seed upwards")
    parser.add_argument("--method", choices=["kernels", "multislice"], default="kernels")
    parser.add_argument("--table", type=Path, help="folder of another kernel table")
    parser.add_argument(
        "--workers", type=count, default=os.cpu_count() or 1, help="processes of --method multislice"
    )
    parser.add_argument(
        "--device",
        choices=["auto", "cpu", "gpu"],
        default="auto",
        help="auto: the CPU for kernels, a GPU for multislice where there is one",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")


def run(arguments: argparse.Namespace) -> int:
    """Make the frames and write each as it is done."""
    if arguments.dopant == "none":
        arguments.dopant = None
    try:
        context, acquisition = _context(arguments), _acquisition(arguments)
    except ValidationError as error:
        raise InputError("; ".join(_explain(problem) for problem in error.errors())) from error
    plan = _plan(arguments)
    if arguments.seed < 0:
        raise InputError(f"--seed {arguments.seed}: expected 0 or more")
    if arguments.table is not None and arguments.method != "kernels":
        raise InputError("--table: multislice needs no kernels; leave it out, or take --method kernels")
    kernels = _kernels(arguments, context) if arguments.method == "kernels" else None
    is_new = not arguments.out.exists()
    make_folder(arguments.out)
    try:
        for seed in range(arguments.seed, arguments.seed + arguments.frames):
            if kernels is None:
                frame = _multislice(arguments, context, acquisition, plan, seed)
            else:
                device = _torch_device(arguments.device)
                frame = simulate_frame(context, acquisition, plan, seed=seed, kernels=kernels, device=device)
            _write(frame, arguments.out)
    except InputError:
        if is_new and not any(arguments.out.iterdir()):
            arguments.out.rmdir()
        raise
    return 0


def _explain(problem: object) -> str:
    """One problem of a validation in the words of the command line."""
    assert isinstance(problem, dict)
    place = ".".join(str(part) for part in problem["loc"]) or "context"
    return f"{place}: {str(problem['msg']).removeprefix('Value error, ')} (given: {problem['input']!r})"


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
        detector=parse_detector(arguments.detector),
        convergence_mrad=arguments.convergence_mrad,
    )


def _acquisition(arguments: argparse.Namespace) -> Acquisition:
    """Acquisition from the options."""
    if arguments.dose < 0:
        raise InputError(f"--dose {arguments.dose:g}: expected electrons a square ångström, 0 for no noise")
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
        distortion=_matrix(arguments.distortion) or ((0.0, 0.0), (0.0, 0.0)),
        contamination=arguments.contamination,
        gain_counts_per_e=arguments.gain,
        offset_counts=arguments.offset,
        readout_sigma_counts=arguments.readout,
        saturation_counts=arguments.saturation,
    )


def _matrix(values: list[float] | None) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Displacement gradient from its four components, row by row."""
    return None if values is None else ((values[0], values[1]), (values[2], values[3]))


def _plan(arguments: argparse.Namespace) -> SpecimenPlan:
    """Crystal from the options."""
    fraction = arguments.dopant_fraction
    if fraction is None:
        fraction = 0.02 if arguments.dopant else 0.0
    angle = arguments.grain_boundary_deg
    return SpecimenPlan(
        rotation_deg=arguments.rotation_deg,
        concentrations=DefectConcentrations(arguments.vac1, arguments.vac2, fraction),
        defects=tuple(_defect(words) for words in arguments.defect),
        strain=_matrix(arguments.strain),
        boundary=None if angle is None else GrainBoundary(angle),
    )


def _defect(words: list[str]) -> Defect:
    """Defect from its kind and place."""
    kind = next((state for state in _DEFECTS if state == words[0]), None)
    try:
        row, column = finite(words[1]), finite(words[2])
    except argparse.ArgumentTypeError:
        kind = None
    if kind is None:
        raise InputError(
            f"--defect {' '.join(words)}: expected one of {', '.join(_DEFECTS)} and a row and a column in Å, "
            "for example --defect X1top 12.5 30"
        )
    return Defect(kind, row, column)


def _torch_device(wanted: str) -> str:
    """Device of the kernels' fields: the GPU only where it is asked for, as the CPU is exact to the bit."""
    return "cuda" if wanted == "gpu" else "cpu"


def _kernels(arguments: argparse.Namespace, context: Context) -> FieldKernels:
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
    dopant = f"-{context.specimen.dopant}" if context.specimen.dopant else ""
    detector = context.detector.name.replace(" ", "_")
    stem = f"{context.specimen.host}{dopant}_{context.energy_kev:g}keV_{detector}_{frame.seed:04d}"
    write_frame(frame, folder / f"{stem}.hspy")
    write_truth(frame, folder / f"{stem}.csv")
    write_picture(frame, folder / f"{stem}.png")
    print(f"{folder / stem}.{{hspy,csv,png}}  {len(frame.pixel_positions)} columns {summary(frame)}")
