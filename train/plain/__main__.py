"""Train an adder of any layout in plain PyTorch: python -m train.plain --layout pairs --seed 0.

One head as wide as the stream, full matrices, learned positions, RMSNorm, GELU, tied head.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from model.shell import OutFolder, Seed, Steps, console, progress_bar, run_command, show_files
from train.plain.config import EVERY, PlainSpec, Recipe, Shape


def train(
    *,
    shape: Shape = Shape(),  # noqa: B008 (frozen)
    recipe: Recipe = Recipe(),  # noqa: B008
    seed: Seed = 0,
    every: Steps = EVERY,
    start: str | None = None,
    out: OutFolder | None = None,
) -> None:
    """Train an adder of any layout from a seed; the same command again resumes it.

    Leaves in the output folder an adder that every command reads (the best one, chosen on uniform
    and carry-stratified pairs, then by margin), and log.csv.

    Args:
        shape: The network.
        recipe: Schedule, data and optimizer.
        seed: Seed of initial parameters and data, 0 or more.
        every: Steps between two rows of the log.
        start: Adder of an earlier run to go on from, instead of random numbers.
        out: Output folder; by default runs/LAYOUT-sSEED.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    from train.plain.run import Row, train_plain

    spec = PlainSpec(shape=shape, recipe=recipe, seed=seed, every=every, start=start)
    folder = out or Path("runs") / f"{shape.layout}-s{seed}"
    words = TextColumn("loss {task.fields[loss]:.4f}  exact {task.fields[exact]:.4f}")
    columns = (BarColumn(), MofNCompleteColumn(), words, TimeRemainingColumn())
    with progress_bar(*columns, transient=False) as bar:
        nan = float("nan")
        task = bar.add_task(folder.name, total=recipe.steps, loss=nan, exact=nan)

        def report(row: Row) -> None:
            bar.update(task, completed=row["step"], loss=row["loss"], exact=row["exact"])

        best = train_plain(spec, folder, report)
    console.print(
        f"best at step {best['step']}: exact {best['exact']:.4f} on uniform pairs, "
        f"{best['exact_hard']:.4f} on hard ones, smallest margin {best['margin']:.3f}",
        highlight=False,
    )
    show_files(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        train,
        argv,
        prog="python -m train.plain",
        example="python -m train.plain --layout pairs --seed 0",
    )


if __name__ == "__main__":
    sys.exit(main())
