"""What the two write-ups state, checked against weights and runs.

Question: which of their statements hold on the checkpoints given, and with what interval?

Method: every statement is a row of data (`analyses.claims.data`) that names a measure; sizes and
formats need no checkpoint, statements about published weights need the published file, statements
about training need our sweeps (analyses/results) and logs. What is missing is said in its row.

    python -m analyses.claims 262p path/to/best_311p_s34.pt
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from analyses.claims import paper, training, weights
from analyses.claims.data import CLAIMS, Claim
from analyses.claims.finding import Measure
from analyses.claims.world import World
from interp.failure_diff import records
from interp.output import save_json, save_table
from model.shell import write_atomic

MEASURES: dict[str, Measure] = paper.MEASURES | weights.MEASURES | training.MEASURES
"""Every measure by name; each takes the world and the arguments of its claim."""

COLUMNS = ("source", "place", "statement", "verdict", "measured", "interval_95", "how")
GROUPS = {
    "shapes and printed figures": paper.MEASURES,
    "weights": weights.MEASURES,
    "training": training.MEASURES,
}
"""Measures by what they are measured on."""


def check(
    world: World,
    claims: Sequence[Claim] = CLAIMS,
    report: Callable[[Claim], None] | None = None,
) -> pd.DataFrame:
    """Measure every claim.

    Args:
        world: Checkpoints, sweeps and logs.
        claims: The statements.
        report: Called with each claim before it is measured.

    Returns:
        One row a claim: source, place, statement, verdict, measured, interval_95 (empty where the
        measurement is exact) and how.
    """
    rows = []
    for claim in claims:
        if report is not None:
            report(claim)
        found = MEASURES[claim.measure](world, **claim.arguments)
        rows.append(
            (
                claim.source,
                claim.place,
                claim.statement,
                found.verdict,
                found.measured,
                found.interval,
                found.how,
            )
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def to_markdown(table: pd.DataFrame) -> str:
    """Write the table of claims for a report."""
    lines = [
        "| Statement | Source | Verdict | Measured | 95 % interval | On |",
        "|---|---|---|---|---|---|",
    ]
    for row in records(table):
        cells = [row["statement"], f"{row['source']}, {row['place']}", row["verdict"]]
        cells += [row["measured"], row["interval_95"], row["how"]]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def write(table: pd.DataFrame, world: World, pairs: int, folder: Path) -> None:
    """Write the findings as a table, as JSON and for a report."""
    save_table(table, folder / "claims.csv")
    write_atomic(folder / "claims.md", to_markdown(table))
    summary = {
        "checkpoints": [subject.name for subject in world.subjects],
        "sweeps": [sweep.name for sweep in world.sweeps],
        "pairs": pairs,
        "certified": {
            subject.name: [str(subject.certified.lower), str(subject.certified.upper)]
            for subject in world.subjects
            if subject.certified is not None
        },
        "claims": [dataclasses.asdict(claim) for claim in CLAIMS],
        "findings": records(table),
    }
    save_json(summary, folder / "claims.json")
