"""Certify, train on what fails, certify again, until nothing fails.

python -m analyses.repair runs/262p-s3-ft/best
"""

from collections.abc import Sequence
from pathlib import Path

from tyro.conf import Positional

from analyses.repair.config import RECIPE
from model.shell import Few, OutFolder, Seeds, Workers, console, read_seeds, run_command, show_files
from train.config import TrainConfig


def repair(
    checkpoint: Positional[str],
    *,
    config: TrainConfig = RECIPE,
    seeds: Seeds = ("0-3",),
    rounds: Few = 5,
    workers: Workers = 2,
    out: OutFolder | None = None,
) -> None:
    """Fine-tune a checkpoint on its own failing contexts until it is certified on all 10^20 pairs.

    Args:
        checkpoint: Where to start: shipped name, folder, or published .pt file.
        config: Changes to the fine-tuning of a round.
        seeds: Seeds of the first round, numbers and ranges; later rounds shift them on.
        rounds: How many rounds to try.
        workers: Processes on this machine.
        out: The store; by default runs/CHECKPOINT-repair.
    """
    from analyses.repair.study import run_repair, show
    from model.checkpoint import read_checkpoint

    numbers = read_seeds(seeds)
    folder = out or Path("runs") / f"{read_checkpoint(checkpoint).name}-repair"
    best, table = run_repair(
        checkpoint, folder, config=config, seeds=numbers, rounds=rounds, workers=workers
    )
    show(table)
    verdict = "certified on all 10^20 pairs" if best.unproved == 0 else "not there yet"
    console.print(f"best: {best.checkpoint}, {verdict}", highlight=False)
    show_files(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        repair,
        argv,
        prog="python -m analyses.repair",
        example="python -m analyses.repair runs/262p-s3-ft/best --seeds 0-3",
    )


if __name__ == "__main__":
    raise SystemExit(main())
