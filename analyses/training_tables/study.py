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

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table

from analyses.training_tables.studies import FIGURES, STUDIES
from analyses.training_tables.sweeps import Settings
from interp.output import save_figure, save_json, save_table
from model.checkpoint import versions
from model.errors import InputError
from model.reading import open_regular
from model.shell import console

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
    print_study(name, study.table, study.facts)


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


def print_study(name: str, table: pd.DataFrame, facts: Mapping[str, Any]) -> None:
    """Print a table, and the rates that belong to it."""
    if "exact" in table:
        notable = table[table["exact"] > NOTABLE].sort_values(
            ["source", "exact"], ascending=[True, False]
        )
        console.print(lay_out_rows(f"{name}: seeds above {NOTABLE:.0%}", notable))
        console.print(lay_out_rows(f"{name}: rates", pd.DataFrame(facts["rates"])))
    else:
        console.print(lay_out_rows(name, table))
    for preset, p_value in facts.get("p_value_between_recipes", {}).items():
        console.print(
            f"{preset}: the two recipes differ with p = {p_value:.2g} (Fisher's exact test)",
            highlight=False,
        )


def lay_out_rows(title: str, table: pd.DataFrame) -> Table:
    """Lay rows out for the terminal; a rate and its interval become one column."""
    view = Table(title=title, title_justify="left")
    rows = table.copy()
    for prefix in ("published_", ""):
        names = [prefix + name for name in ("grokked", "runs", "rate", "low", "high")]
        if set(names) <= set(rows):
            cells = [_describe(*values) for values in rows[names].to_numpy()]
            rows.insert(rows.columns.get_loc(names[0]), f"{prefix}grok rate", cells)
            rows = rows.drop(columns=names)
    for kind in ("official", "fresh"):
        names = [f"{kind}_{name}" for name in ("errors", "exact_low", "exact_high")]
        if set(names) <= set(rows):
            pairs = rows[f"{kind}_pairs"].max()
            cells = [_describe_errors(*values) for values in rows[names].to_numpy()]
            rows.insert(rows.columns.get_loc(names[0]), f"{kind}: wrong of {pairs:,.0f}", cells)
            rows = rows.drop(columns=[*names, f"{kind}_pairs"])
    for column in rows:
        view.add_column(str(column).replace("_", " "), justify="right", overflow="fold")
    for row in rows.to_dict("records"):
        view.add_row(*("" if pd.isna(value) else _format(value) for value in row.values()))
    return view


def _describe(grokked: float, runs: float, rate: float, low: float, high: float) -> str | None:
    if pd.isna(rate):
        return None
    return f"{grokked:.0f}/{runs:.0f} = {rate:.0%} ({low:.0%} to {high:.0%})"


def _describe_errors(errors: float, low: float, high: float) -> str | None:
    if pd.isna(errors):
        return None
    return f"{errors:,.0f} ({1 - high:.1e} to {1 - low:.1e})"


def _format(value: Any) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) > 1:
        return f"{value:,.0f}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
