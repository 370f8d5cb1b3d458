"""The training tables of the write-ups, trained again: python -m analyses.training_tables table6.

Question: do the rates, rounds and records that the two write-ups print come out when everything is
trained here?

Method: each table is one or several sweeps (train.sweep) or rounds of fine-tuning (train.finetune),
resumed from the runs that are there already, and written as OUT/NAME.csv and NAME.json beside the
published numbers, rates with Clopper-Pearson intervals; a sweep's own rows go to OUT/sweeps.

    python -m analyses.training_tables table6 table7 seeds262 recipe
    python -m analyses.training_tables table5 --base 311p-base
    python -m analyses.training_tables figure5
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pandas as pd
from tyro.conf import Positional

from analyses.claims import RESULTS
from analyses.training_tables.studies import FIGURES, STUDIES
from analyses.training_tables.summary import summarise
from analyses.training_tables.sweeps import Settings
from interp.output import save_figure, save_json, save_table
from model.checkpoint import versions
from model.errors import InputError
from model.shell import console, print_summary, run_command
from train.engine import check_device
from train.sweep import read_seeds

Name = Literal["table1", "table5", "table6", "table7", "seeds262", "recipe", "figure5", "figure6"]


def make_table(name: str, settings: Settings) -> None:
    """Train what a table needs, write it with its figure, and print it."""
    study = STUDIES[name](settings)
    save_table(study.table, settings.out / f"{name}.csv")
    content = {"table": name, "scale": settings.scale, **study.facts, "versions": versions()}
    save_json(content, settings.out / f"{name}.json")
    if name in FIGURES:
        draw_figure(name, settings.out)
    print_summary(summarise(name, study.table, study.facts), settings.out)


def draw_figure(name: str, out: Path) -> None:
    """Draw a table's figure from its saved rows.

    Raises:
        InputError: The table has not been made.
    """
    path = out / f"{name}.csv"
    if not path.exists():
        raise InputError(f"{path} is not there: run python -m analyses.training_tables {name}")
    stem, plot = FIGURES[name]
    save_figure(plot(pd.read_csv(path)), out / stem)


def training_tables(
    names: Positional[tuple[Name, ...]],
    *,
    out: Path = RESULTS,
    runs: Path = Path("runs"),
    seeds: tuple[str, ...] = (),
    steps_scale: float = 1.0,
    workers: int = 2,
    device: str = "cpu",
    base: str = "311p-base",
    full_length: bool = False,
) -> None:
    """Train again what the write-ups' training tables report, and print it beside their numbers.

    Interrupted at any moment, the same command resumes.

    Args:
        names: Tables to make; figure5 and figure6 are redrawn from table6 and table7 as saved.
        out: Where tables and figures go.
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
        raise InputError(f"no table named: choose from {', '.join(STUDIES)}")
    if not 0 < steps_scale <= 1:
        raise InputError(f"steps_scale is {steps_scale}: it must be above 0 and at most 1")
    if steps_scale < 1 and out == RESULTS:
        raise InputError("a trial with --steps-scale is no result: give it an --out of its own")
    check_device(device)
    settings = Settings(
        out=out,
        runs=runs,
        seeds=tuple(read_seeds(seeds)) if seeds else (),
        scale=steps_scale,
        workers=workers,
        device=device,
        base=base,
        full_length=full_length,
    )
    redrawn = {figure: table for table, (figure, _) in FIGURES.items() if figure != table}
    for name in names:
        if name in redrawn:
            draw_figure(redrawn[name], out)
            console.print(f"files: {out}", highlight=False, soft_wrap=True)
        else:
            make_table(name, settings)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        training_tables,
        argv,
        prog="python -m analyses.training_tables",
        example="python -m analyses.training_tables table6 table7 --workers 2",
    )
