"""Files that appear complete or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

__all__ = ["check_regular", "write_atomically"]

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_regular(path: str | os.PathLike[str]) -> os.stat_result | None:
    """Return the status of the regular file at the end of all links; None where nothing is.

    Raises OSError where a directory, FIFO, socket or device is, or links lead in a circle.
    """
    name = os.fsdecode(path)
    if not os.path.basename(name):
        raise IsADirectoryError(f"path must name a file, got {name!r}")
    try:
        status = os.stat(name)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        refusal = IsADirectoryError if stat.S_ISDIR(status.st_mode) else OSError
        raise refusal(f"path must be a regular file or a new one, got {name!r}, {kind}")
    return status


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file that nobody sees in part: a temporary file takes its place at the end.

    Links are followed. A file that exists keeps its mode, and its owner where the system permits;
    a new file has the mode that the umask leaves. Where the file is not a regular one or cannot be
    written, OSError is raised and nothing is left behind.
    """
    replaced = check_regular(path)
    target = Path(os.path.realpath(os.fsdecode(path)))
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    # The content may be private: nobody else may read it before the mode is set.
    opener = None if replaced is None else lambda name, flags: os.open(name, flags, 0o600)
    try:
        with open(temporary, "xb", opener=opener) as file:
            if replaced is not None:
                _take_after(temporary, replaced)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            raise type(error)(error.errno, error.strerror, os.fsdecode(path)) from error
        raise
    # Not every system, nor every user, can open folders.
    with contextlib.suppress(OSError):
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _take_after(path: Path, model: os.stat_result) -> None:
    """Give a file the owner and the mode of another."""
    if hasattr(os, "chown"):
        # Only root may give files away.
        with contextlib.suppress(PermissionError):
            os.chown(path, model.st_uid, model.st_gid)
    os.chmod(path, stat.S_IMODE(model.st_mode))
