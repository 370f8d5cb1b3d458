"""Gallery: the atlas of failures, exact where the certifier decides, and the thinnest margins."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm, PowerNorm
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analyses.gallery.about import MODEL, describe_model, number, subject_of, title_of
from analyses.gallery.figure import GalleryFigure, Source, Tables
from analyses.gallery.margins import draw_margins
from interp.anatomy import context_of
from interp.certify import TOTAL, CertifyConfig, certify, tabulate_contexts
from interp.failure_diff import attack, column_margins
from interp.output import TWO_COLUMNS, paper_style
from model.adder import Adder
from model.checkpoint import read_checkpoint
from model.decode import tables_of
from model.task import N_ANSWER, N_DIGITS, Pairs, carries, digits

BUDGET = 40_000
"""Cells that the certifier may judge in a column: enough for what is decided at once."""
ATTACKED, STEPS, LISTED = 24, 8, 10
SEEN_WRONG = "#9467bd"
SIZE = (20, 19)
"""Values of a_{i-1} + b_{i-1} + its carry in, and of a_i + b_i."""


def sampled_contexts(pairs: Pairs, margin: torch.Tensor) -> pd.DataFrame:
    """Find the least margin of the sample in each context.

    Args:
        pairs: The sample.
        margin: Its margins, pairs by columns.

    Returns:
        One row per column and context that occurs: sum_below, sum_here, examples, least.
    """
    a, b = pairs
    total = digits(a, N_ANSWER) + digits(b, N_ANSWER)
    carry = carries(a, b)[0]
    rows = []
    for column in range(N_ANSWER):
        here = total[:, column]
        below = total[:, column - 1] + carry[:, column - 1] if column else torch.zeros_like(here)
        cell = pd.Series((below * SIZE[1] + here).numpy())
        grouped = pd.Series(margin[:, column].numpy()).groupby(cell).agg(["size", "min"])
        rows.append(
            pd.DataFrame(
                {
                    "column": column,
                    "sum_below": grouped.index // SIZE[1],
                    "sum_here": grouped.index % SIZE[1],
                    "examples": grouped["size"].to_numpy(),
                    "least": grouped["min"].to_numpy(),
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def thinnest_pairs(model: Adder, pairs: Pairs, margin: torch.Tensor) -> pd.DataFrame:
    """Attack the thinnest pairs of each column: change other digits where that lowers the margin.

    Returns:
        One row per column and attacked pair: margin before and after, the pair after, the context.
    """
    tables = tables_of(model)
    rows = []
    for column in range(N_ANSWER):
        chosen = margin[:, column].argsort()[:ATTACKED]
        a, b = pairs[0][chosen], pairs[1][chosen]
        before, _ = column_margins(tables, a, b, column)
        a, b, after, _ = attack(tables, a, b, column, STEPS)
        rows += [
            {
                "column": column,
                "sampled": float(before[k]),
                "attacked": float(after[k]),
                "a": int(a[k]),
                "b": int(b[k]),
                "context": context_of(int(a[k]), int(b[k]), column).describe(),
            }
            for k in range(ATTACKED)
        ]
    return pd.DataFrame(rows).sort_values("attacked", kind="stable", ignore_index=True)


def compute(source: Source) -> Tables:
    """Certify within a budget, and search a sample for the thinnest margin of each context."""
    read = read_checkpoint(source.checkpoint)
    certificate = certify(read.model, CertifyConfig(budget=BUDGET, eos_budget=2))
    pairs, margin = draw_margins(source, read.model)
    found = sampled_contexts(pairs, margin)
    keys = ["column", "sum_below", "sum_here"]
    contexts = tabulate_contexts(certificate).merge(found, on=keys, how="left")
    about = describe_model(
        read,
        pairs=len(margin),
        failing=int((margin < 0).any(dim=1).sum()),
        wrong_least=str(TOTAL - certificate.real.upper),
        wrong_most=str(TOTAL - certificate.real.lower),
    )
    return {
        "contexts": contexts,
        "thinnest": thinnest_pairs(read.model, pairs, margin),
        MODEL: about,
    }


def exact(values: pd.Series) -> list[int]:
    """Read whole numbers, which a CSV gives back as words where they pass 64 bits."""
    return [int(str(value)) for value in values]


def heaviest(tables: Tables) -> pd.DataFrame:
    """List the contexts that are proved to fail, by exact mass; empty if there are none."""
    table = tables["contexts"]
    wrong, of = exact(table["wrong"]), exact(table["pairs"])
    table = table.assign(
        undecided=[x > 0 for x in exact(table["undecided"])],
        mass=[x / TOTAL for x in wrong],
        share=[x / n if n else 0.0 for x, n in zip(wrong, of, strict=True)],
    )
    return table[table["mass"] > 0].sort_values("mass", ascending=False, ignore_index=True)


def plot(tables: Tables) -> Figure:
    """Draw the map of contexts by column, thinnest margins, and the contexts that are worst."""
    failing = heaviest(tables)
    with paper_style():
        figure = plt.figure(figsize=(TWO_COLUMNS, 6.3))
        grid = figure.add_gridspec(2, 1, height_ratios=[1.75, 1])
        upper, lower = (figure.add_subfigure(grid[k]) for k in range(2))
        upper.suptitle("a  contexts by column", x=0.07, ha="left", fontsize=8)
        _draw_map(upper, tables)
        left, right = lower.subplots(1, 2, width_ratios=[1, 1.15])
        _draw_thinnest(left, tables["thinnest"])
        if len(failing):
            _draw_heaviest(right, failing)
        else:
            _draw_worst(right, tables["thinnest"])
        figure.suptitle(title_of(tables), x=0.01, ha="left", fontsize=8)
    return figure


def _grid(part: pd.DataFrame, values: np.ndarray | pd.Series) -> np.ndarray:
    grid = np.full(SIZE, np.nan)
    grid[part["sum_below"], part["sum_here"]] = values
    return grid


def _draw_map(figure: SubFigure, tables: Tables) -> None:
    table = tables["contexts"]
    of = np.array(exact(table["pairs"]), dtype=float)
    share = np.array(exact(table["wrong"]), dtype=float) / np.maximum(of, 1)
    table = table.assign(share=share, open=np.array(exact(table["undecided"]), dtype=float) > 0)
    top = max(float(np.nanquantile(table["least"].clip(lower=0), 0.95)), 1e-9)
    blues = plt.get_cmap("Blues_r")
    norm, masses = PowerNorm(0.5, 0, top), LogNorm(1e-6, 1)
    axes = figure.subplots(2, 5, sharex=True, sharey=True)
    safe = fails = None
    for column, ax in zip(range(1, N_ANSWER), axes.flat, strict=True):
        part = table[(table["column"] == column) & (of > 0)]
        ax.set_facecolor("0.9")
        safe = ax.pcolormesh(_grid(part, part["least"].clip(0, top)), cmap=blues, norm=norm)
        seen = part[(part["least"] < 0) & (part["share"] == 0)]
        ax.pcolormesh(_grid(seen, np.ones(len(seen))), cmap=ListedColormap([SEEN_WRONG]))
        proved = part[part["share"] > 0]
        shown = _grid(proved, proved["share"].clip(lower=1e-6))
        fails = ax.pcolormesh(shown, cmap="inferno_r", norm=masses)
        unknown = part[part["open"]]
        ax.plot(unknown["sum_here"] + 0.5, unknown["sum_below"] + 0.5, ".", color="0.1", ms=1.2)
        ax.set_title(f"column {column}", fontsize=7, pad=2)
        ax.set_yticks([0.5, 10.5, 19.5], ["0", "10", "19"])
        ax.set_xticks([0.5, 9.5, 18.5], ["0", "9", "18"])
    figure.supxlabel("$a_i + b_i$ (column 10 has no digits of its own)", fontsize=8)
    figure.supylabel("$a_{i-1} + b_{i-1}$ + carry in", fontsize=8)
    assert safe is not None
    assert fails is not None
    bar = figure.colorbar(safe, ax=axes, shrink=0.9, aspect=25, pad=0.01)
    bar.set_label("least margin in the sample")
    if (share > 0).any():
        bar = figure.colorbar(fails, ax=axes, shrink=0.9, aspect=25, pad=0.01)
        bar.set_label("share proved to fail")
    handles: list[Line2D | Patch] = [Patch(color="0.9", label="impossible")]
    if table["open"].any():
        handles.append(
            Line2D([], [], marker=".", color="0.1", ms=3, ls="none", label="partly undecided")
        )
    if ((table["least"] < 0) & (share == 0)).any():
        handles.append(Patch(color=SEEN_WRONG, label="fails in the sample, undecided"))
    figure.legend(handles=handles, loc="outside upper right", ncols=3, frameon=False)


def _draw_thinnest(ax: Axes, table: pd.DataFrame) -> None:
    least = table.groupby("column")[["sampled", "attacked"]].min()
    ax.axhline(0, color="C3", lw=0.8)
    ax.vlines(least.index, least["attacked"], least["sampled"], color="0.75", lw=1)
    ax.plot(
        least.index, least["sampled"], "o", color="C0", ms=3.5, ls="none", label="in the sample"
    )
    ax.plot(
        least.index, least["attacked"], "v", color="C1", ms=4, ls="none", label="after an attack"
    )
    ax.set_yscale("symlog", linthresh=1, linscale=0.6)
    ax.yaxis.set_major_formatter("{x:.2g}")
    ax.margins(y=0.15)
    ax.set(xlabel="answer column", ylabel="least margin (symlog)", xticks=range(N_ANSWER))
    ax.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(-0.05, 0.98))
    ax.set_title("b  thinnest margins", loc="left", pad=16)


def _draw_heaviest(ax: Axes, table: pd.DataFrame) -> None:
    rows = table.head(LISTED)
    y = range(len(rows))
    least = float(rows["mass"].min()) / 5
    ax.hlines(y, least, rows["mass"], color="C3", lw=1.2)
    ax.plot(rows["mass"], y, "o", color="C3", ms=4)
    names = []
    for place, row in zip(y, rows.to_dict("records"), strict=True):
        names.append(context_name(row))
        text = f"{'at least ' if row['undecided'] else ''}{row['share']:.2g} of it"
        ax.text(row["mass"] * 1.3, place, text, va="center", fontsize=6)
    ax.set_yticks(y, names, fontsize=6)
    ax.invert_yaxis()
    ax.set_xscale("log")
    ax.set_xlim(least, rows["mass"].max() * 12)
    ax.set_xlabel("share of all $10^{20}$ pairs, proved to fail")
    ax.set_title("c  heaviest contexts proved to fail", loc="left", pad=16)


def _draw_worst(ax: Axes, table: pd.DataFrame) -> None:
    rows = table.drop_duplicates("context").head(LISTED)
    y = np.arange(len(rows))
    colours = np.where(rows["attacked"] < 0, "C3", "C1")
    ax.barh(y, rows["attacked"], color=colours, height=0.6)
    ax.set_yticks(y, [text.replace("column", "col.") for text in rows["context"]], fontsize=5.5)
    ax.invert_yaxis()
    ax.axvline(0, color="0.3", lw=0.6)
    ax.set_xlabel("least margin found")
    ax.set_title("c  thinnest contexts found", loc="left", pad=16)


def context_name(row: dict) -> str:
    """Name a context of the map in a few characters."""
    here = "" if row["column"] == N_DIGITS else f"$S$ = {row['sum_here']:.0f}, "
    return f"col. {row['column']:.0f}: {here}below {row['sum_below']:.0f}"


def caption(tables: Tables) -> str:
    """Word the figure from its tables."""
    least, most = (exact(tables[MODEL][name])[0] for name in ("wrong_least", "wrong_most"))
    thinnest, failing = tables["thinnest"].iloc[0], heaviest(tables)
    if least == most == 0:
        proved = "none of the 10^20 pairs is answered wrongly, which is proved"
    elif least == most:
        proved = f"exactly {least:,} of the 10^20 pairs are answered wrongly ({least / TOTAL:.3e})"
    else:
        proved = (
            f"from {least / TOTAL:.3e} to {most / TOTAL:.3e} of the 10^20 pairs are answered "
            f"wrongly (at most {BUDGET:,} cells a column were judged; interp.certify judges more)"
        )
    if len(failing):
        first = failing.iloc[0]
        listed = (
            f"(c) The contexts with the most pairs proved to fail, and the share of their pairs "
            f"that fails. {len(failing)} contexts of the map have failing pairs; those of the "
            f"first are {first['mass']:.3e} of all pairs."
        )
    else:
        listed = "(c) Nothing is proved to fail; instead the thinnest contexts that were found."
    return (
        f"Atlas of failures, {subject_of(tables)}: in real arithmetic {proved}. (a) Contexts of "
        "columns 1 to 10: digit sum of the column, and of the column below with its carry in. "
        f"Blue: least margin in {number(tables, 'pairs'):,.0f} pairs on the true prefix, darker "
        "where it is thinner. From yellow to black: exact share of the context's pairs that is "
        f"proved to fail. {number(tables, 'failing'):,.0f} pairs of the sample have a wrong digit. "
        f"(b) Least margin by column in the sample, and after an attack. The attack changes up to "
        f"{STEPS} other digits of the {ATTACKED} thinnest pairs. The least margin it found is "
        f"{thinnest['attacked']:.3f}, {thinnest['context']} ({thinnest['a']:.0f} + "
        f"{thinnest['b']:.0f}). {listed} A margin that was found is no lower bound; only its sign "
        "is proved."
    )


FIGURES: tuple[GalleryFigure, ...] = (
    GalleryFigure(
        name="failure_atlas",
        title="Atlas of failures: exact masses by context, and the thinnest margins",
        group="mechanism",
        of_checkpoint=True,
        compute=compute,
        plot=plot,
        caption=caption,
    ),
)
