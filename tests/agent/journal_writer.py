"""Appends entries to a journal for ever and says on stdout which are acknowledged; to be killed."""

import sys
from pathlib import Path

import numpy as np

from agent.journal import Journal, JournalEntry
from drivers.contract.context import Message


class Step(Message):
    kind: str = "frame_seen"
    at_s: float = 0.0
    text: str = ""


def array_of(position: int) -> "np.ndarray":
    """Every third entry has no array; the others have one of random size, the same for the same position."""
    rng = np.random.default_rng(position)
    return rng.integers(0, 2**16, rng.integers(0, 60_000), dtype=np.uint16)


def main() -> None:
    folder = Path(sys.argv[1])
    if len(sys.argv) > 2:
        journal, _ = Journal.reopen(folder)
    else:
        journal = Journal.create(folder)
    print("ready", flush=True)
    while True:
        start = journal.next_position
        journal.append(
            [
                JournalEntry(p, Step(text="x" * (p % 700)), (), array_of(p) if p % 3 else None)
                for p in range(start, start + 1 + start % 4)
            ]
        )
        print(journal.next_position, flush=True)
        if start % 50 == 0:
            journal.checkpoint()


if __name__ == "__main__":
    main()
