"""Figures of the carry probe, for print; each is drawn from a result alone."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from interp.anatomy import roles_of
from interp.carry_probe.config import MAIN_SITES
from interp.carry_probe.data import FEATURES
from interp.carry_probe.plots_attention import draw_scores, role_label
from interp.carry_probe.plots_causal import draw_causal, draw_prefixes
from interp.carry_probe.result import Result
from interp.carry_probe.summary import find_attention, find_presence, message
from interp.output import TWO_COLUMNS, paper_style
from model.layouts import Layout

KIND_LABELS = {
    "conditional": r"given $a_i+b_i$",
    "shared": r"one direction, offset per $a_i+b_i$",
    "global": "global",
}


def draw(result: Result) -> dict[str, Figure]:
    """Draw every figure that the result has tables for, by file stem."""
    return {stem: draw_one(result, stem) for stem in stems(result)}


def stems(result: Result) -> list[str]:
    """Name the figures that the result has tables for."""
    found = ["attention_and_probes", "scores_and_edges"]
    if not result.tables["interchange"].empty:
        found.append("causation")
    if not result.tables["rivals"].empty:
        found.append("wrong_prefixes")
    if not result.tables["probes"].empty and result.tables["probes"]["feature"].nunique() > 1:
        found.append("features")
    return found


def draw_one(result: Result, stem: str) -> Figure:
    """Draw one of the figures that `stems` names."""
    drawings = {
        "attention_and_probes": draw_main,
        "causation": draw_causal,
        "wrong_prefixes": draw_prefixes,
        "scores_and_edges": draw_scores,
        "features": draw_features,
    }
    with paper_style():
        return drawings[stem](result)


def draw_main(result: Result) -> Figure:
    """Draw the attention-by-role map beside the probe accuracies."""
    heads = _heads(result)
    figure, axes = plt.subplots(
        len(heads),
        2,
        figsize=(TWO_COLUMNS, 3.3 * len(heads)),
        width_ratios=[1.25, 1.0],
        squeeze=False,
    )
    for place, head in enumerate(heads):
        _attention_map(axes[place, 0], result, head)
    for unused in axes[1:, 1]:
        unused.remove()
    _probe_sites(axes[0, 1], result.tables["probes"], result.layout)
    probed = not result.tables["probes"].empty
    figure.suptitle(message(result, find_presence if probed else find_attention))
    return figure


MOST_HEADS = 4
"""Heads that are drawn one by one; all are in the table."""


def _heads(result: Result) -> list[str]:
    """List whose attention is drawn: each head's where there are several, but not too many."""
    heads = sorted(set(result.tables["attention"]["head"]) - {"all"}, key=int)
    return heads if 0 < len(heads) <= MOST_HEADS else ["all"]


def _attention_map(axes: Axes, result: Result, head: str) -> None:
    attention = result.tables["attention"]
    attention = attention[attention["head"] == head]
    chosen = attention[(attention["inputs"] == "uniform") & (attention["carry_in"] == "all")]
    roles = [role for role in roles_of(result.layout) if role in set(chosen["role"])]
    weights = chosen.pivot(index="column", columns="role", values="weight").reindex(columns=roles)
    rows = {f"{column}": weights.loc[column] for column in weights.index}
    for label, name in (("uniform", "uniform"), ("random init", "random_init")):
        rows[label] = chosen.groupby("role")[name].mean().reindex(roles)
    table = pd.DataFrame(rows).T.astype(float)
    labels = table.map(
        lambda x: "" if np.isnan(x) else f"{x:.2f}".lstrip("0") if x >= 0.005 else "0"
    )
    sns.heatmap(
        table,
        ax=axes,
        cmap="Blues",
        norm=PowerNorm(0.5, vmin=0, vmax=1),
        annot=labels,
        fmt="",
        annot_kws={"size": 5.5},
        linewidths=0.4,
        cbar=False,
    )
    axes.axhline(len(weights), color="black", linewidth=1)
    axes.set_xticklabels([role_label(role) for role in roles], rotation=60, ha="right")
    axes.set_yticklabels(list(rows), rotation=0)
    axes.set_xlabel("role of the source")
    axes.set_ylabel("answer column $i$ (0 = units)")
    of_head = f" of head {head}" if head != "all" else ""
    axes.set_title(f"a  attention weight{of_head}", loc="left")
    axes.tick_params(length=0)


def _probe_sites(axes: Axes, probes: pd.DataFrame, layout: Layout) -> None:
    axes.set_title("b  carry into the column, by linear probes", loc="left")
    rows = probes[probes["feature"] == "carry_in"] if not probes.empty else probes
    if rows.empty:
        axes.text(0.5, 0.5, "no column with a carry", ha="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    if (rows["column"] < layout.width).any():
        rows = rows[rows["column"] < layout.width]
    sites = list(dict.fromkeys(rows["site"]))
    if set(sites) & set(MAIN_SITES):
        sites = [site for site in sites if site in MAIN_SITES]
    places = np.arange(len(sites))
    colours = sns.color_palette("colorblind")
    for k, (kind, label) in enumerate(KIND_LABELS.items()):
        scores = rows[rows["kind"] == kind].groupby("site")["accuracy"].agg(["mean", "min", "max"])
        scores = scores.reindex(sites)
        spread = [scores["mean"] - scores["min"], scores["max"] - scores["mean"]]
        axes.errorbar(
            scores["mean"],
            places + 0.22 * (k - 1),
            xerr=spread,
            fmt="os^"[k],
            markersize=3.2,
            color=colours[k],
            linewidth=0.8,
            label=label,
        )
    floors = rows[rows["kind"] == "conditional"].groupby("site").mean(numeric_only=True)
    floors = floors.reindex(sites)
    axes.plot(
        floors["random_init_max"],
        places - 0.22,
        "x",
        color="0.35",
        markersize=3.5,
        label="random init",
    )
    axes.plot(
        floors["shuffled"], places - 0.22, "|", color="0.35", markersize=5, label="shuffled labels"
    )
    lines = {
        "majority": ("majority", ":", "0.6"),
        "bayes_query": (r"best guess from $s_{i-1}$", "--", "0.4"),
        "bayes_below": (r"best guess from $a_{i-1}+b_{i-1}$", "-.", "0.4"),
    }
    for name, (label, style, colour) in lines.items():
        if rows[name].notna().any():
            place = float(rows[name].mean())
            axes.axvline(place, color=colour, linestyle=style, linewidth=0.8, label=label)
    axes.set_yticks(places, sites)
    axes.invert_yaxis()
    axes.set_xlim(0.38, 1.02)
    axes.set_xlabel("held-out accuracy (mean, range of columns)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.2), ncols=2, frameon=False)
    sns.despine(ax=axes)


def draw_features(result: Result) -> Figure:
    """Draw what can be read where: sites by features, beside the best random-init model."""
    probes = result.tables["probes"]
    sites = list(dict.fromkeys(probes["site"]))
    probes = probes[probes["kind"] != "shared"]
    label = probes["feature"].str.replace("_", " ") + np.where(
        probes["kind"] == "conditional", " | sum", ""
    )
    probes = probes.assign(what=label)
    rank = {feature: place for place, feature in enumerate(FEATURES)}
    order = list(dict.fromkeys(probes.sort_values("feature", key=lambda x: x.map(rank))["what"]))
    figure, panels = plt.subplots(1, 3, figsize=(TWO_COLUMNS, 4.6), sharey=True)
    values = {"network": "accuracy", "best of five random inits": "random_init_max"}
    count = result.settings["random_inits"]
    for axes, (title, name) in zip(panels, values.items(), strict=False):
        table = probes.pivot_table(name, "site", "what", sort=False).reindex(sites)[order]
        _heat(axes, table, title.replace("five", str(count)), "viridis", 0.0, 1.0)
    table = probes.pivot_table("selectivity", "site", "what", sort=False).reindex(sites)[order]
    _heat(panels[2], table, "selectivity (less control task)", "RdBu_r", -1.0, 1.0)
    figure.suptitle(f"{result.name}: held-out probe accuracy, mean of columns")
    return figure


def _heat(axes: Axes, table: pd.DataFrame, title: str, cmap: str, low: float, high: float) -> None:
    sns.heatmap(
        table,
        ax=axes,
        cmap=mpl.colormaps[cmap],
        vmin=low,
        vmax=high,
        annot=table.map(lambda x: f"{x:.2f}".replace("0.", ".")),
        fmt="",
        annot_kws={"size": 4.5},
        cbar=False,
        linewidths=0.3,
    )
    axes.set_title(title, loc="left", fontsize=7)
    axes.set(xlabel="", ylabel="")
    axes.tick_params(length=0, labelsize=6)
    axes.set_xticks(axes.get_xticks(), list(table.columns), rotation=60, ha="right")
