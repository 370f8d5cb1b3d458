"""How small can a network of the family be and still be right on all 10^20 pairs?

python -m analyses.smallest runs/compression runs/242p-repair --out analyses/results/smallest.csv

Gathers every run below the given folders, certifies those that make few errors on their test pairs,
and keeps one row for each shape: its parameters, how many runs were tried, and the best count that
was proved.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table

from interp.certify import TOTAL, certify
from model.checkpoint import CARD, WEIGHTS, Checkpoint, read_checkpoint
from model.config import PRESETS
from model.errors import InputError
from model.shell import console, follow

WORTH_CERTIFYING = 1e-3
"""Largest measured error rate of a run that is certified; others are counted by their errors."""
BASE = PRESETS["262p"]


def find_runs(folders: Iterable[Path]) -> list[Checkpoint]:
    """Read every checkpoint below the folders that a run measured; copies of one are kept once.

    Raises:
        InputError: A folder is missing or holds no measured checkpoint.
    """
    found: dict[str, Checkpoint] = {}
    for folder in folders:
        cards = sorted(folder.rglob(CARD))
        for card in cards:
            if not (card.parent / WEIGHTS).exists():
                continue
            checkpoint = read_checkpoint(card.parent)
            if "measured" in checkpoint.card:
                found.setdefault(checkpoint.card["sha256"], checkpoint)
        if not cards:
            raise InputError(f"{folder} holds no checkpoints: give folders that runs wrote")
    return list(found.values())


def describe_shape(checkpoint: Checkpoint) -> str:
    """Name what differs from the 262-parameter network."""
    ours, base = checkpoint.model.config.to_dict(), BASE.to_dict()
    changes = [f"{key} {value}" for key, value in ours.items() if value != base[key]]
    return ", ".join(changes) or "as 262p"


def judge(checkpoint: Checkpoint) -> dict[str, Any]:
    """Make one row: measured errors, and what certification proved where it was worth it."""
    uniform = checkpoint.card["measured"]["uniform"]
    row: dict[str, Any] = {
        "parameters": checkpoint.model.config.n_params,
        "shape": describe_shape(checkpoint),
        "run": str(checkpoint.path),
        "seed": checkpoint.card.get("seed"),
        "errors": uniform["errors"],
        "pairs": uniform["pairs"],
    }
    if uniform["errors"] / uniform["pairs"] > WORTH_CERTIFYING:
        return row
    certificate = certify(checkpoint.model)
    for name in ("real", "float32"):
        row[f"{name}_wrong_at_most"] = str(TOTAL - getattr(certificate, name).lower)
    return row


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep the best run of each shape, the smallest shapes first, with the number of runs."""

    def rank(row: pd.Series) -> tuple[int, int]:
        proved = row.get("real_wrong_at_most")
        return (int(proved) if isinstance(proved, str) else TOTAL, int(row["errors"]))

    kept = []
    for _, group in rows.groupby(["parameters", "shape"]):
        best = min(group.to_dict("records"), key=lambda row: rank(pd.Series(row)))
        kept.append({**best, "runs": len(group), "seeds": group["seed"].nunique()})
    return pd.DataFrame(kept)


def judge_all(folders: Iterable[Path]) -> pd.DataFrame:
    """Judge every run below the folders, and keep the best of each shape."""
    return summarise(pd.DataFrame([judge(run) for run in follow(find_runs(folders), "certifying")]))


def show(table: pd.DataFrame) -> None:
    """Print one line for each shape."""
    view = Table(title="smaller shapes, best run of each", title_justify="left")
    names = ("parameters", "shape", "runs", "errors", "pairs")
    proofs = ("real_wrong_at_most", "float32_wrong_at_most")
    for name in (*names, *proofs):
        view.add_column(name.replace("_", " "), justify="left" if name == "shape" else "right")
    for row in table.to_dict("records"):
        proved = [row.get(name) for name in proofs]
        cells = [f"{int(x):,}" if isinstance(x, str) else "not certified" for x in proved]
        view.add_row(*(str(row[name]) for name in names), *cells)
    console.print(view)
