"""Does a table come out again? Our numbers beside the printed ones, one screen a table."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from model.shell import ROWS, Row, Summary, count, percent

DIFFERS = 0.05
"""Two rates differ where Fisher's exact test gives less than this."""


def summarise(name: str, table: pd.DataFrame, facts: Mapping[str, Any]) -> Summary:
    """Say in one screen how a table stands beside the write-up's."""
    if "rates" in facts:
        rows, sentences = _levels(pd.DataFrame(facts["rates"]))
    elif "published_errors" in table:
        rows, sentences = _rounds(table)
    elif "published_by" in table:
        rows, sentences = _records(table)
    else:
        rows, sentences = _rates(table)
    for preset, p_value in facts.get("p_value_between_recipes", {}).items():
        differ = "differ" if p_value < DIFFERS else "do not differ clearly"
        test = f"(Fisher's exact test, {p(p_value)})"
        sentences.append(f"For {preset} the two recipes {differ} {test}.")
    left = len(rows) - ROWS
    if left > 0:
        sentences.append(f"{count(left, 'more row')} {'is' if left == 1 else 'are'} in the file.")
    return Summary(f"{name}: does it come out again?", tuple(rows[:ROWS]), tuple(sentences))


def p(value: float) -> str:
    """Write a p-value."""
    return f"p = {value:.2g}"


def _of(row: Mapping[str, Any], prefix: str = "") -> str:
    hits, n = (row[prefix + key] for key in ("grokked", "runs"))
    low, high = (percent(row[prefix + key]) for key in ("low", "high"))
    return f"{hits:.0f} of {n:.0f} ({low} to {high})"


def _judge(p_value: float) -> str:
    return "differs" if p_value < DIFFERS else "no clear difference"


def _levels(rates: pd.DataFrame) -> tuple[list[Row], list[str]]:
    """Seeds above each level, ours and theirs."""
    records = rates.to_dict("records")
    rows = [
        Row(f"above {row['above']:.0%}", _judge(row["p_value"]), *_pair(row)) for row in records
    ]
    first = records[0]
    return rows, [
        f"Above {first['above']:.0%} are {first['grokked']} of {first['runs']} seeds here, "
        f"{first['published_grokked']} of {first['published_runs']} in print "
        f"({p(first['p_value'])})."
    ]


def _pair(row: Mapping[str, Any]) -> tuple[str, str]:
    return f"{_of(row)} here", f"{_of(row, 'published_')} in print"


def _rates(table: pd.DataFrame) -> tuple[list[Row], list[str]]:
    """Rates of several shapes or recipes."""
    rows, different, tested = [], 0, 0
    for row in table.to_dict("records"):
        label = f"{row['preset']}, {row['recipe']} recipe"
        if pd.isna(row["published_grokked"]):
            rows.append(Row(label, "not in print", f"{_of(row)} here", ""))
            continue
        tested += 1
        different += row["p_value"] < DIFFERS
        rows.append(Row(label, _judge(row["p_value"]), *_pair(row)))
    return rows, [
        f"Of {count(tested, 'printed rate')} {different or 'none'} differs clearly from ours "
        "(Fisher's exact test)."
    ]


def _rounds(table: pd.DataFrame) -> tuple[list[Row], list[str]]:
    """Errors after each round of fine-tuning."""
    records = table.to_dict("records")
    rows = [
        Row(
            row["stage"],
            "as few" if row["official_errors"] <= row["published_errors"] else "more errors",
            f"{count(int(row['official_errors']), 'error')} of {row['official_pairs']:,.0f}",
            f"{row['published_errors']:,.0f} in print",
        )
        for row in records
    ]
    first, last = records[0], records[-1]
    return rows, [
        f"Errors go from {first['official_errors']:,.0f} to {last['official_errors']:,.0f} here, "
        f"in print from {first['published_errors']:,.0f} to {last['published_errors']:,.0f}."
    ]


def _records(table: pd.DataFrame) -> tuple[list[Row], list[str]]:
    """The best network of every shape."""
    trained = table[table["official_errors"].notna()].to_dict("records")
    rows = [
        Row(
            f"{row['preset']}, {row['recipe']} recipe",
            f"{percent(1 - row['official_errors'] / row['official_pairs'])} right",
            f"{count(int(row['official_errors']), 'error')} of {row['official_pairs']:,.0f}",
            f"{row['published']} in print",
        )
        for row in trained
    ]
    clean = sum(row["official_errors"] == 0 for row in trained)
    return rows, [
        f"Of {count(len(trained), 'network')} trained here {clean or 'none'} make no error on the "
        "official 100,000 pairs."
    ]
