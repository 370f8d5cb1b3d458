"""How small a network does it contain? The one screen of a truncation."""

from collections.abc import Sequence

import pandas as pd

from model.shell import ROWS, SENTENCES, Row, Summary, percent


def summarise(
    table: pd.DataFrame, smallest: pd.DataFrame, fields: Sequence[str], name: str
) -> Summary:
    """Say in one screen which lower ranks suffice.

    Args:
        table: Every combination of ranks.
        smallest: The fewest parameters at each threshold.
        fields: Names of the ranks.
        name: The checkpoint's name.
    """
    whole = table.sort_values(["n_params", "exact"]).iloc[-1]
    full = int(whole["n_params"])
    rows = [Row("all ranks kept", f"{full} parameters", *_exact(whole))]
    sentences = [f"With all ranks the network adds {percent(whole['exact'])} of sums."]
    for row in smallest.to_dict("records"):
        wanted = percent(row["threshold"])
        if pd.isna(row.get("n_params", float("nan"))):
            rows.append(
                Row(f"smallest with {wanted} right", "none", "", "no combination reaches it")
            )
            sentences.append(f"No combination of ranks keeps {wanted} right.")
            continue
        n = int(row["n_params"])
        rows.append(Row(f"smallest with {wanted} right", f"{n} of {full} parameters", *_exact(row)))
        ranks = ", ".join(
            f"{field.removesuffix('_rank')} {row[field]:.0f}" for field in fields if field in row
        )
        sentences.append(f"To keep {wanted} right, {n} of {full} parameters suffice ({ranks}).")
    title = f"{name}: how small a network does it contain?"
    return Summary(title, tuple(rows[:ROWS]), tuple(sentences[:SENTENCES]))


def _exact(row: dict | pd.Series) -> tuple[str, str]:
    low, high = percent(row["low"]), percent(row["high"])
    return f"{percent(row['exact'])} of {row['n']:,.0f} sums", f"{low} to {high}"
