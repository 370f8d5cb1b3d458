"""What a section of a report is, and how a finished one is kept on disk.

A section is a list of parts in reading order; both renderers and the disk know nothing else. In its
folder section.json holds the texts and vouches for the tables (CSV) and figures (PNG) beside it: it
is written last, and names the hash of each.
"""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from pandas.api.types import is_bool_dtype, is_float_dtype, is_integer_dtype

from analyses.report.image import SCREEN, compact
from interp.output import save_figure, save_json, save_table
from model.errors import InputError
from model.reading import open_regular, read_json, read_regular
from model.shell import write_atomic

VOUCHER = "section.json"
FORMAT = 2
"""Of section.json; others are computed again."""
LONGEST = 100
"""Rows of a table that a page shows."""


@dataclass(frozen=True)
class Text:
    """A paragraph; `code` stands between backticks, strong words between double asterisks."""

    text: str


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table with its caption; numbers are formatted by the renderers."""

    caption: str
    frame: pd.DataFrame


@dataclass(frozen=True)
class Picture:
    """A figure.

    Attributes:
        stem: File name without its ending.
        caption: What is drawn, of how many cases, with which control.
        png: The image, as small as it gets.
    """

    stem: str
    caption: str
    png: bytes


@dataclass(frozen=True)
class Listing:
    """A text shown as it is, folded away: a program, commands."""

    caption: str
    text: str


Part = Text | Heading | Table | Picture | Listing


@dataclass(frozen=True, kw_only=True)
class Section:
    """One section of a report.

    Attributes:
        name: As the command line calls it.
        title: As the reader sees it.
        finding: What it found, in one or two sentences.
        parts: What it consists of, in reading order.
        commands: What makes its numbers again.
        sources: Files that its numbers were read from or are kept in whole.
    """

    name: str
    title: str
    finding: str
    parts: tuple[Part, ...]
    commands: tuple[str, ...]
    sources: tuple[str, ...] = ()


def picture(figure: Figure, folder: Path, stem: str, caption: str) -> Picture:
    """Draw a figure and take it into a section; the section's command draws it for print."""
    (path,) = save_figure(figure, folder / stem, ("png",), SCREEN)
    return take(path, caption)


def take(path: Path, caption: str) -> Picture:
    """Take a figure that is drawn already into a section."""
    return Picture(path.stem, caption, compact(path.read_bytes()))


def table_name(number: int) -> str:
    """Name the file of a table by its place among the parts."""
    return f"table-{number:02d}.csv"


def shorten(section: Section) -> Section:
    """Leave the first rows of long tables, and say where all are."""

    def short(number: int, part: Part) -> Part:
        if not isinstance(part, Table) or len(part.frame) <= LONGEST:
            return part
        where = f"`sections/{section.name}/{table_name(number)}`"
        note = f"The first {LONGEST} of {len(part.frame):,} rows; all are in {where}."
        return Table(f"{part.caption} {note}", part.frame.head(LONGEST))

    return dataclasses.replace(section, parts=tuple(map(short, itertools.count(), section.parts)))


def save_section(section: Section, origin: Mapping[str, Any], folder: Path) -> Path:
    """Write a finished section, section.json last.

    Args:
        section: The section.
        origin: What its numbers depend on; only a report of the same origin reads it again.
        folder: Its own folder.

    Returns:
        The path of section.json.
    """
    discard(folder)
    parts = []
    for number, part in enumerate(section.parts):
        entry: dict[str, Any] = {"kind": type(part).__name__}
        match part:
            case Text(text) | Heading(text):
                entry |= {"text": text}
            case Listing(caption, text):
                entry |= {"caption": caption, "text": text}
            case Table(caption, frame):
                path = save_table(frame, folder / table_name(number))
                kinds = {str(name): _kind(frame[name]) for name in frame}
                entry |= {"caption": caption, "kinds": kinds, **_vouch(path)}
            case Picture(stem, caption, png):
                path = write_atomic(folder / f"{stem}.png", png)
                entry |= {"caption": caption, **_vouch(path)}
        parts.append(entry)
    plain = {key: value for key, value in vars(section).items() if key != "parts"}
    content = {"format": FORMAT, "origin": dict(origin), **plain, "parts": parts}
    return save_json(content, folder / VOUCHER)


def discard(folder: Path) -> None:
    """Forget a section: without section.json its files count for nothing.

    Raises:
        InputError: The file cannot be removed.
    """
    try:
        (folder / VOUCHER).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror or error}") from error


def load_section(folder: Path, origin: Mapping[str, Any]) -> Section | None:
    """Read a finished section; None where there is none of this origin.

    Raises:
        InputError: There is one, but its files are damaged.
    """
    path = folder / VOUCHER
    if not path.exists():
        return None
    try:
        content = read_json(path)
        if content["format"] != FORMAT or content["origin"] != json.loads(json.dumps(dict(origin))):
            return None
        return Section(
            **{key: content[key] for key in ("name", "title", "finding")},
            parts=tuple(_read_parts(content["parts"], folder)),
            commands=tuple(content["commands"]),
            sources=tuple(content["sources"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = error if isinstance(error, InputError) else f"{VOUCHER} cannot be read"
        raise InputError(f"{folder} is damaged: {reason}") from error


def _read_parts(entries: Sequence[dict[str, Any]], folder: Path) -> Iterator[Part]:
    for entry in entries:
        match entry["kind"]:
            case "Text":
                yield Text(entry["text"])
            case "Heading":
                yield Heading(entry["text"])
            case "Listing":
                yield Listing(entry["caption"], entry["text"])
            case "Table":
                yield Table(entry["caption"], _read_frame(_checked(entry, folder), entry["kinds"]))
            case "Picture":
                path = _checked(entry, folder)
                yield Picture(path.stem, entry["caption"], read_regular(path))
            case kind:
                raise InputError(f"a part is {kind!r}")


def _kind(column: pd.Series) -> str:
    for kind, test in (("bool", is_bool_dtype), ("int64", is_integer_dtype)):
        if test(column.dtype):
            return kind
    return "float64" if is_float_dtype(column.dtype) else "str"


def _read_frame(path: Path, kinds: dict[str, str]) -> pd.DataFrame:
    """Read a table as it was: texts stay texts, whatever they look like."""
    places: dict[Any, Any] = dict(enumerate(kinds.values()))
    missing = {place: [""] for place, kind in places.items() if kind == "float64"}
    frame = pd.read_csv(
        open_regular(path),
        header=0,
        names=list(places),
        dtype=places,
        keep_default_na=False,
        na_values=missing,
    )
    return frame.set_axis(list(kinds), axis=1)  # names may be empty, which CSV does not keep


def _vouch(path: Path) -> dict[str, str]:
    return {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def _checked(entry: dict[str, Any], folder: Path) -> Path:
    path = folder / entry["file"]
    if hashlib.sha256(read_regular(path)).hexdigest() != entry["sha256"]:
        raise InputError(f"{path.name} is not the file that was written")
    return path
