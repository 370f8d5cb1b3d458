"""The figure gallery: python -m analyses.figures parameter_journey --checkpoint 262p.

Each figure is OUT/NAME.png, .svg and .pdf with its caption in OUT/NAME.txt and its data in
OUT/data/NAME.*.csv. It is redrawn from that data, and computed anew only where checkpoint, seed or
the saved results that it reads have changed. OUT/index.json and index.md list what is there.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from analyses.gallery import (
    FIGURES,
    GalleryFigure,
    MissingResults,
    Source,
    make_figure,
)
from interp.output import FORMATS, save_json
from model.reading import read_json, read_regular
from model.shell import console, progress_console, write_atomic

__all__ = ["FIGURES", "make_figures"]


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
        if progress_console.is_terminal:
            text = f"{number + 1} of {len(chosen)}: {figure.name}{guess}"
            progress_console.print(text, highlight=False)
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
            saved = read_json(voucher)
            tables, origin = list(saved["tables"]), saved["origin"]
        except (ValueError, KeyError, TypeError, OSError):
            continue  # damaged: said when this figure is asked for, no reason to fail here
        made.append(
            {
                "name": figure.name,
                "title": figure.title,
                "group": figure.group,
                "caption": read_regular(caption).decode().strip(),
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
