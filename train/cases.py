"""Extra training cases from a file: pairs, or contexts with free digits."""

import io
import reprlib
from pathlib import Path

import numpy as np
import pandas as pd

from model.errors import InputError
from model.reading import MIB, read_regular
from model.task import MAX_OPERAND, N_DIGITS

FREE, CASES_LIMIT = "?", 4 * MIB


def read_cases(path: Path) -> np.ndarray:
    """Read a CSV with columns a and b.

    Each operand is a number, or ten characters of digits and `?` (most significant first), where
    `?` is drawn afresh every time the case is used: "????4466??".

    Returns:
        Array (n, 20) int32: digits of a then of b, units first, -1 where free.

    Raises:
        InputError: No regular file, no such columns, or an operand that cannot be read.
    """
    try:
        data = io.BytesIO(read_regular(path, CASES_LIMIT))
    except FileNotFoundError as error:
        raise InputError(f"no file of cases {path}") from error
    try:
        table = pd.read_csv(data, dtype=str, keep_default_na=False, usecols=["a", "b"])
    except ValueError as error:
        raise InputError(f"{path} is no CSV with columns a and b") from error
    if table.empty:
        raise InputError(f"{path} has no cases")
    rows = [
        _operand(a, path) + _operand(b, path) for a, b in zip(table["a"], table["b"], strict=True)
    ]
    return np.array(rows, np.int32)


def write_cases(cases: np.ndarray) -> str:
    """Write cases (n, 20), as `read_cases` gives them, as CSV text."""
    lines = ["a,b"]
    for row in cases:
        halves = (row[:N_DIGITS][::-1], row[N_DIGITS:][::-1])
        lines.append(",".join("".join(FREE if x < 0 else str(x) for x in half) for half in halves))
    return "\n".join(lines) + "\n"


def _operand(text: str, path: Path) -> list[int]:
    text = text.strip()
    padded = text.zfill(N_DIGITS)
    if len(padded) != N_DIGITS or not set(padded) <= set("0123456789" + FREE) or not text:
        raise InputError(
            f"{path}: operand {reprlib.repr(text)} is neither a number 0 to {MAX_OPERAND} "
            f"nor ten characters of digits and {FREE}"
        )
    return [-1 if x == FREE else int(x) for x in reversed(padded)]
