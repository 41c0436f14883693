"""The course of a session: its maps as a table and as a picture."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from drivers.contract.maps import CLASS_NAMES, MapHeader

#: Colours of the defects, as in the overlay.
_COLOURS = {"vac1": "#56B4E9", "vac2": "#E69F00", "dopant": "#D55E00"}


@dataclass(frozen=True)
class CoursePoint:
    """One map of a session: which frame, when on the agent's clock [s], and its header."""

    session: str
    sequence: int
    at_s: float
    header: MapHeader


def course_csv(points: Sequence[CoursePoint]) -> str:
    """One line a map: context, counts, concentrations with intervals, entropy, flags, the frame's file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    shares = [f"{defect}_{end}" for defect in _COLOURS for end in ("share", "low", "high")]
    writer.writerow(
        ["session", "sequence", "at_s", "host", "dopant_element", "energy_kev", "detector"]
        + ["pixel_size_angstrom", "columns", *CLASS_NAMES, *shares, "mean_entropy_nats", "flags", "file"]
    )
    for point in points:
        header, context = point.header, point.header.settled.context
        found = {one.defect: one for one in header.concentrations}
        numbers = [
            f"{getattr(found[defect], end):.6g}" if defect in found else ""
            for defect in _COLOURS
            for end in ("value", "low", "high")
        ]
        writer.writerow(
            [point.session, point.sequence, f"{point.at_s:.3f}", context.specimen.host]
            + [context.specimen.dopant or "none", f"{context.energy_kev:g}", context.detector.name]
            + [f"{header.scale.pixel_size_angstrom:.6g}", header.columns]
            + [getattr(header.counts, name) for name in CLASS_NAMES]
            + [*numbers, f"{header.mean_entropy_nats:.6g}", " ".join(flag.kind for flag in header.flags)]
            + [header.frame.file or ""]
        )
    return text.getvalue()


def course_png(points: Sequence[CoursePoint]) -> bytes:
    """Entropy by detector, and concentrations with their 95 % intervals, against the order of the maps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 5.0), dpi=150, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for name in dict.fromkeys(point.header.settled.context.detector.name for point in points):
        chosen = [n for n, p in enumerate(points) if p.header.settled.context.detector.name == name]
        above.plot(chosen, [points[n].header.mean_entropy_nats for n in chosen], ".", label=name)
    above.set_ylabel("mean entropy [nats]")
    above.set_ylim(0, 1.1 * max(point.header.mean_entropy_nats for point in points) or 1.0)
    above.legend(frameon=False)
    for shift, (defect, colour) in zip((-0.15, 0.0, 0.15), _COLOURS.items(), strict=True):
        found = [
            (n, one) for n, p in enumerate(points) for one in p.header.concentrations if one.defect == defect
        ]
        if found:
            places = [n + shift for n, _ in found]
            values = [100 * one.value for _, one in found]
            downs = [100 * max(one.value - one.low, 0.0) for _, one in found]
            ups = [100 * max(one.high - one.value, 0.0) for _, one in found]
            below.errorbar(
                places, values, yerr=(downs, ups), fmt=".", color=colour, elinewidth=0.8, label=defect
            )
    below.set_ylabel("concentration [%]")
    below.set_ylim(bottom=0)
    below.set_xlabel("map")
    below.legend(frameon=False, ncols=3)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
