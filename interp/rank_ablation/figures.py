"""Figures of a sweep, redrawn from its table: heat map, truncation, chain length, pairs."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from interp.output import ONE_COLUMN, TWO_COLUMNS, paper_style
from interp.rank_ablation.metrics import select

PER_ROW = 4


def plot(ablations: pd.DataFrame, metrics: Sequence[str]) -> dict[str, Figure]:
    """Draw everything that a table of ablations holds.

    Args:
        ablations: The table of a sweep, with a column "checkpoint".
        metrics: Which metrics get a heat map.

    Returns:
        Figures by file name; what the table has no rows for is left out.
    """
    figures = {}
    with paper_style():
        for name, table in ablations.groupby("checkpoint", sort=False):
            for metric in metrics:
                single = select(table[table["scope"] == "single"], metric)
                if len(single):
                    figures[f"heatmap-{metric}-{name}"] = heatmap(single, f"{name}: {metric}")
            exact = select(table, "exact")
            truncation = exact[exact["scope"] == "truncation"]
            if len(truncation):
                intact = exact[exact["scope"] == "intact"]
                figures[f"truncation-{name}"] = truncation_curves(truncation, intact, str(name))
            chains = select(table, "chain_error", inputs="stratified")
            if (chains["scope"] == "single").any():
                figures[f"chain_length-{name}"] = chain_curves(chains, str(name))
            pairs = select(table[table["scope"] == "pair"], "exact")
            if len(pairs):
                figures[f"pairs-{name}"] = pair_map(pairs, str(name))
    return figures


def heatmap(single: pd.DataFrame, title: str) -> Figure:
    """Draw components by kind of ablation (or by stratum, where a metric has several).

    Every cell shows the value and, below it in brackets, the median of the null.
    """
    strata = single["stratum"].nunique() > 1
    if strata:
        first = single.iloc[0]
        single = single[(single["kind"] == first["kind"]) & (single["norm"] == first["norm"])]
        title += f" ({first['kind']}, norms {first['norm']})"
    row = single["matrix"] + " " + single["component"]
    if single["basis"].nunique() > 1:
        row += " (" + single["basis"] + ")"
    kind = single["kind"] + ("\n" + single["norm"] if single["norm"].nunique() > 1 else "")
    single = single.assign(row=row, column=single["stratum"] if strata else kind)

    def spread(field: str) -> pd.DataFrame:
        wide = single.pivot(index="row", columns="column", values=field)
        return wide.loc[single["row"].unique(), single["column"].unique()]

    value, null = spread("value"), spread("null_median")
    text = np.vectorize(lambda v, n: f"{v:.3g}\n({n:.2g})")(value.to_numpy(), null.to_numpy())
    rows, columns = value.shape
    width = min(TWO_COLUMNS, max(ONE_COLUMN, 1.6 + 0.62 * columns))
    figure, axes = plt.subplots(figsize=(width, 0.8 + 0.27 * rows))
    rate = bool(value.min().min() >= 0 and value.max().max() <= 1)
    sns.heatmap(
        value,
        annot=text,
        fmt="",
        annot_kws={"fontsize": 5},
        cmap="cividis",
        vmin=0 if rate else None,
        vmax=1 if rate else None,
        linewidths=0.5,
        ax=axes,
        cbar_kws={"shrink": 0.6, "aspect": 30},
    )
    matrices = single.drop_duplicates("row")["matrix"].to_numpy()
    for place in np.flatnonzero(matrices[1:] != matrices[:-1]) + 1:
        axes.axhline(float(place), color="white", linewidth=2.5)
    axes.set(xlabel="", ylabel="")
    axes.set_title(f"{title}\nbelow: median of random terms of equal norm", loc="left")
    axes.tick_params(axis="both", length=0)
    axes.tick_params(axis="x", rotation=0)
    return figure


def truncation_curves(truncation: pd.DataFrame, intact: pd.DataFrame, name: str) -> Figure:
    """Draw exact match against the number of directions that are kept, up to all, per matrix."""
    matrices = list(truncation["matrix"].unique())
    figure, axes = _grid(len(matrices), height=1.5)
    bases = list(truncation["basis"].unique())
    for axis, matrix in zip(axes, matrices, strict=True):
        of_matrix = truncation[truncation["matrix"] == matrix]
        for place, basis in enumerate(bases):
            rows = of_matrix[of_matrix["basis"] == basis]
            if rows.empty:
                continue
            whole = intact.assign(rank=0, null_low=intact["value"], null_high=intact["value"])
            rows = pd.concat([rows, whole])
            kept = rows["rank"].max() - rows["rank"].to_numpy()
            low, high = rows["value"] - rows["low"], rows["high"] - rows["value"]
            axis.errorbar(
                kept,
                rows["value"],
                yerr=np.stack([low, high]),
                marker="os^"[place % 3],
                markersize=3,
                linewidth=1,
                label=basis,
            )
            if place == 0:
                axis.fill_between(
                    kept, rows["null_low"], rows["null_high"], color="0.85", label="null, 5-95 %"
                )
        axis.set(title=matrix, ylim=(-0.04, 1.04), xlim=(-0.2, None))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.supxlabel("directions kept", fontsize=8)
    figure.supylabel("exact match", fontsize=8)
    axes[0].legend(frameon=False, loc="upper left")
    figure.suptitle(f"{name}: rank-k truncation of one matrix at a time", fontsize=8)
    return figure


def chain_curves(chains: pd.DataFrame, name: str) -> Figure:
    """Draw the error per digit against the length of its carry chain, one panel per matrix.

    Components removed by the first kind of the sweep; the intact network in grey.
    """
    single = chains[chains["scope"] == "single"]
    first = single.iloc[0]
    same = (single["kind"] == first["kind"]) & (single["norm"] == first["norm"])
    single = single[same & (single["basis"] == first["basis"])]
    intact = chains[chains["scope"] == "intact"]
    matrices = list(single["matrix"].unique())
    figure, axes = _grid(len(matrices), height=1.6)
    handles: dict[str, Line2D] = {}
    for axis, matrix in zip(axes, matrices, strict=True):
        x, y = intact["stratum"].astype(int), intact["value"]
        (handles["intact"],) = axis.plot(x, y, color="0.6")
        parts = list(single.loc[single["matrix"] == matrix, "component"].unique())
        colours = sns.color_palette("colorblind" if len(parts) <= 8 else "viridis", len(parts))
        for part, colour in zip(parts, colours, strict=True):
            rows = single[(single["matrix"] == matrix) & (single["component"] == part)]
            x = rows["stratum"].astype(int)
            (line,) = axis.plot(x, rows["value"], color=colour, marker="o", markersize=2, lw=1)
            if len(parts) <= 8:
                handles.setdefault(part, line)
            axis.fill_between(x, rows["low"], rows["high"], color=colour, alpha=0.2, linewidth=0)
        axis.set(title=matrix, ylim=(-0.04, 1.04), xticks=range(0, int(x.max()) + 1, 2))
    figure.supxlabel("columns that the incoming carry has travelled (0: none comes in)", fontsize=8)
    figure.supylabel("wrong digits", fontsize=8)
    figure.suptitle(
        f"{name}: {first['basis']} component replaced by {first['kind']}",
        fontsize=8,
        x=0.01,
        ha="left",
    )
    names, lines = list(handles), list(handles.values())
    figure.legend(lines, names, frameon=False, loc="outside upper right", ncols=len(names))
    return figure


def pair_map(pairs: pd.DataFrame, name: str) -> Figure:
    """Draw exact match without both components of every pair, of the first basis."""
    pairs = pairs[pairs["basis"] == pairs["basis"].iloc[0]]
    matrix = pairs["matrix"].str.split(" & ", expand=True)
    part = pairs["component"].str.split(" & ", expand=True)
    left, right = (matrix[i] + " " + part[i] for i in (0, 1))
    order = list(dict.fromkeys([*left, *right]))
    grid = pd.DataFrame(np.nan, index=order, columns=order)
    for a, b, value in zip(left, right, pairs["value"], strict=True):
        grid.loc[a, b] = grid.loc[b, a] = value
    size = min(TWO_COLUMNS, 1.4 + 0.2 * len(order))
    figure, axes = plt.subplots(figsize=(size, size * 0.9))
    sns.heatmap(
        grid,
        vmin=0,
        vmax=1,
        cmap="cividis",
        ax=axes,
        square=True,
        linewidths=0.3,
        cbar_kws={"shrink": 0.6, "label": "exact match"},
    )
    axes.set_xticks(np.arange(len(order)) + 0.5, order, rotation=90, fontsize=5.5)
    axes.set_yticks(np.arange(len(order)) + 0.5, order, rotation=0, fontsize=5.5)
    axes.tick_params(length=0)
    axes.set_title(f"{name}: pairs removed together", loc="left")
    return figure


def _grid(panels: int, height: float) -> tuple[Figure, list[Axes]]:
    columns = min(PER_ROW, panels)
    rows = -(-panels // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(TWO_COLUMNS if columns > 2 else 3.6, 0.7 + height * rows),
        sharey=True,
        squeeze=False,
    )
    flat = list(axes.ravel())
    for axis in flat[panels:]:
        axis.set_visible(False)
    return figure, flat[:panels]
