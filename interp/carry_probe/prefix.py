"""Inconsistent prefixes: what the next digit makes of a wrong s_{i-1}.

With t = a_{i-1} + b_{i-1}, a true prefix has t - s_{i-1} = -1 or 0 (no carry) or, in base 10, 9 or
10 (carry). Feeding every s_{i-1} gives every value from -9 to 18, and tells apart three ways to
know the carry: a soft place value is graded in t - s_{i-1} (and goes on to shifts of 2 and -1 at
the ends), a carry bit is a step, and looking ahead at the operands alone is flat.

Response: r = logit[D + 1] - logit[D], with D = (a_i + b_i) mod 10 the digit without a carry.
`flat` and `fed` are free tables of t and of s_{i-1} alone: `fed` is what a network does that sees
nothing of the operands below. `ramp` is a line between two saturation points and contains both
`linear` and `step`; `lookup` is a free table of (t, s_{i-1}), the ceiling of anything that depends
on these two alone. Rivals are fitted for each value of a_i + b_i on one half of the operand pairs
and scored on the other (R^2).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from interp.anatomy import Specimen, trace_hooks
from interp.carry_probe.data import ProbeInputs
from model.layouts import Layout

RIVALS = ("flat", "fed", "step", "linear", "ramp", "lookup")

_COLUMNS = ["column", "input", "total", "t", "fed", "true", "response", "shift"]


MOST_FED = 20
"""Most wrong digits that are fed to one input; in a larger base they are spread over its digits."""
MOST_THRESHOLDS = 28
"""Most places at which a step or a ramp may begin or end."""


def shift_of(answer: np.ndarray, digit: np.ndarray, layout: Layout) -> np.ndarray:
    """Return by how much an answer token differs from a digit, mod base; NaN for no digit.

    The range is -5 to 4 in base 10; in small bases it is chosen to hold 1 and 2.
    """
    base, value = layout.base, answer - layout.first_digit
    low = lowest_shift(base)
    shift = ((value - digit - low) % base + low).astype(float)
    shift[(value < 0) | (value >= base)] = np.nan
    return shift


def lowest_shift(base: int) -> int:
    """Return the lowest of the `base` shifts."""
    return -min(base // 2, max(base - 3, 0))


def fed_digits(base: int) -> list[int]:
    """List the digits that are fed."""
    n = min(base, MOST_FED)
    return [k * (base - 1) // (n - 1) for k in range(n)]


def wrong_prefixes(specimen: Specimen, data: ProbeInputs, columns: Sequence[int]) -> pd.DataFrame:
    """Feed every digit as s_{i-1} and record the answer of column i.

    Args:
        specimen: The network, with an answer that is written units first.
        data: Inputs; only the token s_{i-1} is changed.
        columns: Answer columns, 1 up (column 0 has no s_{i-1}).

    Returns:
        One row per column, input and fed digit: `total` (a_i + b_i), `t`, `fed`, whether it is the
        true one, `response`, and the `shift` of the answer from D (`shift_of`).
    """
    layout = specimen.layout
    base, first = layout.base, layout.first_digit
    parts = [pd.DataFrame(columns=_COLUMNS)] if not columns else []
    for column in columns:
        total = torch.as_tensor(data.sums(column))
        digit = total % base
        t = torch.as_tensor(data.sums(column - 1))
        for fed in fed_digits(base):
            tokens = data.tokens.clone()
            tokens[:, layout.query_position(column)] = first + fed
            logits = trace_hooks(specimen, tokens, column)["logits"]
            response = logits.gather(1, first + (digit[:, None] + 1) % base) - logits.gather(
                1, first + digit[:, None]
            )
            parts.append(
                pd.DataFrame(
                    {
                        "column": column,
                        "input": np.arange(len(tokens)),
                        "total": total.numpy(),
                        "t": t.numpy(),
                        "fed": fed,
                        "true": data.query(column) == first + fed,
                        "response": response[:, 0].numpy(),
                        "shift": shift_of(logits.argmax(dim=1).numpy(), digit.numpy(), layout),
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def response_curve(prefixes: pd.DataFrame, base: int) -> pd.DataFrame:
    """Average the response and the shifts over inputs with the same t - s_{i-1}.

    Returns:
        One row per column and x = t - s_{i-1}: mean response (of inputs with D < base - 1) with its
        standard deviation, mean shift, share of answers shifted by -1, 0, 1 and 2, number of
        inputs, and whether x occurs with a true prefix.
    """
    table = prefixes.assign(x=prefixes["t"] - prefixes["fed"])
    # D + 1 wraps from 9 to 0 there: an answer ten steps away, with logits on another scale.
    table["response"] = table["response"].where(table["total"] % base != base - 1)
    for k in (-1, 0, 1, 2):
        table[f"shift {k}"] = (table["shift"] == k).astype(float)
    grouped = table.groupby(["column", "x"], sort=True)
    curve = grouped[["shift", "shift -1", "shift 0", "shift 1", "shift 2"]].mean()
    curve.insert(0, "response", grouped["response"].mean())
    curve.insert(1, "response_sd", grouped["response"].std(ddof=0))
    curve["n"] = grouped.size()
    consistent = (-1, 0, base - 1, base)
    curve["consistent"] = np.isin(curve.index.get_level_values("x"), consistent)
    return curve.reset_index()


def compare_rivals(prefixes: pd.DataFrame, base: int) -> pd.DataFrame:
    """Fit every rival's account of the response and score it on held-out operand pairs.

    Only held-out rows whose (t, s_{i-1}) occurs in training count, so that `lookup` is never asked
    for what it cannot know.

    Returns:
        One row per column and rival: held-out R^2, averaged over the values of a_i + b_i (each has
        a scale of its own) by their number of rows, and that number `n`.
    """
    rows = []
    for column, table in prefixes.groupby("column"):
        found: dict[str, list[float]] = {rival: [] for rival in RIVALS}
        weights = []
        for _, cell in table.groupby("total"):
            train = (cell["input"] % 2 == 0).to_numpy()
            t, fed, r = (cell[name].to_numpy(float) for name in ("t", "fed", "response"))
            test = ~train & np.isin(base * t + fed, (base * t + fed)[train])
            if not test.any():
                continue
            spread = float(((r[test] - r[train].mean()) ** 2).sum())
            for rival in RIVALS:
                error = float(((r - _predict(rival, t, fed, r, train, base))[test] ** 2).sum())
                found[rival].append(1 - error / spread if spread > 0 else float("nan"))
            weights.append(int(test.sum()))
        for rival, values in found.items():
            score = float(np.average(values, weights=weights)) if weights else float("nan")
            rows.append({"column": column, "rival": rival, "r_squared": score, "n": sum(weights)})
    return pd.DataFrame(rows)


def _predict(
    rival: str, t: np.ndarray, fed: np.ndarray, r: np.ndarray, train: np.ndarray, base: int
) -> np.ndarray:
    """Fit one rival on the training rows and predict every row."""
    x = t - fed
    if rival == "flat":
        return _cell_means(t, r, train)
    if rival == "fed":
        return _cell_means(fed, r, train)
    if rival == "lookup":
        return _cell_means(base * t + fed, r, train)
    if rival == "linear":
        return _line(x, r, train)[0]
    step = -(-(3 * base - 2) // MOST_THRESHOLDS)
    thresholds = np.arange(0.5 - base, 2 * base - 1.5, step)
    if rival == "step":
        edges = [(low, low) for low in thresholds]
    else:
        edges = [(a, b) for a in thresholds[::3] for b in thresholds[::3] if b >= a]
    fits = [_line(_saturate(x, *edge), r, train) for edge in edges]
    return min(fits, key=lambda fit: fit[1])[0]


def _saturate(x: np.ndarray, low: float, high: float) -> np.ndarray:
    return (x > low).astype(float) if low == high else np.clip(x, low, high)


def _cell_means(key: np.ndarray, r: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Predict the training mean of the same key, or of all rows where the key is new."""
    _, code = np.unique(key, return_inverse=True)
    count = np.bincount(code[train], minlength=code.max() + 1)
    total = np.bincount(code[train], weights=r[train], minlength=code.max() + 1)
    mean = np.where(count > 0, total / np.maximum(count, 1), r[train].mean())
    return mean[code]


def _line(x: np.ndarray, r: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, float]:
    """Fit r = a + b x by least squares; return the predictions and the training error."""
    centre = x[train].mean()
    variance = float(((x[train] - centre) ** 2).sum())
    slope = float(((x[train] - centre) * r[train]).sum()) / variance if variance > 0 else 0.0
    predicted = r[train].mean() + slope * (x - centre)
    return predicted, float(((r[train] - predicted[train]) ** 2).sum())
