"""Gallery: where the answer columns look, by digit role, beside what a pattern is worth."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyses.gallery.about import (
    MODEL,
    describe_model,
    number,
    random_inits,
    subject_of,
    title_of,
)
from analyses.gallery.figure import GalleryFigure, Source, Tables
from interp.anatomy import ROLES, specimen_of
from interp.carry_probe import (
    attention_by_role,
    pattern_baselines,
    probe_inputs,
    role_label,
    with_random_init,
)
from interp.output import TWO_COLUMNS, paper_style
from model.checkpoint import read_checkpoint
from model.layouts import WRITE_UPS
from model.task import N_ANSWER, uniform_pairs

N_PAIRS = 2_000
INNER = range(2, 9)
"""Columns that have every role of a digit; averages are taken over them."""


def compute(source: Source) -> Tables:
    """Average attention by role, of the model and of untrained ones, and replace the pattern."""
    read = read_checkpoint(source.checkpoint)
    network, columns = specimen_of(read.model), range(N_ANSWER)
    generator = torch.Generator().manual_seed(source.seed)
    data = {"uniform": probe_inputs(uniform_pairs(N_PAIRS, generator), WRITE_UPS)}
    few = {"uniform": data["uniform"].take(N_PAIRS // 10)}
    models = random_inits(read.model.config)
    untrained = [attention_by_role(specimen_of(model), few, columns) for model in models]
    roles = with_random_init(attention_by_role(network, data, columns), untrained)
    return {
        "roles": roles.drop(columns=["inputs", "head"]),
        "patterns": pattern_baselines(network, data["uniform"], columns),
        MODEL: describe_model(read, pairs=N_PAIRS, inits=len(models)),
    }


def average(tables: Tables) -> pd.DataFrame:
    """Average by role over the columns that have them all: one row a role."""
    rows = _all_inputs(tables)
    rows = rows[rows["column"].isin(INNER)]
    names = ["weight", "share", "uniform", "random_init"]
    table = rows.groupby("role")[names].mean()
    spread = rows.groupby("role")["weight"]
    table = table.assign(least=spread.min(), most=spread.max())
    return table.loc[[role for role in ROLES if role in table.index]]


def _all_inputs(tables: Tables) -> pd.DataFrame:
    roles = tables["roles"]
    return roles[roles["carry_in"].astype(str) == "all"]


def plot(tables: Tables) -> Figure:
    """Draw attention by role and column, its average beside controls, and what patterns do."""
    with paper_style():
        figure = plt.figure(figsize=(TWO_COLUMNS, 4.9))
        grid = figure.add_gridspec(2, 2, width_ratios=[1.35, 1], height_ratios=[1.7, 1])
        _draw_weights(figure.add_subplot(grid[:, 0]), tables)
        _draw_average(figure.add_subplot(grid[0, 1]), average(tables))
        _draw_patterns(figure.add_subplot(grid[1, 1]), tables["patterns"])
        figure.suptitle(title_of(tables), x=0.01, ha="left", fontsize=8)
    return figure


def _draw_weights(ax: Axes, tables: Tables) -> None:
    rows = _all_inputs(tables)
    roles = [role for role in ROLES if role in set(rows["role"])]
    weight = rows.pivot(index="role", columns="column", values="weight").loc[roles]
    ax.set_facecolor("0.88")  # what stays visible: roles that a column does not have
    ax.imshow(weight, aspect="auto", cmap="Blues", vmin=0, vmax=0.6)
    for (y, x), value in np.ndenumerate(weight.to_numpy()):
        if value >= 0.005:
            text = f"{value:.2f}".removeprefix("0")
            ink = "white" if value > 0.35 else "0.15"
            ax.text(x, y, text, ha="center", va="center", fontsize=6, color=ink)
    ax.set_xticks(range(weight.shape[1]), [str(column) for column in weight.columns])
    ax.set_yticks(range(len(roles)), [role_label(role) for role in roles])
    ax.tick_params(length=0)
    ax.set_xlabel("answer column $i$ (0 = units)")
    ax.set_title("a  mean attention weight by role of the source", loc="left")


def _draw_average(ax: Axes, table: pd.DataFrame) -> None:
    floor = 1e-4
    y = np.arange(len(table))
    clipped = table.clip(lower=floor)
    ax.hlines(y, clipped["least"], clipped["most"], color="C0", lw=1.2)
    for name, marker, colour, label in (
        ("weight", "o", "C0", "model"),
        ("share", "D", "C1", "model, share of what is written"),
        ("uniform", "|", "0.25", "uniform over the past"),
        ("random_init", "x", "C3", "random init"),
    ):
        size = 6 if marker == "|" else 3.5
        ax.plot(clipped[name], y, marker, color=colour, ms=size, mew=1, label=label, ls="none")
    ax.set_xscale("log")
    ax.set_xlim(floor * 0.7, 1.2)
    ax.set_yticks(y, [role_label(role) for role in table.index], fontsize=6)
    ax.invert_yaxis()
    ax.grid(axis="y", color="0.92", lw=0.6)
    ax.set_axisbelow(True)
    ax.set_xlabel(f"weight, mean of columns {INNER[0]} to {INNER[-1]} (below $10^{{-4}}$: at it)")
    ax.legend(frameon=False, fontsize=6, ncols=2, loc="lower left", bbox_to_anchor=(-0.12, 1.0))
    ax.set_title("b  beside controls", loc="left", pad=27)


def _draw_patterns(ax: Axes, table: pd.DataFrame) -> None:
    styles = {"live": ("o", "C0"), "position mean": ("s", "C2"), "uniform causal": ("^", "0.4")}
    for shift, (name, (marker, colour)) in zip((-0.15, 0.0, 0.15), styles.items(), strict=True):
        rows = table[table["pattern"] == name]
        x = rows["column"] + shift
        ax.vlines(x, rows["low"], rows["high"], color=colour, lw=1)
        ax.plot(x, rows["accuracy"], marker, color=colour, ms=3.5, label=name, ls="none")
    ax.axhline(0.1, color="0.8", lw=0.7, zorder=0)
    ax.set(xlabel="answer column $i$", ylabel="digit accuracy", ylim=(-0.03, 1.05))
    ax.set_xticks(range(N_ANSWER))
    ax.legend(frameon=False, fontsize=6, ncols=3, loc="lower left", bbox_to_anchor=(-0.12, 0.98))
    ax.set_title("c  with the pattern replaced", loc="left", pad=16)


def caption(tables: Tables) -> str:
    """Word the figure from its tables."""
    mean, patterns = average(tables), tables["patterns"]

    def weight(role: str) -> str:
        row = mean.loc[role]
        return f"{row['weight']:.3f} ({row['least']:.3f} to {row['most']:.3f})"

    accuracy = patterns[patterns["column"].isin(INNER)].groupby("pattern")["accuracy"].mean()
    here, below = (
        sum(float(mean.loc[role, "weight"]) for role in pair)  # pyright: ignore[reportArgumentType]
        for pair in (("a_i", "b_i"), ("a_{i-1}", "b_{i-1}"))
    )
    return (
        f"Attention by digit role, {subject_of(tables)}. (a) Mean weight over "
        f"{number(tables, 'pairs'):,.0f} uniform pairs, true digits fed back; weights below 0.005 "
        "are not written, roles that a column lacks are grey. s_{i-1} is the query's own position. "
        f"(b) Mean of columns {INNER[0]} to {INNER[-1]}, lines from the least to the greatest "
        f"column: a_i {weight('a_i')}, b_i {weight('b_i')}, a_{{i-1}} {weight('a_{i-1}')}, "
        f"b_{{i-1}} {weight('b_{i-1}')}. The column's own digits get "
        f"{here / max(below, 1e-12):.3g} times as much as those below. Diamonds weigh each source "
        "by the norm of what it writes. A uniform pattern would give a_i "
        f"{mean.loc['a_i', 'uniform']:.3f}; {number(tables, 'inits'):.0f} untrained models give it "
        f"{mean.loc['a_i', 'random_init']:.3f}. (c) Weight is not importance. How often the digit "
        "is right with the pattern live, fixed to its mean at each position, or uniform over the "
        "past (bars: 95 % Clopper-Pearson; line: chance). Means of the same columns: "
        f"{accuracy['live']:.3f}, {accuracy['position mean']:.3f}, "
        f"{accuracy['uniform causal']:.3f}."
    )


FIGURES: tuple[GalleryFigure, ...] = (
    GalleryFigure(
        name="attention_by_role",
        title="Where each answer column looks, beside uniform, mean and untrained patterns",
        group="mechanism",
        of_checkpoint=True,
        compute=compute,
        plot=plot,
        caption=caption,
    ),
)
