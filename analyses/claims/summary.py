"""How many statements hold? The one screen of the claims; each with its number is in claims.md."""

from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from analyses.claims.data import Claim
from model.shell import CELL, ROWS, Row, Summary, clip

HOLDS, NOT, OPEN = "holds", "does not", "not testable here"


def summarise(
    table: pd.DataFrame, claims: Sequence[Claim], groups: Mapping[str, Collection[str]]
) -> Summary:
    """Say in one screen how the statements fare.

    Args:
        table: One row a claim, in the order of `claims`.
        claims: The statements.
        groups: Names of measures by what they are measured on.
    """
    measures = [claim.measure for claim in claims]
    rows = []
    for name, members in groups.items():
        chosen = table[[measure in members for measure in measures]]
        counts = chosen["verdict"].value_counts()
        if len(chosen):
            holds, fails, left = (int(counts.get(v, 0)) for v in (HOLDS, NOT, OPEN))
            tested = f"{holds} of {holds + fails} hold"
            rows.append(Row(f"on {name}", tested, f"{fails} do not", f"{left} not testable here"))
    failing = table[table["verdict"] == NOT]
    shown = failing.head(ROWS - len(rows))
    rows += [
        Row(clip(row["statement"], CELL), NOT, clip(row["measured"], CELL), clip(row["how"], CELL))
        for row in shown.to_dict("records")
    ]
    counts = table["verdict"].value_counts()
    holds, fails, left = (int(counts.get(v, 0)) for v in (HOLDS, NOT, OPEN))
    sentences = [
        f"Of {len(table)} statements {holds} hold, {fails} do not, {left} cannot be tested.",
    ]
    if len(failing) > len(shown):
        more = len(failing) - len(shown)
        sentences.append(
            f"Another {more} that {'does' if more == 1 else 'do'} not hold: claims.md."
        )
    if left:
        sentences.append("What is missing for each open one stands in its row of claims.md.")
    return Summary("do the write-ups' statements hold?", tuple(rows), tuple(sentences))
