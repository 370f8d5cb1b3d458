"""Figures of the training tables, drawn from the saved tables alone."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from interp.output import TWO_COLUMNS, paper_style
from train.run import GROKKED

MOST_NAMED, LINE = 15, 34
"""Seeds that are named at most, and characters of a line of their names."""


def plot_seeds(table: pd.DataFrame, unnamed: tuple[int, float] = (0, 0.0)) -> Figure:
    """Draw the best exact match of every seed, ours beside the published ones, sorted.

    Args:
        table: Columns source, seed, exact.
        unnamed: How many published seeds are known only to lie below a level, and that level.
    """
    with paper_style():
        figure, axes = plt.subplots(1, 2, figsize=(TWO_COLUMNS, 2.3), sharey=True)
        for axis, (source, rows) in zip(axes, table.groupby("source", sort=False), strict=True):
            _draw_seeds(axis, rows.sort_values("exact", ascending=False, kind="stable"))
            count, level = unnamed if source == "published" else (0, 0.0)
            if count:
                ends = np.array([len(rows) - 0.5, len(rows) + count - 0.5])
                axis.fill_between(ends, 0, level, color="C7", alpha=0.35, lw=0)
                text = f"{count} seeds printed only as below {level:.0%}"
                axis.text(ends.mean(), level + 0.02, text, ha="center", va="bottom", fontsize=7)
            axis.set_title(f"{source}: {len(rows) + count} seeds", loc="left")
            axis.set_xlim(-0.7, len(rows) + count - 0.3)
            axis.set_xlabel("seeds, best first")
        axes[0].set_ylabel("best validation exact match")
        axes[0].set_ylim(-0.03, 1.04)
        axes[0].set_yticks(np.linspace(0, 1, 6))
        sns.despine(figure)
    return figure


def _draw_seeds(axis: Axes, rows: pd.DataFrame) -> None:
    """Draw a stem for each seed, and name those above the level that counts if they are few."""
    at, exact = np.arange(len(rows)), rows["exact"].to_numpy()
    for chosen, color in ((exact > GROKKED, "C2"), (exact <= GROKKED, "0.5")):
        axis.vlines(at[chosen], 0, exact[chosen], color=color, lw=1)
        if chosen.any():  # an empty line that is not clipped would widen the figure
            axis.plot(at[chosen], exact[chosen], "o", color=color, ms=2.5, clip_on=False)
    axis.set_xticks([])
    above = [str(seed) for seed in rows["seed"][exact > GROKKED]]
    names = f"seed{'s' * (len(above) > 1)} {', '.join(above)}"
    words = names if 0 < len(above) <= MOST_NAMED else f"{len(above) or 'none'}"
    text = textwrap.fill(f"above {GROKKED:.0%}: {words}", LINE)
    axis.text(0.98, GROKKED - 0.03, text, ha="right", va="top", fontsize=7,
              transform=axis.get_yaxis_transform())  # fmt: skip
    axis.axhline(GROKKED, color="black", lw=0.6, ls=":", zorder=0)


def plot_rates(table: pd.DataFrame) -> Figure:
    """Draw grok rates with their 95 % intervals, ours beside the published, and parameter counts.

    Args:
        table: A row for each shape and recipe: grokked, runs, rate, low, high, and the same with
            `published_`.
    """
    names = [
        preset if recipe == "published" else f"{preset}\n{recipe}"
        for preset, recipe in zip(table["preset"], table["recipe"], strict=True)
    ]
    at = np.arange(len(table))
    with paper_style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(TWO_COLUMNS, 2.4), width_ratios=(2, 1))
        for prefix, label, shift, marker in (
            ("", "ours", -0.12, "o"),
            ("published_", "write-up", 0.12, "D"),
        ):
            centre, low, high = (table[prefix + name] for name in ("rate", "low", "high"))
            spread = np.array([centre - low, high - centre])
            left.errorbar(at + shift, centre, yerr=spread, fmt=marker, ms=4, capsize=2, label=label)
            for place, row in zip(at + shift, table.to_dict("records"), strict=True):
                if pd.notna(row[f"{prefix}rate"]):
                    text = f"{row[f'{prefix}grokked']:.0f}/{row[f'{prefix}runs']:.0f}"
                    side = "right" if shift < 0 else "left"
                    left.text(place + 0.4 * shift, row[f"{prefix}rate"], text, ha=side,
                              va="center", fontsize=6.5)  # fmt: skip
        left.set_xticks(at, names)
        left.set_xlim(-0.5, len(table) - 0.5)
        highest = float(np.nanmax(table[["high", "published_high"]].to_numpy(float)))
        left.set_ylim(-0.04 * highest, min(1.03, 1.25 * highest))
        left.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        left.set_ylabel(f"share of seeds above {GROKKED:.0%}")
        left.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1.0))
        right.bar(at, table["n_params"], color="C7")
        for place, count in zip(at, table["n_params"], strict=True):
            right.text(place, count, f"{count}", ha="center", va="bottom", fontsize=6.5)
        right.set_xticks(at, names)
        right.set_ylabel("parameters")
        sns.despine(figure)
    return figure
