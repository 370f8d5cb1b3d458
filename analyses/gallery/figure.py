"""A figure of the gallery: its data is computed once, drawing and caption need only the data.

On disk a figure NAME is OUT/NAME.png (svg, pdf), its tables OUT/data/NAME.TABLE.csv, its caption
OUT/NAME.txt, and OUT/NAME.json, which says what it was computed from. A figure whose tables are
there is redrawn from them.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from matplotlib.figure import Figure

from interp.output import FORMATS, PRINT, save_figure, save_json, save_table
from model.checkpoint import read_checkpoint, versions, weights_sha256
from model.errors import InputError
from model.reading import open_regular, read_json, read_regular
from model.shell import write_atomic

Tables = dict[str, pd.DataFrame]


@dataclass(frozen=True, kw_only=True)
class Source:
    """What figures are computed from.

    Attributes:
        checkpoint: The model: shipped name, folder or published .pt file.
        results: Folder of saved tables (training tables, sweeps).
        seed: Seed of every sample.
        known: What its figures have computed for each other, see `once`.
    """

    checkpoint: str
    results: Path
    seed: int = 0
    known: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        """Compute what several figures share when the first of them asks for it."""
        if name not in self.known:
            self.known[name] = compute()
        return self.known[name]


def no_files(source: Source) -> list[Path]:
    """Name no files: the data comes from the checkpoint alone."""
    return []


@dataclass(frozen=True, kw_only=True)
class GalleryFigure:
    """One figure of the gallery.

    Attributes:
        name: File stem.
        title: What it shows, in a line.
        group: Whether it redraws a figure of the write-ups or shows the mechanism.
        of_checkpoint: Whether its data depends on the checkpoint, or on saved results only.
        compute: Makes the data; the only part that may take long.
        plot: Draws it from the data alone.
        caption: Words it from the data alone: what is shown, of how many pairs, with which control.
        reads: Names the saved results that its data comes from, so that it is made anew where they
            have changed; raises `MissingResults` where they are not there.
    """

    name: str
    title: str
    group: Literal["write-ups", "mechanism"]
    of_checkpoint: bool
    compute: Callable[[Source], Tables]
    plot: Callable[[Tables], Figure]
    caption: Callable[[Tables], str]
    reads: Callable[[Source], Sequence[Path]] = no_files


class MissingResults(InputError):
    """Saved results that a figure needs are not there; the message says what makes them."""


def make_figure(
    figure: GalleryFigure,
    source: Source,
    out: Path,
    *,
    formats: Sequence[str] = FORMATS,
    dpi: int = PRINT,
    recompute: bool = False,
) -> tuple[str, bool]:
    """Compute a figure's data unless it is there, draw it, and write it with its caption.

    Returns:
        The caption, and whether the data was there.

    Raises:
        InputError: The checkpoint or a saved table cannot be read.
    """
    origin = describe_origin(figure, source)
    tables = None if recompute else load_tables(figure.name, origin, out)
    reused = tables is not None
    if tables is None:
        save_tables(figure.name, figure.compute(source), origin, out)
        tables = load_tables(figure.name, origin, out)
    assert tables is not None
    save_figure(figure.plot(tables), out / figure.name, formats, dpi)
    caption = figure.caption(tables)
    write_atomic(out / f"{figure.name}.txt", caption + "\n")
    return caption, reused


def describe_origin(figure: GalleryFigure, source: Source) -> dict[str, Any]:
    """Say what a figure's data depends on, apart from the code.

    Raises:
        InputError: The checkpoint or a saved table cannot be read.
    """
    origin: dict[str, Any] = {"figure": figure.name, "seed": source.seed}
    if figure.of_checkpoint:
        read = read_checkpoint(source.checkpoint)
        origin |= {"checkpoint": read.name, "sha256": weights_sha256(read.model.params)}
    for path in figure.reads(source):
        try:
            digest = hashlib.sha256(read_regular(path)).hexdigest()
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror or error}") from error
        origin.setdefault("files", {})["/".join(path.parts[-2:])] = digest
    return origin


def save_tables(name: str, tables: Tables, origin: dict[str, Any], out: Path) -> None:
    """Write a figure's tables, and last of all the file that vouches for them."""
    voucher = out / f"{name}.json"
    try:
        # Interrupted from here on, the tables are made again; drawings of the old ones go first.
        for kind in ("json", "txt", *FORMATS):
            (out / f"{name}.{kind}").unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {voucher}: {error.strerror or error}") from error
    paths = {key: save_table(table, place(name, key, out)) for key, table in tables.items()}
    digests = {key: hashlib.sha256(path.read_bytes()).hexdigest() for key, path in paths.items()}
    save_json({"origin": origin, "tables": digests, "versions": versions()}, voucher)


def load_tables(name: str, origin: dict[str, Any], out: Path) -> Tables | None:
    """Read a figure's tables; None where there are none of this origin.

    Raises:
        InputError: They are there but cannot be read, or are not those that were written.
    """
    path = out / f"{name}.json"
    if not path.exists():
        return None
    damaged = f"{path} or its tables are damaged: make the figure again with --recompute"
    try:
        saved = read_json(path)
        if saved["origin"] != origin:
            return None
        tables = {}
        for key, digest in saved["tables"].items():
            file = place(name, key, out)
            if hashlib.sha256(read_regular(file)).hexdigest() != digest:
                raise InputError(damaged)
            tables[key] = pd.read_csv(open_regular(file))
        return tables
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise InputError(damaged) from error


def place(name: str, key: str, out: Path) -> Path:
    """Name the file of one of a figure's tables."""
    return out / "data" / f"{name}.{key}.csv"
