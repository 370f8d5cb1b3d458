"""What every instrument leaves on disk: tidy CSV, JSON, and figures for print."""

import contextlib
import io
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from model.shell import write_atomic

FORMATS = ("png", "svg", "pdf")
PRINT = 300
"""Dots per inch of an image for print."""
ONE_COLUMN, TWO_COLUMNS = 3.35, 6.9
"""Widths in inches of a figure in one and in two columns of a paper."""


@contextlib.contextmanager
def paper_style() -> Iterator[None]:
    """Draw for print: colour-blind safe, readable at column width, text kept as text."""
    settings: dict[Any, Any] = {
        "figure.dpi": 150,
        "savefig.dpi": PRINT,
        "font.size": 8,
        "axes.titlesize": 8,
        "axes.labelsize": 8,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "legend.fontsize": 7,
        "pdf.fonttype": 42,
        "svg.fonttype": "none",
        "svg.hashsalt": "carrylens",
        "figure.constrained_layout.use": True,
    }
    with (
        mpl.rc_context(),
        sns.axes_style("ticks"),
        sns.plotting_context("paper"),
        sns.color_palette("colorblind"),
        mpl.rc_context(settings),
    ):
        yield


def save_figure(
    figure: Figure, stem: Path, formats: Sequence[str] = FORMATS, dpi: int = PRINT
) -> list[Path]:
    """Write one figure in each format as `stem`.png and so on, atomically, and close it."""
    # It remarks on the date inside of matplotlib's own font whenever that is put into a PDF.
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    paths = []
    metadata: dict[str, Any] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
    with paper_style():
        # Laid out and cropped once: each format would do both again.
        figure.set_dpi(dpi)
        figure.draw_without_rendering()
        with mpl.rc_context({"figure.constrained_layout.use": False}):
            figure.set_layout_engine(None)
        box = figure.get_tightbbox().padded(mpl.rcParams["savefig.pad_inches"])
        for name in formats:
            buffer = io.BytesIO()
            kind = {"format": name, "metadata": metadata.get(name)}
            figure.savefig(buffer, dpi=dpi, bbox_inches=box, **kind)
            paths.append(write_atomic(stem.parent / f"{stem.name}.{name}", buffer.getvalue()))
    plt.close(figure)
    return paths


def save_table(table: pd.DataFrame, path: Path) -> Path:
    """Write a tidy table as CSV, atomically."""
    return write_atomic(path, table.to_csv(index=False))


def save_json(content: Mapping[str, Any], path: Path) -> Path:
    """Write JSON, atomically; NumPy and torch numbers become plain ones."""
    return write_atomic(path, json.dumps(content, indent=2, default=_plain) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"no JSON for {type(value).__name__}")
