"""Why the journal cannot record: what the system and SQLite say, as errors that a user can mend."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from drivers.contract.errors import InputError


class JournalError(InputError):
    """The journal cannot record; the message says why and how to mend it."""


class DiskFullError(JournalError):
    """There is no room.  Nothing of the call was recorded; it may be repeated once there is room."""


class ReadOnlyError(JournalError):
    """The folder of the session may not be written to."""


class JournalBrokenError(JournalError):
    """The disk failed, so that what it holds is uncertain; only `Journal.reopen` may go on."""


@contextmanager
def typed_errors(folder: Path) -> Iterator[None]:
    """Turn what the system and SQLite say into errors that a user can mend."""
    try:
        yield
    except OSError as error:
        raise _name_os_error(folder, error) from error
    except sqlite3.Error as error:
        raise _name_sqlite_error(folder, error) from error


def _name_os_error(folder: Path, error: OSError) -> JournalError:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return DiskFullError(f"{folder}: the disk is full ({error}); make room, then recording goes on")
        case errno.EROFS | errno.EACCES | errno.EPERM:
            return ReadOnlyError(f"{folder}: may not be written to ({error}); choose another sessions folder")
        case errno.EIO:
            return JournalBrokenError(f"{folder}: the disk failed ({error}); reopen the session")
        case _:
            return JournalError(f"{folder}: cannot record ({error})")


def _name_sqlite_error(folder: Path, error: sqlite3.Error) -> JournalError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    match code:
        case sqlite3.SQLITE_FULL:
            return DiskFullError(f"{folder}: the disk is full ({error}); make room, then recording goes on")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return ReadOnlyError(f"{folder}: may not be written to ({error}); choose another sessions folder")
        case _:
            return JournalBrokenError(f"{folder}: the facts cannot be written ({error}); reopen the session")
