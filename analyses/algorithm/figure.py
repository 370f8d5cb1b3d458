"""The figure of the algorithm study: agreement, response, scrubbing, failures."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from interp.output import TWO_COLUMNS, paper_style

COLOURS = {"rival": "C0", "baseline": "0.6", "ceiling": "0.3"}
SHIFTS = {"-1": "C4", "+0": "C0", "+1": "C1", "+2": "C3", "other": "0.75"}


def plot(
    agreement: pd.DataFrame,
    shifts: pd.DataFrame,
    scrubbing: pd.DataFrame,
    failures: pd.DataFrame,
    title: str = "",
) -> Figure:
    """Draw the four panels from the saved tables.

    Args:
        agreement: analyses.algorithm.agreement.score_agreement.
        shifts: analyses.algorithm.agreement.shift_curve.
        scrubbing: analyses.algorithm.scrubbing.summarise_scrubbing.
        failures: analyses.algorithm.failure_prediction.predict_failures.
        title: Name of the network.
    """
    with paper_style():
        figure, axes = plt.subplots(2, 2, figsize=(TWO_COLUMNS, 5.3))
        _draw_agreement(axes[0, 0], agreement)
        _draw_shifts(axes[0, 1], shifts)
        _draw_scrubbing(axes[1, 0], scrubbing)
        _draw_failures(axes[1, 1], failures)
        figure.suptitle(title, fontsize=8, x=0.01, ha="left")
    return figure


def _draw_agreement(ax: Axes, table: pd.DataFrame) -> None:
    whole = table[table["prefix"] == "all"].sort_values("agreement", kind="stable")
    for y, row in enumerate(whole.to_dict("records")):
        colour = COLOURS[row["kind"]]
        ax.plot([row["low"], row["high"]], [y, y], color=colour, lw=2.5, solid_capstyle="butt")
        ax.plot(row["agreement"], y, "o", color=colour, ms=4)
        parts = table[(table["hypothesis"] == row["hypothesis"]) & (table["prefix"] != "all")]
        for part in parts.to_dict("records"):
            marker = {"true": "^", "possible": "s", "impossible": "x"}[part["prefix"]]
            ax.plot(part["agreement"], y, marker, color=colour, ms=3.5, mfc="none", mew=0.8)
    ax.set_yticks(range(len(whole)), list(whole["hypothesis"]))
    ax.set(xlabel="agreement with the network, held-out contexts", xlim=(-0.03, 1.03))
    for marker, label in (
        ("o", "all"),
        ("^", "true s"),
        ("s", "possible s"),
        ("x", "impossible s"),
    ):
        fill = "0.3" if marker == "o" else "none"
        ax.plot([], [], marker, color="0.3", mfc=fill, ms=3.5, mew=0.8, label=label)
    ax.legend(
        frameon=False,
        fontsize=6,
        loc="upper center",
        bbox_to_anchor=(0.4, -0.2),
        ncols=4,
        handletextpad=0.1,
        columnspacing=1.2,
    )
    ax.set_title("a  agreement on all local contexts", loc="left")


def _draw_shifts(ax: Axes, table: pd.DataFrame) -> None:
    bottom = np.zeros(len(table))
    for name, colour in SHIFTS.items():
        ax.bar(table["x"], table[name], 0.9, bottom=bottom, color=colour, label=name, lw=0)
        bottom += table[name].to_numpy()
    for x in (-1, 0, 9, 10):
        ax.plot(x, 1.03, "v", color="0.2", ms=3, clip_on=False)
    ax.set(
        xlabel=r"$x = a_{i-1} + b_{i-1} - s_{i-1}$ (marked: true prefixes)",
        ylabel="share of contexts",
        ylim=(0, 1),
        xlim=(-9.6, 18.6),
    )
    ax.legend(
        title="added to\n$a_i + b_i$",
        frameon=False,
        fontsize=6,
        title_fontsize=6,
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        handlelength=1,
    )
    ax.set_title("b  what the network adds", loc="left", pad=9)


def _draw_scrubbing(ax: Axes, table: pd.DataFrame) -> None:
    accounts = list(dict.fromkeys(table["account"]))[::-1]
    styles = {
        ("true prefix", "attn_out"): ("C0", "none", 0.24),
        ("true prefix", "resid_mid"): ("C0", "C0", 0.08),
        ("any prefix", "attn_out"): ("C1", "none", -0.08),
        ("any prefix", "resid_mid"): ("C1", "C1", -0.24),
    }
    for (population, site), (colour, fill, shift) in styles.items():
        part = table[(table["population"] == population) & (table["site"] == site)]
        part = part.set_index("account").reindex(accounts)
        y = np.arange(len(accounts)) + shift
        shown = part[["kl_mean", "kl_mean_low", "kl_mean_high"]].clip(lower=1e-6)
        ax.hlines(y, shown["kl_mean_low"], shown["kl_mean_high"], color=colour, lw=1)
        label = f"{population}, {site}"
        ax.plot(shown["kl_mean"], y, "o", color=colour, mfc=fill, ms=3.5, mew=0.8, label=label)
    ax.set_xscale("log")
    ax.xaxis.set_minor_formatter(NullFormatter())
    low, high = ax.get_xlim()
    ax.set_xlim(min(low, high / 1e3), high)
    ax.set_yticks(range(len(accounts)), accounts)
    ax.set(xlabel=r"mean KL per example (nats, floor $10^{-6}$)")
    ax.legend(
        frameon=False,
        fontsize=6,
        loc="upper center",
        bbox_to_anchor=(0.4, -0.23),
        ncols=2,
        handletextpad=0.2,
    )
    ax.set_title("c  causal scrubbing", loc="left")


def _draw_failures(ax: Axes, table: pd.DataFrame) -> None:
    ax.set_title("d  which columns fail", loc="left")
    n = int(table.loc[table["account"] == "column alone", "failures"].iloc[0])
    if n == 0:
        pairs = int(table["examples"].max()) // 10
        text = f"no failure in\n{pairs:,} held-out pairs"
        ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes)
        ax.set_axis_off()
        return
    table = table.sort_values("auc", kind="stable")
    y = np.arange(len(table))
    controls = table["account"].isin(("column alone", "shuffled failures", "any f(S, T, s)"))
    for place, row, control in zip(y, table.to_dict("records"), controls, strict=True):
        colour = "0.5" if control else "C0"
        ax.plot([row["low"], row["high"]], [place, place], color=colour, lw=1.5)
        ax.plot(row["auc"], place, "o", color=colour, ms=4)
    ax.axvline(0.5, color="0.8", lw=0.8, zorder=0)
    ax.set_yticks(y, list(table["account"]))
    ax.set(xlabel=f"area under the ROC curve, {n:,} held-out failures", xlim=(0.3, 1.02))
