"""Search for a small adder: python -m train.search --parametrisation circle23 --seeds 0-95."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from model.shell import (
    Between,
    OutFolder,
    Seeds,
    console,
    progress_bar,
    read_seeds,
    run_command,
    show_files,
)
from train.search.config import Name, Polish, Recipe


def search(
    *,
    parametrisation: Name = "circle23",
    seeds: Seeds = ("0-95",),
    recipe: Recipe = Recipe(),  # noqa: B008 (frozen)
    polish: Polish = Polish(),  # noqa: B008
    n_polished: Annotated[int, Between(1, 64)] = 2,
    out: OutFolder | None = None,
) -> None:
    """Train many seeds of a parametrisation side by side; the same command again resumes it.

    Leaves seeds.csv and, in best/, the best network, which every command reads.

    Args:
        parametrisation: How the network is written; the number counts what is trained.
        seeds: Numbers and ranges.
        recipe: Schedule, data and optimizer.
        polish: How the best seeds are trained on, on their own extreme pairs.
        n_polished: How many of the best seeds are.
        out: Output folder; by default runs/search-PARAMETRISATION.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    from train.search.parametrisations import PARAMETRISATIONS
    from train.search.run import Search, run_search

    folder = out or Path("runs") / f"search-{parametrisation}"
    wanted = Search(
        parametrisation=PARAMETRISATIONS[parametrisation],
        seeds=tuple(read_seeds(seeds)),
        recipe=recipe,
        polish=polish,
        n_polished=n_polished,
    )
    words = TextColumn("loss {task.fields[loss]:.4f}  seeds {task.fields[left]}")
    columns = (BarColumn(), MofNCompleteColumn(), words, TimeRemainingColumn())
    with progress_bar(*columns, transient=False) as bar:
        task = bar.add_task(folder.name, total=recipe.steps, loss=float("nan"), left=0)
        table = run_search(
            wanted,
            folder,
            lambda step, loss, left: bar.update(task, completed=step, loss=loss, left=left),
        )
    perfect = int((table["failing"] == 0).sum()) if "failing" in table else 0
    console.print(
        f"{perfect} of {len(table)} seeds have no failing context (their best losses: "
        f"{', '.join(f'{x:.3f}' for x in sorted(table['loss'])[:3])}); certify best/ for a proof",
        highlight=False,
    )
    show_files(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        search,
        argv,
        prog="python -m train.search",
        example="python -m train.search --parametrisation circle23 --seeds 0-95",
    )


if __name__ == "__main__":
    raise SystemExit(main())
