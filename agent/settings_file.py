"""Settings from a TOML file, with environment variables (COLUMNIST_*) and flags above it."""

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from agent.settings import Settings
from drivers.contract.errors import InputError

PREFIX = "COLUMNIST_"

#: Where the settings are looked for when no file is named.
DEFAULT_FILE = "columnist.toml"

_Tree = dict[str, dict[str, Any]]


def load_settings(
    path: Path | None,
    environment: Mapping[str, str] = {},
    flags: Mapping[str, object] = {},
    defaults: Mapping[str, object] = {},
) -> Settings:
    """Read settings: defaults, then the file, then the environment, then the flags; the last counts.

    Parameters
    ----------
    path : Path or None
        A TOML file; None for none.
    environment : mapping
        Of it only names that start with ``COLUMNIST_``: ``COLUMNIST_POLICY_MODE=auto``.
    flags : mapping
        By dotted name, ``{"policy.mode": "auto"}``; None is left out.
    defaults : mapping
        As `flags`, but what a command takes in place of the general defaults.

    Raises
    ------
    InputError
        Naming the file and line, variable or flag, what was expected there, and the nearest known name.
    """
    tree: _Tree = {}
    origins: dict[str, str] = {}
    _merge(tree, origins, *_from_flags(defaults))
    if path is not None:
        _merge(tree, origins, *_from_file(path))
    _merge(tree, origins, *_from_environment(environment))
    _merge(tree, origins, *_from_flags(flags))
    try:
        return Settings.model_validate_json(json.dumps(tree, default=str))
    except ValidationError as error:
        raise InputError("\n".join(_explain(item, origins) for item in error.errors())) from error


def parse_flag(text: str) -> tuple[str, object]:
    """Read ``section.field=value``, the value as TOML, or as a text if it is none.

    Raises
    ------
    InputError
        If it has another form.
    """
    name, equals, value = text.partition("=")
    if not equals or name.count(".") != 1:
        raise InputError(f"--set {text!r}: expected SECTION.FIELD=VALUE, for example policy.mode=auto")
    return name.strip(), _value(value.strip())


def template() -> str:
    """Return a settings file that says what every field means and holds the defaults."""
    lines = [
        "# Settings of columnist.  A line that begins with # is a default or an example: take the # away",
        "# and change it.  Above this file count environment variables (COLUMNIST_POLICY_MODE=auto) and,",
        "# above those, flags (--set policy.mode=auto).  `columnist doctor` checks it.",
    ]
    for section, info in Settings.model_fields.items():
        model = info.default
        lines += ["", f"# {type(model).__doc__}", f"[{section}]"]
        for field, about in type(model).model_fields.items():
            lines += [f"# {about.description}", _line(field, getattr(model, field), about)]
    return "\n".join(lines) + "\n"


def _line(field: str, default: object, about: FieldInfo) -> str:
    """Return the line of one field in the template: its default, or an example if that is nothing."""
    if default is not None:
        return f"# {field} = {json.dumps(default)}"
    (example,) = about.examples or [None]
    return f"# {field} = {json.dumps(example)}   # an example: not set"


def _from_file(path: Path) -> tuple[_Tree, dict[str, str]]:
    """Read the file into sections, and say at which line each field stands."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(
            f"settings {path}: no such file; write one with `columnist config init {path}`"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"settings {path}: expected a TOML file in UTF-8 ({error})") from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"settings {path}: not TOML: {error}") from error
    _check_kind(path, data)
    lines = _lines_of(text)
    origins = {name: f"settings {path}, line {line}" for name, line in lines.items()}
    for section, fields in data.items():
        if not isinstance(fields, dict):
            where = origins.get(f".{section}", f"settings {path}")
            home = _home(section) or f"one of {', '.join(Settings.model_fields)}"
            raise InputError(f"{where}: {section!r} stands outside any section; it belongs into [{home}]")
        origins.setdefault(section, f"settings {path}")
        for field in fields:
            origins.setdefault(f"{section}.{field}", origins[section])
    return data, origins


def _check_kind(path: Path, data: Mapping[str, Any]) -> None:
    """See to it that a file is none of the two other kinds, which may have the same name."""
    analysis = data.get("analysis")
    if "frame" in data:
        found = "[[frame]]: this describes micrographs (docs/bridge.md), and is read where those are played"
    elif "images" in data or (isinstance(analysis, dict) and "model" in analysis):
        key = "[images]" if "images" in data else "analysis.model"
        found = f"{key}: this is a file for `columnist analyse --config`"
    else:
        return
    raise InputError(
        f"settings {path}: found {found}; name a file of settings with --config, as `columnist config init "
        "FILE` writes it"
    )


def _lines_of(text: str) -> dict[str, int]:
    """Line of every section and field, counted from 1."""
    section, found = "", {}
    for number, line in enumerate(text.splitlines(), start=1):
        plain = line.strip()
        if plain.startswith("["):
            section = plain.strip("[] ").split("]")[0].strip()
            found[section] = number
        elif "=" in plain and not plain.startswith("#"):
            found.setdefault(f"{section}.{plain.split('=')[0].strip().strip(chr(34))}", number)
    return found


def _from_environment(environment: Mapping[str, str]) -> tuple[_Tree, dict[str, str]]:
    """Read the variables that start with `PREFIX`: section, underscore, field."""
    tree: _Tree = {}
    origins: dict[str, str] = {}
    for name, value in environment.items():
        if name.startswith(PREFIX):
            section, _, field = name.removeprefix(PREFIX).lower().partition("_")
            tree.setdefault(section, {})[field] = _value(value)
            origins[f"{section}.{field}"] = origins[section] = f"environment variable {name}"
    return tree, origins


def _from_flags(flags: Mapping[str, object]) -> tuple[_Tree, dict[str, str]]:
    """Sort dotted names into sections."""
    tree: _Tree = {}
    origins: dict[str, str] = {}
    for name, value in flags.items():
        if value is not None:
            section, _, field = name.partition(".")
            tree.setdefault(section, {})[field] = value
            origins[name] = origins[section] = f"flag {name}"
    return tree, origins


def _merge(tree: _Tree, origins: dict[str, str], more: _Tree, where: Mapping[str, str]) -> None:
    """Lay one source over those before it."""
    for section, fields in more.items():
        tree.setdefault(section, {}).update(fields)
    origins.update(where)


def _value(text: str) -> object:
    """Read a value as TOML, or take it as a text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _explain(item: Any, origins: Mapping[str, str]) -> str:
    """Say in one line what is wrong with one field, and how to mend it."""
    parts = [str(part) for part in item["loc"]]
    name = ".".join(parts[:2])
    where = origins.get(name) or origins.get(parts[0]) or "settings"
    if item["type"] == "extra_forbidden":
        return f"{where}: unknown {'field' if len(parts) > 1 else 'section'} {name!r}; {_nearest(parts)}"
    wanted = str(item["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    is_sentence = isinstance(item.get("ctx", {}).get("error"), InputError)
    told = wanted if is_sentence else f"expected {wanted}, found {item['input']!r}"
    about = _description(parts)
    return f"{where}: {name}: {told}" + (f" ({about})" if about else "")


def _nearest(parts: Sequence[str]) -> str:
    """Name the field or section that was probably meant."""
    if len(parts) == 1:
        sections = list(Settings.model_fields)
        close = difflib.get_close_matches(parts[0], sections, n=1)
        return f"did you mean [{close[0]}]?" if close else f"known are {', '.join(sections)}"
    home = _home(parts[1])
    fields = list(_fields(parts[0]))
    close = difflib.get_close_matches(parts[1], fields, n=1)
    if home:
        return f"it belongs into [{home}]"
    return f"did you mean {close[0]!r}?" if close else f"[{parts[0]}] knows {', '.join(fields)}"


def _home(field: str) -> str | None:
    """Name the section that a field belongs to, if any does."""
    return next((section for section in Settings.model_fields if field in _fields(section)), None)


def _fields(section: str) -> dict[str, FieldInfo]:
    """Return the fields of a section; none if there is no such section."""
    info = Settings.model_fields.get(section)
    return type(info.default).model_fields if info and isinstance(info.default, BaseModel) else {}


def _description(parts: Sequence[str]) -> str:
    """What the field is for."""
    about = _fields(parts[0]).get(parts[1]) if len(parts) > 1 else None
    return (about.description or "") if about is not None and about.annotation is not NoneType else ""
