"""Certify, train on what fails, certify again, until nothing fails.

python -m analyses.repair runs/262p-s3-ft/best

A failing context of the atlas is a training set: its digits are fixed, the free ones are drawn
afresh each time. Every round fine-tunes the best checkpoint so far on several seeds with the atlas
of that checkpoint as a share of the examples, certifies every result and keeps the one with the
fewest pairs not proved right.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.table import Table

from analyses.repair.config import RECIPE
from interp.certify import TOTAL, UNDECIDED, WRONG, Certificate, certify, training_cases
from interp.output import save_table
from model.checkpoint import read_checkpoint
from model.shell import Output, console, write_atomic
from model.task import N_TARGET
from train.cases import write_cases
from train.config import TrainConfig
from train.spec import RunSpec
from train.sweep import watch_sweep

MOST_CASES = 20_000
ARITHMETICS = ("real", "float32")


@dataclass(frozen=True)
class Standing:
    """How far a checkpoint is from being proved right.

    Attributes:
        checkpoint: Name or folder.
        unproved: Pairs of the 10^20 whose digits and end token are not proved right, the larger
            number of real arithmetic and float32.
        certificate: The certificate behind it.
    """

    checkpoint: str
    unproved: int
    certificate: Certificate


def assess(checkpoint: str) -> Standing:
    """Certify a checkpoint."""
    certificate = certify(read_checkpoint(checkpoint).model)
    counts = (certificate.real_with_end, certificate.float32_with_end)
    return Standing(checkpoint, TOTAL - min(count.lower for count in counts), certificate)


def draw_cases(certificate: Certificate, seed: int = 0) -> np.ndarray:
    """Turn the failing and undecided contexts of a certificate into training cases.

    Returns:
        Cases (n, 20), at most 20,000, chosen at random where there are more.
    """
    cells = [
        leaves
        for arithmetic in ARITHMETICS
        for leaves in certificate.cells(arithmetic, (WRONG, UNDECIDED), range(N_TARGET))
    ]
    distinct = np.unique(np.concatenate(cells), axis=0)
    rng = np.random.default_rng(seed)
    if len(distinct) > MOST_CASES:
        distinct = distinct[np.sort(rng.choice(len(distinct), MOST_CASES, replace=False))]
    return training_cases(distinct, rng)


def tabulate_standing(standing: Standing, number: int, seed: int | None) -> dict[str, object]:
    """Make one row of the repair's table; counts are exact integers, written as text."""
    row: dict[str, object] = {"round": number, "seed": seed, "checkpoint": standing.checkpoint}
    for name in (*ARITHMETICS, *(f"{x}_with_end" for x in ARITHMETICS)):
        count = getattr(standing.certificate, name)
        row[f"{name}_wrong_at_least"] = str(TOTAL - count.upper)
        row[f"{name}_wrong_at_most"] = str(TOTAL - count.lower)
    return {**row, "unproved": str(standing.unproved)}


def run_repair(
    checkpoint: str,
    folder: Path,
    *,
    config: TrainConfig = RECIPE,
    seeds: Sequence[int] = (0, 1, 2, 3),
    rounds: int = 5,
    workers: int = 2,
) -> tuple[Standing, pd.DataFrame]:
    """Repair a checkpoint; resumes what the folder already holds.

    Args:
        checkpoint: Where to start.
        folder: The store: a folder for each round with its cases.csv and runs, and repair.csv.
        config: Fine-tuning of one round.
        seeds: Seeds of the first round; later rounds shift them on, so that none is repeated.
        rounds: When to give up.
        workers: Processes.

    Returns:
        The best standing reached, and one row for every checkpoint that was certified.
    """
    output = Output(folder, by="python -m analyses.repair", keeps=("round-*/*",))
    with output, output.writing():
        return _run_rounds(checkpoint, folder, config, seeds, rounds, workers)


def _run_rounds(
    checkpoint: str,
    folder: Path,
    config: TrainConfig,
    seeds: Sequence[int],
    rounds: int,
    workers: int,
) -> tuple[Standing, pd.DataFrame]:
    best = assess(checkpoint)
    rows = [tabulate_standing(best, 0, None)]
    for number in range(1, rounds + 1):
        if best.unproved == 0:
            break
        store = folder / f"round-{number}"
        cases = store / "cases.csv"
        write_atomic(cases, write_cases(draw_cases(best.certificate)))
        model = read_checkpoint(best.checkpoint).model.config
        fresh = [seed + (number - 1) * (max(seeds) + 1) for seed in seeds]
        specs = [
            RunSpec(model=model, train=config, seed=s, parent=best.checkpoint, cases=str(cases))
            for s in fresh
        ]
        watch_sweep(specs, store, workers=workers)
        for seed in fresh:
            standing = assess(str(store / f"s{seed}"))
            rows.append(tabulate_standing(standing, number, seed))
            if standing.unproved < best.unproved:
                best = standing
        save_table(pd.DataFrame(rows), folder / "repair.csv")
    table = pd.DataFrame(rows)
    save_table(table, folder / "repair.csv")
    return best, table


def show(table: pd.DataFrame) -> None:
    """Print one line for every checkpoint that was certified."""
    view = Table(title="pairs of 10^20 not proved right", title_justify="left")
    for name in ("round", "seed", "real, wrong", "real, unproved", "float32, unproved", "with EOS"):
        view.add_column(name, justify="right")
    for row in table.to_dict("records"):
        cells = ("real_wrong_at_least", "real_wrong_at_most", "float32_wrong_at_most", "unproved")
        seed = "" if pd.isna(row["seed"]) else f"{row['seed']:.0f}"
        view.add_row(str(row["round"]), seed, *(f"{int(row[name]):,}" for name in cells))
    console.print(view)
