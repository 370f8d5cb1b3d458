"""A run on the terminal: its bar, and how it ended."""

from pathlib import Path
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from model.shell import console, progress_bar
from train.run import RunResult, train_run
from train.spec import RunSpec


def show_run(spec: RunSpec, folder: Path) -> RunResult:
    """Train with a progress bar: loss, exact match, time left."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}  exact {task.fields[exact]:.4f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with progress_bar(*columns, transient=False) as bar:
        task = bar.add_task(
            folder.name, total=spec.train.steps, loss=float("nan"), exact=float("nan")
        )

        def report(row: dict[str, Any]) -> None:
            bar.update(task, completed=row["step"], loss=row["loss"], exact=row["exact"])

        return train_run(spec, folder, report)


def describe(result: RunResult) -> None:
    """Print how a run ended."""
    console.print(f"{result.status} at step {result.step}", highlight=False)
    if result.best:
        best = result.best
        console.print(
            f"best at step {best['step']:.0f}: exact {best['exact']:.4f} on 5,000 uniform pairs, "
            f"{best['exact_hard']:.4f} on hard ones, smallest margin {best['margin']:.3f}",
            highlight=False,
        )
