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

from pathlib import Path

import pandas as pd

from analyses.training_tables.studies import FIGURES, STUDIES
from analyses.training_tables.summary import summarise
from analyses.training_tables.sweeps import Settings
from interp.output import save_figure, save_json, save_table
from model.checkpoint import versions
from model.errors import InputError
from model.reading import open_regular
from model.shell import print_summary

NOTABLE = 0.1
"""Seeds below this exact match are counted, not listed."""


def make_table(name: str, settings: Settings) -> None:
    """Train what a table needs, write it with its figure, and print it."""
    study = STUDIES[name](settings)
    save_table(study.table, settings.out / f"{name}.csv")
    content = {"table": name, "scale": settings.scale, **study.facts, "versions": versions()}
    save_json(content, settings.out / f"{name}.json")
    if name in FIGURES:
        draw_figure(name, settings.out)
    print_summary(summarise(name, study.table, study.facts))


def draw_figure(name: str, out: Path) -> None:
    """Draw a table's figure from its saved rows.

    Raises:
        InputError: The table has not been made.
    """
    path = out / f"{name}.csv"
    if not path.exists():
        raise InputError(f"{path} is not there: run python -m analyses.training_tables {name}")
    stem, plot = FIGURES[name]
    save_figure(plot(pd.read_csv(open_regular(path))), out / stem)
