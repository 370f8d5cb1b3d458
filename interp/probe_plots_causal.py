"""Figures of the carry probe about cause: interchanges, doses, paths and wrong prefixes."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interp.output import TWO_COLUMNS
from interp.probe_prefix import RIVALS
from interp.probe_result import Result

METHODS = ("full", "mean difference", "DAS 1", "DAS 2", "DAS 3", "probe", "random")


def draw_causal(result: Result) -> Figure:
    """Draw the interchanges, the dose-response and the split by reader."""
    figure = plt.figure(figsize=(TWO_COLUMNS, 3.9))
    grid = figure.add_gridspec(2, 2, width_ratios=[1.15, 1.0])
    _interchange(figure.add_subplot(grid[:, 0]), result.tables["interchange"])
    _doses(figure.add_subplot(grid[0, 1]), result.tables["steering"])
    _paths(figure.add_subplot(grid[1, 1]), result.tables["reader"])
    figure.suptitle(f"{result.name}: moving the carry, and nothing else, at one site")
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
    axes.set_title("answers moved by exactly one, by what is swapped", loc="left")
    axes.set(xlabel="", ylabel="")
    axes.set_xticks(axes.get_xticks(), [m.replace(" ", "\n") for m in methods], rotation=0)
    axes.tick_params(length=0)


def _doses(axes: Axes, steering: pd.DataFrame) -> None:
    rows = steering[steering["site"] == "resid_mid"]
    table = rows.groupby(["direction", "dose", "shift"])["rate"].mean()
    carry, random = table["carry"].unstack("shift"), table["random"].unstack("shift")
    for colour, shift in zip(sns.color_palette("viridis", 6), (-2, -1, 0, 1, 2, 3), strict=True):
        axes.plot(carry.index, carry[shift], color=colour, label=f"{shift:+d}" if shift else "0")
    axes.plot(random.index, 1 - random[0], color="0.4", linestyle="--", label="random,\nany shift")
    axes.set(xlabel="dose of the mean carry difference at resid_mid", ylabel="share of answers")
    axes.set_title("dose-response: shift of the digit", loc="left")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, handlelength=1.2)
    sns.despine(ax=axes)


def _paths(axes: Axes, reader: pd.DataFrame) -> None:
    rows = reader[reader["norm"] == "live"]
    dimension = rows.groupby("part")["dimension"].first()
    parts = ["whole", "read", "null", "random"]
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
    names = ["whole", "read by\nfeed-forward", "null space\nof W_in", "random\ndirection"]
    dims = [f"\n(dim {dimension[part]})" for part in parts]
    axes.set_xticks(axes.get_xticks(), [n + d for n, d in zip(names, dims, strict=True)])
    axes.set(xlabel="", ylabel="moved by one", ylim=(0, 1.05))
    axes.set_title("carry difference at resid_mid, by part and path", loc="left")
    axes.legend(
        title="path", loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, handlelength=1.0
    )
    sns.despine(ax=axes)


def draw_prefixes(result: Result) -> Figure:
    """Draw how the next digit responds to every fed s_{i-1}."""
    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(TWO_COLUMNS, 2.5), width_ratios=[1.2, 1.2, 0.9]
    )
    response = result.tables["response"]
    _response(left, response)
    _shifts(middle, response)
    _rivals(right, result.tables["rivals"])
    figure.suptitle(f"{result.name}: the next digit under a wrong previous digit")
    return figure


X_LABEL = r"$a_{i-1}+b_{i-1}-s_{i-1}$ (fed)"


def _mark_consistent(axes: Axes) -> None:
    for low, high in ((-1.5, 0.5), (8.5, 10.5)):
        axes.axvspan(low, high, color="0.9", zorder=0)


def _response(axes: Axes, response: pd.DataFrame) -> None:
    _mark_consistent(axes)
    for _, rows in response.groupby("column"):
        axes.plot(rows["x"], rows["response"], color="0.7", linewidth=0.7)
    weighted = response.dropna(subset=["response"])
    weighted = weighted.assign(total=weighted["response"] * weighted["n"]).groupby("x")
    mean = weighted["total"].sum() / weighted["n"].sum()
    axes.plot(mean.index, mean, color="C0", linewidth=1.6)
    axes.axhline(0, color="0.4", linewidth=0.6, linestyle=":")
    axes.set(xlabel=X_LABEL, ylabel="logit of $D{+}1$ less logit of $D$")
    axes.set_title("response (grey: columns)", loc="left")
    sns.despine(ax=axes)


def _shifts(axes: Axes, response: pd.DataFrame) -> None:
    _mark_consistent(axes)
    names = [f"shift {k}" for k in (-1, 0, 1, 2)]
    weighted = response[names].mul(response["n"], axis=0).groupby(response["x"]).sum()
    share = weighted.div(response.groupby("x")["n"].sum(), axis=0)
    for colour, name in zip(sns.color_palette("viridis", 4), names, strict=True):
        label = {"shift -1": "$D-1$", "shift 0": "$D$", "shift 1": "$D+1$", "shift 2": "$D+2$"}
        axes.plot(share.index, share[name], color=colour, label=label[name])
    axes.set(xlabel=X_LABEL, ylabel="share of answers", ylim=(-0.02, 1.02))
    axes.set_title("answer (shaded: true prefixes)", loc="left")
    axes.legend(
        frameon=True, framealpha=0.9, edgecolor="none", loc="center right", handlelength=1.0
    )
    sns.despine(ax=axes)


def _rivals(axes: Axes, rivals: pd.DataFrame) -> None:
    sns.stripplot(
        rivals, x="r_squared", y="rival", order=list(RIVALS), color="0.6", size=2.5, ax=axes
    )
    mean = rivals.groupby("rival")["r_squared"].mean().reindex(list(RIVALS))
    axes.plot(mean, np.arange(len(RIVALS)), "D", color="C0", markersize=4)
    axes.set(
        xlabel="held-out $R^2$ (dots: columns)", ylabel="", xlim=(min(0, mean.min()) - 0.05, 1.03)
    )
    axes.set_title("accounts of the response", loc="left")
    sns.despine(ax=axes)
