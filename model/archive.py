"""ZIP archives of known kinds, checked before anything in them is unpacked."""

import io
import struct
import zipfile
import zlib

from model.errors import InputError

MAX_ENTRIES = 10_000


def read_archive(data: bytes, limit: int) -> dict[str, bytes]:
    """Unpack all entries of a ZIP archive, each held to its declared size and checksum.

    Args:
        data: The archive.
        limit: The most bytes that the entries may hold together.

    Returns:
        Contents by name.

    Raises:
        InputError: More entries or bytes than allowed, a name twice, or an encrypted entry.
        ValueError: No ZIP archive, or a damaged one.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _check(entries, limit)
            return {entry.filename: _unpack(archive, entry) for entry in entries}
    except InputError:
        raise
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        ValueError,
        OverflowError,
        EOFError,
        OSError,
        RuntimeError,  # NotImplementedError too: a feature that zipfile lacks
    ) as error:
        raise ValueError(f"a damaged archive: {error}") from error


def _check(entries: list[zipfile.ZipInfo], limit: int) -> None:
    if len(entries) > MAX_ENTRIES:
        raise InputError(f"the archive has {len(entries):,} entries, above {MAX_ENTRIES:,}")
    if len({entry.filename for entry in entries}) < len(entries):
        raise InputError("the archive has two entries of one name")
    if any(entry.flag_bits & 1 for entry in entries):
        raise InputError("the archive is encrypted")
    if any(e.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for e in entries):
        raise InputError("the archive is packed in a way that is not read here")
    total = sum(entry.file_size for entry in entries)
    if total > limit:
        raise InputError(f"the archive unpacks to {total:,} bytes, above the limit of {limit:,}")


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Read one entry to its declared size, where zipfile compares the checksum.

    Asked for everything, zipfile would unpack two GiB of an entry that declares a few bytes.
    """
    with archive.open(entry) as file:
        content = file.read(entry.file_size + 1)
    if len(content) != entry.file_size:
        raise ValueError(f"{len(content)} bytes where {entry.file_size} were declared")
    return content
