"""Training curves kept small: logs of runs as one table, with the recipes that made them beside it.

python -m analyses.curves training pipeline transition
python -m analyses.curves training --take 311p-base
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from tyro.conf import Positional

from model.errors import InputError
from model.shell import OutFolder, Output, run_command, show_files

Name = Literal["training", "pipeline", "transition"]


def curves(
    names: Positional[tuple[Name, ...]],
    *,
    take: tuple[str, ...] = (),
    all_seeds: bool = False,
    runs: Path = Path("runs"),
    out: OutFolder | None = None,
) -> None:
    """Keep the training curves that the gallery's figures are drawn from.

    Args:
        names: Figures whose curves to keep: training, pipeline, transition.
        take: Runs, stores or shipped checkpoints to take instead of the figure's own.
        all_seeds: Of the sweeps in --take, every run instead of the best.
        runs: Where the runs are.
        out: Where the tables go; by default analyses/results/curves.
    """
    if not names:
        raise InputError(f"no figure named: choose from {', '.join(get_args(Name))}")
    if take and len(names) > 1:
        raise InputError("--take is for one figure: name just that one")
    from analyses.curves.study import CURVES, keep_set

    folder = out or CURVES
    with Output(folder, by="python -m analyses.curves", adds=True) as output, output.writing():
        for name in names:
            keep_set(name, take, all_seeds, runs, folder)
    show_files(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        curves,
        argv,
        prog="python -m analyses.curves",
        example="python -m analyses.curves training pipeline transition",
    )


if __name__ == "__main__":
    raise SystemExit(main())
