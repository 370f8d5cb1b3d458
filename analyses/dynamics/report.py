"""The study of dynamics at length, as text: where runs end, what moves first, and how sure."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from analyses.dynamics.measures import ALL
from analyses.dynamics.onsets import MEASURES, NEAR, RULES, STAYS
from analyses.dynamics.runs import RunRecord
from analyses.dynamics.store import Measurements
from interp.certify import TOTAL
from model.intervals import clopper_pearson

SHOWN = ("exact", "loss", "digit_accuracy", "attention_local", "attention_ratio", "probe")
ABBREVIATED = ("exact", "loss", "digits", "local", "ratio", "probe")


def print_result(
    measured: Measurements,
    onsets: pd.DataFrame,
    summary: pd.DataFrame,
    order: pd.DataFrame,
    to: Console,
) -> None:
    """Print ends, certified counts, onsets and their order."""
    for record in measured.runs:
        attempts = f", attempt {record.attempts}" if record.attempts > 1 else ""
        to.print(
            f"{record.name}: {record.group} (highest exact match in its log "
            f"{record.highest_exact:.4f}; seed {record.seed}{attempts})"
        )
    _print_ends(to, measured)
    _print_certified(to, measured)
    for record in measured.runs:
        _print_onsets(to, onsets[onsets["run"] == record.name], record)
    if len(measured.runs) > 1:
        _print_classes(to, summary, measured.runs)
        _print_order(to, order)
    to.print(
        "Training data is drawn fresh at every step, so no phase of memorisation can precede: a "
        "late rise of exact match is a delayed transition. Marked steps, where the recipe changes, "
        "mimic transitions. A run with restarts shows its last attempt only."
    )


def _print_ends(to: Console, measured: Measurements) -> None:
    """Print first and last snapshots beside the floors."""
    table = Table(title="first and last snapshot (pairs of ten digits)", title_justify="left")
    for head in ("run", "step", *ABBREVIATED):
        table.add_column(head, justify="left" if head == "run" else "right", no_wrap=True)
    pooled = measured.table[measured.table["part"] == ALL]
    trained = pooled[pooled["source"] == "run"]
    for record in measured.runs:
        wide = trained[trained["run"] == record.name].pivot(
            index="step", columns="measure", values="value"
        )
        for step in (wide.index[0], wide.index[-1]):
            cells = (_number(wide.loc[step, name]) for name in SHOWN)
            table.add_row(record.name, f"{step:,}", *cells)
    inits = pooled[pooled["source"] == "random init"].groupby("measure")["value"]
    floor = measured.floors[measured.floors["part"] == ALL].set_index("measure")["value"]
    table.add_section()
    table.add_row("random init", "", *(_number(inits.max()[x]) for x in SHOWN))
    cells = (_number(floor[x]) if x in floor else "" for x in SHOWN)
    table.add_row("no carry", "", *cells)
    last = trained.sort_values("step").groupby(["run", "measure"]).last()["value"].unstack()
    for name, label in (("probe_shuffled", "shuffled"), ("probe_global", "global")):
        table.add_row(label, "", *[""] * 5, _number(last[name].max()))
    table.caption = (
        "probe: carry_in given a_i + b_i, after attention; random init: the largest; no carry: the "
        "best from s_{i-1} and, for loss and digits, a_i + b_i; shuffled labels and global probe: "
        "the largest of the last snapshots"
    )
    to.print(table)


def _number(x: float) -> str:
    return f"{x:.3f}" if x <= 1 else f"{x:.3g}"


def _print_certified(to: Console, measured: Measurements) -> None:
    """Print exact counts, and how much of 10^20 stayed undecided."""
    for row in measured.certified.to_dict("records"):
        lower, upper = int(row["lower"]), int(row["upper"])
        gap = (upper - lower) / TOTAL
        to.print(
            f"{row['run']}@{row['step']}: right pairs of 10^20 certified (real arithmetic) "
            f"{lower:,} to {upper:,}; {gap:.3g} of all undecided with {row['budget']:,} cells a "
            "column"
        )


def _print_onsets(to: Console, onsets: pd.DataFrame, record: RunRecord) -> None:
    table = Table(
        title=f"{record.name}: onsets, as (snapshot before, onset] in thousands of steps",
        title_justify="left",
    )
    for head in ("measure", "half of gain", "at", "declared level", "at", "recipe"):
        left = head in ("measure", "recipe")
        table.add_column(head, justify="left" if left else "right", no_wrap=not left)
    by_key = onsets.set_index(["measure", "rule"])
    present = [name for name in MEASURES if name in set(onsets["measure"])]
    first = by_key["onset"].unstack()["half"]
    for name in sorted(present, key=lambda x: np.nan_to_num(first[x], nan=np.inf)):
        cells, marks = [], []
        for rule in RULES:
            if (name, rule) not in by_key.index:
                cells += ["", ""]
                continue
            row = by_key.loc[(name, rule)]
            cells += [_bracket(row), f"{row['level']:.3g}"]
            marks += row["boundary"].split(", ") if row["boundary"] else []
        table.add_row(MEASURES[name].title, *cells, ", ".join(dict.fromkeys(marks)))
    table.caption = (
        f"past at the onset and for {STAYS:.0%} of the steps from there on; behind the bracket, "
        "where the measure wanders: first past at all, and past for good; "
        f"recipe: what changes in the bracket, or at most {NEAR} times earlier than it begins"
    )
    to.print(table)


def _bracket(row: pd.Series) -> str:
    """Write an onset, and what it wandered through where it did."""
    if np.isnan(row["onset"]):
        return "never" if np.isnan(row["first"]) else f"not kept; first {_kilo(row['first'])}"
    text = f"({_kilo(row['after'])}, {_kilo(row['onset'])}]"
    if row["first"] != row["onset"] or row["settled"] != row["onset"]:
        text += f" {_kilo(row['first'])}-{_kilo(row['settled'])}"
    return text


def _kilo(step: float) -> str:
    return "-" if np.isnan(step) else f"{step / 1000:g}"


def _print_classes(to: Console, summary: pd.DataFrame, runs: Sequence[RunRecord]) -> None:
    """Print medians over the runs of each class, with their intervals."""
    groups = list(dict.fromkeys(record.group for record in runs))
    letter = {group: chr(ord("A") + i) for i, group in enumerate(groups)}
    to.print("classes: " + "; ".join(f"{letter[group]} = {group}" for group in groups))
    for rule, title in (("half", "half of the gain"), ("level", "declared level")):
        table = Table(title=f"onset by class, thousands of steps: {title}", title_justify="left")
        for head in ("measure", "", "median", "interval", "runs", "95 %"):
            table.add_column(head, justify="left" if head == "measure" else "right", no_wrap=True)
        keyed = summary[summary["rule"] == rule].set_index(["measure", "group"])
        for name, measure in MEASURES.items():
            for group in [g for g in groups if (name, g) in keyed.index]:
                row = keyed.loc[(name, group)]
                title = measure.title if group == groups[0] else ""
                table.add_row(title, letter[group], _when(row["median"]), *_spread(row))
        table.caption = (
            "interval of the median by order statistics, with its coverage; runs: those with an "
            "onset of all, and the 95 % Clopper-Pearson interval of their share"
        )
        to.print(table)


def _spread(row: pd.Series) -> tuple[str, str, str]:
    runs = int(row["runs"])
    interval = f"{_when(row['low'])}-{_when(row['high'])} ({row['coverage']:.0%})"
    share = f"{row['reached_low']:.2f}-{row['reached_high']:.2f}"
    return "one run" if runs == 1 else interval, f"{int(row['reached'])}/{runs}", share


def _when(step: float) -> str:
    return _kilo(step) if np.isfinite(step) else "never"


def _print_order(to: Console, order: pd.DataFrame) -> None:
    """Print, for classes in which several runs have an onset of exact match, what comes before."""
    beside = order[(order["first"] == "exact") | (order["second"] == "exact")]
    for (group, rule), part in beside.groupby(["group", "rule"], sort=False):
        lines = []
        for row in part.to_dict("records"):
            forward = row["second"] == "exact"
            other = row["first"] if forward else row["second"]
            before, after = (row["before"], row["after"])[:: 1 if forward else -1]
            if before + row["same"] + after > 1:
                low, high = clopper_pearson(before, before + after)
                lines.append(
                    f"{MEASURES[other].title} {before} before, {row['same']} same, {after} after "
                    f"({low:.2f} to {high:.2f})"
                )
        if lines:
            to.print(f"beside exact match ({group}; {rule}; runs with both): " + "; ".join(lines))
