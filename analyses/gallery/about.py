"""Which model a gallery figure shows, and the untrained ones beside it."""

import pandas as pd

from analyses.gallery.figure import Tables
from model.adder import Adder
from model.checkpoint import Checkpoint
from model.config import ModelConfig
from model.factored import init_params

RANDOM_INITS = 5
"""Untrained models of the same shape that stand beside a trained one."""

MODEL = "model"
"""Name of the table with one row: which model, how large, and what it was measured on."""


def describe_model(read: Checkpoint, **numbers: int | float | str) -> pd.DataFrame:
    """Make the one-row table that says which model a figure is of.

    Args:
        read: The checkpoint.
        **numbers: Further single values that the caption needs.
    """
    config = read.model.config
    row = {"checkpoint": read.name, "n_params": config.n_params, "d_model": config.d_model}
    return pd.DataFrame([{**row, "d_ff": config.d_ff, **numbers}])


def number(tables: Tables, name: str) -> float:
    """Read a single value of the model's table."""
    return float(tables[MODEL][name].iloc[0])


def title_of(tables: Tables) -> str:
    """Name the model for the head of a figure."""
    return str(tables[MODEL]["checkpoint"].iloc[0])


def subject_of(tables: Tables) -> str:
    """Name the model for a caption."""
    return f"{title_of(tables)} ({number(tables, 'n_params'):.0f} parameters)"


def random_inits(config: ModelConfig, n: int = RANDOM_INITS) -> list[Adder]:
    """Draw untrained models of the same shape."""
    return [Adder(config, init_params(config, seed=1_000 + i)) for i in range(n)]
