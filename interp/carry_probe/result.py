"""What the carry probe leaves behind: tables, exact scores, verdict, and the files they become."""

import dataclasses
import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from interp.carry_probe.attention import token_effect
from interp.carry_probe.criteria import FIXED
from interp.carry_probe.verdict import Statement
from interp.output import save_json, save_table
from model.archive import read_archive
from model.errors import InputError
from model.layouts import Layout
from model.reading import FILE_LIMIT, open_regular, read_json, read_regular
from model.shell import refuse_cut_off, write_atomic

SUMMARY, SCORES = "result.json", "scores.npz"
AS_TEXT = {"carry_in": str, "head": str}
"""Columns of tables that hold "all" beside numbers."""


@dataclass(frozen=True)
class Result:
    """Everything a run found.

    Attributes:
        name: The checkpoint's name.
        settings: The configuration as plain data.
        layout: The task.
        tables: Tidy tables by name.
        scores: The exact score table, see `interp.carry_probe.attention.score_table`.
        wrapper_difference: Largest relative difference of any hook from the wrapper's; None if
            they were not compared.
        statements: The verdict.
        notes: What could not be asked of this network, and how its random controls were made.
    """

    name: str
    settings: dict[str, Any]
    layout: Layout
    tables: dict[str, pd.DataFrame]
    scores: np.ndarray
    wrapper_difference: float | None
    statements: list[Statement]
    notes: list[str]

    @cached_property
    def by_position_alone(self) -> bool:
        """Whether no token changes any attention pattern."""
        return token_effect(torch.as_tensor(self.scores), self.layout) < FIXED


def save(result: Result, folder: Path) -> list[Path]:
    """Write every table as CSV, the exact scores as NPZ and the rest as JSON."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, scores=result.scores.astype(np.float32))
    paths = [save_table(table, folder / f"{name}.csv") for name, table in result.tables.items()]
    paths.append(write_atomic(folder / SCORES, buffer.getvalue()))
    content = {
        "name": result.name,
        "settings": result.settings,
        "layout": result.layout.to_dict(),
        "wrapper_difference": result.wrapper_difference,
        "verdict": [dataclasses.asdict(statement) for statement in result.statements],
        "notes": result.notes,
        "tables": list(result.tables),
    }
    return [*paths, save_json(content, folder / SUMMARY)]


def load(folder: Path) -> Result:
    """Read what `save` wrote, to redraw its figures.

    Raises:
        InputError: The folder does not hold a whole result.
    """
    refuse_cut_off(folder)
    try:
        content = read_json(folder / SUMMARY)
        tables = {
            name: pd.read_csv(open_regular(folder / f"{name}.csv"), dtype=AS_TEXT)
            for name in content["tables"]
        }
        layout = Layout.from_dict(content["layout"])
        packed = read_archive(read_regular(folder / SCORES), FILE_LIMIT)
        scores = np.load(io.BytesIO(packed["scores.npy"]), allow_pickle=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder} holds no result of the carry probe: run it again") from error
    return Result(
        content["name"],
        content["settings"],
        layout,
        tables,
        scores,
        content["wrapper_difference"],
        [Statement(**statement) for statement in content["verdict"]],
        content["notes"],
    )
