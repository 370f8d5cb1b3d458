"""Figures of training over steps: one run from scratch, and the pipeline with fine-tuning.

Drawn from the curves that `python -m analyses.curves` keeps.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analyses.claims import describe_recipe
from analyses.curves import how_to, read_curves
from analyses.gallery.figure import GalleryFigure, MissingResults, Source, Tables
from analyses.training_tables import TABLE_5, TABLE_6
from interp.output import ONE_COLUMN, TWO_COLUMNS, paper_style
from model.intervals import clopper_pearson
from train.config import PUBLISHED

PUBLISHED_ONSET, PUBLISHED_PLATEAU, PUBLISHED_PAIRS = 40_000, 0.97, 100_000
"""Figure 2 of the report: step of the onset, exact match of the plateau; pairs of its test."""

NARROW = 0.08
"""Share of all steps below which the name of a stage is turned by 90 degrees."""

CURRICULUM: dict[str, Any] = {"color": "C2", "lw": 0.8, "ls": (0, (4, 2))}
FADE: dict[str, Any] = {"color": "C2", "alpha": 0.12, "lw": 0}
"""How the steps at which operands grow are drawn, and those in which carry-heavy pairs fade."""


def name_curves(name: str) -> Callable[[Source], list[Path]]:
    """Name the two files of a figure's curves, once they are there."""

    def reads(source: Source) -> list[Path]:
        path = source.results / "curves" / f"{name}.csv"
        if not path.exists():
            raise MissingResults(f"{path} is not there: {how_to(path)}")
        return [path, path.with_suffix(".json")]

    return reads


def load_curves(name: str, source: Source) -> Tables:
    """Read curves and the runs that they are of; the runs' recipes become columns."""
    facts, curves = read_curves(source.results / "curves" / f"{name}.csv")
    runs = pd.DataFrame(facts["runs"]).drop(columns="lineage")
    runs = runs.assign(pairs_uniform=facts["pairs_uniform"], pairs_hard=facts["pairs_hard"])
    return {"curves": curves, "runs": runs}


# Figure 2: one run


def compute_training(source: Source) -> Tables:
    """Take the curves of the best run from scratch."""
    return load_curves("training", source)


def plot_training(tables: Tables) -> Figure:
    """Draw loss above and exact match below, with the curriculum and what the report says."""
    run, curve = tables["runs"].iloc[0], tables["curves"]
    curve = curve[curve["run"] == run["run"]]
    with paper_style():
        figure, (top, bottom) = plt.subplots(
            2, 1, figsize=(ONE_COLUMN, 3.5), sharex=True, height_ratios=(1, 1.25)
        )
        steps = curve["step"] / 1e3
        top.semilogy(steps, curve["loss"], color="C7", lw=0.9)
        top.set_ylabel("training loss")
        bottom.plot(steps, curve["exact"], color="C0", lw=1.1, label="uniform pairs")
        bottom.plot(
            steps, curve["exact_hard"], color="C1", lw=1.1, ls="--", label="carry-stratified"
        )
        bottom.axhline(PUBLISHED_PLATEAU, color="0.35", lw=0.8, ls=":", zorder=0)
        bottom.plot(PUBLISHED_ONSET / 1e3, 0, "^", color="0.35", ms=5, clip_on=False)
        bottom.plot([], [], "^:", color="0.35", ms=4, lw=0.8, label="report: onset, plateau")
        bottom.set(xlabel="thousand steps", ylabel="exact match", ylim=(0, 1.03))
        bottom.set_xlim(0, run["steps"] / 1e3)
        for axis in (top, bottom):
            mark_curriculum(axis, run)
        handles = [*bottom.get_legend_handles_labels()[0], *explain_marks(run)]
        figure.legend(
            handles=handles,
            frameon=False,
            loc="outside upper center",
            ncols=2,
            columnspacing=1.0,
        )
    return figure


def mark_curriculum(axis: Axes, run: pd.Series) -> None:
    """Mark where operands grow, and where the carry-heavy pairs fade."""
    phases = [run["phase_1"], run["phase_2"]]
    for step in sorted({int(step) for step in phases} - {0}):
        axis.axvline(step / 1e3, zorder=0, **CURRICULUM)
    if run["carry_heavy"] > 0:
        fade = run[["fade_start", "fade_stop"]].astype(float) / 1e3
        axis.axvspan(*fade, zorder=0, **FADE)


def explain_marks(run: pd.Series) -> list[Artist]:
    """Make the entries of a legend for the marks of the curriculum."""
    marks: list[Artist] = []
    if run["phase_2"]:
        marks.append(Line2D([], [], label="curriculum", **CURRICULUM))
    if run["carry_heavy"] > 0:
        marks.append(Patch(label="carry-heavy pairs fade", **FADE))
    return marks


def describe_curriculum(run: pd.Series) -> str:
    """Say what the marks of the curriculum are."""
    parts = []
    if run["phase_2"]:
        parts.append(
            f"dashed vertical lines: operands of up to 3 digits until step {run['phase_1']:,}, "
            f"up to 6 until {run['phase_2']:,}, then up to 10"
        )
    if run["carry_heavy"] > 0:
        parts.append(
            f"shaded: {run['carry_heavy']:.0%} carry-heavy pairs fade to none "
            f"(steps {run['fade_start']:,} to {run['fade_stop']:,})"
        )
    return "; ".join(parts) or "no curriculum"


def caption_training(tables: Tables) -> str:
    """Word what the run did, beside the report's."""
    run, curve = tables["runs"].iloc[0], tables["curves"]
    curve = curve[curve["run"] == run["run"]]
    pairs = int(run["pairs_uniform"])
    low, high = clopper_pearson(round(run["best_exact"] * pairs), pairs)
    onset = first_step(curve, "exact", 0.1)
    began = f"first above 10 % at step {onset:,.0f}" if onset else "never above 10 %"
    theirs = max(TABLE_6, key=lambda row: row.exact)
    recipe = describe_recipe({key: run[key] for key in PUBLISHED.to_dict()})
    return (
        f"Loss and exact match of {run['run']} ({run['n_params']} parameters, seed {run['seed']}, "
        f"{run['steps']:,} steps; {recipe}), on {run['pairs_uniform']:,} uniform pairs and "
        f"{run['pairs_hard']:,} carry-stratified pairs. Exact match is {began}; the chosen "
        f"checkpoint, step {run['best_step']:,.0f}, has {run['best_exact']:.2%} (95 % interval "
        f"{low:.2%} to {high:.2%}). Marks: {describe_curriculum(run)}. {describe_restart(run)}"
        f"Published: onset around step {PUBLISHED_ONSET:,}, a plateau of about "
        f"{PUBLISHED_PLATEAU:.0%} (Figure 2 of the report), best {theirs.exact:.2%} at step "
        f"{theirs.step:,} (its Table 6, seed {theirs.seed}; not the same pairs as ours)."
    )


def describe_restart(run: pd.Series) -> str:
    """Say how often the run started over, if it did."""
    if run["attempts"] == 1:
        return ""
    times = "once" if run["attempts"] == 2 else f"{run['attempts'] - 1} times"
    return f"The run started over {times}; the last attempt is shown. "


def first_step(curve: pd.DataFrame, column: str, level: float, after: int = 0) -> float | None:
    """Give the first logged step at which a measure is beyond a level; None where it never is.

    Args:
        curve: Rows of one run, in order.
        column: "loss" must be below the level, anything else above it.
        level: The level.
        after: Steps up to this one do not count.
    """
    values = curve[column]
    holds = ((values < level) if column == "loss" else (values > level)) & (curve["step"] > after)
    return float(curve["step"][holds].iloc[0]) if holds.any() else None


# Figure 3: the whole pipeline


def compute_pipeline(source: Source) -> Tables:
    """Put the stages end to end: a start for each."""
    tables = load_curves("pipeline", source)
    runs = tables["runs"].sort_values("stage", kind="stable").reset_index(drop=True)
    runs["start"] = runs["steps"].cumsum() - runs["steps"]
    runs["name"] = ["base", *(f"round {i}" for i in range(1, len(runs)))]
    curves = tables["curves"].merge(runs[["run", "start"]], on="run")
    curves["total_step"] = curves["start"] + curves["step"]
    return {"curves": curves.drop(columns="start"), "runs": runs}


def plot_pipeline(tables: Tables) -> Figure:
    """Draw loss and error of all stages over the steps of all of them."""
    runs, curves = tables["runs"], tables["curves"]
    floors = {"exact": 0.5 / runs["pairs_uniform"][0], "exact_hard": 0.5 / runs["pairs_hard"][0]}
    with paper_style():
        figure, (top, bottom) = plt.subplots(
            2, 1, figsize=(TWO_COLUMNS, 3.8), sharex=True, height_ratios=(1, 1.6)
        )
        for run in runs.to_dict("records"):
            part = curves[curves["run"] == run["run"]]
            at = part["total_step"] / 1e3
            top.semilogy(at, part["loss"], color="C7", lw=0.9)
            for column, color in (("exact_hard", "C1"), ("exact", "C0")):
                wrong = np.maximum(1 - part[column], floors[column])
                bottom.semilogy(at, wrong, color=color, lw=0.9)
            for axis in (top, bottom):
                if run["start"]:
                    axis.axvline(run["start"] / 1e3, color="0.6", lw=0.7)
            middle = (run["start"] + run["steps"] / 2) / 1e3
            narrow = run["steps"] < NARROW * runs["steps"].sum()
            label = f"{run['name']}\nlr {run['lr']:g}"
            top.text(middle, 1.03, label, ha="center", va="bottom", fontsize=7,
                     rotation=90 * narrow, transform=top.get_xaxis_transform())  # fmt: skip
        mark_curriculum(top, runs.iloc[0])
        mark_curriculum(bottom, runs.iloc[0])
        theirs = [row.errors / PUBLISHED_PAIRS for row in TABLE_5][: len(runs)]
        ends = (runs["start"] + runs["steps"]).head(len(theirs)) / 1e3
        bottom.plot(ends, theirs, "D", mfc="white", mec="black", ms=4.5, clip_on=False, zorder=5)
        for column, color, label in (
            ("exact", "C0", f"uniform ({runs['pairs_uniform'][0]:,})"),
            ("exact_hard", "C1", f"carry-stratified ({runs['pairs_hard'][0]:,})"),
        ):
            bottom.axhline(floors[column], color=color, lw=0.6, ls=":")
            bottom.plot([], [], color=color, label=label)
        bottom.plot([], [], ":", color="0.4", lw=0.8, label="none wrong")
        bottom.plot([], [], "D", mfc="white", mec="black", ms=4, label="report, 100,000 test pairs")
        handles = [*bottom.get_legend_handles_labels()[0], *explain_marks(runs.iloc[0])]
        figure.legend(handles=handles, frameon=False, ncols=3, loc="outside lower center")
        top.set_ylabel("training loss")
        bottom.set(xlabel="thousand steps, all stages", ylabel="error rate")
        bottom.set_ylim(min(*floors.values(), *theirs) / 2, 1.5)
        bottom.set_xlim(0, float((runs["start"] + runs["steps"]).max()) / 1e3)
    return figure


def caption_pipeline(tables: Tables) -> str:
    """Word the stages, each by its best validation."""
    runs = tables["runs"]
    stages = "; ".join(
        f"{run['name']} ({run['run']}, peak learning rate {run['lr']:g}, {run['steps']:,} steps) "
        f"{_count_wrong(run['best_exact'], run['pairs_uniform'])} uniform and "
        f"{_count_wrong(run['best_exact_hard'], run['pairs_hard'])} carry-stratified pairs"
        for run in runs.to_dict("records")
    )
    theirs = ", ".join(f"{row.errors:,} ({row.name})" for row in TABLE_5)
    return (
        f"Training from scratch and {len(runs) - 1} round{'s' * (len(runs) != 2)} of fine-tuning, "
        f"{runs['steps'].sum():,} steps in all; each stage starts from the best checkpoint of the "
        f"one before. Loss, and error rate on the validation pairs; a dotted line stands for none "
        f"wrong. Wrong with the best checkpoint of each stage: {stages}. Marks: "
        f"{describe_curriculum(runs.iloc[0])}. {describe_restart(runs.iloc[0])}"
        f"Diamonds: errors of the report's stages in {PUBLISHED_PAIRS:,} test pairs, {theirs}, "
        "at the ends of ours."
    )


def _count_wrong(exact: float, pairs: int) -> str:
    return f"{round((1 - exact) * pairs):,} of {pairs:,}"


FIGURES: tuple[GalleryFigure, ...] = (
    GalleryFigure(
        name="training_curve",
        title="Loss and exact match of one run from scratch (report, Figure 2)",
        group="write-ups",
        of_checkpoint=False,
        compute=compute_training,
        plot=plot_training,
        caption=caption_training,
        reads=name_curves("training"),
    ),
    GalleryFigure(
        name="pipeline",
        title="Training and fine-tuning end to end (report, Figure 3)",
        group="write-ups",
        of_checkpoint=False,
        compute=compute_pipeline,
        plot=plot_pipeline,
        caption=caption_pipeline,
        reads=name_curves("pipeline"),
    ),
)
