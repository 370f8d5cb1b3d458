"""Files appear whole or not at all: written beside their target, then renamed over it."""

import os
import tempfile
from pathlib import Path

from model.errors import InputError


def write_atomic(path: Path, data: bytes | str) -> Path:
    """Write `data` to `path` by a temporary file in the same folder and a rename.

    Args:
        path: The target; missing parent folders are made.
        data: Bytes, or text that is encoded as UTF-8.

    Returns:
        The path written.

    Raises:
        InputError: The folder cannot be made or written (no space, no permission, not a folder).
    """
    payload = data.encode() if isinstance(data, str) else data
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"
        )
        with os.fdopen(handle, "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
    return path
