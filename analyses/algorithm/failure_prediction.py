"""Does an account know *which* columns a network gets wrong?

If an account is right, whether a column fails depends on its state alone. So failures are counted
per (column, state) on one half of uniform pairs (true prefix), smoothed towards the column's rate,
and these risks rank the column examples of the other half. Floors: the column alone, and shuffled
failures (0.5); ceiling: (column, S, T, s). The look-ahead's state includes how far the carry has
come, since that is what it has to look through.
"""

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import fisher_exact

from analyses.algorithm.hypotheses import cell
from analyses.algorithm.local_answers import Contexts
from model.intervals import clopper_pearson

STATES = {
    "column alone": lambda c: np.zeros(len(c), dtype=int),
    "no carry": lambda c: c.S.astype(int),
    "query only": lambda c: c.s.astype(int),
    "look-ahead": lambda c: (c.S.astype(int) * 2 + c.carry) * 11 + c.chain,
    "carry bit": lambda c: c.S.astype(int) * 2 + c.carry,
    "place value": lambda c: c.u10.astype(int) + 9,
    "lookup": lambda c: c.S.astype(int) * 10 + c.s,
    "any f(S, T, s)": cell,
}
"""State of each account on a true prefix, where a carry bit equals the carry of the operands."""

SHUFFLED = "shuffled failures"
_STATES = 4096


def predict_failures(contexts: Contexts, draws: int, seed: int) -> pd.DataFrame:
    """Rank held-out column examples by each account's risk and score the ranking.

    Args:
        contexts: Examples on the true prefix, ten (columns 1 to 10) a pair in order.
        draws: Bootstrap draws over failing examples for the interval of the area.
        seed: For the bootstrap and the shuffled control.

    Returns:
        One row per account: held-out area under the ROC curve (NaN without failures in either
        half) with a 95 % interval, bits: log2 likelihood gained per held-out failure over the
        column alone, share of held-out failures in cells that mostly failed (recall) and the
        failing share of those cells' examples (precision).
    """
    rng = np.random.default_rng(seed)
    failed = contexts.margin < 0
    half = np.arange(len(contexts)) // 10 % 2 == 0
    scored = [(name, state(contexts), failed) for name, state in STATES.items()]
    scored.append((SHUFFLED, STATES["any f(S, T, s)"](contexts), rng.permutation(failed)))
    rows, base = [], 0.0
    columns = contexts.column.astype(int)
    for name, state, labels in scored:
        key = columns * _STATES + state
        size = 16 * _STATES
        fit_n, test_n = (np.bincount(key[h], minlength=size) for h in (half, ~half))
        fit_f, test_f = (np.bincount(key[h & labels], minlength=size) for h in (half, ~half))
        by_column = fit_f.reshape(16, -1).sum(axis=1) / np.maximum(
            fit_n.reshape(16, -1).sum(axis=1), 1
        )
        prior = np.repeat(np.maximum(by_column, 1e-9), _STATES)
        risk = (fit_f + 0.5) / (fit_n + 0.5 / prior)
        gain = float(
            (test_f * np.log2(risk) + (test_n - test_f) * np.log1p(-risk) / np.log(2)).sum()
        )
        base = gain if name == "column alone" else base
        n_failed = int(test_f.sum())
        area, low, high = _area(risk, test_n, test_f, draws, rng)
        named = 2 * fit_f > fit_n
        caught, flagged = int(test_f[named].sum()), int(test_n[named].sum())
        rows.append(
            {
                "account": name,
                "auc": area,
                "low": low,
                "high": high,
                "bits": (gain - base) / n_failed if n_failed else float("nan"),
                "recall": caught / n_failed if n_failed else float("nan"),
                "precision": caught / flagged if flagged else float("nan"),
                "failures": n_failed,
                "examples": int(test_n.sum()),
            }
        )
    return pd.DataFrame(rows)


def _area(
    risk: np.ndarray, n: np.ndarray, failed: np.ndarray, draws: int, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Area under the ROC curve from counts per cell, with a bootstrap over failing examples."""
    if not failed.any():
        return float("nan"), float("nan"), float("nan")
    right = n - failed
    levels, place = np.unique(risk, return_inverse=True)
    right_at = np.bincount(place, right, minlength=len(levels))
    below = np.cumsum(right_at) - right_at
    percentile = (below + right_at / 2) / max(right.sum(), 1)
    each = np.repeat(percentile[place], failed)
    drawn = each[rng.integers(0, len(each), (draws, len(each)))].mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(each.mean()), float(low), float(high)


def failure_directions(contexts: Contexts) -> pd.DataFrame:
    """Count wrong answers by the previous carry, and by how much they are off.

    Place value makes x = T - s one short where the column below received a carry (u is a tenth
    lower there), so it predicts that answers one too small crowd there.

    Returns:
        One row per carry into the column below and error (answer less truth, modulo 10, -5 to 4;
        NaN for no digit): failures, examples with that carry, rate with its 95 % interval.
    """
    failed = contexts.margin < 0
    true = (contexts.S + contexts.carry) % 10
    error = ((contexts.answer - true + 5) % 10 - 5).astype(float)
    error[contexts.answer > 9] = np.nan
    rows = []
    for carry in (0, 1):
        inside = contexts.carry_below == carry
        n = int(inside.sum())
        values = pd.Series(error[inside & failed])
        for value, count in values.value_counts(dropna=False).items():
            low, high = clopper_pearson(int(count), n)
            rows.append([carry, value, int(count), n, count / n, low, high])
    names = ["carry_below", "error", "failures", "examples", "rate", "low", "high"]
    return pd.DataFrame(rows, columns=names).sort_values("failures", ascending=False)


def score_directions(directions: pd.DataFrame) -> dict[str, float]:
    """Test whether answers one too small go with a carry into the column below (Fisher's exact).

    Returns:
        Odds ratio of -1 against +1, with against without that carry (place value: above 1), and
        its two-sided p; NaN where nothing is off by one.
    """
    counts = directions.set_index(["carry_below", "error"])["failures"].to_dict()
    table = [[counts.get((carry, error), 0) for error in (-1.0, 1.0)] for carry in (1, 0)]
    if not np.sum(table):
        return {"odds_ratio_too_small": float("nan"), "odds_ratio_p": float("nan")}
    found: Any = fisher_exact(table)
    return {"odds_ratio_too_small": float(found[0]), "odds_ratio_p": float(found[1])}
