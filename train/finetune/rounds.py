"""Fine-tuning in rounds, each from the best of the round before.

python -m train.finetune 262p-base --rounds 1e-3:100000 3e-4:50000 1e-4:30000 --seeds 0-7
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from tyro.conf import Positional

from model.checkpoint import CARD, TRAJECTORY, WEIGHTS, read_checkpoint
from model.errors import InputError
from model.shell import console, run_command, write_atomic
from train.__main__ import read_stop_rule
from train.config import TrainConfig
from train.progress import LOG
from train.run import CASES
from train.spec import FINETUNE, RunSpec
from train.sweep import read_seeds, watch_sweep

PUBLISHED_ROUNDS = ("1e-3:100000", "3e-4:50000", "1e-4:30000")
"""Peak learning rate and steps of the report's three rounds (Table 5)."""


def read_rounds(texts: Sequence[str]) -> list[tuple[float, int]]:
    """Read rounds such as "1e-3:100000".

    Raises:
        InputError: A round that is not LR:STEPS.
    """
    rounds = []
    for text in texts:
        lr, _, steps = text.partition(":")
        try:
            rounds.append((float(lr), int(steps)))
        except ValueError as error:
            raise InputError(f"round {text!r} is not LR:STEPS, such as 1e-3:100000") from error
    return rounds


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
            write_atomic(folder / "best" / name, (Path(parent) / name).read_bytes())
    return pd.concat(tables), Path(parent)


def finetune(
    checkpoint: Positional[str],
    *,
    seeds: tuple[str, ...] = ("0-3",),
    rounds: tuple[str, ...] = (),
    config: TrainConfig = FINETUNE,
    cases: str | None = None,
    stop: tuple[str, ...] = (),
    workers: int = 2,
    out: Path | None = None,
) -> None:
    """Fine-tune a checkpoint on several seeds and keep the best; in rounds, if asked.

    The best is the one with the fewest errors on 100,000 uniform and 100,000 carry-stratified
    pairs, then with the largest smallest margin on the validation pairs.

    Args:
        checkpoint: Where to start: shipped name, folder, or published .pt file.
        seeds: Seeds of the data stream, numbers and ranges.
        rounds: LR:STEPS of each round, as 1e-3:100000 3e-4:50000 1e-4:30000 in the report;
            without it, one round of --lr and --steps.
        config: Changes to the fine-tuning recipe.
        cases: CSV with columns a and b of extra training cases; see extra-share.
        stop: End a run where its loss is too high, as STEP:LOSS.
        workers: Processes on this machine.
        out: The store; by default runs/CHECKPOINT-ft.
    """
    plan = [
        dataclasses.replace(config, lr=lr, steps=steps) for lr, steps in read_rounds(rounds)
    ] or [config]
    folder = out or Path("runs") / f"{read_checkpoint(checkpoint).name}-ft"
    table, best = run_rounds(
        checkpoint,
        plan,
        read_seeds(seeds),
        folder,
        cases=cases,
        workers=workers,
        stop=stop,
    )
    for row in table[table["best"]].to_dict("records"):
        console.print(
            f"round {row['round']}: seed {row['seed']}, {row['errors_uniform']:.0f} errors in "
            f"{row['pairs_each']:.0f} uniform pairs, {row['errors_stratified']:.0f} in as many "
            "carry-stratified ones",
            highlight=False,
        )
    console.print(f"best: {best}, copied to {folder / 'best'}", highlight=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        finetune,
        argv,
        prog="python -m train.finetune",
        example="python -m train.finetune runs/262p-s3 --lr 1e-3 --steps 100000 --seeds 0-3",
    )
