"""The figure gallery: python -m analyses.figures parameter_journey --checkpoint 262p.

Each figure is OUT/NAME.png, .svg and .pdf with its caption in OUT/NAME.txt and its data in
OUT/data/NAME.*.csv. It is redrawn from that data, and computed anew only where checkpoint, seed or
the saved results that it reads have changed. OUT/index.json and index.md list what is there.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from rich.table import Table
from tyro.conf import Positional

from analyses.claims import RESULTS
from analyses.gallery import (
    FIGURES,
    GalleryFigure,
    MissingResults,
    Source,
    choose_figures,
    make_figure,
)
from interp.output import FORMATS, save_json
from model.checkpoint import read_checkpoint
from model.errors import InputError
from model.shell import console, progress_console, run_command, write_atomic

__all__ = ["FIGURES", "main", "make_figures"]
Format = Literal["png", "svg", "pdf"]


def make_figures(
    chosen: Sequence[GalleryFigure],
    source: Source,
    out: Path,
    *,
    formats: Sequence[str] = FORMATS,
    recompute: bool = False,
    skip_missing: bool = False,
) -> list[dict[str, Any]]:
    """Make figures one after the other, and the index of all that `out` holds.

    Args:
        chosen: The figures.
        source: What they are computed from.
        out: Where they go.
        formats: File formats of the drawings.
        recompute: Compute data that is there already.
        skip_missing: Pass over figures whose saved results have not been made yet.

    Returns:
        A row for each: figure, status ("computed", "redrawn" or "skipped") and reason.

    Raises:
        InputError: The checkpoint or saved data cannot be read.
    """
    rows: list[dict[str, Any]] = []
    began = time.monotonic()
    for number, figure in enumerate(chosen):
        left = (time.monotonic() - began) / number * (len(chosen) - number) if number else 0.0
        guess = f", about {left:.0f} s left" if left >= 1 else ""
        progress_console.print(
            f"{number + 1} of {len(chosen)}: {figure.name}{guess}", highlight=False
        )
        try:
            _, reused = make_figure(figure, source, out, formats=formats, recompute=recompute)
            row = {"status": "redrawn" if reused else "computed", "reason": ""}
            write_index(out)
        except MissingResults as error:
            if not skip_missing:
                raise
            row = {"status": "skipped", "reason": str(error)}
        rows.append({"figure": figure, **row})
    return rows


def list_made(out: Path) -> list[dict[str, Any]]:
    """List the figures of the gallery that a folder holds, with captions, data and origin."""
    made = []
    for figure in FIGURES:
        voucher, caption = out / f"{figure.name}.json", out / f"{figure.name}.txt"
        if not (voucher.exists() and caption.exists()):
            continue
        try:
            saved = json.loads(voucher.read_text())
            tables, origin = list(saved["tables"]), saved["origin"]
        except (ValueError, KeyError, TypeError, OSError):
            continue  # damaged: said when this figure is asked for, no reason to fail here
        made.append(
            {
                "name": figure.name,
                "title": figure.title,
                "group": figure.group,
                "caption": caption.read_text().strip(),
                "files": [
                    f"{figure.name}.{kind}"
                    for kind in FORMATS
                    if (out / f"{figure.name}.{kind}").exists()
                ],
                "data": [f"data/{figure.name}.{key}.csv" for key in tables],
                "origin": origin,
            }
        )
    return made


def write_index(out: Path) -> None:
    """Write index.json, and index.md with the figures and captions in it."""
    made = list_made(out)
    save_json({"figures": made}, out / "index.json")
    lines = ["# Figures", ""]
    for figure in made:
        image = next((file for file in figure["files"] if not file.endswith("pdf")), None)
        data = ", ".join(f"[{Path(file).name}]({file})" for file in figure["data"])
        lines += [f"## {figure['title']}", ""]
        lines += [f"![{figure['title']}]({image})", ""] if image else []
        lines += [figure["caption"], "", f"Data: {data}", ""]
    write_atomic(out / "index.md", "\n".join(lines))


def show_list() -> None:
    """Print what figures there are."""
    table = Table(title="figures", title_justify="left")
    for head in ("name", "what it shows", "drawn from"):
        table.add_column(head)
    for figure in FIGURES:
        origin = "checkpoint" if figure.of_checkpoint else "saved results"
        table.add_row(figure.name, figure.title, origin)
    console.print(table)


def show_made(rows: Sequence[dict[str, Any]], out: Path, formats: Sequence[str]) -> None:
    """Print what was made, and why something was not."""
    table = Table(title=f"figures in {out}", title_justify="left")
    for head in ("name", "what it shows", "data", "files"):
        table.add_column(head)
    tables = {figure["name"]: len(figure["data"]) for figure in list_made(out)}
    for row in rows:
        name, made = row["figure"].name, row["status"] != "skipped"
        files = f"{' '.join(formats)}, txt, {tables[name]} csv" if made else ""
        table.add_row(name, row["figure"].title, row["status"], files)
    console.print(table)
    for row in rows:
        if row["reason"]:
            console.print(
                f"skipped {row['figure'].name}: {row['reason']}", highlight=False, soft_wrap=True
            )


def figures(
    names: Positional[tuple[str, ...]] = (),
    *,
    checkpoint: str = "262p",
    out: Path | None = None,
    format: tuple[Format, ...] = FORMATS,
    seed: int = 0,
    results: Path = RESULTS,
    recompute: bool = False,
    list: bool = False,
) -> None:
    """Draw figures of the gallery, each with its data and a caption beside it.

    Args:
        names: Figures to draw; all of them by default.
        checkpoint: The model: shipped name, folder, or published .pt file.
        out: Where they go; by default out/figures/CHECKPOINT.
        format: File formats.
        seed: Seed of every sample.
        results: Folder of the saved tables of the training studies.
        recompute: Compute data that is there already.
        list: Only list the figures.
    """
    if list:
        show_list()
        return
    if not format:
        raise InputError("no format: give some of png, svg and pdf")
    chosen = choose_figures(names)
    folder = out or Path("out/figures") / read_checkpoint(checkpoint).name
    rows = make_figures(
        chosen,
        Source(checkpoint=checkpoint, results=results, seed=seed),
        folder,
        formats=format,
        recompute=recompute,
        skip_missing=not names,
    )
    show_made(rows, folder, format)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        figures,
        argv,
        prog="python -m analyses.figures",
        example="python -m analyses.figures parameter_journey --checkpoint 262p --format png",
    )


_HEAD, _, _REST = (figures.__doc__ or "").partition("\n")
_NAMES = ", ".join(figure.name for figure in FIGURES)
figures.__doc__ = f"{_HEAD}\n\n    Figures: {_NAMES}.\n{_REST}"  # --help names them
