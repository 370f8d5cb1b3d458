"""Figures of the training tables, drawn from the saved tables alone."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from interp.output import TWO_COLUMNS, paper_style
from train.run import GROKKED


def plot_seeds(table: pd.DataFrame) -> Figure:
    """Draw the best exact match of every seed, ours beside the published ones, sorted.

    Args:
        table: Columns source, seed, exact.
    """
    with paper_style():
        figure, axes = plt.subplots(1, 2, figsize=(TWO_COLUMNS, 2.2), sharey=True)
        for axis, (source, rows) in zip(axes, table.groupby("source", sort=False), strict=True):
            rows = rows.sort_values("exact", ascending=False)
            colors = np.where(rows["exact"] > GROKKED, "C2", "C7").tolist()
            axis.bar(range(len(rows)), rows["exact"], color=colors)
            axis.axhline(GROKKED, color="black", linewidth=0.6, linestyle=":")
            labels = rows["seed"].astype(str)
            axis.set_xticks(
                range(len(rows)), labels, rotation=90, fontsize=4 + 2 * (len(rows) < 20)
            )
            noun = "seeds" if source == "ours" else "seeds named"
            axis.set_title(f"{source}: {len(rows)} {noun}")
            axis.set_xlabel("seed")
        axes[0].set_ylabel("best validation exact match")
        axes[0].set_ylim(0, 1.02)
    return figure


def plot_rates(table: pd.DataFrame) -> Figure:
    """Draw grok rates with their 95 % intervals, ours beside the published, and parameter counts.

    Args:
        table: A row for each shape and recipe: rate, low, high, and the same with `published_`.
    """
    names = [
        preset if recipe == "published" else f"{preset}\n{recipe}"
        for preset, recipe in zip(table["preset"], table["recipe"], strict=True)
    ]
    at = np.arange(len(table))
    with paper_style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(TWO_COLUMNS, 2.4), width_ratios=(2, 1))
        for prefix, label, shift in (("", "ours", -0.12), ("published_", "write-up", 0.12)):
            centre, low, high = (table[prefix + name] for name in ("rate", "low", "high"))
            spread = np.array([centre - low, high - centre])
            left.errorbar(at + shift, centre, yerr=spread, fmt="o", capsize=2, label=label)
        left.set_xticks(at, names)
        left.set_xlim(-0.5, len(table) - 0.5)
        left.set_ylim(-0.03, 1.03)
        left.set_ylabel(f"share of seeds above {GROKKED:.0%}")
        left.legend(frameon=False)
        right.bar(at, table["n_params"], color="C7")
        right.set_xticks(at, names)
        right.set_ylabel("parameters")
    return figure
