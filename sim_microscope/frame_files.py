"""Frames as files: HyperSpy's .hspy with all metadata, the truth as CSV, and a picture with a scale bar."""

import csv
import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from drivers.contract.context import Context
from drivers.contract.errors import InputError
from sim_microscope.crystal import STATES
from sim_microscope.imaging import Acquisition
from sim_microscope.simulate import Frame, SpecimenPlan

TRUTH_COLUMNS = ("row_px", "col_px", "x_angstrom", "y_angstrom", "class", "sublattice", "species", "grain")

#: Names of the classes in files, by `ColumnClass`.
CLASS_NAMES = ("x2", "vac1", "vac2", "metal", "dopant")

_PLAN = TypeAdapter(SpecimenPlan)

#: Node of the HyperSpy metadata that holds what HyperSpy has no place for.
_NODE = "Columnist"


def write_frame(frame: Frame, path: Path) -> None:
    """Write image and metadata as HyperSpy's HDF5 (.hspy), which also opens as plain HDF5."""
    from rsciio.hspy import file_writer

    step_nm = frame.acquisition.pixel_size_angstrom / 10
    axes = [
        {
            "name": name,
            "size": frame.acquisition.pixels,
            "units": "nm",
            "scale": step_nm,
            "offset": 0.0,
            "index_in_array": index,
            "navigate": False,
            "_type": "UniformDataAxis",
            "is_binned": False,
        }
        for index, name in enumerate(("y", "x"))
    ]
    signal = {
        "data": frame.image,
        "axes": axes,
        "metadata": _metadata(frame, path.stem),
        "original_metadata": {},
        "attributes": {"_lazy": False, "ragged": False},
        "package_info": {"package": "columnist", "package_version": version("columnist")},
        "learning_results": {},
        "tmp_parameters": {},
        "models": {},
    }
    file_writer(str(path), signal, show_progressbar=False)


def _metadata(frame: Frame, title: str) -> dict[str, Any]:
    """Metadata tree: HyperSpy's own fields, and our messages whole as JSON."""
    context, acquisition = frame.context, frame.acquisition
    return {
        "General": {"title": title},
        "Signal": {"signal_type": "", "quantity": "Counts"},
        "Acquisition_instrument": {
            "TEM": {
                "acquisition_mode": "STEM",
                "beam_energy": context.energy_kev,
                "convergence_angle": context.convergence_mrad,
                "microscope": "columnist simulator",
            },
            "Detector": {
                "name": context.detector.name,
                "inner_angle_mrad": context.detector.inner_mrad,
                "outer_angle_mrad": context.detector.outer_mrad,
            },
            "Scan": {"dwell_time_us": acquisition.dwell_us, "frame_time_s": acquisition.frame_time_s},
        },
        "Sample": {"description": f"1H-{context.specimen.host}, dopant {context.specimen.dopant or 'none'}"},
        _NODE: {
            "context": context.model_dump_json(),
            "acquisition": acquisition.model_dump_json(),
            "specimen_plan": _PLAN.dump_json(frame.plan).decode(),
            "seed": frame.seed,
            "method": frame.method,
        },
    }


@dataclass(frozen=True)
class Recorded:
    """What a frame's file holds; parameters as `sim_microscope.simulate.Frame`."""

    image: NDArray[np.float32]
    context: Context
    acquisition: Acquisition
    plan: SpecimenPlan
    seed: int
    method: str


def read_frame(path: Path) -> Recorded:
    """Read what `write_frame` wrote.

    Raises
    ------
    InputError
        If the file is missing, cut short, or not a frame of the simulator.
    """
    from rsciio.hspy import file_reader

    try:
        (signal,) = file_reader(str(path))
        node = signal["metadata"][_NODE]
        return Recorded(
            np.asarray(signal["data"]),
            Context.model_validate_json(node["context"]),
            Acquisition.model_validate_json(node["acquisition"]),
            _PLAN.validate_json(node["specimen_plan"]),
            int(node["seed"]),
            str(node["method"]),
        )
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            f"{path}: expected a frame of `columnist simulate` (.hspy with a {_NODE!r} node), found "
            f"{type(error).__name__}: {error}"
        ) from error


def write_truth(frame: Frame, path: Path) -> None:
    """Write the truth, a row a column: pixel coordinates, specimen coordinates, class, species, grain."""
    crystal = frame.crystal
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(TRUTH_COLUMNS)
        for (row, column), (y, x), state, kind, is_metal, grain in zip(
            frame.pixel_positions,
            crystal.positions,
            crystal.states,
            crystal.classes,
            crystal.is_metal_site,
            crystal.grains,
            strict=True,
        ):
            writer.writerow(
                [f"{row:.4f}", f"{column:.4f}", f"{x:.4f}", f"{y:.4f}", CLASS_NAMES[kind]]
                + ["metal" if is_metal else "chalcogen", crystal.formula(STATES[state]), int(grain)]
            )


def write_picture(frame: Frame, path: Path) -> None:
    """Write the frame as a grey picture with a scale bar and its context as a caption."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    acquisition, context = frame.acquisition, frame.context
    figure = Figure(figsize=(6.4, 6.8), dpi=160)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.02, 0.08, 0.96, 0.90))
    low, high = np.percentile(frame.image, [0.5, 99.8])
    axes.imshow(frame.image, cmap="gray", vmin=low, vmax=max(high, low + 1e-9), interpolation="nearest")
    axes.set_axis_off()
    bar_nm = _bar_length_nm(acquisition.fov_nm)
    n, length = acquisition.pixels, bar_nm / acquisition.fov_nm * acquisition.pixels
    axes.add_patch(Rectangle((0.03 * n, 0.895 * n), length + 0.04 * n, 0.085 * n, color="black", alpha=0.6))
    axes.add_patch(Rectangle((0.05 * n, 0.955 * n), length, 0.012 * n, color="white"))
    axes.text(0.05 * n + length / 2, 0.945 * n, f"{bar_nm:g} nm", color="white", ha="center", size=10)
    dose = f"{acquisition.dose_e_per_a2:.3g} e/Å²" if acquisition.dose_e_per_a2 else "no noise"
    detector = context.detector
    figure.text(
        0.5,
        0.03,
        f"1H-{context.specimen.host}, {context.specimen.dopant or 'undoped'}; {context.energy_kev:g} keV; "
        f"{detector.name} {detector.inner_mrad:g}-{detector.outer_mrad:g} mrad; {dose}",
        ha="center",
        size=9,
    )
    figure.savefig(path, metadata={"Software": "columnist"})


def _bar_length_nm(fov_nm: float) -> float:
    """Round length of about a fifth of the field: 1, 2 or 5 times a power of ten."""
    target = fov_nm / 4
    power = 10.0 ** np.floor(np.log10(target))
    return float(max(step * power for step in (1, 2, 5) if step * power <= target))


def summary(frame: Frame) -> str:
    """One line a class: how many columns of it the truth holds."""
    counts = np.bincount(frame.crystal.classes, minlength=len(CLASS_NAMES))
    return json.dumps(dict(zip(CLASS_NAMES, counts.tolist(), strict=True)))
