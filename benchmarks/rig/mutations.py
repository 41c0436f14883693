"""Spoils bytes, trees of JSON and messages, by random numbers that it is given."""

import contextlib
import json
import random
import struct
import zlib
from collections.abc import Sequence
from typing import Any

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


def mutate_pixels_of_png(content: bytes, rng: random.Random) -> bytes:
    """Spoil what a PNG file has compressed, and compress it again."""
    place = content.index(b"IDAT") - 4
    size = int.from_bytes(content[place : place + 4], "big")
    inner = zlib.compress(mutate_bytes(zlib.decompress(content[place + 8 : place + 8 + size]), rng))
    chunk = len(inner).to_bytes(4, "big") + b"IDAT" + inner + bytes(4)
    return with_png_checksums(content[:place] + chunk + content[place + 12 + size :])


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


def nudge_tree(tree: Any, rng: random.Random) -> Any:
    """Change one value for another of its type, so that more of it is still a message."""
    if isinstance(tree, dict) and tree:
        key = rng.choice(list(tree))
        return tree | {key: nudge_tree(tree[key], rng)}
    if isinstance(tree, list) and tree:
        place = rng.randrange(len(tree))
        return [*tree[:place], nudge_tree(tree[place], rng), *tree[place + 1 :]]
    if isinstance(tree, bool):
        return not tree
    if isinstance(tree, int):
        return rng.choice((tree + 1, tree - 1, 0, 1, tree * 2, tree * 1000, 2**31, 2**53, 2**62))
    if isinstance(tree, float):
        return rng.choice((tree * 1.01, tree / 2, tree * 1000, 0.0, 1e-9, 1e9, 1e300, -tree))
    if isinstance(tree, str):
        return rng.choice((tree + "x", tree[:-1], "x", "HAADF", "MAADF", "../" + tree, tree * 20, "é\u202e"))
    return rng.choice((None, [], {}, 1, "x"))


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
        change = nudge_tree if rng.random() < 0.5 else mutate_tree
        for _ in range(rng.choice((1, 1, 2, 3))):
            tree = change(tree, rng)
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
