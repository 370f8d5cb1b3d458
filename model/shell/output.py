"""The folder that a command fills: locked, and afterwards whole or marked as not.

    with Output(folder, by="python -m interp.certify") as output:
        result = run(...)
        with output.writing():
            write(result, folder)

While the outer block lasts no other process writes there. The inner block takes the manifest away
first and writes it last, with the hash of every file that was written in between, by whom ever;
files of an earlier run that were not written again are removed. Killed at any moment, the folder
is as it was, or says that it is unfinished, and the same command again makes it whole.
"""

import contextlib
import errno
import fcntl
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from types import TracebackType

from model.errors import InputError
from model.shell.manifest import (
    LOCK,
    MANIFEST,
    UNFINISHED,
    Entries,
    Entry,
    Unfinished,
    find_problems,
    hash_file,
    is_room,
    read_manifest,
    read_unfinished,
    walk,
    write_manifest,
    write_unfinished,
)

_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}\.tmp")
"""What `write_atomic` calls a file until it is whole."""


class FolderInUse(InputError):
    """Another process fills the folder."""


class Output:
    """A folder that one command fills.

    Args:
        folder: Made if missing; removed again where nothing was written.
        by: The command, as it is called; it is named in the manifest.
        adds: Files of earlier calls, of this or of another command, are kept. Otherwise a folder
            that another command filled is refused.
        keeps: Patterns of names that are kept from earlier calls: what a resumed run goes on from.

    Raises:
        InputError: The folder cannot be made or written, or is another command's.
        FolderInUse: Another process fills it.
    """

    def __init__(
        self, folder: Path, *, by: str, adds: bool = False, keeps: Sequence[str] = ()
    ) -> None:
        """Name the folder; nothing is touched yet."""
        self.folder, self.by = folder, by
        self._keeps = ("*",) if adds else tuple(keeps)
        self._adds = adds
        self._made: list[Path] = []
        self._lock = -1

    def __enter__(self) -> "Output":
        """Lock the folder, check whose it is, and clean up after killed runs."""
        try:
            self._made = _make(self.folder)
            self._lock = _take(self.folder, self.by)
            try:
                self._check_owner()
                _clean(self.folder)
                if (self.folder / MANIFEST).exists():  # killed at the very end
                    (self.folder / UNFINISHED).unlink(missing_ok=True)
            except BaseException:
                self._release()
                raise
        except FolderInUse:
            raise
        except (OSError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            reason = getattr(error, "strerror", None) or str(error)
            raise InputError(f"cannot write {str(self.folder)[:200]}: {reason}") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Unlock it."""
        self._release()

    @contextlib.contextmanager
    def writing(self) -> Iterator[Path]:
        """Fill the folder: what is written in this block is what the manifest will list.

        Yields:
            The folder.
        """
        stood, cut = read_manifest(self.folder), read_unfinished(self.folder)
        before, all_before = _survey(self.folder), _list_all(self.folder)
        known, left = self._take_over(stood or {}, cut, before.keys())
        write_unfinished(self.folder, known)
        (self.folder / MANIFEST).unlink(missing_ok=True)
        try:
            yield self.folder
        except BaseException:
            if cut is None and _list_all(self.folder) == all_before:  # nothing was touched
                if stood is not None:
                    write_manifest(self.folder, stood)
                (self.folder / UNFINISHED).unlink()
            raise
        write_manifest(self.folder, self._conclude(known.entries, left, before))
        (self.folder / UNFINISHED).unlink()

    @property
    def is_whole(self) -> bool:
        """Whether an earlier call has filled the folder, and everything is still there."""
        return (self.folder / MANIFEST).exists() and not find_problems(self.folder)

    def _take_over(
        self, entries: Entries, cut: Unfinished | None, names: Iterable[str]
    ) -> tuple[Unfinished, set[str]]:
        """Say what is known of the folder, and which files a run that was cut off has left.

        Those of a run of this command count as its own; those of another are strangers.
        """
        if cut is None:
            strangers = frozenset(name for name in names if name not in entries)
            return Unfinished(entries, self.by, strangers), set()
        hashes = {name: _hash(self.folder / name) for name in names if name not in cut.strangers}
        same = {name: e for name, e in cut.entries.items() if hashes.get(name) == e.sha256}
        left = hashes.keys() - same.keys()
        if cut.by == self.by:
            return Unfinished(same, self.by, cut.strangers), set(left)
        return Unfinished(same, self.by, cut.strangers | left), set()

    def _conclude(
        self, old: Entries, left: set[str], before: dict[str, tuple[int, ...]]
    ) -> Entries:
        """List what was written or is kept, and remove what is left of an earlier run."""
        entries: Entries = {}
        after = _survey(self.folder)
        for name, mark in after.items():
            kept = any(fnmatchcase(name, pattern) for pattern in self._keeps)
            ours = kept and (name in left or not self._adds)
            if before.get(name) != mark or (name not in old and ours):
                entries[name] = Entry(_hash(self.folder / name), self.by)
            elif name in old and kept:
                entries[name] = old[name]
        for name in (old.keys() | left) & after.keys() - entries.keys():
            if Path(name).name != MANIFEST:  # folders inside remove their own
                (self.folder / name).unlink()
        return entries

    def _check_owner(self) -> None:
        cut = read_unfinished(self.folder)
        entries = cut.entries if cut else read_manifest(self.folder) or {}
        owners = {entry.by for entry in entries.values()} | ({cut.by} if cut else set())
        others = sorted(owners - {self.by})
        if others and not self._adds:
            raise InputError(
                f"{self.folder} was filled by {others[0]}: choose another --out, or delete it"
            )

    def _release(self) -> None:
        # Removed while it is held: who waits for it finds that it is gone, and makes a new one.
        with contextlib.suppress(OSError):
            (self.folder / LOCK).unlink()
        os.close(self._lock)
        with contextlib.suppress(OSError):  # not empty
            for folder in reversed(self._made):
                folder.rmdir()


def _make(folder: Path) -> list[Path]:
    """Make a folder with its parents; list those that were not there."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return made[::-1]


def _take(folder: Path, by: str) -> int:
    """Lock a folder; give the descriptor that holds the lock."""
    path = folder / LOCK
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(handle).st_ino == path.stat().st_ino:
                break
        except FileNotFoundError:  # its holder removed it just now
            pass
        except OSError as error:
            holder = os.read(handle, 200).decode(errors="replace").strip()
            os.close(handle)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            who = holder if holder.isprintable() and holder else "another process"
            raise FolderInUse(
                f"{folder} is being filled by {who}: wait for it, or choose another --out"
            ) from error
        os.close(handle)
    with contextlib.suppress(OSError):  # a full disk: only the message needs it
        os.truncate(handle, 0)
        os.write(handle, f"{by}, process {os.getpid()}\n".encode())
    return handle


def _clean(folder: Path) -> None:
    """Remove what killed runs had not finished; rooms inside do it themselves."""
    for place, folders, files in os.walk(folder):
        if Path(place) != folder and is_room(Path(place)):
            folders.clear()
            continue
        for name in files:
            if _TEMPORARY.fullmatch(name):
                (Path(place) / name).unlink(missing_ok=True)


def _survey(folder: Path) -> dict[str, tuple[int, ...]]:
    """Note of each file that a manifest may name what tells it from one that takes its place."""
    return {name: _mark(found) for name, found in walk(folder)}


def _list_all(folder: Path) -> dict[Path, tuple[int, ...]]:
    """Note the same of all other files too, those of rooms inside and hidden ones."""
    own = {folder / name for name in (LOCK, MANIFEST, UNFINISHED)}
    found = {}
    for place, _, files in os.walk(folder):
        for path in (Path(place) / name for name in files):
            with contextlib.suppress(FileNotFoundError):  # another process is at work in there
                found[path] = _mark(path.lstat())
    return {path: mark for path, mark in found.items() if path not in own}


def _mark(found: os.stat_result) -> tuple[int, ...]:
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _hash(path: Path) -> str:
    try:
        return hash_file(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
