"""manifest.json: which files a folder holds, which command wrote each, and their hashes.

It is removed before the first file is replaced and written after the last, so that a folder with a
manifest is whole. While it is away `.manifest.unfinished.json` holds what it said, who is at work,
and which files are nobody's. A folder inside that has a manifest of its own is vouched for by the
hash of that manifest.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from model.errors import InputError
from model.reading import read_json
from model.shell.atomic import write_atomic

MANIFEST, UNFINISHED, LOCK = "manifest.json", ".manifest.unfinished.json", ".lock"
TIMING = "timing.json"
"""How long a command took: never listed, since it differs each time."""

FORMAT = "carrylens folder 1"


@dataclass(frozen=True)
class Entry:
    """What is known of one file: its hash, and the command that wrote it."""

    sha256: str
    by: str


Entries = dict[str, Entry]
"""By name, with / between folders."""


@dataclass(frozen=True)
class Unfinished:
    """What is known of a folder that is being filled, or in which that was cut off.

    Attributes:
        entries: What its manifest said before.
        by: The command at work.
        strangers: Files that were there before and that no manifest listed.
    """

    entries: Entries
    by: str
    strangers: frozenset[str]


def read_manifest(folder: Path) -> Entries | None:
    """Read what a folder says of itself; None where it says nothing.

    Raises:
        InputError: The manifest is damaged, or names files outside of the folder.
    """
    found = _read(folder / MANIFEST)
    return None if found is None else found[0]


def read_unfinished(folder: Path) -> Unfinished | None:
    """Read what is known of a folder without a manifest; None where it has one, or nothing.

    Raises:
        InputError: As for `read_manifest`.
    """
    found = None if (folder / MANIFEST).exists() else _read(folder / UNFINISHED)
    if found is None:
        return None
    entries, content = found
    return Unfinished(entries, str(content.get("by")), frozenset(content.get("strangers", ())))


def _read(path: Path) -> tuple[Entries, dict[str, Any]] | None:
    try:
        content = read_json(path)
    except FileNotFoundError:
        return None
    try:
        if content["format"] != FORMAT:
            raise ValueError("another format")
        entries = {str(name): Entry(**entry) for name, entry in content["files"].items()}
        if not all(isinstance(x, str) for e in entries.values() for x in (e.sha256, e.by)):
            raise ValueError("no text")
        if not all(_is_inside(name) for name in entries):
            raise ValueError("a name outside")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is damaged: delete {path.parent}, or choose another") from error
    return entries, content


def write_manifest(folder: Path, entries: Entries) -> Path:
    """Write what a folder holds."""
    return _write(folder / MANIFEST, entries)


def write_unfinished(folder: Path, known: Unfinished) -> Path:
    """Write what is known of a folder whose manifest is about to be taken away."""
    strangers = sorted(known.strangers)
    return _write(folder / UNFINISHED, known.entries, by=known.by, strangers=strangers)


def _write(path: Path, entries: Entries, **more: Any) -> Path:
    files = {key: asdict(entries[key]) for key in sorted(entries)}
    content = {"format": FORMAT, **more, "files": files}
    return write_atomic(path, json.dumps(content, indent=1) + "\n")


def walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """List the files that a manifest may name: of a folder with its own manifest, only that.

    Hidden files, times and what is no regular file are passed over; links are not followed.
    """
    for place, folders, files in os.walk(folder):
        here = Path(place)
        if here != folder and is_room(here):
            folders.clear()
            files = [MANIFEST] if MANIFEST in files else []
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in sorted(files):
            name = (here / file).relative_to(folder).as_posix()
            if not file.startswith(".") and name not in (MANIFEST, TIMING):
                found = (here / file).lstat()
                if stat.S_ISREG(found.st_mode):
                    yield name, found


def is_room(folder: Path) -> bool:
    """Tell whether a folder has a manifest of its own, or had one, or is about to."""
    return any((folder / name).exists() for name in (MANIFEST, UNFINISHED, LOCK))


def hash_file(path: Path) -> str:
    """Hash a regular file, piece by piece.

    Raises:
        OSError: It is not there, or is no regular file.
    """
    if not stat.S_ISREG(path.lstat().st_mode):
        raise OSError(f"{path} is no regular file")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_cut_off(folder: Path) -> bool:
    """Tell whether a command is at work in a folder, or was cut off there."""
    return not (folder / MANIFEST).exists() and (folder / UNFINISHED).exists()


def refuse_cut_off(folder: Path) -> None:
    """Refuse to read a folder in which a command was cut off: its files are of two runs.

    Raises:
        InputError: It is such a folder.
    """
    if is_cut_off(folder):
        raise InputError(f"{folder}: a command was cut off here; run it again")


def find_problems(folder: Path) -> list[str]:
    """Say what is wrong with a folder that a command filled, and with those inside it.

    Returns:
        A line for each problem; empty for a folder that is whole.

    Raises:
        InputError: No command of this project has filled the folder, or its manifest is damaged.
    """
    entries = read_manifest(folder)
    if entries is None:
        if is_cut_off(folder):
            return [f"{folder}: a command was cut off here; run it again"]
        raise InputError(f"{folder} has no {MANIFEST}: no command has filled it to the end")
    problems = []
    for name, entry in entries.items():
        path = folder / name
        try:
            if hash_file(path) != entry.sha256:
                problems.append(f"{path} is not the file that {entry.by} wrote")
        except OSError:
            problems.append(f"{path} is missing")
            continue
        if path.name == MANIFEST:
            problems += find_problems(path.parent)
    return problems


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return (
        not path.is_absolute() and ".." not in path.parts and bool(path.name) and "\0" not in name
    )
