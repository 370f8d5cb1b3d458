"""What counts as present, used, routed: the carry probe's tables judged column by column.

A network may have learned its last columns and not its first ones, so that a mean over columns
describes neither. Criteria are the constants of this module.
"""

from collections.abc import Iterable

import pandas as pd

from model.layouts import Layout

PRESENT = 0.05
"""A probe finds the carry in a column where its Holm-corrected p-value is below this."""
CLOSED = 0.25
"""And where it goes this share of the way from its best floor to what the raw digits give."""
USED = 0.9
"""A swap carries the carry where it moves this share of the answers by exactly one."""
IN_PART = 0.3
"""It does so in part from this share on."""
CORRECT = 0.99
"""A network answers a column where it is right on this share of true prefixes."""
EXPLAINED = 0.5
"""An account of the response to wrong prefixes must explain more than this (held-out R^2)."""
GRADED = 0.05
"""One account of the response is better than another by at least this much held-out R^2."""
MARGIN = 0.03
"""A mean accuracy is called larger than its floor from this difference on."""

FIXED = 1e-3
"""Attention depends on position alone where no token changes a weight by more."""

OF_SOURCES = ("attn_scores", "pattern")
"""Sites with one number for each source: like the raw digits they tell where a digit is, and values
that differ from input to input read them, not a fixed linear map."""

DIRECTIONS = ("mean difference", "DAS 1")
"""One-dimensional swaps by which a carry counts as used."""

NEITHER_ROUTE, NEITHER_PATH, NOT_MOVED = (
    "by neither keys nor values",
    "down neither path",
    "is not moved by one reliably",
)
"""What columns are said to do in which a swap moves too few digits."""

ACCOUNTS = (
    "a graded place value",
    "a step, as of a carry bit",
    "looking ahead at the operands",
    "none of the accounts",
)
"""How the next digit may depend on a wrong s_{i-1}."""


def listed(columns: Iterable[int]) -> str:
    """Name columns: "columns 1 to 3 and 7", "column 10", "no column"."""
    columns = sorted(columns)
    runs: list[list[int]] = []
    for column in columns:
        if runs and column == runs[-1][-1] + 1:
            runs[-1].append(column)
        else:
            runs.append([column])
    parts = []
    for run in runs:
        parts += [f"{run[0]} to {run[-1]}"] if len(run) > 2 else [str(c) for c in run]
    if not parts:
        return "no column"
    text = " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
    return f"column{'s' if len(columns) > 1 else ''} {text}"


def share(columns: Iterable[int], among: Iterable[int]) -> str:
    """Name some columns among others: "all of columns 1 to 10", "column 10 of columns 1 to 10"."""
    columns, among = list(columns), list(among)
    if len(columns) in (0, len(among)):
        whole = listed(among)
        if len(among) == 1:
            return whole if columns else f"no column (only {whole} was looked at)"
        return f"{'all' if columns else 'none'} of {whole}"
    return f"{listed(columns)} of {listed(among)}"


def grouped(by_column: pd.Series) -> str:
    """Say a verdict for each column: "graded in columns 1 to 9; a step in column 10"."""
    groups = by_column.groupby(by_column, sort=False)
    return "; ".join(f"{name} in {listed(rows.index)}" for name, rows in groups)


def answered(patterns: pd.DataFrame) -> pd.Series:
    """Tell, by column, whether the digit is right often enough on true prefixes."""
    live = patterns[patterns["pattern"] == "live"].set_index("column")["accuracy"]
    return live >= CORRECT


def local_attention(attention: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Sum the weight on the digits of a column ("own") and of the one below ("below").

    Returns:
        Rows "own" and "below": weight, and what it is if uniform and in a random network; means
        over uniform inputs, heads, and the columns with digits on both sides where there are any.
    """
    chosen = attention[(attention["inputs"] == "uniform") & (attention["carry_in"] == "all")]
    chosen = chosen[chosen["head"] == "all"]
    middle = chosen[chosen["column"].between(1, layout.width - 1)]
    mean = (chosen if middle.empty else middle).groupby("role")
    mean = mean[["weight", "uniform", "random_init"]].mean()
    roles = {"own": ["a_i", "b_i"], "below": ["a_{i-1}", "b_{i-1}"]}
    return pd.DataFrame({k: mean.reindex(names).fillna(0.0).sum() for k, names in roles.items()}).T


def head_attention(attention: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Average the weight of each head by role, over the columns of `local_attention`.

    Returns:
        One row per head, one column per role; no row where there is one head only.
    """
    chosen = attention[(attention["inputs"] == "uniform") & (attention["carry_in"] == "all")]
    chosen = chosen[chosen["head"] != "all"]
    middle = chosen[chosen["column"].between(1, layout.width - 1)]
    return (chosen if middle.empty else middle).pivot_table("weight", "head", "role", sort=False)


def is_local(shares: pd.DataFrame) -> bool:
    """Tell from `local_attention` whether these digits get twice what is uniform."""
    total = shares.sum()
    return bool(total["weight"] > 2 * total["uniform"])


def carry_rows(probes: pd.DataFrame, kind: str, layout: Layout) -> pd.DataFrame:
    """Choose the probes of one kind for the carry."""
    rows = probes[(probes["feature"] == "carry_in") & (probes["kind"] == kind)]
    if kind == "global" and (rows["column"] < layout.width).any():
        # In the last column the digit sum is always 0, so nothing is left to condition on.
        rows = rows[rows["column"] < layout.width]
    return rows


def before_attention(probes: pd.DataFrame, layout: Layout) -> tuple[float, float]:
    """Give the score of a probe before attention, and of the best guess from s_{i-1} alone."""
    names = ["before_attention", "bayes_query"]
    score, floor = carry_rows(probes, "conditional", layout).groupby("column")[names].first().mean()
    return float(score), float(floor)


def best_present(rows: pd.DataFrame) -> tuple[str, list[int], list[int]]:
    """Choose the site where probes find the carry in most columns.

    Returns:
        The site, the columns in which they do, and all columns.
    """
    found = present(rows)
    scores = rows.pivot(index="site", columns="column", values="accuracy")
    site = best_site(found, scores.loc[found.index])
    return site, list(found.columns[found.loc[site]]), list(found.columns)


def present(rows: pd.DataFrame) -> pd.DataFrame:
    """Tell, by site and column, whether probes of one kind beat every floor clearly.

    Sites of `OF_SOURCES` are left out where there are others.
    """
    kept = rows[~rows["site"].isin(OF_SOURCES)]
    rows = rows if kept.empty else kept
    way = (rows["accuracy"] - rows["best_floor"]) / (rows["raw_digits"] - rows["best_floor"])
    found = rows.assign(found=(rows["p_holm"] < PRESENT) & (way >= CLOSED))
    return _by_site(found, "found")


def moved(interchange: pd.DataFrame, method: str) -> pd.DataFrame:
    """Tabulate, by site and column, the share of answers that a swap moves by exactly one."""
    return _by_site(interchange[interchange["method"] == method], "moved")


def _by_site(rows: pd.DataFrame, value: str) -> pd.DataFrame:
    """Spread a value over sites, in the order of the computation, and columns."""
    sites, columns = list(dict.fromkeys(rows["site"])), sorted(rows["column"].unique())
    return rows.pivot(index="site", columns="column", values=value).loc[sites, columns]


def used(interchange: pd.DataFrame) -> pd.DataFrame:
    """Judge, by site and column, whether swapping one direction moves the digit by exactly one.

    Returns:
        1 where it does (`USED`), 0.5 where it does in part (`IN_PART`), else 0. The lower end of
        its interval must lie above what a random move of the same length does, and the whole
        activation must move as many: a part that does more than the whole opens a path that is
        dormant otherwise (Makelov et al. 2023).
    """
    rows = interchange[interchange["method"].isin(DIRECTIONS)]
    for name, method in (("control", "random"), ("whole", "full")):
        rows = rows.join(moved(interchange, method).stack().rename(name), on=["site", "column"])
    share = rows[["moved", "whole"]].min(axis=1).where(rows["low"] > rows["control"], 0.0)
    degree = 0.5 * (share >= IN_PART) + 0.5 * (share >= USED)
    best = degree.groupby([rows["site"], rows["column"]]).max().unstack()
    sites = list(dict.fromkeys(rows["site"]))
    return best.loc[sites, sorted(best.columns)]


def dormant(interchange: pd.DataFrame) -> list[str]:
    """Name the swaps that move `IN_PART` more of the digits than the whole activation does."""
    full = moved(interchange, "full").mean(axis=1)
    names = []
    for method in dict.fromkeys(interchange["method"]):
        if method not in ("full", "random", "same carry"):
            rate = moved(interchange, method).mean(axis=1)
            more = rate - full.reindex(rate.index) >= IN_PART
            names += [f"{method} at {site}" for site in rate.index[more]]
    return names


def best_site(judged: pd.DataFrame, scores: pd.DataFrame) -> str:
    """Choose the site that passes in most columns, then by its mean score, then the first."""
    order = pd.DataFrame({"passed": judged.sum(axis=1), "score": scores.mean(axis=1).round(3)})
    order = order.loc[judged.index]
    return str(order.sort_values(["passed", "score"], ascending=False, kind="stable").index[0])


def route(interchange: pd.DataFrame) -> pd.Series:
    """Say, by column, whether keys or values bring the carry."""
    full = moved(interchange, "full") >= USED
    names = {}
    for column in full.columns:
        by_values, by_keys, by_both = full.loc[["values", "keys", "keys and values"], column]
        if by_values and by_keys:
            names[column] = "by keys and by values, either alone,"
        elif by_values or by_keys:
            names[column] = "by the values" if by_values else "by the keys"
        else:
            names[column] = "by keys and values only together" if by_both else NEITHER_ROUTE
    return pd.Series(names)


def path(reader: pd.DataFrame) -> pd.Series:
    """Say, by column, down which path the difference at resid_mid acts."""
    live = reader[reader["norm"] == "live"]
    table = live[live["part"] == "whole"].pivot(index="column", columns="path", values="moved")
    names = {}
    for column, row in (table >= USED).iterrows():
        alone = [name for name in ("feed-forward", "skip") if row[name]]
        if len(alone) == 2:
            names[column] = "down either path alone"
        elif alone:
            layer = "the feed-forward layer" if alone[0] == "feed-forward" else "the skip"
            names[column] = f"down {layer} alone"
        else:
            names[column] = "down both paths only together" if row["both"] else NEITHER_PATH
    return pd.Series(names)


def after_attention(steering: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """Name the stream after attention, and choose its rows of steering."""
    site = "resid_mid" if (steering["site"] == "resid_mid").any() else "resid_post"
    return site, steering[steering["site"] == site]


def dose(steering: pd.DataFrame) -> pd.Series:
    """Say, by column, what the digit does when the mean carry difference is added twice."""
    _, rows = after_attention(steering)
    rows = rows[rows["direction"] == "carry"]
    rate = rows.set_index(["column", "dose", "shift"])["rate"]
    names = {}
    for column in sorted(rows["column"].unique()):
        once = rate[column, 1.0, 1]
        stays, goes = rate[column, 2.0, 1], rate.get((column, 2.0, 2), 0.0)
        if once < USED:
            names[column] = NOT_MOVED
        elif max(stays, goes) < 0.5:
            names[column] = "neither goes on nor stays"
        else:
            place = goes > stays
            names[column] = "goes on, as a place value does," if place else "stays, as a bit does,"
    return pd.Series(names)


def account(rivals: pd.DataFrame) -> str:
    """Choose the account of `ACCOUNTS` that explains the response to wrong prefixes best.

    None does where s_{i-1} alone, without any operand, explains it as well.
    """
    score = rivals.groupby("rival")["r_squared"].mean()
    named = score[["linear", "step", "flat"]].dropna()
    if named.empty or not named.max() > max(EXPLAINED, score["fed"] + GRADED):
        return ACCOUNTS[3]
    best = str(named.idxmax())
    if named[best] < named.drop(best).max() + GRADED:
        return ACCOUNTS[3]
    return ACCOUNTS[("linear", "step", "flat").index(best)]


def accounts(rivals: pd.DataFrame) -> pd.Series:
    """Choose the account of every column."""
    return pd.Series({column: account(rows) for column, rows in rivals.groupby("column")})
