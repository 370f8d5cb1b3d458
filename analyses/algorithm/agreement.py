"""How often each account gives the network's own answer, by kind of prefix."""

import numpy as np
import pandas as pd

from analyses.algorithm.hypotheses import HYPOTHESES, Fit, cell
from analyses.algorithm.local_answers import PREFIXES, Contexts

LEAST_LEAD = 0.01
"""By how much of all contexts an account must beat every baseline."""


def fit_all(contexts: Contexts) -> dict[str, Fit]:
    """Fit every account to answers."""
    return {name: hypothesis.fit(contexts) for name, hypothesis in HYPOTHESES.items()}


def score_agreement(
    contexts: Contexts, fits: dict[str, Fit], draws: int, seed: int
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Score every account on contexts of columns 1 to 10 that it was not fitted to.

    Intervals: percentile bootstrap over cells (S, T, s), since contexts of a cell answer alike.

    Returns:
        One row per account and kind of prefix (and "all"), and the bootstrap draws of "all" by
        account, which are paired between accounts.
    """
    rng = np.random.default_rng(seed)
    below = contexts.take(np.flatnonzero(contexts.column > 0))
    _, cells = np.unique(cell(below), return_inverse=True)
    n_cells = int(cells.max()) + 1
    weights = rng.multinomial(n_cells, np.full(n_cells, 1 / n_cells), size=draws)
    rows, boot = [], {}
    for name, hypothesis in HYPOTHESES.items():
        hit = hypothesis.predict(below, fits[name]) == below.answer
        for index, kind in ((None, "all"), *enumerate(PREFIXES)):
            inside = np.ones(len(below), bool) if index is None else below.prefix == index
            hits = np.bincount(cells[inside], hit[inside], minlength=n_cells)
            n = np.bincount(cells[inside], minlength=n_cells)
            if not n.sum():
                continue
            drawn = (weights @ hits) / np.maximum(weights @ n, 1)
            low, high = np.quantile(drawn, [0.025, 0.975])
            rows.append(
                {
                    "hypothesis": name,
                    "kind": hypothesis.kind,
                    "prefix": kind,
                    "n": int(n.sum()),
                    "agreement": hits.sum() / n.sum(),
                    "low": float(low),
                    "high": float(high),
                }
            )
            if index is None:
                boot[name] = drawn
    return pd.DataFrame(rows), boot


def choose_winner(table: pd.DataFrame, boot: dict[str, np.ndarray]) -> dict[str, object]:
    """Name the account that agrees best, and by how much it leads.

    A baseline within `LEAST_LEAD` of the best account is named instead of it: an account that
    contains a baseline and adds nothing is not what the network does.

    Returns:
        Its name, whether it is a rival (a baseline means that no rival holds), the runner-up among
        the others, the lead with its paired bootstrap interval, and the ceiling of any function of
        (S, T, s).
    """
    scores = table[table["prefix"] == "all"].set_index("hypothesis")
    ranked = scores[scores["kind"] != "ceiling"].sort_values(
        "agreement", ascending=False, kind="stable"
    )
    near = ranked["agreement"] >= ranked["agreement"].iloc[0] - LEAST_LEAD
    baselines = ranked.index[near & (ranked["kind"] == "baseline")]
    first = baselines[0] if len(baselines) else ranked.index[0]
    second = ranked.index.drop(first)[0]
    low, high = np.quantile(boot[first] - boot[second], [0.025, 0.975])
    return {
        "winner": first,
        "is_rival": bool(ranked.loc[first, "kind"] == "rival"),
        "agreement": float(ranked.loc[first, "agreement"]),
        "runner_up": second,
        "lead": float(ranked.loc[first, "agreement"] - ranked.loc[second, "agreement"]),
        "lead_low": float(low),
        "lead_high": float(high),
        "ceiling": float(scores.loc["any f(S, T, s)", "agreement"]),
    }


def shift_curve(contexts: Contexts) -> pd.DataFrame:
    """Average what the network adds to S as a function of x = T - s, wrong prefixes included.

    Returns:
        One row per x: number of contexts with a digit for an answer, share of shifts -1, 0, 1, 2
        and others.
    """
    below = contexts.take(np.flatnonzero((contexts.column > 0) & (contexts.answer < 10)))
    shift = (below.answer - below.S + 5) % 10 - 5
    table = pd.DataFrame({"x": below.x, **{f"{k:+d}": shift == k for k in (-1, 0, 1, 2)}})
    table["other"] = ~np.isin(shift, (-1, 0, 1, 2))
    grouped = table.groupby("x")
    return grouped.mean().assign(n=grouped.size()).reset_index()
