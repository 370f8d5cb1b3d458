"""Which components does the network need? The one screen that a sweep ends on.

A component can go where replacing it costs less than `COST` of the sums. Beside each number stands
what random terms of the same Frobenius norm cost in its place. A network that adds too few sums to
tell is judged by its digits. Every number is in the tables.
"""

from collections.abc import Sequence

import pandas as pd

from interp.rank_ablation.metrics import select
from model.shell import ROWS, SENTENCES, Row, Summary, clip, count, percent

COST = 0.01
"""A component can go where fewer than this share of the sums (or digits) break without it."""
TOO_FEW = 0.5
"""Below this share of right sums a network is judged by its digits."""
KEY = ["matrix", "component"]
KINDS = {
    "zero": "set to zero",
    "mean": "set to the mean",
    "conditional": "set to the mean of their digit sum",
    "resample": "swapped for another sum's",
}


def summarise(ablations: pd.DataFrame, gauges: pd.DataFrame, notes: Sequence[str] = ()) -> Summary:
    """Say in one screen what a sweep of one or several networks found, and could not cut."""
    names = list(dict.fromkeys(ablations["checkpoint"]))
    if len(names) > 1:
        return _compare(ablations, names)
    unit, intact, table = _judge(ablations)
    single = table[table["scope"] == "single"]
    rows = [_intact(unit, intact)]
    sentences = [_say_intact(ablations, unit, float(intact["value"]))]
    if not single.empty:
        value = float(intact["value"])
        free = {str(k): _free(part, value) for k, part in single.groupby("kind", sort=False)}
        first = single[single["kind"] == next(iter(free))]
        rows += [
            _kind(str(k), part, free[str(k)]) for k, part in single.groupby("kind", sort=False)
        ]
        hurts = first.sort_values(["value", "null_median"], ascending=[True, False]).iloc[0]
        lost, null = percent(hurts["value"]), percent(hurts["null_median"])
        worse = int((first["value"] < first["null_low"]).sum())
        total = len(first)
        rows += [
            Row("needed most", _name(hurts), f"{lost} without it", f"{null} random term"),
            Row("worse than random terms?", f"{worse} of {total}", "below their 5 % quantile"),
        ]
        sentences += [_say_free(kind, names, total) for kind, names in list(free.items())[:2]]
        sentences.append(
            f"Removing {_name(hurts)} leaves {lost} of {unit} right, removing a random term of its "
            f"size {null}."
        )
        sentences.append(
            f"{worse} of {total} do more harm than nearly all random terms of their size."
            if worse
            else "No component does more harm than random terms of its size."
        )
    if len(gauges):
        rows.append(_gauges(gauges))
    truncated = table[table["scope"] == "truncation"]
    if not truncated.empty:
        row, sentence = _truncation(truncated, float(intact["value"]))
        rows.append(row)
        sentences.append(sentence)
    title = f"{names[0]}: which components does it need?"
    said = (*notes[:2], *sentences)[:SENTENCES]  # all notes are in the details
    return Summary(title, tuple(rows[:ROWS]), said)


def _judge(ablations: pd.DataFrame) -> tuple[str, pd.Series, pd.DataFrame]:
    """Choose what is counted, and one row for each ablation in the first basis and norm mode."""
    rows = select(ablations, "exact")
    unit = "sums"
    if rows.loc[rows["scope"] == "intact", "value"].iloc[0] < TOO_FEW:
        unit, digits = "digits", select(ablations, "digit_accuracy")
        keys = [name for name in digits if name in ("scope", *KEY, "basis", "kind", "norm")]
        numbers = [name for name in digits if name in ("value", "low", "high", *NULL)]
        rows = digits.groupby(keys, sort=False, dropna=False)[numbers].mean().reset_index()
    intact = rows[rows["scope"] == "intact"].iloc[0]
    cut = rows[rows["scope"] != "intact"]
    for name in ("basis", "norm"):
        cut = cut[cut[name] == cut[name].iloc[0]] if len(cut) else cut
    return unit, intact, cut


NULL = ("null_low", "null_median", "null_high")


def _free(rows: pd.DataFrame, intact: float) -> list[str]:
    """Name the components that can go, best first."""
    kept = rows[rows["value"] > intact - COST].sort_values("value", ascending=False, kind="stable")
    return [_name(row) for _, row in kept.iterrows()]


def _name(row: pd.Series) -> str:
    return f"{row['matrix']} {row['component']}"


def _intact(unit: str, intact: pd.Series) -> Row:
    interval = f"{percent(intact['low'])} to {percent(intact['high'])}"
    verdict = "adds" if unit == "sums" else "adds too few, digits counted"
    return Row("intact network", verdict, f"{percent(intact['value'])} of {unit}", interval)


def _say_intact(ablations: pd.DataFrame, unit: str, value: float) -> str:
    exact = select(ablations, "exact")
    exact = percent(exact.loc[exact["scope"] == "intact", "value"].iloc[0])
    if unit == "sums":
        return f"The intact network adds {exact} of uniform sums."
    return (
        f"The intact network adds {exact} of sums, so digits are counted: {percent(value)} right."
    )


def _kind(kind: str, rows: pd.DataFrame, free: Sequence[str]) -> Row:
    best = rows.sort_values("value", ascending=False, kind="stable").iloc[0]
    return Row(
        f"can go, {KINDS[kind]}",
        f"{len(free)} of {len(rows)}",
        f"{percent(best['value'])} without {_name(best)}",
        f"{percent(best['null_median'])} random term",
    )


def _say_free(kind: str, free: Sequence[str], total: int) -> str:
    named = f": {', '.join(free)}" if 0 < len(free) <= 3 else ""
    return f"Of {count(total, 'component')}, {len(free) or 'none'} can be {KINDS[kind]}{named}."


def _gauges(gauges: pd.DataFrame) -> Row:
    """Say how far exact match moves when only the stored coordinates change."""
    spread = (gauges["high"] - gauges["low"]).groupby(gauges["basis"]).max()
    stored = float(spread.get("raw", 0.0))
    rest = spread.drop("raw", errors="ignore")
    control = f"{percent(float(rest.max()))} {rest.idxmax()}" if len(rest) else ""
    verdict = "no" if stored > COST else "yes"
    return Row("raw factors mean anything?", verdict, f"{percent(stored)} gauge spread", control)


def _truncation(rows: pd.DataFrame, intact: float) -> tuple[Row, str]:
    """Say how many matrices can lose their last direction."""
    last = rows.groupby("matrix", sort=False).tail(1)
    kept = last[last["value"] > intact - COST]
    best = last.sort_values("value", ascending=False, kind="stable").iloc[0]
    row = Row(
        "can lose the last direction",
        f"{len(kept)} of {len(last)} matrices",
        f"{percent(best['value'])} in {best['matrix']}",
        f"{percent(best['null_median'])} random term",
    )
    sentence = (
        f"{len(kept) or 'None'} of {len(last)} matrices can lose the last singular direction."
    )
    return row, sentence


def _compare(ablations: pd.DataFrame, names: Sequence[str]) -> Summary:
    rows, shares = [], []
    for name in names:
        unit, intact, table = _judge(ablations[ablations["checkpoint"] == name])
        single = table[table["scope"] == "single"]
        single = single[single["kind"] == single["kind"].iloc[0]] if len(single) else single
        free = _free(single, float(intact["value"])) if len(single) else []
        verdict = f"{len(free)} of {len(single)} can go"
        whole = f"{percent(intact['value'])} of {unit} intact"
        worse = int((single["value"] < single["null_low"]).sum()) if len(single) else 0
        rows.append(Row(clip(name), verdict, whole, f"{worse} worse than random terms"))
        shares.append(len(free) / max(len(single), 1))
    sentences = [
        f"Between {percent(min(shares))} and {percent(max(shares))} of the components can go for "
        "less than 1 %.",
    ]
    if len(names) > ROWS:
        more = len(names) - ROWS
        sentences.append(f"{more} more {'is' if more == 1 else 'are'} in the tables.")
    title = "which components do these networks need?"
    return Summary(title, tuple(rows[:ROWS]), tuple(sentences))
