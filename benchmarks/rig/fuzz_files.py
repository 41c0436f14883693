"""Cases of fuzzing that are files: what is spoilt, and who reads it."""

import contextlib
import hashlib
import json
import random
import runpy
import shutil
import sqlite3
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.rig.fuzz_messages import Case
from benchmarks.rig.mutations import (
    dump,
    mutate_bytes,
    mutate_pixels_of_png,
    mutate_tree,
    with_png_checksums,
)

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"

#: A micrograph as an instrument wrote it, a megabyte, where it is at hand; the others are small.
RECORDED = "recorded.dm4"


def original_files(name: str, folder: Path) -> dict[str, bytes]:
    """Content of a small valid file of a format, by the path within a folder where the format is one."""
    if name == RECORDED:
        return {"": (DATA / "tiwse2" / "haadf_2.dm4").read_bytes()}
    conftest = runpy.run_path(str(ROOT / "tests" / "drivers" / "conftest.py"))
    original = folder / f"original_{name}"
    conftest["WRITERS"][name](original)
    if original.is_file():
        return {"": original.read_bytes()}
    files = sorted(path for path in original.rglob("*") if path.is_file())
    return {str(path.relative_to(original)): path.read_bytes() for path in files}


def spoil(name: str, content: bytes, rng: random.Random) -> bytes:
    """Spoil a file; a PNG file so that more than its checksums is looked at."""
    if not name.endswith(".png"):
        return mutate_bytes(content, rng)
    if rng.random() < 0.5:
        return mutate_pixels_of_png(content, rng)
    return with_png_checksums(mutate_bytes(content, rng))


def micrograph_case(name: str, folder: Path, *, is_trusted: bool = True) -> Case:
    """A file of one format; HDF5 without its rehearsal in another process, for this is one already."""
    from drivers.contract.errors import InputError
    from drivers.files import read_micrographs

    content = original_files(name, folder)
    path = folder / f"case_{name}"
    for part, data in content.items():
        (path / part).parent.mkdir(parents=True, exist_ok=True)
        (path / part).write_bytes(data)

    def run(rng: random.Random) -> bool:
        victim = rng.choice(list(content))
        (path / victim).write_bytes(spoil(name, content[victim], rng))
        try:
            read_micrographs(path, is_trusted=is_trusted)
        except InputError:
            return False
        finally:
            (path / victim).write_bytes(content[victim])
        return True

    return run


def settings_case(folder: Path) -> Case:
    """Settings, a folder's description, a script of faults, and keys."""
    from agent.settings_file import load_settings, parse_flag, template
    from drivers.contract.errors import InputError
    from drivers.faults import read_script
    from drivers.folder import read_folder
    from drivers.keys import entries, make_own, own, server_key, trust

    lines = [line.removeprefix("# ") if " = " in line else line for line in template().splitlines()]
    settings = "\n".join(line for line in lines if not line.endswith("# not set")).encode()
    described = b'[context]\nhost = "WSe2"\nenergy_kev = 80.0\n[[frame]]\nfile = "a.png"\nposition = 1\n'
    script = b'[[fault]]\nkind = "altered"\nbegins_s = 2.0\nlasts_s = 0.5\nshare = 0.1\n'
    keys = folder / "keys"
    pair = make_own(keys)
    trust(keys, pair.public.decode())
    (keys / "control").mkdir()
    original = {name: (keys / name).read_bytes() for name in ("own.key_secret", "server.key")}
    path = folder / "columnist.toml"
    seen = folder / "seen"
    seen.mkdir()

    def read_keys(rng: random.Random) -> None:
        for name, content in original.items():
            (keys / name).write_bytes(mutate_bytes(content, rng))
        (keys / "control" / "x.key").write_bytes(mutate_bytes(original["server.key"], rng))
        for read in (own, server_key, lambda where: list(entries(where))):
            with contextlib.suppress(InputError):
                read(keys)

    def run(rng: random.Random) -> bool:
        which = rng.randrange(5)
        try:
            match which:
                case 0 | 1:
                    path.write_bytes(mutate_bytes(settings, rng))
                    load_settings(path)
                case 2:
                    (seen / "columnist.toml").write_bytes(mutate_bytes(described, rng))
                    read_folder(seen)
                case 3:
                    path.write_bytes(mutate_bytes(script, rng))
                    read_script(path)
                case _:
                    read_keys(rng)
                    parse_flag(mutate_bytes(b"policy.mode=auto", rng).decode("utf-8", "replace"))
        except InputError:
            return False
        return True

    return run


def session_case(folder: Path) -> Case:
    """A session that was cut short: damaged bytes, or altered entries whose digests are right again."""
    from agent.recording import Recording
    from agent.recovery import find_cut_short, recover
    from agent.replay import replay
    from agent.sessions import summarise
    from drivers.contract.errors import InputError
    from drivers.session_check import check_session
    from drivers.session_layout import FACTS, first_digest, next_digest
    from drivers.session_recording import read_session

    original, case = folder / "original", folder / "cases" / "original"
    settings = make_session(original)
    names = [path.name for path in original.iterdir()]

    def alter_entries(rng: random.Random) -> None:
        facts = sqlite3.connect(case / FACTS, isolation_level=None)
        with contextlib.closing(facts):
            digest = first_digest("original")
            rows = facts.execute(
                "SELECT position, event, actions, sha256 FROM entry LEFT JOIN array USING (position)"
            ).fetchall()
            victim = rng.randrange(len(rows))
            for position, event, actions, sha256 in rows:
                if position == victim:
                    event = dump(mutate_tree(json.loads(event), rng), rng).decode("utf-8", "replace")
                    if rng.random() < 0.2:
                        actions = dump(mutate_tree(json.loads(actions), rng), rng).decode("utf-8", "replace")
                digest = next_digest(digest, position, event, actions, sha256)
                with contextlib.suppress(sqlite3.Error):  # what is no JSON cannot be entered
                    facts.execute(
                        "UPDATE entry SET event = ?, actions = ?, digest = ? WHERE position = ?",
                        (event, actions, digest, position),
                    )

    def read_all() -> bool:
        readings: tuple[Callable[[], Any], ...] = (
            lambda: summarise(case, is_checked=True),
            lambda: read_session(case),
            lambda: replay_it(),
            lambda: go_on(),  # last, for it mends what it can
        )
        good = 0
        for read in readings:
            with contextlib.suppress(InputError):
                read()
                good += 1
        return good == len(readings)

    def replay_it() -> None:
        with Recording(case) as recording:
            replay(recording)

    def go_on() -> None:
        found = find_cut_short(case.parent)
        if found is None:
            raise InputError("has an end now")
        recover(found, settings, is_ours=False).journal.close()

    def run(rng: random.Random) -> bool:
        shutil.rmtree(case, ignore_errors=True)
        shutil.copytree(original, case)
        if rng.random() < 0.6:
            victim = case / rng.choice(names)
            victim.write_bytes(mutate_bytes(victim.read_bytes(), rng))
        else:
            alter_entries(rng)
        with contextlib.suppress(InputError):
            check_session(case)
        return read_all()

    return run


def make_session(folder: Path) -> Any:
    """Record a small session by the agent's own decisions, and what it knew; returns its settings."""
    conftest = runpy.run_path(str(ROOT / "tests" / "agent" / "conftest.py"))
    import numpy as np

    from agent.decide import decide
    from agent.events import SessionOpened
    from agent.journal import Journal, JournalEntry
    from agent.settings import rules_of
    from agent.settings_file import load_settings
    from agent.state import State
    from agent.state_file import keep_state

    settings = load_settings(None, {}, {"policy.mode": "auto", "policy.rule": "entropy"})
    opened = conftest["opened"](rules_of(settings, end_with_source=False)).model_dump_json()
    told = json.loads(opened) | {"version": version("columnist")}
    events: list[tuple[Any, Any]] = [
        (SessionOpened.model_validate_json(json.dumps(told)), None),
        (conftest["link_made"](), None),
    ]
    for number in range(4):
        events.append((conftest["frame_seen"](number), np.full((16, 16), number, np.uint8)))
        events.append((conftest["frame_mapped"](number, 0.3), conftest["columns_of"](5)))
    journal, state = Journal.create(folder, "original"), State()
    for position, (event, array) in enumerate(events):
        state, actions = decide(state, event)
        journal.append([JournalEntry(position, event, actions, array)])
        if position == len(events) // 2 and not keep_state(folder, state, position):
            raise RuntimeError(f"expected the state kept beside {folder}, found that it was not")
    journal.close()
    return settings


def weights_case(folder: Path) -> Case:
    """Weights and their card, with the digest put right, as whoever makes such a file would."""
    from drivers.contract.errors import InputError
    from models.checkpoint import load_weights

    shipped = ROOT / "models" / "weights" / "mlp-simple.safetensors"
    content, card = shipped.read_bytes(), json.loads(shipped.with_suffix(".json").read_text())
    path = folder / "case.safetensors"

    def run(rng: random.Random) -> bool:
        told = mutate_tree(card, rng) if rng.random() < 0.3 else dict(card)
        spoilt = mutate_bytes(content, rng) if rng.random() < 0.8 else content
        if isinstance(told, dict) and rng.random() < 0.9:
            told["sha256"] = hashlib.sha256(spoilt).hexdigest()
        path.write_bytes(spoilt)
        path.with_suffix(".json").write_bytes(dump(told, rng))
        try:
            load_weights(path)
        except InputError:
            return False
        return True

    return run
