"""Numbers as a reader wants them: few digits, but never a rate rounded up to 1 or down to 0."""

import math
import re

import pandas as pd
from pandas.api.types import is_bool_dtype, is_float_dtype, is_integer_dtype

DIGITS = 4
"""Decimals of a column of rates, and significant digits of other numbers."""
_NUMBER = re.compile(r"[-+\u2212]?[\d.,]+(e[-+]?\d+)?( ?%)?( to [-+\u2212]?[\d.,]+(e[-+]?\d+)?)?")


def format_number(value: float, digits: int = DIGITS) -> str:
    """Write one number with few digits.

    A number that is not 0 or 1 never reads as if it were; large integers get separators.
    """
    if math.isnan(value):
        return ""
    if math.isinf(value) or value == int(value):
        return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.{digits - 1}e}"
    size = abs(value)
    if size < 1e-3 or size >= 1e7:
        return f"{value:.2e}"
    if size < 1 and round(size, digits) == 1.0:
        return f"{value:.{min(15, 1 - math.floor(math.log10(1 - size) + 1e-9))}f}"
    if size < 1:
        return f"{value:.{digits}f}"
    return f"{value:,.{max(0, digits - 1 - math.floor(math.log10(size)))}f}"


def format_column(column: pd.Series) -> list[str]:
    """Write a column: floats with the same number of decimals where that loses nothing."""
    if is_bool_dtype(column.dtype):
        return ["yes" if value else "no" for value in column]
    if is_integer_dtype(column.dtype):
        return [f"{value:,}" for value in column]
    if not is_float_dtype(column.dtype):
        return ["" if pd.isna(value) else str(value) for value in column]
    known = column.dropna()
    if (known == known.round()).all():
        return [format_number(float(value)) for value in column]
    largest = float(known.abs().max())
    decimals = DIGITS if largest <= 1 else max(0, DIGITS - 1 - math.floor(math.log10(largest)))
    certain = (0.0, 1.0) if largest <= 1 else (0.0,)
    return [_fixed(float(value), decimals, certain) for value in column]


def is_numeric(cells: list[str]) -> bool:
    """Tell whether a column of written cells is to be aligned as numbers."""
    filled = [cell for cell in cells if cell]
    return bool(filled) and all(_NUMBER.fullmatch(cell) for cell in filled)


def say_rate(low: float, high: float) -> str:
    """Write an interval."""
    return f"{format_number(low)} to {format_number(high)}"


def _fixed(value: float, decimals: int, certain: tuple[float, ...]) -> str:
    if math.isnan(value):
        return ""
    text = f"{value:,.{decimals}f}"
    shown = float(text.replace(",", ""))
    exact = shown == value
    if not exact and (shown in certain or (value and abs(shown / value - 1) > 0.05)):
        return format_number(value)
    return text
