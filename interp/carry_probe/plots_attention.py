"""Figure of the carry probe: every attention score, and the accuracy without each edge."""

import re

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interp.anatomy import OLDER, fed_roles, roles_of
from interp.carry_probe.attention import tokens_at
from interp.carry_probe.edges import CUTS, CUTS_OF_A_HEAD, NORMS
from interp.carry_probe.result import Result
from interp.carry_probe.summary import find_attention, message
from interp.output import TWO_COLUMNS
from model.layouts import Layout

_BELOW = str.maketrans("0123456789", "".join(chr(0x2080 + digit) for digit in range(10)))
MOST_MAPS = 4
"""Heads whose scores are drawn; all are in the file of scores."""


def role_label(role: str) -> str:
    """Write a role as mathematics, and a separator as it is."""
    return f"${role}$" if re.fullmatch(r"[abs]_.*", role) else role.replace("$", r"\$")


def _short_label(role: str) -> str:
    """Write a role in the width of a narrow column."""
    label = role_label(role).replace("between", "betw.")
    return label if role == OLDER else label.replace(" ", "\n")


def draw_scores(result: Result) -> Figure:
    """Draw every score that the layer can compute, above what cutting each role's edge does."""
    maps, n_heads = result.scores[:MOST_MAPS], len(result.scores)
    rows = 1.0 if n_heads == 1 else 1.0 + 0.2 * n_heads
    figure, axes = plt.subplots(
        len(maps) + 1,
        1,
        figsize=(TWO_COLUMNS, 5.6 + 2.24 * (1.5 * (len(maps) - 1) + rows - 1)),
        height_ratios=[1.5] * len(maps) + [rows],
        squeeze=False,
    )
    for head, scores in enumerate(maps):
        of_head = f", head {head}" if n_heads > 1 else ""
        score_map(axes[head, 0], scores, result.layout, f"{'abcd'[head]}  score{of_head}")
    _edges(axes[-1, 0], result, "abcde"[len(maps)])
    figure.suptitle(message(result, find_attention))
    return figure


def score_map(axes: Axes, scores: np.ndarray, layout: Layout, title: str = "a  score") -> None:
    """Draw the exact scores of one head (`interp.carry_probe.attention.score_table`)."""
    table, columns, edges = _score_image(scores, layout)
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
    names = [
        name if at in layout.separators else name.translate(_BELOW)
        for at, name in enumerate(layout.roles())
    ]
    axes.set_xticks((starts[:-1] + starts[1:] - 1) / 2, names, fontsize=5.5, style="italic")
    middle = (np.array(edges[:-1]) + np.array(edges[1:]) - 1) / 2
    axes.set_yticks(middle, [str(i) for i in range(len(middle))])
    axes.set_xlabel(f"source position, and within it the digit 0 to {layout.base - 1}")
    axes.set_ylabel(f"answer column, within it ${fed_roles(layout)[0]}$")
    axes.set_title(f"{title}, each row less its mean over the prompt", loc="left")
    axes.tick_params(length=0)
    axes.figure.colorbar(image, ax=axes, label="score", fraction=0.03, pad=0.01)


def _edges(axes: Axes, result: Result, letter: str) -> None:
    edges = result.tables["edges"]
    rows = edges[edges["path"] == "total"]
    roles = [role for role in roles_of(result.layout) if role in set(rows["role"])]
    heads = sorted(set(rows["head"]) - {"all"}, key=int)
    norms = [norm for norm in NORMS if norm in set(rows["norm"])]
    order = [("all", cut, norm) for cut in CUTS for norm in norms]
    order += [(head, cut, norms[0]) for head in heads for cut in CUTS_OF_A_HEAD]
    table = rows.pivot_table("accuracy", ["head", "cut", "norm"], "role").reindex(order)[roles]
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
    labels = [
        (f"head {head} alone, " if head != "all" else "")
        + names.get(cut, cut)
        + (f", norm {norm}" if len(norms) > 1 else "")
        for head, cut, norm in order
    ]
    axes.set_yticklabels(labels, rotation=0)
    axes.set_xticks(
        axes.get_xticks(),
        [_short_label(role) for role in roles],
        rotation=0,
    )
    axes.set(xlabel="role whose edge is cut", ylabel="")
    axes.set_title(
        f"{letter}  accuracy of the digit with one edge cut, mean of columns", loc="left"
    )
    axes.tick_params(length=0, labelsize=6)


def _score_image(scores: np.ndarray, layout: Layout) -> tuple[np.ndarray, list[int], list[int]]:
    """Lay the table out: for each position and column, the tokens that can stand there."""
    tokens = [tokens_at(layout, position) for position in range(layout.n_input)]
    columns = [len(found) for found in tokens]
    blocks = [scores[:, :, position, found] for position, found in enumerate(tokens)]
    wide = np.concatenate(blocks, axis=2)
    queries = [tokens[layout.query_position(column)] for column in range(len(wide))]
    rows = [wide[column, found] for column, found in enumerate(queries)]
    edges = np.append(0, np.cumsum([len(row) for row in rows])).tolist()
    table = np.concatenate(rows)
    prompt = sum(columns[: layout.n_prompt])
    return table - np.nanmean(table[:, :prompt], axis=1, keepdims=True), columns, edges
