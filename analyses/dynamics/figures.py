"""Figures of the study of dynamics, drawn from its saved tables alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from analyses.dynamics.measures import ALL, CANONICAL, WRITERS
from analyses.dynamics.onsets import MEASURES, RULES
from analyses.dynamics.runs import LOG_SCALE, RunRecord
from interp.output import TWO_COLUMNS, paper_style
from model.task import N_ANSWER

MARK_STYLES: dict[str, Any] = {
    "lr peak": ":",
    "6 digits": "--",
    "10 digits": "-",
    "shift ends": (0, (1, 3)),
    "mixture fades": "-.",
    "mixture gone": (0, (6, 2)),
}
LABELS = {
    "exact": "exact match",
    "exact_hard": "exact match, hard pairs",
    "loss": "loss (nats)",
    "digit_accuracy": "digit accuracy",
    "attention_ratio": r"$(a_i, b_i) : (a_{i-1}, b_{i-1})$",
    "attention_local": "attention on these four",
    "probe": r"carry probe given $a_i + b_i$",
    "certified": "certified share of $10^{20}$",
}
PANELS = tuple(LABELS)
LOGARITHMIC = ("loss", "attention_ratio")
RULE_TITLES = {"half": "half of the gain", "level": "declared level"}


def group_colours(runs: Sequence[RunRecord]) -> dict[str, Any]:
    """Give each class a colour, in the order in which classes first appear."""
    groups = list(dict.fromkeys(record.group for record in runs))
    return dict(zip(groups, sns.color_palette("colorblind", len(groups)), strict=True))


def plot_measures(table: pd.DataFrame, floors: pd.DataFrame, runs: Sequence[RunRecord]) -> Figure:
    """Draw every pooled measure by step, one line a run, coloured by class."""
    with paper_style():
        figure = Figure(figsize=(TWO_COLUMNS, 0.86 * TWO_COLUMNS))
        axes = figure.subplots(3, 3, sharex=True)
        colours = group_colours(runs)
        pooled = table[table["part"] == ALL]
        floor = floors[floors["part"] == ALL].set_index("measure")["value"]
        for axis, name in zip(axes.flat, PANELS, strict=False):
            for record in runs:
                _draw_run(axis, pooled, record, name, colours[record.group])
            if name in floor:
                axis.axhline(floor[name], color="black", lw=0.6)
            _draw_random_init(axis, pooled, name)
            _dress(axis, name, runs, colours)
        axes[1, 2].tick_params(labelbottom=True)  # nothing but the legend is below it
        for axis in axes[2, :2]:
            axis.set_xlabel("training step")
        if "certified" not in set(pooled["measure"]):
            axes.flat[PANELS.index("certified")].set_visible(False)
            axes[1, 1].tick_params(labelbottom=True)
        _draw_legend(axes[2, 2], runs, colours)
        sns.despine(figure)
    return figure


def _draw_run(axis: Axes, pooled: pd.DataFrame, record: RunRecord, name: str, colour: Any) -> None:
    """Draw one run's measure with its interval; beside the probe its two controls, faint."""
    own = pooled[(pooled["run"] == record.name) & (pooled["source"] == "run")]
    part = own[own["measure"] == name]
    if name == "certified":
        # Few snapshots are certified, and nothing is proved of those between: bars, not a band.
        axis.vlines(part["step"], part["low"], part["high"], color=colour, lw=1.6, alpha=0.6)
        for bound, marker in (("low", "^"), ("high", "v")):
            axis.plot(part["step"], part[bound], marker, color=colour, ms=3, clip_on=False)
        return
    axis.plot(part["step"], part["value"], color=colour, lw=1.1)
    if len(part):
        axis.fill_between(part["step"], part["low"], part["high"], color=colour, alpha=0.2, lw=0)
    if name == "probe":
        for control, style in (("probe_global", "--"), ("probe_shuffled", ":")):
            part = own[own["measure"] == control]
            axis.plot(part["step"], part["value"], color=colour, lw=0.7, ls=style, alpha=0.8)


def _draw_random_init(axis: Axes, pooled: pd.DataFrame, name: str) -> None:
    values = pooled[(pooled["source"] == "random init") & (pooled["measure"] == name)]["value"]
    if len(values):
        axis.axhspan(values.min(), values.max(), color="0.6", alpha=0.5, lw=0.6)


def _dress(axis: Axes, name: str, runs: Sequence[RunRecord], colours: dict[str, Any]) -> None:
    """Label a panel, scale its axes and mark where recipes change."""
    axis.set_title(LABELS[name], loc="left")
    _step_axis(axis, max(record.steps[-1] for record in runs))
    if name in LOGARITHMIC:
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    elif name.startswith("probe"):
        axis.set_ylim(0.45, 1.02)
    else:
        axis.set_ylim(-0.03, 1.03)
    _draw_marks(axis, runs, colours)


def _step_axis(axis: Axes, last: int) -> None:
    """Steps evenly up to LOG_SCALE, by ratio from there on."""
    axis.set_xscale("symlog", linthresh=LOG_SCALE, linscale=0.5)
    axis.set_xlim(0, last * 1.05)
    ticks = [0] + [10**e for e in range(3, 8) if 10**e <= last]
    axis.xaxis.set_major_locator(FixedLocator(ticks))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / 1000:g}k" if x else "0"))


def _mark_table(runs: Sequence[RunRecord], colours: dict[str, Any]) -> dict[tuple[str, int], Any]:
    """Colour of each boundary: neutral where every class has it, else that of its class."""
    owners: dict[tuple[str, int], set[str]] = {}
    for record in runs:
        for mark in record.marks.items():
            owners.setdefault(mark, set()).add(record.group)
    return {
        mark: colours[next(iter(groups))] if len(groups) == 1 < len(colours) else "0.5"
        for mark, groups in owners.items()
    }


def _draw_marks(axis: Axes, runs: Sequence[RunRecord], colours: dict[str, Any]) -> None:
    for (label, step), colour in _mark_table(runs, colours).items():
        axis.axvline(step, color=colour, lw=0.6, ls=MARK_STYLES[label], alpha=0.9, zorder=0)


def _draw_legend(axis: Axes, runs: Sequence[RunRecord], colours: dict[str, Any]) -> None:
    """Say in one empty panel what the lines are."""
    counts = pd.Series([record.group for record in runs]).value_counts()
    handles: list[Any] = [
        Line2D([], [], color=colour, label=f"{_wrap(group)} ({counts[group]})")
        for group, colour in colours.items()
    ]
    handles += [
        Line2D([], [], color="black", lw=0.6, label="without the carry, at best"),
        Patch(color="0.6", alpha=0.5, label="random initialisations"),
        Line2D([], [], color="0.3", lw=0.7, ls="--", label="global probe"),
        Line2D([], [], color="0.3", lw=0.7, ls=":", label="probe, shuffled labels"),
    ]
    for (label, step), colour in sorted(_mark_table(runs, colours).items(), key=lambda x: x[0][1]):
        handles.append(
            Line2D([], [], color=colour, lw=0.8, ls=MARK_STYLES[label], label=f"{label}: {step:,}")
        )
    axis.axis("off")
    axis.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(-0.12, 1.12),
        frameon=False,
        fontsize=6 if len(handles) <= 12 else 5,
        handlelength=2.2,
        labelspacing=0.3,
    )


def _wrap(group: str) -> str:
    """Break the name of a class where it would be too wide."""
    return group.replace(", ", ",\n", 1) if len(group) > 26 else group


def _shown_runs(runs: Sequence[RunRecord], most: int = 4) -> list[RunRecord]:
    """One run of each class (the first), at most `most` of them."""
    first: dict[str, RunRecord] = {}
    for record in runs:
        first.setdefault(record.group, record)
    return list(first.values())[:most]


def plot_columns(table: pd.DataFrame, floors: pd.DataFrame, runs: Sequence[RunRecord]) -> Figure:
    """Draw loss, attention ratio and probe column by column, for one run of each class."""
    names = ("loss", "attention_ratio", "probe")
    shown = _shown_runs(runs)
    with paper_style():
        height = 0.34 * TWO_COLUMNS * len(names) * 0.72 + 0.2
        figure = Figure(figsize=(TWO_COLUMNS, height))
        axes = figure.subplots(len(names), len(shown), sharey="row", squeeze=False)
        shades = sns.color_palette("viridis", N_ANSWER)
        for column_of_axes, record in zip(axes.T, shown, strict=True):
            own = table[(table["run"] == record.name) & (table["source"] == "run")]
            for axis, name in zip(column_of_axes, names, strict=True):
                of_name = own[(own["measure"] == name) & ~own["part"].isin([ALL, "11"])]
                for part, rows in of_name.groupby("part"):
                    axis.plot(rows["step"], rows["value"], color=shades[int(str(part))], lw=0.9)
                floor = floors[(floors["measure"] == name) & (floors["part"] == ALL)]["value"]
                if len(floor):
                    axis.axhline(float(floor.iloc[0]), color="black", lw=0.6)
                _dress(axis, name, [record], {record.group: "0.5"})
                axis.set_title("", loc="left")
            lines = [record.name, *record.group.split(", ")]
            column_of_axes[0].set_title("\n".join(lines), loc="left", fontsize=7)
            column_of_axes[-1].set_xlabel("training step")
        for axis, name in zip(axes[:, 0], names, strict=True):
            axis.set_ylabel(LABELS[name].removesuffix(r" given $a_i + b_i$"))
        handles = [Line2D([], [], color=shades[i], label=str(i)) for i in range(N_ANSWER)]
        figure.legend(
            handles=handles,
            title="answer column",
            title_fontsize=7,
            loc="outside lower center",
            ncols=12,
            frameon=False,
            handlelength=1,
            columnspacing=1,
        )
        sns.despine(figure)
    return figure


def plot_spectra(table: pd.DataFrame, runs: Sequence[RunRecord]) -> Figure:
    """Draw the singular values of the canonical matrices, for one run of each class."""
    shown = _shown_runs(runs)
    with paper_style():
        figure = Figure(figsize=(TWO_COLUMNS, 1.55 * len(shown) + 0.35))
        axes = figure.subplots(len(shown), len(CANONICAL), sharex="row", squeeze=False)
        for row, record in zip(axes, shown, strict=True):
            own = table[(table["run"] == record.name) & (table["source"] == "run")]
            for axis, name in zip(row, CANONICAL, strict=True):
                values = own[own["measure"] == f"spectrum {name}"]
                top = float(values["value"].max())
                for part, rows in values.groupby("part"):
                    # A value of zero (a rank that the factors do not have) has no logarithm.
                    if rows["value"].max() > 1e-9 * top:
                        label = f"$\\sigma_{part}$"
                        axis.plot(rows["step"], rows["value"], lw=0.9, label=label)
                axis.set_yscale("log")
                axis.yaxis.set_minor_locator(NullLocator())
                _step_axis(axis, record.steps[-1])
                _draw_marks(axis, [record], {record.group: "0.5"})
                unit = " / $|W_E|$" if name in WRITERS else ""
                axis.set_title(f"{name}{unit}", loc="left")
                axis.tick_params(labelsize=6)
            row[0].set_ylabel(f"{record.name}\nsingular values")
        for axis in axes[-1]:
            axis.set_xlabel("step")
        handles, labels = max(
            (axis.get_legend_handles_labels() for axis in axes.flat), key=lambda x: len(x[0])
        )
        figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False)
        sns.despine(figure)
    return figure


def plot_onsets(onsets: pd.DataFrame, summary: pd.DataFrame, runs: Sequence[RunRecord]) -> Figure:
    """Draw when each measure of each run moves, by both rules, and the medians of classes.

    A bar reaches from the snapshot before the onset to the onset, a thin line from the first
    snapshot past the level to the one from which on all are; a cross on the right is a run without
    onset. Medians over runs are diamonds, with their interval.
    """
    colours = group_colours(runs)
    names = [name for name in MEASURES if name in set(onsets["measure"])]
    last = max(record.steps[-1] for record in runs)
    never = last * 1.8
    lanes = {record.name: lane for lane, record in enumerate(runs)}
    height = max(2.6, 0.12 * len(names) * (1 + 0.55 * len(runs)))
    with paper_style():
        figure = Figure(figsize=(TWO_COLUMNS, min(9.0, height + 0.9)))
        axes = figure.subplots(1, 2, sharey=True)
        for axis, rule in zip(axes, RULES, strict=True):
            for row in onsets[onsets["rule"] == rule].to_dict("records"):
                y = names.index(row["measure"]) + _lane(lanes[row["run"]], len(runs))
                colour = colours[row["group"]]
                if np.isnan(row["onset"]):
                    axis.plot(never, y, "x", color=colour, ms=3, mew=0.7)
                    continue
                after = 0.0 if np.isnan(row["after"]) else row["after"]
                axis.plot([row["first"], row["settled"]], [y, y], color=colour, lw=0.6)
                axis.plot([after, row["onset"]], [y, y], color=colour, lw=1.6, alpha=0.55)
                axis.plot(row["onset"], y, "o", color=colour, ms=2.6)
            _draw_medians(axis, summary[summary["rule"] == rule], names, colours, never)
            _step_axis(axis, last)
            axis.set_xlim(0, never * 1.3)
            ticks = [0] + [10**e for e in range(3, 8) if 10**e <= last]
            axis.set_xticks(
                [*ticks, never], [*(f"{t // 1000}k" if t else "0" for t in ticks), "never"]
            )
            axis.set_title(RULE_TITLES[rule], loc="left")
            axis.set_xlabel("training step of the onset")
            for y in range(len(names) - 1):
                axis.axhline(y + 0.5, color="0.92", lw=0.6, zorder=0)
            _draw_marks(axis, runs, colours)
        axes[0].set_yticks(range(len(names)), [MEASURES[name].title for name in names])
        axes[0].set_ylim(len(names) - 0.5, -0.5)
        handles: list[Any] = [
            Line2D([], [], color=colour, marker="o", ms=3, label=group)
            for group, colour in colours.items()
        ]
        for (label, step), colour in _mark_table(runs, colours).items():
            style = MARK_STYLES[label]
            handles.append(
                Line2D([], [], color=colour, lw=0.8, ls=style, label=f"{label}: {step:,}")
            )
        figure.legend(
            handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=6
        )
        sns.despine(figure)
    return figure


def _lane(lane: int, count: int) -> float:
    """Height of a run within the row of a measure, above the place of medians."""
    return 0.0 if count == 1 else -0.38 + 0.58 * lane / (count - 1)


def _draw_medians(
    axis: Axes, summary: pd.DataFrame, names: list[str], colours: dict[str, Any], never: float
) -> None:
    """Draw the medians of classes with several runs."""
    for row in summary[summary["runs"] > 1].to_dict("records"):
        y = names.index(row["measure"]) + 0.36
        low, high, median = (min(row[name], never) for name in ("low", "high", "median"))
        axis.plot([low, high], [y, y], color=colours[row["group"]], lw=0.8)
        axis.plot(median, y, "D", color=colours[row["group"]], ms=3, mec="black", mew=0.4)
