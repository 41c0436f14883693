"""Files that belong together, written all or none."""

import errno
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path


def write_all(
    out: Path, contents: dict[str, tuple[str, bytes]], stale: Sequence[str] = ()
) -> dict[str, Path]:
    """Write files into a folder: each is whole when it appears, and all appear or none.

    Files of these names are kept aside until all are in place, and put back if one cannot be.

    Parameters
    ----------
    out : Path
        Folder, which exists.
    contents : dict
        Name and content by kind.
    stale : sequence of str
        Names of files that go once all are in place.

    Raises
    ------
    OSError
        If one cannot be written, or a folder is in its place.
    """
    for name, _ in contents.values():
        if (out / name).is_dir():
            raise IsADirectoryError(errno.EISDIR, "a folder is in the place of a result", str(out / name))
    partial = Path(tempfile.mkdtemp(prefix=".columnist-", dir=out))
    earlier = partial / "earlier"
    kept: list[str] = []
    placed: list[str] = []
    try:
        earlier.mkdir()
        for name, content in contents.values():
            with (partial / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for name in stale:
            (out / name).replace(earlier / name)
            kept.append(name)
        for name, _ in contents.values():
            if os.path.lexists(out / name):
                (out / name).replace(earlier / name)
                kept.append(name)
            (partial / name).replace(out / name)
            placed.append(name)
    except BaseException:
        for name in placed:
            (out / name).unlink(missing_ok=True)
        for name in kept:
            (earlier / name).replace(out / name)  # if this fails, too, the earlier ones stay in `partial`
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(partial, ignore_errors=True)
    return {kind: out / name for kind, (name, _) in contents.items()}
