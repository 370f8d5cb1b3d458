"""Which measure moves first? Onset steps by declared rules, and their order over seeds.

Two rules, the same for every run. "half": the first snapshot past half of what the measure gains
over the run, from where it starts (or from its floor, where that is closer to the end) to its end,
the median of the last tenth of the snapshots. "level": the first snapshot past a level that is
declared in `MEASURES` for all runs alike. What is past also has to stay: the measure is past in at
least the share `STAYS` of the steps from there to the end, each snapshot standing for the steps
nearest to it. Where a measure gains less than is declared to count, or never stays past the level,
it has no onset, which an interval over seeds treats as later than every step.

Exact match wanders: `first` is the first snapshot past the level at all, `settled` the first from
which on every one is past; an onset is no sharper than the two are apart, nor than the distance to
the snapshot before it, `after`. A change of the recipe between that one and the onset, or so
shortly before that its step is at least 1 / NEAR of `after`, is named beside the onset, for
boundaries mimic transitions.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import binom

from analyses.dynamics.measures import ALL, CANONICAL
from analyses.dynamics.runs import RunRecord
from model.intervals import clopper_pearson

STAYS, NEAR = 0.9, 2
RULES = ("half", "level")


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How the onset of one measure is judged.

    Attributes:
        title: What it is called in figures.
        least: What it must gain over the run to have an onset by the rule "half".
        level: Level of the rule "level"; None for none, "floor" for what is possible without the
            carry (`dynamics_measures.data_floors`), "halfway" for the middle between that and 1.
        rises: Whether it rises past its level.
        logarithmic: Whether gains are ratios.
        floored: Whether the gain counts from the floor.
    """

    title: str
    least: float
    level: float | str | None = None
    rises: bool = True
    logarithmic: bool = False
    floored: bool = False


MEASURES = {
    "loss": Measure(title="loss", least=0.05, level="floor", rises=False),
    "digit_accuracy": Measure(title="digit accuracy", least=0.02, level="floor"),
    "attention_local": Measure(title="local attention", least=0.05, level=0.9),
    "attention_ratio": Measure(title="attention ratio", least=1.5, level=3.0, logarithmic=True),
    "probe": Measure(title="carry probe", least=0.05, level="halfway", floored=True),
    "exact_hard": Measure(title="exact, hard pairs", least=0.05, level=0.5),
    "exact": Measure(title="exact match", least=0.05, level=0.5),
    "certified": Measure(title="certified", least=0.05, level=0.5),
    **{
        f"norm {name}": Measure(title=f"norm of {name}", least=1.2, logarithmic=True)
        for name in CANONICAL
    },
}
"""What onsets are computed for. A ratio of 3 is half way, in logarithms, from equal weights to the
ten to one of base-10 place value."""


@dataclass(frozen=True)
class Onset:
    """When a measure passed its level; see the module's docstring. NaN: not at all."""

    level: float
    step: float = np.nan
    after: float = np.nan
    first: float = np.nan
    settled: float = np.nan


def find_onset(
    steps: Sequence[int], values: Sequence[float], level: float, *, rises: bool, stays: float
) -> Onset:
    """Find the first snapshot past a level after which most snapshots (share `stays`) are past it.

    Args:
        steps: Steps of the snapshots, rising.
        values: The measure at each.
        level: The level; equal to it counts as past.
        rises: Whether past means above.
        stays: Share, 0 to 1.

    Returns:
        The onset; its step is NaN where there is none, `after` is NaN where the first snapshot is
        past already.
    """
    x, at = np.asarray(values, dtype=float), np.asarray(steps, dtype=float)
    past = x >= level if rises else x <= level
    edges = np.concatenate([at[:1], (at[1:] + at[:-1]) / 2, at[-1:]])
    stands_for = np.diff(edges)
    remaining = np.cumsum(stands_for[::-1])[::-1]
    kept = np.cumsum((stands_for * past)[::-1])[::-1] / np.maximum(remaining, 1e-12)
    stayed = np.flatnonzero(past & (kept >= stays - 1e-12))
    always = np.logical_and.accumulate(past[::-1])[::-1]
    first, settled = (float(at[mask.argmax()]) if mask.any() else np.nan for mask in (past, always))
    if not len(stayed):
        return Onset(level, first=first, settled=settled)
    i = int(stayed[0])
    after = float(at[i - 1]) if i else np.nan
    return Onset(level, float(at[i]), after, first, settled)


def half_gain(
    steps: Sequence[int], values: Sequence[float], measure: Measure, floor: float | None = None
) -> Onset:
    """Find when a measure passed half of its gain; see the module's docstring.

    A measure without a declared direction of its own (norms) may also fall.
    """
    x = np.asarray(values, dtype=float)
    start, end = float(x[0]), float(np.median(x[-max(1, len(x) // 10) :]))
    if measure.floored and floor is not None:
        start = max(start, floor)
    if measure.logarithmic:
        if min(start, end) <= 0:
            return Onset(np.nan)
        x = np.log(np.maximum(x, 1e-300))
        start, end, least = math.log(start), math.log(end), math.log(measure.least)
    else:
        least = measure.least
    rises = end > start
    wrong_way = measure.level is not None and rises != measure.rises
    middle = (start + end) / 2
    level = math.exp(middle) if measure.logarithmic else middle
    if abs(end - start) < least or wrong_way:
        return Onset(level)
    found = find_onset(steps, x.tolist(), middle, rises=rises, stays=STAYS)
    return dataclasses.replace(found, level=level)


def declared_level(measure: Measure, floor: float | None) -> float | None:
    """Turn the level of a measure into a number; None where it has none."""
    if not isinstance(measure.level, str):
        return measure.level
    if floor is None:
        return None
    return floor if measure.level == "floor" else (floor + 1) / 2


def tabulate_onsets(
    table: pd.DataFrame, floors: pd.DataFrame, runs: Sequence[RunRecord]
) -> pd.DataFrame:
    """Find every onset of every run.

    Args:
        table: Measurements: columns run, source, step, measure, part, value.
        floors: `dynamics_measures.data_floors`.
        runs: The runs' records.

    Returns:
        One row per run, measure and rule: group, level, onset, after, first, settled, and
        `boundary`, the marks of the recipe in or shortly before the bracket, or "".
    """
    pooled = table[(table["source"] == "run") & (table["part"] == ALL)]
    floor = floors[floors["part"] == ALL].set_index("measure")["value"].to_dict()
    rows = []
    for record in runs:
        of_run = pooled[pooled["run"] == record.name]
        for name, measure in MEASURES.items():
            part = of_run[of_run["measure"] == name].sort_values("step")
            if part.empty:
                continue
            steps, values = part["step"].tolist(), part["value"].tolist()
            found = {"half": half_gain(steps, values, measure, floor.get(name))}
            level = declared_level(measure, floor.get(name))
            if level is not None:
                found["level"] = find_onset(steps, values, level, rises=measure.rises, stays=STAYS)
            for rule, onset in found.items():
                marks = [
                    label
                    for label, at in record.marks.items()
                    if onset.after / NEAR <= at < onset.step
                ]
                head = [record.name, record.group, name, rule]
                rows.append([*head, *dataclasses.astuple(onset), ", ".join(marks)])
    names = ["run", "group", "measure", "rule", "level", "onset", "after", "first", "settled"]
    return pd.DataFrame(rows, columns=[*names, "boundary"])


def median_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """Bound a median by order statistics, without assuming a distribution.

    Args:
        values: Observations; infinite ones are later than all others.
        level: Coverage that is asked for.

    Returns:
        Lower bound, upper bound and the coverage reached: the range, with less than `level`, where
        there are fewer than 6 observations.
    """
    x = np.sort(np.asarray(values, dtype=float))
    n = len(x)
    if n < 2:
        return np.nan, np.nan, 0.0
    k = max(1, int(binom.ppf((1 - level) / 2, n, 0.5)))
    return float(x[k - 1]), float(x[n - k]), float(1 - 2 * binom.cdf(k - 1, n, 0.5))


def summarise_onsets(onsets: pd.DataFrame) -> pd.DataFrame:
    """Summarise onsets over the runs of a class.

    Returns:
        One row per group, rule and measure: runs, reached (runs with an onset, with the 95 %
        Clopper-Pearson interval of their share), median onset with
        its interval (inf: later than every step) and the coverage of that interval.
    """
    rows = []
    for (group, rule, measure), part in onsets.groupby(["group", "rule", "measure"], sort=False):
        steps = part["onset"].fillna(np.inf).to_numpy()
        ordered = np.sort(steps)
        middle = ordered[[(len(ordered) - 1) // 2, len(ordered) // 2]]
        rows.append(
            {
                "group": group,
                "rule": rule,
                "measure": measure,
                "runs": len(part),
                "reached": (reached := int(np.isfinite(steps).sum())),
                "reached_low": clopper_pearson(reached, len(part))[0],
                "reached_high": clopper_pearson(reached, len(part))[1],
                "median": float(middle.mean()),
                **dict(
                    zip(("low", "high", "coverage"), median_interval(steps.tolist()), strict=True)
                ),
            }
        )
    return pd.DataFrame(rows)


def compare_order(onsets: pd.DataFrame) -> pd.DataFrame:
    """Count, for every two measures, in how many runs the first moves before the second.

    Order is only known where both have an onset; onsets at the same snapshot are ties.

    Returns:
        One row per group, rule and pair: before, same and after (runs with both onsets),
        first_only, second_only, neither, and the share of untied runs in which `first` comes
        first, with its 95 % Clopper-Pearson interval.
    """
    rows = []
    for (group, rule), part in onsets.groupby(["group", "rule"], sort=False):
        wide = part.pivot(index="run", columns="measure", values="onset")
        for first, second in itertools.combinations([m for m in MEASURES if m in wide], 2):
            x, y = wide[first].to_numpy(), wide[second].to_numpy()
            before, same, after = int((x < y).sum()), int((x == y).sum()), int((x > y).sum())
            only = [int((a & b).sum()) for a, b in _alone(np.isnan(x), np.isnan(y))]
            low, high = clopper_pearson(before, before + after)
            share = before / (before + after) if before + after else np.nan
            rows.append([group, rule, first, second, before, same, after, *only, share, low, high])
    names = ["group", "rule", "first", "second", "before", "same", "after"]
    names += ["first_only", "second_only", "neither", "share_before", "low", "high"]
    return pd.DataFrame(rows, columns=names)


def _alone(x: np.ndarray, y: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pair up what says that only the first, only the second, or none has an onset."""
    return [(~x, y), (x, ~y), (x, y)]
