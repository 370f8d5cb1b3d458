"""Fine-tuning in rounds, each from the best of the round before."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from model.checkpoint import CARD, TRAJECTORY, WEIGHTS, read_checkpoint
from model.errors import InputError
from model.reading import read_regular
from model.shell import Output, write_atomic
from model.tensor_file import TRAJECTORY_LIMIT
from train.config import TrainConfig
from train.options import read_stop_rule
from train.progress import LOG
from train.run import CASES
from train.spec import RunSpec
from train.sweep import watch_sweep

COMMAND, KEPT = "python -m train.finetune", ("round-*/*", "start/*")
PUBLISHED_ROUNDS = ("1e-3:100000", "3e-4:50000", "1e-4:30000")
"""Peak learning rate and steps of the report's three rounds (Table 5)."""


def choose_best(table: pd.DataFrame) -> int:
    """Give the row with the fewest errors on uniform and stratified pairs, then largest margin.

    Raises:
        InputError: No run of the table has a usable checkpoint.
    """
    usable = table.dropna(subset=["errors_uniform"]).copy()
    if usable.empty:
        raise InputError("every run diverged: lower the learning rate")
    usable["errors"] = usable["errors_uniform"] + usable["errors_stratified"]
    order = usable.sort_values(["errors", "chosen_margin"], ascending=[True, False])
    return int(order.index[0])


def run_rounds(
    checkpoint: str,
    configs: Sequence[TrainConfig],
    seeds: Sequence[int],
    folder: Path,
    *,
    cases: str | None = None,
    workers: int = 2,
    stop: Sequence[str] = (),
) -> tuple[pd.DataFrame, Path]:
    """Run rounds of fine-tuning, each on all seeds from the best checkpoint of the one before.

    Args:
        checkpoint: Where to start: name or path.
        configs: Schedule of each round.
        seeds: Seeds of the data stream; the same in every round.
        folder: The store: a folder for each round, rounds.csv, and best/.
        cases: CSV of extra training cases.
        workers: Processes.
        stop: Bounds that end a run early, as STEP:LOSS.

    Returns:
        One row a run with its round, and the folder of the last round's best run.
    """
    with Output(folder, by=COMMAND, keeps=KEPT) as output, output.writing():
        return _run_rounds(checkpoint, configs, seeds, folder, cases, workers, stop)


def _run_rounds(
    checkpoint: str,
    configs: Sequence[TrainConfig],
    seeds: Sequence[int],
    folder: Path,
    cases: str | None,
    workers: int,
    stop: Sequence[str],
) -> tuple[pd.DataFrame, Path]:
    parent, tables = checkpoint, []
    for number, config in enumerate(configs, start=1):
        model = read_checkpoint(parent).model.config
        specs = [
            RunSpec(
                model=model,
                train=config,
                seed=seed,
                parent=parent,
                cases=cases,
                stop_rule=read_stop_rule(stop),
            )
            for seed in seeds
        ]
        store = folder / f"round-{number}"
        table = watch_sweep(specs, store, workers=workers)
        best = choose_best(table)
        table = table.assign(round=number, lr=config.lr, parent=parent, best=table.index == best)
        tables.append(table)
        parent = str(store / f"s{seeds[best]}")
        write_atomic(folder / "rounds.csv", pd.concat(tables).to_csv(index=False))
    for name in (WEIGHTS, CARD, LOG, TRAJECTORY, CASES):
        if (Path(parent) / name).exists():
            data = read_regular(Path(parent) / name, TRAJECTORY_LIMIT)
            write_atomic(folder / "best" / name, data)
    return pd.concat(tables), Path(parent)
