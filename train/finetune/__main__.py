"""Fine-tuning in rounds, each from the best of the round before.

python -m train.finetune 262p-base --rounds 1e-3:100000 3e-4:50000 1e-4:30000 --seeds 0-7
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tyro.conf import Positional

from model.shell import OutFolder, Seeds, Workers, console, read_seeds, run_command, show_files
from train.config import TrainConfig
from train.options import Rounds, StopBounds, read_rounds
from train.spec import FINETUNE


def finetune(
    checkpoint: Positional[str],
    *,
    seeds: Seeds = ("0-3",),
    rounds: Rounds = (),
    config: TrainConfig = FINETUNE,
    cases: str | None = None,
    stop: StopBounds = (),
    workers: Workers = 2,
    out: OutFolder | None = None,
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
    from model.checkpoint import read_checkpoint
    from train.finetune.rounds import run_rounds

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
    show_files(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        finetune,
        argv,
        prog="python -m train.finetune",
        example="python -m train.finetune runs/262p-s3 --lr 1e-3 --steps 100000 --seeds 0-3",
    )


if __name__ == "__main__":
    raise SystemExit(main())
