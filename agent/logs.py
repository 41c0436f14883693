"""The log: JSON lines by structlog, bound to the session; nothing global is configured."""

import io
import logging
from contextlib import suppress
from pathlib import Path
from typing import TextIO, cast

import structlog
from structlog.typing import FilteringBoundLogger


class LogFile(io.TextIOBase):
    """A text file that begins anew when it is long, keeps the ones before, and never fails whoever writes.

    Parameters
    ----------
    path : Path
        The ones before are called ``NAME.1``, ``NAME.2`` and so on, the newest first.
    most_bytes : int
        A line more begins a new file.
    kept : int
        Files that are kept beside the present one.
    """

    def __init__(self, path: Path, most_bytes: int = 16 * 2**20, kept: int = 4) -> None:
        self._path, self._most_bytes, self._kept = path, most_bytes, kept
        self._file: TextIO | None = None
        self.lost = 0
        """Lines that could not be written, for the disk was full or failed: a log must not end a session."""

    def write(self, text: str) -> int:
        """Write a line."""
        try:
            if self._file is None:
                self._file = self._path.open("a", encoding="utf-8")
            if self._file.tell() > self._most_bytes:
                self._turn()
            self._file.write(text)
        except (OSError, ValueError):
            self.lost += 1
            self._let_go()
        return len(text)

    def flush(self) -> None:
        """Hand what is written to the system."""
        try:
            if self._file is not None:
                self._file.flush()
        except OSError:
            self.lost += 1
            self._let_go()

    def close(self) -> None:
        """Close the file."""
        self._let_go()
        super().close()

    def _turn(self) -> None:
        """Begin a new file."""
        self._let_go()
        for number in range(self._kept, 0, -1):
            older = self._path if number == 1 else self._numbered(number - 1)
            with suppress(FileNotFoundError):
                older.replace(self._numbered(number))
        self._file = self._path.open("a", encoding="utf-8")

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _let_go(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # what is left in its buffer cannot be written
                file.close()


def open_log(stream: TextIO | LogFile, level: str, session: str) -> FilteringBoundLogger:
    """Return a logger that writes one JSON object a line.

    Parameters
    ----------
    stream : file
        Where to write; flushed after every line.
    level : str
        ``"debug"``, ``"info"``, ``"warning"`` or ``"error"``.
    session : str
        Bound to every line.
    """
    logger = structlog.wrap_logger(
        structlog.WriteLogger(cast(TextIO, stream)),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
    )
    bound: FilteringBoundLogger = logger.bind(session=session)
    return bound
