"""Files are read whole or refused: regular ones only, and only up to a size named in advance."""

import io
import json
import os
import stat
from pathlib import Path
from typing import Any

from model.errors import InputError

MIB = 2**20
JSON_LIMIT, FILE_LIMIT = 16 * MIB, 256 * MIB
"""More than any card or summary, and than any table or figure, needs."""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}


def read_regular(path: Path, limit: int = FILE_LIMIT) -> bytes:
    """Read a regular file of at most `limit` bytes.

    What is no regular file is never opened for long: a device may have no end, a pipe no writer.

    Raises:
        FileNotFoundError: No such file.
        InputError: A device, pipe, socket or folder, a file above the limit, or one that cannot be
            opened; the message names the path.
    """
    try:
        _check_kind(path, os.stat(path), limit)
        # Another file may have taken its place since: opened without waiting, and looked at again.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            _check_kind(path, os.fstat(file.fileno()), limit)
            data = file.read(limit + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    if len(data) > limit:
        raise InputError(f"{path} grew above {limit:,} bytes while it was read")
    return data


def open_regular(path: Path, limit: int = FILE_LIMIT) -> io.BytesIO:
    """Read a regular file for those who want one open, such as pandas; see `read_regular`."""
    return io.BytesIO(read_regular(path, limit))


def read_json(path: Path, limit: int = JSON_LIMIT) -> Any:
    """Read a JSON file in which no key is given twice.

    Raises:
        FileNotFoundError: No such file.
        InputError: Not a readable regular file, or not JSON.
    """
    data = read_regular(path, limit)
    try:
        return json.loads(data.decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not readable JSON: copy it again ({error})") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice")
    return found


def _check_kind(path: Path, found: os.stat_result, limit: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "no regular file")
        raise InputError(f"{path} is {kind}: give a regular file")
    if found.st_size > limit:
        raise InputError(f"{path} has {found.st_size:,} bytes, above the limit of {limit:,}")
