"""When do 262p and 274p make their transition, and what moves first?

Drawn from the curves that `python -m analyses.curves transition` keeps.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analyses.gallery.curves import (
    describe_curriculum,
    explain_marks,
    first_step,
    load_curves,
    mark_curriculum,
    name_curves,
)
from analyses.gallery.figure import GalleryFigure, Source, Tables
from interp.output import TWO_COLUMNS, paper_style
from model.errors import InputError
from model.intervals import clopper_pearson
from train.run import GROKKED

PUBLISHED_STEP = {262: 480_000, 274: 130_000}
"""Steps at which the 262p README says that the two networks grokked."""
EVENTS = {"loss below 0.5": 0.5, "exact match above 10 %": 0.1, "exact match above 90 %": GROKKED}
"""What the transition is dated by: the first logged step at which each holds."""
MARKERS = dict(zip(EVENTS, ("o", "D", "s"), strict=True))
LAST_EVENT = list(EVENTS)[-1]
MOST_NAMED = 14
"""Runs that are named beside their dates at most."""


def compute_transition(source: Source) -> Tables:
    """Date the transition of every run."""
    tables = load_curves("transition", source)
    recipes = tables["runs"][["batch", "lr", "phase_1", "phase_2", "carry_heavy", "restarts"]]
    if len(recipes.drop_duplicates()) > 1:
        raise InputError(
            "the runs of curves/transition.csv differ in recipe, so that they do not compare: keep "
            "others with python -m analyses.curves transition --take RUN ..."
        )
    rows = []
    for run in tables["runs"].to_dict("records"):
        curve = tables["curves"][tables["curves"]["run"] == run["run"]]
        for event, level in EVENTS.items():
            column = "loss" if event.startswith("loss") else "exact"
            step = first_step(curve, column, level, after=int(run["phase_2"]))
            rows.append({"run": run["run"], "n_params": run["n_params"], "event": event,
                         "step": step})  # fmt: skip
    dates = pd.DataFrame(rows).astype({"step": float})
    curves = tables["curves"].merge(tables["runs"][["run", "n_params"]], on="run")
    return {**tables, "curves": curves, "dates": dates}


def plot_transition(tables: Tables) -> Figure:
    """Draw loss and exact match of every run, a colour a shape, and the dates of the transition."""
    curves, dates = tables["curves"], tables["dates"]
    shapes = _shapes(tables)
    grokked = set(find_grokked(dates)["run"])
    published = [PUBLISHED_STEP[n_params] for n_params in shapes if n_params in PUBLISHED_STEP]
    last = 1.02 * max(int(tables["runs"]["steps"].max()), *published, 0) / 1e3
    with paper_style():
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(TWO_COLUMNS, 2.6))
        for (run, n_params), part in curves.groupby(["run", "n_params"]):
            strong = run in grokked
            style = {
                "color": f"C{shapes.index(n_params)}",
                "lw": 0.8 if strong else 0.6,
                "alpha": 1.0 if strong else 0.3,
                "zorder": 3 if strong else 2,
            }
            left.semilogy(part["step"] / 1e3, part["loss"], **style)
            middle.plot(part["step"] / 1e3, part["exact"], **style)
        for index, n_params in enumerate(shapes):
            if n_params in PUBLISHED_STEP:
                at = PUBLISHED_STEP[n_params] / 1e3
                middle.plot(at, 1.08, "v", color=f"C{index}", ms=4, clip_on=False)
        middle.set_ylim(0, 1.03)
        for axis in (left, middle):
            mark_curriculum(axis, tables["runs"].iloc[0])
        _draw_dates(right, dates, shapes)
        labels = ("training loss", "exact match", "")
        for axis, letter, label in zip((left, middle, right), "abc", labels, strict=True):
            axis.set_title(letter, loc="left", fontweight="bold", x=-0.12)
            axis.set(xlabel="thousand steps", ylabel=label, xlim=(0, last))
        handles = [Line2D([], [], color=f"C{i}", label=f"{n}p") for i, n in enumerate(shapes)]
        entries = [("v", "0.3", "write-up's run"), *((m, "white", e) for e, m in MARKERS.items())]
        for marker, fill, label in entries:
            style = {"color": "0.3", "mfc": fill, "ms": 4, "label": label}
            handles.append(Line2D([], [], ls="", marker=marker, **style))
        handles += explain_marks(tables["runs"].iloc[0])
        figure.legend(handles=handles, frameon=False, ncols=4, loc="outside lower center")
        sns.despine(figure)
    return figure


def _draw_dates(axis: Axes, dates: pd.DataFrame, shapes: Sequence[int]) -> None:
    """Draw a line for each run that passed 90 %, from its first date to its last."""
    rows = find_grokked(dates).sort_values(["n_params", LAST_EVENT], ascending=[False, True])
    for place, row in enumerate(rows.to_dict("records")):
        color = f"C{shapes.index(row['n_params'])}"
        steps = [row[event] / 1e3 for event in EVENTS]
        axis.plot([np.nanmin(steps), np.nanmax(steps)], [place, place], color=color, lw=0.8)
        for marker, step in zip(MARKERS.values(), steps, strict=True):
            axis.plot(step, place, marker, color=color, ms=4, mfc="white")
    seeds = rows["run"].str.rpartition("/")[2]
    names = [
        f"{n}p {seed}" if "/" in run else run
        for n, seed, run in zip(rows["n_params"], seeds, rows["run"], strict=True)
    ]
    named = len(rows) <= MOST_NAMED
    axis.set_yticks(range(len(rows)) if named else [], names if named else [])
    axis.set_ylim(-0.6, max(len(rows), 1) - 0.4)
    if rows.empty:
        axis.text(0.5, 0.5, "no run above 90 %", ha="center", transform=axis.transAxes)


def find_grokked(dates: pd.DataFrame) -> pd.DataFrame:
    """Give the runs that passed 90 %: a row each, a column for each date."""
    wide = dates.pivot(index=["run", "n_params"], columns="event", values="step").reset_index()
    return wide.dropna(subset=[LAST_EVENT])


def _shapes(tables: Tables) -> list[int]:
    return sorted(int(n) for n in tables["runs"]["n_params"].unique())


def caption_transition(tables: Tables) -> str:
    """Word how many runs of each shape made the transition, and when."""
    runs, dates = tables["runs"], tables["dates"]
    grokked = find_grokked(dates)
    parts = []
    for n_params in _shapes(tables):
        mine = runs[runs["n_params"] == n_params]
        made = grokked[grokked["n_params"] == n_params]
        low, high = clopper_pearson(len(made), len(mine))
        text = (
            f"{n_params}p ({mine['steps'].max():,} steps): {len(made)} of {len(mine)} seeds above "
            f"{GROKKED:.0%}"
        )
        chosen = (mine["status"] == "shipped").any()  # shipped because they succeeded: no rate
        text += " (chosen)" if chosen else f" (95 % interval {low:.0%} to {high:.0%})"
        if len(made):
            medians = ", ".join(f"{event} at {made[event].median():,.0f}" for event in EVENTS)
            text += f", median first step with {medians}"
        if n_params in PUBLISHED_STEP:
            text += f"; the write-up's run about {PUBLISHED_STEP[n_params]:,}"
        parts.append(text)
    stopped = int((runs["status"] == "stopped").sum())
    early = f", {stopped} of them stopped early where their loss stayed high" if stopped else ""
    short = int(runs["phase_2"].max())
    skipped = f", steps up to {short:,} (short operands) left out" if short else ""
    return (
        f"262p against 274p: {len(runs)} seeds of ours{early}; strong lines passed 90 %. (a) "
        f"Training loss, (b) exact match on {runs['pairs_uniform'][0]:,} pairs, triangles: where "
        "the write-up dates its own run; (c) when which moved, in each run that passed 90 %, at "
        f"the resolution of the log{skipped}. "
        + ". ".join(parts)
        + f". Marks: {describe_curriculum(runs.iloc[0])}. Exact match below "
        f"{1 / runs['pairs_uniform'][0]:.2%} reads as 0 on so many pairs, while the loss moves."
    )


FIGURES: tuple[GalleryFigure, ...] = (
    GalleryFigure(
        name="transition",
        title="262p against 274p: when loss and exact match move (262p README)",
        group="write-ups",
        of_checkpoint=False,
        compute=compute_transition,
        plot=plot_transition,
        caption=caption_transition,
        reads=name_curves("transition"),
    ),
)
