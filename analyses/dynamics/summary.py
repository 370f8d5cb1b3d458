"""What moves first in training? The one screen of the study of dynamics.

Onsets by the rule "half" (see `onsets`). Several runs are classed by their own records; the first
class is shown, and a class that ended otherwise is its control. For one class the control is what
is possible without the carry, or a random initialisation. Everything else is in the tables.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analyses.dynamics.measures import ALL
from analyses.dynamics.onsets import MEASURES
from analyses.dynamics.runs import RunRecord
from analyses.dynamics.store import Measurements
from interp.certify import TOTAL
from model.shell import SENTENCES, Row, Summary, count, percent

SHOWN = ("attention_local", "probe", "loss", "digit_accuracy", "exact_hard", "exact", "certified")


def summarise(measured: Measurements, onsets: pd.DataFrame) -> Summary:
    """Say in one screen what the runs did."""
    runs = measured.runs
    group = runs[0].group
    other = next((r.group for r in runs if r.outcome != runs[0].outcome), "")
    half = onsets[onsets["rule"] == "half"]
    own, against = (half[half["group"] == name] for name in (group, other))
    shown = [name for name in SHOWN if name in set(own["measure"])]
    ends = _ends(measured, [r.name for r in runs if r.group == group])
    floors = _floors(measured)
    rows = []
    for name in shown:
        control = f"floor {_number(floors[name])}" if name in floors else ""
        if other:
            control = f"{_when(against[against['measure'] == name])} if {runs_end(other)}"
        end = f"ends at {_number(ends[name])}" if name in ends else ""
        rows.append(Row(MEASURES[name].title, _when(own[own["measure"] == name]), end, control))
    classes = f"{group}" if not other else f"{group} (control: {other})"
    found = (*_outcomes(runs, ends, floors), *_order(own, shown), *_proved(measured))
    return Summary(
        f"{count(len(runs), 'run')}, {classes}: what moves first?",
        tuple(rows),
        (*found, FRESH)[:SENTENCES],
    )


FRESH = "Training pairs are fresh at every step, so no memorisation can come first."


def runs_end(group: str) -> str:
    """Give the outcome that a class is named after."""
    return group.partition(",")[0]


def _ends(measured: Measurements, names: Sequence[str]) -> dict[str, float]:
    """Median over runs of the last snapshot of each measure."""
    table = measured.table
    rows = table[(table["part"] == ALL) & (table["source"] == "run") & table["run"].isin(names)]
    last = rows.sort_values("step").groupby(["run", "measure"])["value"].last()
    return {str(k): float(v) for k, v in last.groupby("measure").median().items()}


def _floors(measured: Measurements) -> dict[str, float]:
    """What is possible without the carry, or else the best random initialisation."""
    table, floors = measured.table, measured.floors
    inits = table[(table["part"] == ALL) & (table["source"] == "random init")]
    best = inits.groupby("measure")["value"].max()
    known = floors[floors["part"] == ALL].set_index("measure")["value"]
    return {str(k): float(v) for k, v in {**best, **known}.items()}


def _number(x: float) -> str:
    return f"{x:.3f}" if abs(x) <= 1 else f"{x:.3g}"


def _when(rows: pd.DataFrame) -> str:
    """Say when: the bracket of one run, or the median of several; "never" where it is infinite."""
    if len(rows) == 1:
        row = rows.iloc[0]
        if np.isnan(row["onset"]):
            return "never"
        after = 0 if np.isnan(row["after"]) else row["after"]
        return f"step {after:,.0f} to {row['onset']:,.0f}"
    steps = np.sort(rows["onset"].fillna(np.inf).to_numpy())
    if not len(steps):
        return "not measured"
    middle = steps[[(len(steps) - 1) // 2, len(steps) // 2]].mean()
    reached = f"({int(np.isfinite(steps).sum())} of {len(steps)})"
    return f"step {middle:,.0f} {reached}" if np.isfinite(middle) else f"never {reached}"


def _outcomes(
    runs: Sequence[RunRecord], ends: dict[str, float], floors: dict[str, float]
) -> list[str]:
    grokked = sum(r.outcome == "grokked" for r in runs)
    end, init = (percent(numbers["exact"]) for numbers in (ends, floors))
    if len(runs) > 1:
        who = f"Of {len(runs)} runs {grokked or 'none'} passed 90 % of exact match"
    else:
        who = f"The run {'passed' if grokked else 'never passed'} 90 % of exact match"
    return [f"{who}.", f"Exact match ends at {end} of pairs, a random initialisation has {init}."]


def _order(own: pd.DataFrame, shown: Sequence[str]) -> list[str]:
    """Name the first and the last of the shown measures to move, and what mimics a transition."""
    steps = own.assign(onset=own["onset"].fillna(np.inf)).groupby("measure")["onset"].median()
    steps = steps[[name for name in shown if np.isfinite(steps[name])]]
    if steps.empty:
        return ["None of these measures has an onset."]
    first = [MEASURES[str(name)].title for name in steps.index[steps == steps.min()]]
    last = [MEASURES[str(name)].title for name in steps.index[steps == steps.max()]]
    said = [f"First {_moves(first)}, by step {steps.min():,.0f}."]
    if steps.max() > steps.min():
        said.append(f"Last {_moves(last)}, by step {steps.max():,.0f}.")
    near = own[own["measure"].isin(steps.index) & own["onset"].notna()]
    marked = int((near["boundary"].fillna("") != "").sum())
    if marked:
        said.append(
            f"At {marked} of {count(len(near), 'onset')} the recipe changes, which can mimic a "
            "transition."
        )
    return said


def _moves(names: Sequence[str]) -> str:
    return (
        f"moves {names[0]}" if len(names) == 1 else f"move {', '.join(names[:-1])} and {names[-1]}"
    )


def _proved(measured: Measurements) -> list[str]:
    rows = measured.certified
    if rows.empty:
        return []
    last = rows[rows["run"] == measured.runs[0].name].sort_values("step").iloc[-1]
    low, high = (int(last[name]) / TOTAL for name in ("lower", "upper"))
    return [f"Of all 10^20 pairs {percent(low)} to {percent(high)} are proved right at the end."]
