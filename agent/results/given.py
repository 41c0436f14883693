"""What a person gives of the context of images: options, and a config file, for all images or by label."""

import json
import tomllib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from agent.settings import Settings
from drivers.contract.errors import InputError
from drivers.contract.facts import FIELDS, Facts
from drivers.file_context import facts_given

Config = Mapping[str, Mapping[str, Any]]

CONFIG_EXAMPLE = """\
[context]
host = "WSe2"
dopant = "Ti"
energy_kev = 80
detector = "HAADF"

[images."DF2*"]   # labels, as results are named; more for one of a file's images
detector = "MAADF"

[analysis]
model = "mlp-simple"
"""


_TABLES = "[context], [images.LABEL] and [analysis]"


def read_config(path: Path) -> Config:
    """Read a config file.

    Raises
    ------
    InputError
        If it cannot be read, or holds anything but the tables and keys that are known.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(
            f"{path}: expected a TOML file, found {error}; for example\n{CONFIG_EXAMPLE}"
        ) from error
    known: Mapping[str, Sequence[str]] = {"context": FIELDS, "images": (), "analysis": ("model", "device")}
    foreign = [table for table in tree if table in Settings.model_fields and table not in known]
    if foreign:
        raise InputError(
            f"{path}: found [{foreign[0]}]: this is a file of the daemon's settings, as `columnist config "
            f"init` writes it for `columnist run`; expected {_TABLES} alone, for example\n{CONFIG_EXAMPLE}"
        )
    if "frame" in tree:
        raise InputError(
            f"{path}: found [[frame]]: this describes micrographs for `columnist serve replay` "
            f"(docs/bridge.md); expected {_TABLES} alone, for example\n{CONFIG_EXAMPLE}"
        )
    for table, content in tree.items():
        if table not in known or not isinstance(content, dict):
            raise InputError(
                f"{path}: expected tables {_TABLES}, found {table!r}; for example\n{CONFIG_EXAMPLE}"
            )
        if table == "images":
            _check_images(path, content)
            continue
        strange = [key for key in content if key not in known[table]]
        if strange:
            raise InputError(f"{path}: [{table}] knows {', '.join(known[table])}; found {', '.join(strange)}")
    for key, value in tree.get("analysis", {}).items():
        if not isinstance(value, str):
            raise InputError(f"{path}: expected a text for {key}, found {value!r}")
    return tree


def _check_images(path: Path, images: Mapping[str, Any]) -> None:
    """Raise `InputError` unless there is a table of context for every label."""
    for pattern, content in images.items():
        if not isinstance(content, dict) or not set(content) <= set(FIELDS):
            raise InputError(
                f"{path}: [images.LABEL] knows {', '.join(FIELDS)}; found {pattern} = {content!r}; for "
                f"example\n{CONFIG_EXAMPLE}"
            )


@dataclass(frozen=True)
class Given:
    """What goes before what files say: options, then the tables of labels, then that of all images."""

    options: Facts
    images: Mapping[str, Facts]
    context: Facts
    origin: str

    @classmethod
    def of(cls, options: Mapping[str, object], config: Config, origin: str) -> "Given":
        """Of the options by field, and of a config file of that name.

        Raises
        ------
        InputError
            As for `drivers.file_context.facts_given`.
        """
        images = {
            pattern: facts_given(content, f"{origin} {_heading(pattern)}")
            for pattern, content in config.get("images", {}).items()
        }
        context = facts_given(config.get("context", {}), origin)
        return cls(facts_given(options, "command line"), images, context, origin)

    def for_image(self, label: str) -> list[Facts]:
        """Facts for an image of a label; the first counts most."""
        own = [facts for pattern, facts in self.images.items() if fnmatchcase(label, pattern)]
        return [self.options, *own, self.context]

    @property
    def hidden(self) -> list[str]:
        """A line on every value for some images in whose place an option is taken."""
        return [
            f"{self.origin}: {_heading(pattern)} says {field} {own.value}; {taken.value} is taken instead "
            f"({taken.source})"
            for pattern, facts in self.images.items()
            for field in FIELDS
            if (own := getattr(facts, field)) is not None
            and (taken := getattr(self.options, field)) is not None
            and own.value != taken.value
            and own.source.endswith(f": {field}")  # angles that a detector brings are told with it
        ]

    def unused(self, labels: Set[str]) -> list[str]:
        """A line on every table of labels that none of the images' labels fits."""
        if not labels:
            return []  # nothing could be read
        seen = ", ".join(sorted(labels - {""})) or "none, as each file holds a single image"
        return [
            f"{self.origin}: {_heading(pattern)} fits no image; labels are: {seen}"
            for pattern in self.images
            if not any(fnmatchcase(label, pattern) for label in labels)
        ]


def _heading(pattern: str) -> str:
    return f"[images.{json.dumps(pattern)}]"
