"""The result of a failure diff: tables and numbers, saved so that figures redraw from files."""

import dataclasses
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from interp.failure_diff.columns import Focus
from interp.failure_diff.controls import Control
from interp.failure_diff.evidence import CarryScale
from interp.output import save_json, save_table
from model.errors import InputError
from model.reading import open_regular, read_json
from model.shell import refuse_cut_off, write_atomic

SUMMARY, WHY = "result.json", "why.txt"

_TEXT_COLUMNS = ("true", "forced_predicted", "forced_runner_up", "greedy_predicted", "answer")
_TEXT_COLUMNS += ("greedy_runner_up", "element", "token", "top", "operand", "edit_column", "offset")


@dataclass(frozen=True)
class HowOften:
    """The local context of the focus column and how often it fails.

    Attributes:
        context: The context in words.
        share: Its exact share of all 10^20 pairs, as a fraction in lowest terms.
        failing: How many of the `sampled` random inputs of it are wrong in the focus column.
        sampled: Number of random inputs.
        interval: Clopper-Pearson interval of the failing share.
    """

    context: str
    share: str
    failing: int
    sampled: int
    interval: tuple[float, float]


@dataclass(frozen=True)
class Result:
    """What the comparison found; see the modules `interp.diff_*` for each table's columns.

    Attributes:
        checkpoint: Name of the model.
        a: First operand.
        b: Second operand.
        answer: The greedy answer, -1 where it is no number.
        focus: The column that is explained.
        columns: The input's column table.
        control_columns: The first control's column table; empty without a control.
        attention: Pattern (2, 12, 33) of the input and of the first control.
        controls: Controls to patch from, the first one drawn beside the input.
        scale: Where the input stands between no carry and carry; None where that has no meaning.
        how_often: The failing context's share.
        tables: All other tables by name.
        why: The computed explanation.
    """

    checkpoint: str
    a: int
    b: int
    answer: int
    focus: Focus
    columns: pd.DataFrame
    control_columns: pd.DataFrame
    attention: np.ndarray
    controls: tuple[Control, ...]
    scale: CarryScale | None
    how_often: HowOften
    tables: dict[str, pd.DataFrame]
    why: str = ""


def save_result(result: Result, folder: Path) -> list[Path]:
    """Write every table as CSV, the numbers as JSON and the explanation as text."""
    tables = {"columns": result.columns, "control_columns": result.control_columns}
    paths = [
        save_table(table, folder / f"{name}.csv")
        for name, table in (tables | result.tables).items()
        if len(table.columns)
    ]
    plain = ("checkpoint", "a", "b", "answer", "attention", "why")
    summary: dict[str, Any] = {name: getattr(result, name) for name in plain}
    summary |= {
        "focus": dataclasses.asdict(result.focus),
        "controls": [dataclasses.asdict(c) for c in result.controls],
        "scale": None if result.scale is None else dataclasses.asdict(result.scale),
        "how_often": dataclasses.asdict(result.how_often),
        "tables": sorted(name for name, table in result.tables.items() if len(table.columns)),
    }
    paths.append(save_json(summary, folder / SUMMARY))
    paths.append(write_atomic(folder / WHY, result.why + "\n"))
    return paths


def read_result(folder: Path) -> Result:
    """Read a saved result back, so that its figures can be drawn again without the model.

    Raises:
        InputError: The folder does not hold a complete result.
    """
    refuse_cut_off(folder)
    try:
        summary = read_json(folder / SUMMARY)
        tables = {name: _read_table(folder, name) for name in summary["tables"]}
        scale = summary["scale"]
        if scale is not None:
            ranges = {name: tuple(scale[name]) for name in ("without_range", "with_range", "n")}
            scale = CarryScale(**scale | ranges)
        often = summary["how_often"]
        control_file = (folder / "control_columns.csv").exists()
        return Result(
            checkpoint=summary["checkpoint"],
            a=summary["a"],
            b=summary["b"],
            answer=summary["answer"],
            focus=Focus(**summary["focus"]),
            columns=_read_table(folder, "columns"),
            control_columns=_read_table(folder, "control_columns")
            if control_file
            else pd.DataFrame(),
            attention=np.array(summary["attention"]),
            controls=tuple(Control(**c) for c in summary["controls"]),
            scale=scale,
            how_often=HowOften(**often | {"interval": tuple(often["interval"])}),
            tables=tables,
            why=summary["why"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder} holds no complete failure diff: run python -m interp.failure_diff again "
            f"({error})"
        ) from error


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Give a table's rows as dictionaries of plain values."""
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _read_table(folder: Path, name: str) -> pd.DataFrame:
    text: dict[Hashable, type[str]] = dict.fromkeys(_TEXT_COLUMNS, str)
    return pd.read_csv(open_regular(folder / f"{name}.csv"), dtype=text)
