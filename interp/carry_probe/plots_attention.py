"""Figure of the carry probe: every attention score, and the accuracy without each edge."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interp.anatomy import ROLES
from interp.carry_probe.edges import CUTS, NORMS
from interp.carry_probe.result import Result
from interp.carry_probe.summary import find_attention, message
from interp.output import TWO_COLUMNS
from model.task import N_PROMPT, PLUS

_BELOW = str.maketrans("0123456789", "".join(chr(0x2080 + digit) for digit in range(10)))


def role_label(role: str) -> str:
    """Write a role as mathematics."""
    return f"${role}$" if "_" in role else role


def draw_scores(result: Result) -> Figure:
    """Draw every score that the layer can compute, above what cutting each role's edge does."""
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(TWO_COLUMNS, 5.6), height_ratios=[1.5, 1.0])
    score_map(top, result.scores)
    _edges(bottom, result.tables["edges"])
    figure.suptitle(message(result, find_attention))
    return figure


def score_map(axes: Axes, scores: np.ndarray) -> None:
    """Draw the exact score table (`interp.carry_probe.attention.score_table`) as one image."""
    table, columns, edges = _score_image(scores)
    limit = float(np.nanquantile(np.abs(table), 0.99))
    image = axes.imshow(
        table, aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest"
    )
    starts = np.append(0, np.cumsum(columns))
    for x in starts[1:-1]:
        axes.axvline(x - 0.5, color="0.5", linewidth=0.25)
    for y in edges[1:-1]:
        axes.axhline(y - 0.5, color="0.5", linewidth=0.25)
    # Plain characters: so many formulas would be parsed anew for every format.
    names = [f"a{9 - p}".translate(_BELOW) for p in range(10)] + ["+"]
    names += [f"b{9 - p}".translate(_BELOW) for p in range(10)] + ["="]
    names += [f"s{p}".translate(_BELOW) for p in range(len(columns) - N_PROMPT)]
    axes.set_xticks((starts[:-1] + starts[1:] - 1) / 2, names, fontsize=5.5, style="italic")
    middle = (np.array(edges[:-1]) + np.array(edges[1:]) - 1) / 2
    axes.set_yticks(middle, [str(i) for i in range(len(middle))])
    axes.set_xlabel("source position, and within it the digit 0 to 9")
    axes.set_ylabel(r"answer column, within it $s_{i-1}$")
    axes.set_title("a  score, each row less its mean over the prompt", loc="left")
    axes.tick_params(length=0)
    axes.figure.colorbar(image, ax=axes, label="score", fraction=0.03, pad=0.01)


def _edges(axes: Axes, edges: pd.DataFrame) -> None:
    rows = edges[edges["path"] == "total"]
    roles = [role for role in ROLES if role in set(rows["role"])]
    order = [(cut, norm) for cut in CUTS for norm in NORMS]
    table = rows.pivot_table("accuracy", ["cut", "norm"], "role").reindex(order)[roles]
    names = {"k": "keys of another", "v": "values of another", "k+v": "both of another"}
    sns.heatmap(
        table,
        ax=axes,
        cmap="Blues_r",
        vmin=0,
        vmax=1,
        annot=table.map(lambda x: f"{x:.2f}".removeprefix("0")),
        fmt="",
        annot_kws={"size": 5.5},
        linewidths=0.4,
        cbar_kws={"label": "digit accuracy", "fraction": 0.03, "pad": 0.01},
    )
    axes.set_yticklabels([f"{names.get(cut, cut)}, norm {norm}" for cut, norm in order], rotation=0)
    axes.set_xticks(
        axes.get_xticks(),
        [role_label(role).replace("other ", "other\n") for role in roles],
        rotation=0,
    )
    axes.set(xlabel="role whose edge is cut", ylabel="")
    axes.set_title("b  accuracy of the digit with one edge cut, mean of columns", loc="left")
    axes.tick_params(length=0, labelsize=6)


def _score_image(scores: np.ndarray) -> tuple[np.ndarray, list[int], list[int]]:
    """Lay the table out: ten digits a position (one token for + and =), ten rows a column."""
    blocks, columns = [], []
    for position in range(scores.shape[2]):
        token = {10: [PLUS], N_PROMPT - 1: [PLUS + 1]}.get(position, list(range(10)))
        blocks.append(scores[:, :, position, token])
        columns.append(len(token))
    wide = np.concatenate(blocks, axis=2)
    rows = [wide[column, [PLUS + 1] if column == 0 else range(10)] for column in range(len(wide))]
    edges = np.append(0, np.cumsum([len(row) for row in rows])).tolist()
    table = np.concatenate(rows)
    prompt = sum(columns[:N_PROMPT])
    return table - np.nanmean(table[:, :prompt], axis=1, keepdims=True), columns, edges
