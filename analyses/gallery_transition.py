"""The transition of 262p against that of 274p: in which run it comes, and what moves first.

Drawn from the curves that `python -m analyses.curves transition` keeps.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analyses.gallery import GalleryFigure, Source, Tables
from analyses.gallery_curves import describe_curriculum, first_step, load_curves, name_curves
from interp.output import TWO_COLUMNS, paper_style
from model.intervals import clopper_pearson
from train.run import GROKKED

PUBLISHED_STEP = {262: 480_000, 274: 130_000}
"""Steps at which the 262p README says that the two networks grokked."""
EVENTS = {"loss below 0.5": 0.5, "exact match above 10 %": 0.1, "exact match above 90 %": GROKKED}
"""What the transition is dated by: the first logged step at which each holds."""
LAST_EVENT = list(EVENTS)[-1]


def compute_transition(source: Source) -> Tables:
    """Date the transition of every run."""
    tables = load_curves("transition", source)
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
    with paper_style():
        figure, (left, middle, right) = plt.subplots(
            1, 3, figsize=(TWO_COLUMNS, 2.5), width_ratios=(1, 1, 1.15)
        )
        for (run, n_params), part in curves.groupby(["run", "n_params"]):
            strong = run in grokked
            style = {
                "color": f"C{shapes.index(n_params)}",
                "lw": 1.1 if strong else 0.6,
                "alpha": 1.0 if strong else 0.3,
                "zorder": 3 if strong else 2,
            }
            left.semilogy(part["step"] / 1e3, part["loss"], **style)
            middle.plot(part["step"] / 1e3, part["exact"], **style)
        for index, n_params in enumerate(shapes):
            middle.plot([], [], color=f"C{index}", label=f"{n_params}p")
            if n_params in PUBLISHED_STEP:
                at = PUBLISHED_STEP[n_params] / 1e3
                middle.plot(at, 1.06, "v", color=f"C{index}", ms=5, clip_on=False)
        middle.plot([], [], "v", color="0.3", ms=4, label="write-up")
        last = tables["runs"]["steps"].max() / 1e3
        left.set(xlabel="thousand steps", ylabel="training loss", xlim=(0, last))
        middle.set(xlabel="thousand steps", ylabel="exact match", ylim=(0, 1.03), xlim=(0, last))
        middle.legend(frameon=False, loc="center right", handlelength=1.2)
        _draw_dates(right, dates, shapes)
        for axis, letter in zip((left, middle, right), "abc", strict=True):
            axis.set_title(letter, loc="left", fontweight="bold")
    return figure


def _draw_dates(axis: Axes, dates: pd.DataFrame, shapes: Sequence[int]) -> None:
    """Draw a line for each run that passed 90 %, from its first date to its last."""
    rows = find_grokked(dates).sort_values(["n_params", LAST_EVENT], ascending=[False, True])
    markers = dict(zip(EVENTS, ("o", "|", "s"), strict=True))
    for place, row in enumerate(rows.to_dict("records")):
        color = f"C{shapes.index(row['n_params'])}"
        steps = [row[event] / 1e3 for event in EVENTS]
        axis.plot([np.nanmin(steps), np.nanmax(steps)], [place, place], color=color, lw=0.8)
        for event, step in zip(EVENTS, steps, strict=True):
            axis.plot(step, place, markers[event], color=color, ms=4, mfc="white")
    for event, marker in markers.items():
        axis.plot([], [], marker, color="0.3", ms=4, mfc="white", label=event)
    axis.set_yticks(range(len(rows)), [run.rsplit("/", 1)[-1] for run in rows["run"]])
    axis.set_ylim(-0.6, max(len(rows), 1) - 0.4)
    axis.set_xlabel("thousand steps")
    axis.set_xlim(left=0)
    if rows.empty:
        axis.text(0.5, 0.5, "no run above 90 %", ha="center", transform=axis.transAxes)
    axis.legend(frameon=False, fontsize=6, loc="lower left", bbox_to_anchor=(-0.02, 1.0))


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
            f"{GROKKED:.0%} (95 % interval {low:.0%} to {high:.0%})"
        )
        if len(made):
            medians = ", ".join(f"{event} at {made[event].median():,.0f}" for event in EVENTS)
            text += f", median first step with {medians}"
        if n_params in PUBLISHED_STEP:
            text += f"; the write-up's run about {PUBLISHED_STEP[n_params]:,}"
        parts.append(text)
    return (
        "262p against 274p, every seed of ours; strong lines passed 90 %. (a) Training loss, (b) "
        f"exact match on {runs['pairs_uniform'][0]:,} pairs, triangles: where the write-up dates "
        "its own run; (c) when which moved, in each run that passed 90 %, at the resolution of the "
        f"log, steps up to {runs['phase_2'].max():,} left out. " + ". ".join(parts) + ". Recipe: "
        f"{describe_curriculum(runs.iloc[0])}. Exact match below "
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
