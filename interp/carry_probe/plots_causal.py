"""Figures of the carry probe about cause: interchanges, doses, paths and wrong prefixes."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interp.carry_probe.criteria import after_attention
from interp.carry_probe.prefix import RIVALS
from interp.carry_probe.result import Result
from interp.carry_probe.summary import find_account, find_use, message
from interp.output import TWO_COLUMNS

RIVAL_LABELS = {
    "flat": "operands alone",
    "fed": r"$s_{i-1}$ alone",
    "step": "step (bit)",
    "linear": "line (graded)",
    "ramp": "ramp",
    "lookup": "free table",
}

METHODS = ("full", "mean difference", "DAS 1", "DAS 2", "DAS 3", "probe", "random", "same carry")


def draw_causal(result: Result) -> Figure:
    """Draw the interchanges, the dose-response and the split by reader."""
    n_sites = result.tables["interchange"]["site"].nunique()
    figure = plt.figure(figsize=(TWO_COLUMNS, max(3.9, 0.24 * n_sites)))
    grid = figure.add_gridspec(2, 2, width_ratios=[1.1, 1.0])
    _interchange(figure.add_subplot(grid[:, 0]), result.tables["interchange"])
    split = not result.tables["reader"].empty
    _doses(figure.add_subplot(grid[0 if split else slice(0, 2), 1]), result.tables["steering"])
    if split:
        _paths(figure.add_subplot(grid[1, 1]), result.tables["reader"])
    figure.suptitle(message(result, find_use))
    return figure


def _interchange(axes: Axes, interchange: pd.DataFrame) -> None:
    methods = [method for method in METHODS if method in set(interchange["method"])]
    sites = list(dict.fromkeys(interchange["site"]))
    table = interchange.pivot_table("moved", "site", "method").reindex(index=sites, columns=methods)
    sns.heatmap(
        table,
        ax=axes,
        cmap="Blues",
        vmin=0,
        vmax=1,
        annot=True,
        fmt=".2f",
        annot_kws={"size": 5.5},
        linewidths=0.4,
        cbar=False,
    )
    axes.set_title("a  answers moved by exactly one", loc="left")
    axes.set(xlabel="", ylabel="")
    axes.set_xticks(
        axes.get_xticks(),
        [m.replace(" difference", "\ndiff.").replace(" ", "\n") for m in methods],
        rotation=0,
        fontsize=6.5 if len(methods) < 7 else 5.5,
    )
    axes.tick_params(length=0)


def _doses(axes: Axes, steering: pd.DataFrame) -> None:
    site, rows = after_attention(steering)
    table = rows.groupby(["direction", "dose", "shift"])["rate"].mean()
    carry, random = table["carry"].unstack("shift"), table["random"].unstack("shift")
    shifts = [shift for shift in range(-3, 4) if shift in carry]
    for colour, shift in zip(sns.color_palette("viridis", len(shifts)), shifts, strict=True):
        axes.plot(carry.index, carry[shift], color=colour)
        _label_peak(axes, carry[shift], f"{shift:+d}" if shift else "0")
    axes.plot(random.index, 1 - random[0], color="0.4", linestyle="--", label="random, any shift")
    axes.set_ylim(-0.03, 1.15)
    axes.set(xlabel=f"dose of the mean carry difference at {site}", ylabel="share of answers")
    axes.set_title("b  shift of the digit by dose", loc="left")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.33), frameon=False, borderpad=0)
    sns.despine(ax=axes)


def _label_peak(axes: Axes, curve: pd.Series, label: str) -> None:
    """Write the curve's name above its peak, where it has one."""
    if curve.max() > 0.3:
        peak = curve.index[curve >= curve.max() - 1e-3]
        place = (float(np.median(peak)), float(curve.max()))
        axes.annotate(
            label, place, xytext=(0, 2), textcoords="offset points", ha="center", fontsize=7
        )


def _paths(axes: Axes, reader: pd.DataFrame) -> None:
    rows = reader[reader["norm"] == "live"]
    dimension = rows.groupby("part")["dimension"].first()
    parts = ["whole", "read", "unread", "random"]
    sns.barplot(
        rows,
        x="part",
        y="moved",
        hue="path",
        order=parts,
        hue_order=["both", "feed-forward", "skip"],
        errorbar=("pi", 100),
        err_kws={"linewidth": 0.8},
        ax=axes,
    )
    labels = [f"{part}\n{dimension[part]} dim" for part in parts]
    axes.set_xticks(axes.get_xticks(), labels)
    axes.set(xlabel="", ylabel="moved by one", ylim=(0, 1.05))
    axes.set_title("c  the difference at resid_mid, by part and path", loc="left")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, handlelength=1.0)
    sns.despine(ax=axes)


def draw_prefixes(result: Result) -> Figure:
    """Draw how the next digit responds to every fed s_{i-1}."""
    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(TWO_COLUMNS, 2.5), width_ratios=[1.2, 1.2, 0.9]
    )
    response, base = result.tables["response"], result.layout.base
    _response(left, response, base)
    _shifts(middle, response, base)
    _rivals(right, result.tables["rivals"])
    figure.suptitle(message(result, find_account))
    return figure


X_LABEL = r"$a_{i-1}+b_{i-1}-s_{i-1}$ (fed)"


def _mark_consistent(axes: Axes, base: int) -> None:
    for low, high in ((-1.5, 0.5), (base - 1.5, base + 0.5)):
        axes.axvspan(low, high, color="0.9", zorder=0)


def _response(axes: Axes, response: pd.DataFrame, base: int) -> None:
    _mark_consistent(axes, base)
    for _, rows in response.groupby("column"):
        axes.plot(rows["x"], rows["response"], color="0.7", linewidth=0.7)
    weighted = response.dropna(subset=["response"])
    weighted = weighted.assign(total=weighted["response"] * weighted["n"]).groupby("x")
    mean = weighted["total"].sum() / weighted["n"].sum()
    axes.plot(mean.index, mean, color="C0", linewidth=1.6)
    axes.axhline(0, color="0.4", linewidth=0.6, linestyle=":")
    axes.set(xlabel=X_LABEL, ylabel="logit of $D{+}1$ less logit of $D$")
    axes.set_title("a  response (grey: columns)", loc="left")
    sns.despine(ax=axes)


def _shifts(axes: Axes, response: pd.DataFrame, base: int) -> None:
    _mark_consistent(axes, base)
    names = [f"shift {k}" for k in (-1, 0, 1, 2)]
    weighted = response[names].mul(response["n"], axis=0).groupby(response["x"]).sum()
    share = weighted.div(response.groupby("x")["n"].sum(), axis=0)
    labels = ("$D-1$", "$D$", "$D+1$", "$D+2$")
    colours = sns.color_palette("viridis", len(names))
    for colour, name, label in zip(colours, names, labels, strict=True):
        axes.plot(share.index, share[name], color=colour)
        _label_peak(axes, share[name], label)
    axes.set(
        xlabel=X_LABEL,
        ylabel="share of answers",
        xlim=(-base - 3, 2 * base + 2),
        ylim=(-0.03, 1.15),
    )
    axes.set_title("b  answer (shaded: true prefixes)", loc="left")
    sns.despine(ax=axes)


def _rivals(axes: Axes, rivals: pd.DataFrame) -> None:
    # Beside each other by column, not by chance: the same numbers give the same drawing.
    low, high = rivals["column"].min(), rivals["column"].max()
    spread = 0.16 * ((rivals["column"] - low) / max(1, high - low) - 0.5)
    rows = rivals["rival"].map(list(RIVALS).index)
    axes.plot(rivals["r_squared"], rows + spread, "o", color="0.6", markersize=2.5, mew=0)
    mean = rivals.groupby("rival")["r_squared"].mean().reindex(list(RIVALS))
    axes.plot(mean, np.arange(len(RIVALS)), "D", color="C0", markersize=4)
    axes.set(
        xlabel="held-out $R^2$ (dots: columns)", ylabel="", xlim=(min(0, mean.min()) - 0.05, 1.03)
    )
    axes.set_ylim(len(RIVALS) - 0.5, -0.5)
    axes.set_yticks(np.arange(len(RIVALS)), [RIVAL_LABELS[rival] for rival in RIVALS])
    axes.set_title("c  accounts of the response", loc="left")
    sns.despine(ax=axes)
