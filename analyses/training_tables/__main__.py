"""The training tables of the write-ups, trained again: python -m analyses.training_tables table6.

python -m analyses.training_tables table6 table7 seeds262 recipe
python -m analyses.training_tables table5 --base 311p-base
python -m analyses.training_tables figure5
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from tyro.conf import Positional

from model.errors import InputError
from model.shell import (
    OutFolder,
    Output,
    Seeds,
    Share,
    Workers,
    read_seeds,
    run_command,
    show_files,
)
from train.options import Device

Name = Literal["table1", "table5", "table6", "table7", "seeds262", "recipe", "figure5", "figure6"]


def training_tables(
    names: Positional[tuple[Name, ...]],
    *,
    out: OutFolder | None = None,
    runs: Path = Path("runs"),
    seeds: Seeds | None = None,
    steps_scale: Share = 1.0,
    workers: Workers = 2,
    device: Device = "cpu",
    base: str = "311p-base",
    full_length: bool = False,
) -> None:
    """Train again what the write-ups' training tables report, and print it beside their numbers.

    Interrupted at any moment, the same command resumes.

    Args:
        names: Tables to make; figure5 and figure6 are redrawn from table6 and table7 as saved.
        out: Where tables and figures go; by default analyses/results.
        runs: Where runs are kept and resumed from.
        seeds: Seeds instead of each table's own, numbers and ranges.
        steps_scale: Length of every run as a share of the stated one, for a trial; below 1 it
            needs an --out of its own.
        workers: Processes on this machine.
        device: cpu, or cuda to train all seeds of a sweep at once on a GPU.
        base: Checkpoint that table5 starts from.
        full_length: Train every run to the end; by default those by the published recipe stop
            where their loss is above 0.9 at step 40,000 or above 0.4 at 80,000.
    """
    if not names:
        raise InputError(f"no table named: choose from {', '.join(get_args(Name))}")
    if steps_scale == 0:
        raise InputError("--steps-scale is 0: it must be above 0")
    if steps_scale < 1 and out is None:
        raise InputError("a trial with --steps-scale is no result: give it an --out of its own")
    from analyses.claims import RESULTS
    from analyses.training_tables.studies import FIGURES
    from analyses.training_tables.study import draw_figure, make_table
    from analyses.training_tables.sweeps import Settings
    from train.engine import check_device

    check_device(device)
    folder = out or RESULTS
    settings = Settings(
        out=folder,
        runs=runs,
        seeds=tuple(read_seeds(seeds)) if seeds else (),
        scale=steps_scale,
        workers=workers,
        device=device,
        base=base,
        full_length=full_length,
    )
    redrawn = {figure: table for table, (figure, _) in FIGURES.items() if figure != table}
    output = Output(folder, by="python -m analyses.training_tables", adds=True)
    with output, output.writing():
        for name in names:
            if name in redrawn:
                draw_figure(redrawn[name], folder)
            else:
                make_table(name, settings)
    show_files(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        training_tables,
        argv,
        prog="python -m analyses.training_tables",
        example="python -m analyses.training_tables table6 table7 --workers 2",
    )


if __name__ == "__main__":
    raise SystemExit(main())
