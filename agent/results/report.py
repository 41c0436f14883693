"""One HTML page that holds everything, pictures included, and links to nothing."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from agent.results.flagged import FlaggedMaps
from agent.results.words import class_words, share_words
from drivers.contract.facts import FIELDS
from drivers.contract.maps import MapHeader


@dataclass(frozen=True)
class ReportImage:
    """One image of a report; pictures are PNG, or left out."""

    name: str
    header: MapHeader
    overlay: bytes | None = None
    patches: bytes | None = None
    notes: tuple[str, ...] = ()
    """What else its file holds that is no image, and why."""


@dataclass(frozen=True)
class Failure:
    """A file that gave no map, and why."""

    file: str
    error: str


@dataclass(frozen=True)
class SessionStory:
    """What a report tells of a session: figures by name, what happened when, flags, and its course as PNG."""

    figures: tuple[tuple[str, str], ...]
    lines: tuple[tuple[str, str], ...]
    flagged: tuple[FlaggedMaps, ...] = ()
    course: bytes | None = None


def report_html(
    title: str,
    images: Sequence[ReportImage],
    failures: Sequence[Failure] = (),
    story: SessionStory | None = None,
    made_on: str | None = None,
) -> str:
    """Fill the template in; when it was made is told only if given."""
    from jinja2 import Environment

    template = (files("agent.results") / "report.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(
        title=title,
        images=[_described(image) for image in images],
        failures=list(failures),
        story=story,
        made_on=made_on,
        course=_encoded(story.course) if story else None,
    )


def _described(image: ReportImage) -> dict[str, Any]:
    """What the template shows of one image."""
    facts, dopant = image.header.settled.facts, image.header.settled.context.specimen.dopant
    known = [(field, getattr(facts, field)) for field in FIELDS]
    return {
        "name": image.name,
        "header": image.header,
        "defects": [
            (class_words(dopant).get(one.defect, one.defect), one, *share_words(one))
            for one in image.header.concentrations
        ],
        "notes": (*image.header.settled.facts.notes, *image.notes),
        "overlay": _encoded(image.overlay),
        "patches": _encoded(image.patches),
        "facts": [
            (
                "declared_" + field if field == "pixel_size_angstrom" else field,
                _shown(sourced.value),
                sourced.source,
            )
            for field, sourced in known
            if sourced is not None
        ],
    }


def _shown(value: str | float) -> str:
    return f"{value:.6g}" if isinstance(value, float) else value


def _encoded(picture: bytes | None) -> str | None:
    return base64.b64encode(picture).decode() if picture else None
