"""Figures of certification: the atlas of failing contexts, and certified error during training."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from interp.certify.cells import CARRY_IN, DIGIT_A, DIGIT_B, PAIR, SINGLE, base_cells
from interp.certify.certificate import Certificate
from interp.certify.count import TOTAL, cell_masses
from interp.certify.verdicts import UNDECIDED, WRONG
from interp.output import ONE_COLUMN, TWO_COLUMNS, paper_style
from model.task import N_ANSWER, N_DIGITS


def tabulate_contexts(certificate: Certificate) -> pd.DataFrame:
    """Sum the masses by column, digit sum of the column and total of the column below.

    Returns:
        Tidy table: column, sum_below (a_{i-1} + b_{i-1} + its carry in; 0 in column 0), sum_here
        (a_i + b_i; 0 in column 10), pairs, wrong, undecided (exact integers, real arithmetic).
    """
    rows: dict[tuple[int, int, int], list[int]] = {}
    for tree in certificate.trees:
        if tree.column >= N_ANSWER:
            continue
        base, _ = base_cells(tree.column, tree.query)
        groups = [(base, 0)]
        groups += [(tree.leaves[tree.real == v], i) for v, i in ((WRONG, 1), (UNDECIDED, 2))]
        for cells, kind in groups:
            below, here = _totals(cells, tree.column)
            for key, mass in zip(zip(below, here, strict=True), cell_masses(cells), strict=True):
                entry = rows.setdefault((tree.column, int(key[0]), int(key[1])), [0, 0, 0])
                entry[kind] += mass
    table = pd.DataFrame(sorted(rows), columns=["column", "sum_below", "sum_here"])
    for kind, name in enumerate(("pairs", "wrong", "undecided")):  # Python integers: sums pass 2^63
        table[name] = pd.Series([rows[key][kind] for key in sorted(rows)], dtype=object)
    return table


def _totals(cells: np.ndarray, column: int) -> tuple[np.ndarray, np.ndarray]:
    below = np.zeros(len(cells), dtype=np.int64)
    here = below
    if column:
        option = cells[:, column - 1] - SINGLE
        below = DIGIT_A[option] + DIGIT_B[option] + CARRY_IN[option]
    if column < N_DIGITS:
        pair = cells[:, column] - PAIR
        here = pair // 10 + pair % 10
    return below, here


def plot_atlas(contexts: pd.DataFrame) -> Figure:
    """Draw, per column, the share of each context that fails; undecided contexts are ringed.

    Args:
        contexts: What `tabulate_contexts` returned (or its CSV).
    """
    with paper_style():
        figure = Figure(figsize=(TWO_COLUMNS, 0.62 * TWO_COLUMNS))
        axes = figure.subplots(2, 5, sharex=True, sharey=True)
        palette = sns.color_palette("rocket_r", as_cmap=True)
        image = None
        for column, axis in zip(range(1, N_ANSWER), axes.flat, strict=True):
            part = contexts[contexts["column"] == column]
            grid = np.full((20, 19), np.nan)
            wrong = part["wrong"].astype(float) / part["pairs"].astype(float)
            grid[part["sum_below"], part["sum_here"]] = wrong
            axis.set_facecolor("0.93")
            possible = np.full((20, 19), np.nan)
            possible[part["sum_below"], part["sum_here"]] = 1.0
            axis.pcolormesh(np.where(np.isnan(possible), np.nan, 0.0), cmap="Greys", vmin=0, vmax=1)
            shown = np.ma.masked_where(~(grid > 0), grid)
            image = axis.pcolormesh(shown, cmap=palette, norm=LogNorm(1e-6, 1), rasterized=True)
            open_part = part[part["undecided"].astype(float) > 0]
            axis.plot(
                open_part["sum_here"] + 0.5,
                open_part["sum_below"] + 0.5,
                "o",
                markersize=2.5,
                markerfacecolor="none",
                markeredgecolor="tab:blue",
                markeredgewidth=0.5,
            )
            rate = float(sum(int(x) for x in part["wrong"])) / TOTAL
            share = f"{rate:.1e}" if rate else "0"
            axis.set_title(f"column {column}: {share}", fontsize=7)
            if column == N_DIGITS:
                axis.set_xticks([0.5, 9.5, 18.5], ["0", "9", "18"])
            axis.set_yticks([0.5, 10.5, 19.5], ["0", "10", "19"])
        figure.supxlabel("$a_i + b_i$ (column 10 has no digits of its own)", fontsize=8)
        figure.supylabel("$a_{i-1} + b_{i-1}$ + carry in", fontsize=8)
        if image is not None:
            bar = figure.colorbar(image, ax=axes, shrink=0.8, aspect=30)
            bar.set_label("share of the context that fails")
        return figure


def plot_trajectory(table: pd.DataFrame) -> Figure:
    """Draw certified and sampled error by training step.

    Args:
        table: One row per snapshot: step, real_lower and real_upper (certified error rates),
            sampled, sampled_low, sampled_high (error rate of the sample and its interval).
    """
    with paper_style():
        figure = Figure(figsize=(ONE_COLUMN, 0.72 * ONE_COLUMN))
        axis = figure.subplots()
        floor = 1e-9

        def clip(name: str) -> np.ndarray:
            return np.maximum(table[name].to_numpy(float), floor)

        blue, orange = sns.color_palette("colorblind", 2)
        step = table["step"].to_numpy(float)
        axis.fill_between(
            step, clip("real_lower"), clip("real_upper"), color=blue, alpha=0.3, linewidth=0
        )
        axis.plot(step, clip("real_upper"), color=blue, label="certified, at most")
        axis.plot(step, clip("real_lower"), color=blue, linestyle="--", label="certified, at least")
        low, sampled, high = clip("sampled_low"), clip("sampled"), clip("sampled_high")
        axis.errorbar(
            step,
            sampled,
            yerr=np.stack([sampled - low, high - sampled]),
            fmt="o",
            markersize=2,
            linewidth=0.7,
            color=orange,
            label="sampled, 95 % interval",
        )
        axis.set_yscale("log")
        axis.set_ylim(floor / 2, 2)
        axis.set_xlabel("training step")
        axis.set_ylabel("error rate (1e-9: none)")
        axis.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=1)
        sns.despine(figure)
        return figure
