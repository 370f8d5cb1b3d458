"""Gallery: margins by the length of the carry chain, beside chains that carry nothing."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from analyses.gallery.about import MODEL, describe_model, number, subject_of, title_of
from analyses.gallery.figure import GalleryFigure, Source, Tables
from interp.output import TWO_COLUMNS, paper_style
from model.adder import Adder
from model.checkpoint import read_checkpoint
from model.decode import teacher_forced
from model.intervals import clopper_pearson
from model.task import (
    N_ANSWER,
    N_DIGITS,
    PROPAGATE,
    Pairs,
    carries,
    carry_stratified_pairs,
    column_state,
    hard_pairs,
    uniform_pairs,
)

N_UNIFORM, N_STRATIFIED = 100_000, 200_000
QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)


def chain_below(a: Int[Tensor, " batch"], b: Int[Tensor, " batch"]) -> Int[Tensor, "batch 11"]:
    """Count the columns below that decide each carry: the run of nines, and one more.

    1: the column below decides alone; k: k - 1 columns below propagate, and the k-th, or the bottom
    of the sum, decides. 0 for column 0. Where a carry comes in, this is `model.task.chain_length`.
    """
    state = column_state(a, b)
    length = [torch.zeros_like(a)]
    for column in range(N_DIGITS):
        passed = state[:, column] == PROPAGATE
        length.append(torch.where(passed, length[-1] + 1, 1))
    length = torch.stack(length, dim=1)
    return torch.where(length > torch.arange(N_ANSWER), torch.arange(N_ANSWER), length)


def draw_pairs(seed: int) -> Pairs:
    """Draw uniform pairs and pairs with evenly spread chains, and add the named hard ones."""
    generator = torch.Generator().manual_seed(seed)
    parts = (
        uniform_pairs(N_UNIFORM, generator),
        carry_stratified_pairs(N_STRATIFIED, generator),
        hard_pairs(),
    )
    a, b = (torch.cat(side) for side in zip(*parts, strict=True))
    return a, b


def draw_margins(source: Source, model: Adder) -> tuple[Pairs, Float[Tensor, "batch 11"]]:
    """Draw pairs and take the margins of their digits on the true prefix, once for all figures."""

    def measure() -> tuple[Pairs, Tensor]:
        pairs = draw_pairs(source.seed)
        return pairs, teacher_forced(model, *pairs).margin[:, :N_ANSWER]

    return source.once("margins", measure)


def compute(source: Source) -> Tables:
    """Group the margins of all columns by length of the chain below and carry in."""
    read = read_checkpoint(source.checkpoint)
    (a, b), margin = draw_margins(source, read.model)
    margin = margin.numpy()
    carry = carries(a, b)[0].numpy()
    length = chain_below(a, b).numpy()
    rows = []
    for k in range(N_ANSWER):
        for c in (0, 1):
            chosen = (length == k) & (carry == c)
            n = int(chosen.sum())
            if not n:
                continue
            values = margin[chosen]
            wrong = int((values < 0).sum())
            low, high = clopper_pearson(wrong, n)
            pair, column = np.argwhere(chosen)[int(values.argmin())]
            rows.append(
                {
                    "chain": k,
                    "carry_in": c,
                    "columns": n,
                    "pairs": int(chosen.any(axis=1).sum()),
                    "least": float(values.min()),
                    **{f"q{100 * q:02.0f}": float(np.quantile(values, q)) for q in QUANTILES},
                    "wrong": wrong,
                    "rate": wrong / n,
                    "low": low,
                    "high": high,
                    "a": int(a[pair]),
                    "b": int(b[pair]),
                    "column": int(column),
                }
            )
    about = describe_model(read, uniform=N_UNIFORM, stratified=N_STRATIFIED, pairs=len(a))
    return {"margins": pd.DataFrame(rows), MODEL: about}


def plot(tables: Tables) -> Figure:
    """Draw quantiles and least margins by chain length; below, wrong digits with their interval."""
    table = tables["margins"]
    with paper_style():
        figure, (top, bottom) = plt.subplots(
            2, 1, figsize=(TWO_COLUMNS, 3.9), sharex=True, height_ratios=[2, 1]
        )
        _draw_margins(top, table)
        _draw_errors(bottom, table)
        figure.suptitle(title_of(tables), x=0.01, ha="left", fontsize=8)
    return figure


_STYLES = ((0, "C0", -0.17, "no carry comes in"), (1, "C1", 0.17, "a carry comes in"))


def _draw_margins(ax: Axes, table: pd.DataFrame) -> None:
    ax.axhline(0, color="C3", lw=0.8)
    for carry, colour, shift, label in _STYLES:
        rows = table[table["carry_in"] == carry]
        x = rows["chain"] + shift
        ax.vlines(x, rows["q01"], rows["q99"], color=colour, lw=0.9)
        ax.vlines(x, rows["q25"], rows["q75"], color=colour, lw=5, alpha=0.45)
        ax.plot(x, rows["q50"], "_", color=colour, ms=8, mew=1.2, ls="none", label=label)
        for wrong, marker, fill in ((False, "v", "none"), (True, "X", "C3")):
            chosen = (rows["wrong"] > 0) == wrong
            edge = "C3" if wrong else colour
            style = {"color": edge, "mfc": fill, "ms": 4, "mew": 0.8, "ls": "none"}
            ax.plot(x[chosen], rows["least"][chosen], marker, **style)
    ax.plot([], [], "v", color="0.3", mfc="none", ms=4, ls="none", label="least")
    ax.plot([], [], "X", color="C3", ms=4, ls="none", label="least, some digits wrong")
    ax.set_yscale("symlog", linthresh=1, linscale=0.6)
    ax.yaxis.set_major_formatter("{x:.2g}")
    ax.set_ylabel("margin (symlog)")
    ax.legend(frameon=False, ncols=4, loc="lower right", bbox_to_anchor=(1.0, 0.98))
    ax.set_title("a  margin", loc="left")


def _draw_errors(ax: Axes, table: pd.DataFrame) -> None:
    floor = 10 ** np.floor(np.log10(max(table["high"].min(), 1e-9)) - 0.5)
    for line, (carry, colour, shift, _) in enumerate(_STYLES):
        rows = table[table["carry_in"] == carry]
        x = rows["chain"] + shift
        ax.vlines(x, rows["low"].clip(lower=floor), rows["high"], color=colour, lw=1.2)
        seen = rows["wrong"] > 0
        ax.plot(x[seen], rows["rate"][seen], "o", color=colour, ms=3, ls="none")
        ax.plot(x[~seen], rows["high"][~seen], "v", color=colour, ms=3.5, mfc="white", ls="none")
        for at, n in zip(x, rows["columns"], strict=True):
            text = f"{n / 1e6:.2f}M" if n >= 5e5 else f"{n / 1e3:.0f}k" if n >= 1e3 else f"{n}"
            ax.annotate(
                text,
                (at - shift, 0),
                (0, -17 - 7.5 * line),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha="center",
                va="top",
                fontsize=6,
                color=colour,
            )
    ax.set_yscale("log")
    ax.set_ylim(floor, 2)
    ax.set_xticks(range(N_ANSWER))
    ax.set_xlabel("columns below that decide the carry (1: the next one alone)", labelpad=20)
    ax.set_ylabel("wrong digits")
    ax.set_title("b  share of wrong digits (open: none seen, upper bound)", loc="left")


def caption(tables: Tables) -> str:
    """Word the figure from its tables."""
    table = tables["margins"]
    worst = table.loc[table["least"].idxmin()]
    wrong, n = int(table["wrong"].sum()), int(table["columns"].sum())

    def least(carry: int, long: bool) -> str:
        rows = table[(table["carry_in"] == carry) & ((table["chain"] >= 5) == long)]
        return f"{rows['least'].min():.2f}"

    return (
        f"Margins by length of the carry chain, {subject_of(tables)}: "
        f"{number(tables, 'uniform'):,.0f} uniform pairs, {number(tables, 'stratified'):,.0f} with "
        f"evenly spread chains and the named hard ones. Each of the {n:,} answer digits is judged "
        "on the true prefix. In a chain of length k the k - 1 columns below add up to nine, so the "
        "column k below decides the carry in. The control are chains of that length without a "
        "carry. (a) "
        "Logit of the right digit less the largest other one: 1st to 99th percentile, quartiles, "
        f"median and least. The least margin is {worst['least']:.2f} at {worst['a']:.0f} + "
        f"{worst['b']:.0f}, column {worst['column']:.0f}, chain {worst['chain']:.0f} "
        f"{'with' if worst['carry_in'] else 'without'} a carry; for chains below 5 and from 5 on "
        f"it is {least(1, False)} and {least(1, True)} with a carry, {least(0, False)} and "
        f"{least(0, True)} without. (b) {wrong:,} digits are wrong; bars: 95 % Clopper-Pearson "
        "intervals, digits of one pair counted as independent; small numbers: digits per point. "
        "The sample is weighted towards long chains, so this is no error rate of the model, and a "
        "least margin in a sample is no proof (interp.certify)."
    )


FIGURES: tuple[GalleryFigure, ...] = (
    GalleryFigure(
        name="margins_by_chain",
        title="Margins by length of the carry chain, with failures, beside chains without a carry",
        group="mechanism",
        of_checkpoint=True,
        compute=compute,
        plot=plot,
        caption=caption,
    ),
)
