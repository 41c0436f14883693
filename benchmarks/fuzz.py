"""Fuzzing: every byte that comes from outside, mutated from golden messages and small valid files.

Run by `columnist bench fuzz [--json] [--messages 1000000 --files 10000]`.

A case fails if anything but the errors of the contract comes out, if it takes longer or more memory than its
bound, or if the process crashes or hangs.  HDF5 files that crash or hang their library do not count if the
rehearsal in a process of its own (`drivers.file_rehearsal`) refuses them; they are counted apart.

The mutator is seeded: kind, seed and number make a case again.  Each kind runs in a process of its own, whose
memory is limited; one that crashes or hangs is begun again behind the case that did it.
"""

import argparse
import asyncio
import contextlib
import hashlib
import io
import json
import os
import random
import resource
import runpy
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "drivers" / "golden"
DATA = ROOT / "shared" / "data"

#: Bounds of a case: seconds for a message or a file, and memory beyond what the process had [bytes].
MESSAGE_S, FILE_S = 1.0, 10.0
MEMORY_BYTES = 2 * 2**30

#: Runs one case with the random numbers that it is given; True if the input was accepted, False if refused.
Case = Callable[[random.Random], bool]


# --- mutating ----------------------------------------------------------------------------------------------

_NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**53, 2**63, -(2**63), 10**30, 0.0, -0.0, 1e-320, 1e308, -1e308,
    "", "x", "x" * 70000, "../../etc/passwd", "/dev/zero", "\x00", "\ud800", "NaN", "é" * 500,
    "crc32:00000000", [], {}, [[]], [None] * 1000, {"kind": "hello"}, {"": ""}, float("nan"), float("inf"),
)  # fmt: skip


def mutate_bytes(content: bytes, rng: random.Random) -> bytes:
    """Turn, cut, repeat, insert or overwrite some bytes; more often near the beginning, where headers are."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        size = len(data)
        place = rng.randrange(size + 1) if rng.random() < 0.5 else rng.randrange(min(size, 512) + 1)
        match rng.randrange(7):
            case 0 | 1 if place < size:
                data[place] ^= 1 << rng.randrange(8)
            case 2:
                del data[place : None if rng.random() < 0.3 else place + rng.randrange(1, 64)]
            case 3:
                data[place:place] = rng.randbytes(rng.randrange(1, 64))
            case 4:
                data[place : place + 64] = data[place : place + 64] * rng.randrange(2, 5)
            case 5:
                number = rng.choice((0, 1, -1, 2**31 - 1, -(2**31), rng.randrange(-(2**31), 2**31)))
                data[place : place + 4] = struct.pack(rng.choice("<>") + "i", number)
            case 6:
                number = rng.choice((0, -1, 2**63 - 1, -(2**63), 2**32, rng.getrandbits(62)))
                data[place : place + 8] = struct.pack(rng.choice("<>") + "q", number)
    return bytes(data)


def with_png_checksums(content: bytes) -> bytes:
    """Put the checksums of a PNG file's chunks right, so that more than these is looked at."""
    data, place = bytearray(content), 8
    while place + 12 <= len(data):
        end = place + 8 + int.from_bytes(data[place : place + 4], "big")
        if end + 4 > len(data):
            break
        data[end : end + 4] = zlib.crc32(data[place + 4 : end]).to_bytes(4, "big")
        place = end + 4
    return bytes(data)


def mutate_tree(tree: Any, rng: random.Random) -> Any:
    """Change one thing somewhere in a tree of JSON: a value, a name, or what there is."""
    if isinstance(tree, dict) and tree and rng.random() < 0.9:
        key = rng.choice(list(tree))
        changed = dict(tree)
        match rng.randrange(6):
            case 0:
                del changed[key]
            case 1:
                changed[rng.choice(("", "kind", "__class__", key + "x", "x" * 1000))] = changed[key]
            case _:
                changed[key] = mutate_tree(tree[key], rng)
        return changed
    if isinstance(tree, list) and tree and rng.random() < 0.9:
        place = rng.randrange(len(tree))
        return [*tree[:place], mutate_tree(tree[place], rng), *tree[place + rng.randrange(2) :]]
    if isinstance(tree, int | float) and not isinstance(tree, bool) and rng.random() < 0.5:
        return rng.choice((tree + 1, -tree, tree * 1000, tree / 3, tree * 10**18, str(tree)))
    return rng.choice(_NASTY)


def dump(tree: Any, rng: random.Random) -> bytes:
    """Write JSON, now and then so deeply nested or so long that it is none any more."""
    text = json.dumps(tree, allow_nan=True).encode("utf-8", "surrogatepass")
    if rng.random() < 0.01:
        return b'{"kind":' + b"[" * rng.choice((100, 10_000, 60_000))
    return mutate_bytes(text, rng) if rng.random() < 0.15 else text


def mutate_message(
    parts: Sequence[bytes], others: Sequence[Sequence[bytes]], rng: random.Random
) -> list[bytes]:
    """Spoil a message; mostly with a checksum that is right, so that what is inside is looked at."""
    topic, text, *more = parts
    if rng.random() < 0.8:
        tree = json.loads(text)
        for _ in range(rng.choice((1, 1, 2, 3))):
            tree = mutate_tree(tree, rng)
        text = dump(tree, rng)
    else:
        text = mutate_bytes(text, rng)
    kind = topic.split(b" ")[0]
    if rng.random() < 0.05:
        kind = rng.choice(others)[0].split(b" ")[0]
    topic = kind + b" %08x" % zlib.crc32(text)
    if rng.random() < 0.05:
        topic = mutate_bytes(topic, rng)
    if more and rng.random() < 0.4:
        more = [mutate_bytes(part, rng) for part in more]
        if rng.random() < 0.5:
            with contextlib.suppress(ValueError, TypeError, RecursionError):
                tree = json.loads(text) | {"checksum": f"crc32:{zlib.crc32(more[0]):08x}"}
                text = json.dumps(tree).encode()
                topic = kind + b" %08x" % zlib.crc32(text)
    spoilt = [topic, text, *more]
    match rng.randrange(20):
        case 0:
            return spoilt[: rng.randrange(len(spoilt) + 1)]
        case 1:
            return [*spoilt, rng.randbytes(rng.randrange(200))]
        case 2:
            rng.shuffle(spoilt)
    return spoilt


def golden_messages() -> list[list[bytes]]:
    """One message of each kind, as it travels."""
    messages = []
    for path in sorted(GOLDEN.glob("*.json")):
        parts = [path.with_suffix(".topic").read_bytes(), path.read_bytes()]
        pixels = path.with_suffix(".pixels")
        messages.append([*parts, pixels.read_bytes()] if pixels.is_file() else parts)
    return messages


# --- what takes messages -----------------------------------------------------------------------------------


def wire_case() -> Case:
    """The decoder, a bridge with its instrument, a client's two ears, one after another."""
    import zmq.asyncio

    from drivers.bridge import Bridge, Options
    from drivers.client import BridgeClient, _Link, _LinkDownError
    from drivers.contract.codec import rejected, unpack
    from drivers.contract.errors import WireError
    from drivers.data_stream import DataStream
    from drivers.fake import FakeMicroscope

    def fresh_stream() -> DataStream:
        made = DataStream(4, 2**20, "20261125T101500Z-0a1b2c3d", 0)
        made.connect("token")
        return made

    golden = golden_messages()
    bridge = Bridge(FakeMicroscope(is_scanning=False), Options(port=0))
    stream = fresh_stream()
    loop = asyncio.new_event_loop()
    client = BridgeClient(bridge.address)
    dealer = zmq.asyncio.Context().socket(zmq.DEALER)
    number = 0

    async def hear(parts: list[memoryview]) -> None:
        link = _Link(dealer, heard_s=0.0)
        with contextlib.suppress(_LinkDownError):
            await client._hear_control(link, parts)
        if link.data is not None:
            link.data.close(0)
        while not client._inbox.empty():
            client._inbox.get_nowait()

    def run(rng: random.Random) -> bool:
        nonlocal number, stream
        number += 1
        parts = mutate_message(rng.choice(golden), golden, rng)
        router = rng.choice((bridge._control, bridge._data))
        bridge._serve(router, b"c%d" % (number % 50), parts, "")
        if number % 1000 == 0:
            bridge._clients.forget_silent(time.monotonic() + 1)
        if number % 200 == 0:
            stream = fresh_stream()
        stream.hear(parts)
        loop.run_until_complete(hear([memoryview(part) for part in parts]))
        try:
            unpack(parts)
        except WireError as error:
            rejected(error, parts)
            return False
        return True

    return run


def orders_case() -> Case:
    """Orders to the agent, questions to its snapshot socket, and what a listener hears."""
    from agent.control import OrderBook, _answer
    from agent.listening import Listener
    from agent.state import State

    orders: list[Any] = [
        {"kind": "status"},
        {"kind": "approve", "request": "r1", "session": "s1", "id": "0123456789"},
        {"kind": "deny", "request": "r1"},
        {"kind": "set_mode", "mode": "observe"},
        {"kind": "stop", "why": "enough"},
    ]
    envelope = {
        "version": 1, "topic": "map", "session": "s1", "number": 1, "sent_s": 1.0, "body": {"kind": "map"},
        "columns": {"count": 1, "dtype": [["row_px", "<f4"]]},
    }  # fmt: skip
    loop = asyncio.new_event_loop()
    listener = Listener.__new__(Listener)
    listener._topics, listener._numbers = (), {}

    async def ask(event: Any) -> list[str]:
        return []

    def run(rng: random.Random) -> bool:
        text = dump(mutate_tree(rng.choice(orders), rng), rng)
        book = OrderBook("s1", must_be_named=rng.random() < 0.5)
        answer = loop.run_until_complete(_answer(text, ask, State, lambda: 0.0, book))
        json.dumps(answer)
        for heard in listener._take(b"map", dump(mutate_tree(envelope, rng), rng), rng.randbytes(60)):
            with contextlib.suppress(ValueError):
                assert heard.columns is not None
        listener._numbers.clear()
        return bool(answer["ok"])

    return run


# --- what reads files --------------------------------------------------------------------------------------


def micrograph_case(name: str, folder: Path, *, is_trusted: bool = True) -> Case:
    """A file of one format; HDF5 without its rehearsal in another process, for this is one already."""
    from drivers.contract.errors import InputError
    from drivers.files import read_micrographs

    if name.endswith(".dm4"):
        content = {"": (DATA / "tiwse2" / "haadf_2.dm4").read_bytes()}
    else:
        original = folder / f"original_{name}"
        runpy.run_path(str(ROOT / "tests" / "drivers" / "conftest.py"))["WRITERS"][name](original)
        files = [original] if original.is_file() else sorted(p for p in original.rglob("*") if p.is_file())
        content = {str(path.relative_to(original)): path.read_bytes() for path in files}

    def run(rng: random.Random) -> bool:
        path = folder / f"case_{name}"
        victim = rng.choice(list(content))
        if set(content) <= {"", "."}:
            spoilt = mutate_bytes(content[victim], rng)
            path.write_bytes(with_png_checksums(spoilt) if name.endswith(".png") else spoilt)
        else:
            for part, data in content.items():
                (path / part).parent.mkdir(parents=True, exist_ok=True)
                (path / part).write_bytes(mutate_bytes(data, rng) if part == victim else data)
        try:
            read_micrographs(path, is_trusted=is_trusted)
        except InputError:
            return False
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
    """A recorded session: damaged bytes, or altered entries whose digests are right again."""
    from agent.recording import Recording
    from agent.replay import replay
    from agent.sessions import summarise
    from drivers.contract.errors import InputError
    from drivers.session_check import check_session
    from drivers.session_layout import FACTS, first_digest, next_digest
    from drivers.session_recording import read_session

    original, case = folder / "original", folder / "case"
    make_session(original)
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


def make_session(folder: Path) -> None:
    """Record a small session by the agent's own decisions."""
    conftest = runpy.run_path(str(ROOT / "tests" / "agent" / "conftest.py"))
    import numpy as np

    from agent.decide import decide
    from agent.journal import Journal, JournalEntry
    from agent.state import State

    events: list[tuple[Any, Any]] = [(conftest["opened"](mode="auto"), None), (conftest["link_made"](), None)]
    for number in range(4):
        events.append((conftest["frame_seen"](number), np.full((16, 16), number, np.uint8)))
        events.append((conftest["frame_mapped"](number, 0.3), conftest["columns_of"](5)))
    journal, state = Journal.create(folder, "original"), State()
    for position, (event, array) in enumerate(events):
        state, actions = decide(state, event)
        journal.append([JournalEntry(position, event, actions, array)])
    journal.close()


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


MESSAGES = ("wire", "orders")
FORMATS = (
    "frame.hspy", "frame.zspy", "frame.tif", "frame.mrc", "frame.ser", "velox.emd", "berkeley.emd",
    "frame.nxs", "frame.h5", "frame.npy", "frame.png", "frame.dm4",
)  # fmt: skip
#: HDF5 hangs or crashes on some files; they are read in a process of their own first.
REHEARSED = ("frame.hspy", "velox.emd", "berkeley.emd", "frame.nxs", "frame.h5")
FILES = ("settings", "session", "weights", *FORMATS)


def make_case(kind: str, folder: Path) -> Case:
    """Set a kind up."""
    match kind:
        case "wire":
            return wire_case()
        case "orders":
            return orders_case()
        case "settings":
            return settings_case(folder)
        case "session":
            return session_case(folder)
        case "weights":
            return weights_case(folder)
        case _:
            return micrograph_case(kind, folder)


# --- running -----------------------------------------------------------------------------------------------


class Failures:
    """What failed, by where it did: how often, and the first few."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, Any]] = {}

    def add(self, where: str, what: str, count: int = 1) -> None:
        known = self.found.setdefault(where, {"count": 0, "first": []})
        known["count"] += count
        if what and len(known["first"]) < 2:
            known["first"].append(what[:300])

    def merge(self, found: dict[str, dict[str, Any]]) -> None:
        for where, what in found.items():
            for place, first in enumerate(what["first"]):
                self.add(where, first, what["count"] if place == 0 else 0)

    @property
    def count(self) -> int:
        return sum(each["count"] for each in self.found.values())


def work(kind: str, start: int, count: int, seed: int, folder: Path) -> None:
    """Be the process of one kind: run cases, and say on which one it is, and what failed."""
    warnings.simplefilter("ignore")
    sys.setrecursionlimit(1000)
    run = make_case(kind, folder)
    run(random.Random(0))  # whatever is loaded at the first use belongs to no case
    with Path("/proc/self/statm").open() as file:
        now_bytes = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now_bytes + MEMORY_BYTES, resource.RLIM_INFINITY))
    base_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bound_s = MESSAGE_S if kind in MESSAGES else FILE_S
    progress = os.open(folder / "progress", os.O_RDWR | os.O_CREAT, 0o600)
    accepted, slowest_s = 0, 0.0
    failures = Failures()
    for number in range(start, start + count):
        os.pwrite(progress, b"%20d" % number, 0)
        began_s = time.process_time()
        try:
            accepted += run(random.Random(f"{kind} {seed} {number}"))
        except BaseException as error:  # whatever it is, it is what is looked for
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{where.filename}:{where.lineno}"
            failures.add(f"{type(error).__name__} at {place}", f"case {number}: {error}")
            if isinstance(error, KeyboardInterrupt):
                raise
        seconds = time.process_time() - began_s
        slowest_s = max(slowest_s, seconds)
        if seconds > bound_s:
            failures.add("slow", f"case {number}: took {seconds:.1f} s, the bound is {bound_s:g} s")
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = {
        "accepted": accepted,
        "failures": failures.found,
        "slowest_s": slowest_s,
        "peak_mib": (peak_kib - base_kib) / 1024,
    }
    (folder / "report.json").write_text(json.dumps(report))


def fuzz(kind: str, count: int, seed: int, start: int = 0) -> dict[str, Any]:
    """Run so many cases of a kind; begins again behind one that ends or stops the process."""
    began_s, first = time.monotonic(), start
    failures = Failures()
    total: dict[str, Any] = {"cases": count, "accepted": 0, "slowest_s": 0.0, "peak_mib": 0.0}
    end = start + count
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    while first < end:
        with tempfile.TemporaryDirectory(prefix="columnist-fuzz-", dir=base) as name:
            folder = Path(name)
            command = [sys.executable, __file__, "work", kind, str(first), str(end - first), str(seed), name]
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
                ending = _watch(process, folder / "progress")
            if ending is None:
                report = json.loads((folder / "report.json").read_text())
                first = end
            else:
                report = {"accepted": 0, "failures": {}, "slowest_s": 0.0, "peak_mib": 0.0}
                at = _progress(folder / "progress")
                if at is None:
                    raise RuntimeError(f"{kind} could not be set up: {ending}")
                if kind in REHEARSED and _is_refused(kind, at, seed):
                    total["refused_by_rehearsal"] = total.get("refused_by_rehearsal", 0) + 1
                else:
                    failures.add(ending.split(":")[0], f"case {at}: {ending}")
                first = at + 1
        total["accepted"] += report["accepted"]
        failures.merge(report["failures"])
        for name in ("slowest_s", "peak_mib"):
            total[name] = max(total[name], report[name])
    total["slowest_s"], total["peak_mib"] = round(total["slowest_s"], 3), round(total["peak_mib"], 1)
    return total | {
        "elapsed_s": round(time.monotonic() - began_s, 1),
        "failures": failures.count,
        "found": failures.found,
    }


def _watch(process: "subprocess.Popen[bytes]", progress: Path) -> str | None:
    """Wait for a worker; say how it ended if not in order."""
    errors = io.BytesIO()
    at, since_s = None, time.monotonic()
    while True:
        try:
            _, said = process.communicate(timeout=1.0)
            errors.write(said)
            break
        except subprocess.TimeoutExpired:
            now = _progress(progress)
            if now != at:
                at, since_s = now, time.monotonic()
            elif at is not None and time.monotonic() - since_s > FILE_S:
                process.kill()
                process.communicate()
                return f"hung for {FILE_S:g} s"
    if process.returncode == 0:
        return None
    said_last = errors.getvalue()[-300:].decode(errors="replace")
    return f"ended the process with status {process.returncode}: {said_last}"


def _is_refused(kind: str, number: int, seed: int) -> bool:
    """Whether a case that ends or stops the process is refused when it is read as files from outside are."""
    with tempfile.TemporaryDirectory(prefix="columnist-fuzz-") as name:
        case = micrograph_case(kind, Path(name), is_trusted=False)
        return not case(random.Random(f"{kind} {seed} {number}"))


def _progress(path: Path) -> int | None:
    try:
        return int(path.read_bytes())
    except (OSError, ValueError):
        return None


def read_options(words: list[str]) -> argparse.Namespace:
    """Read what stands behind the name."""
    parser = argparse.ArgumentParser(prog="columnist bench fuzz")
    parser.add_argument("--messages", type=int, default=1_000_000, help="of each kind of message")
    parser.add_argument("--files", type=int, default=10_000, help="of each kind of file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="number of the first case")
    parser.add_argument("--kinds", nargs="+", default=[*MESSAGES, *FILES], choices=[*MESSAGES, *FILES])
    return parser.parse_args(words)


def main(as_json: bool, words: list[str] | None = None) -> int:
    """Fuzz; 0 if nothing failed."""
    options = read_options(words or [])
    kinds = [kind for kind in options.kinds if kind != "frame.dm4" or DATA.is_dir()]
    found: dict[str, Any] = {}
    for kind in kinds:
        count = options.messages if kind in MESSAGES else options.files
        found[kind] = fuzz(kind, count, options.seed, options.start)
        if not as_json:
            print(f"{kind:14} {found[kind]}", flush=True)
    failures = sum(each["failures"] for each in found.values())
    if as_json:
        print(json.dumps({"fuzz_failures": failures, "kinds": found}, indent=1))
    else:
        print(f"fuzz_failures {failures}")
    return 1 if failures else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        work(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]), Path(sys.argv[6]))
    else:
        sys.exit(main(False, sys.argv[1:]))
