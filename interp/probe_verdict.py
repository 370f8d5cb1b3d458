"""What the carry probe found, in sentences computed from its tables.

Each statement has its number and its control, and says so where a criterion is not met. Criteria
are constants of this module; nothing is said that the tables of the run do not hold.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from model.task import N_DIGITS

PRESENT = 0.05
"""A probe finds the carry in a column where its Holm-corrected p-value is below this."""
USED = 0.9
"""A site's direction carries the carry where its interchange moves this share of the answers."""
CORRECT = 0.99
"""A network answers a column where it is right on this share of true prefixes."""
MARGIN = 0.03
"""A mean accuracy is called larger than its floor from this difference on."""
GRADED = 0.05
"""One account of the response is better than another by at least this much held-out R^2."""

Tables = Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class Statement:
    """One finding.

    Attributes:
        topic: What it is about.
        holds: Whether the criterion was met.
        text: The sentence, with number and control.
    """

    topic: str
    holds: bool
    text: str


def verdict(tables: Tables) -> list[Statement]:
    """State what the tables of one run show, in the order of the argument."""
    statements = [_answers(tables["patterns"]), _attention(tables["attention"], tables["edges"])]
    if not tables["probes"].empty:
        statements += [_before(tables["probes"]), *_present(tables["probes"])]
    if not tables["interchange"].empty:
        statements += [_used(tables["interchange"]), _route(tables["interchange"])]
        statements += [_reader(tables["reader"]), _dose(tables["steering"])]
    if not tables["rivals"].empty:
        statements.append(_prefix(tables["rivals"], tables["response"]))
    statements.append(_summary(statements, tables))
    return statements


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _answers(patterns: pd.DataFrame) -> Statement:
    accuracy = patterns.pivot(index="column", columns="pattern", values="accuracy")
    live = accuracy["live"]
    worst = int(live.idxmin())
    text = (
        f"With true prefixes the network answers {_percent(live.mean())} of the digits of the "
        f"columns looked at (lowest: column {worst}, {_percent(live.min())}); with every pattern "
        f"replaced by its position mean {_percent(accuracy['position mean'].mean())}, by the "
        f"uniform causal pattern {_percent(accuracy['uniform causal'].mean())}."
    )
    return Statement("answers", bool(live.min() >= CORRECT), text)


def _attention(attention: pd.DataFrame, edges: pd.DataFrame) -> Statement:
    chosen = attention[(attention["inputs"] == "uniform") & (attention["carry_in"] == "all")]
    chosen = chosen[chosen["column"].between(1, 9)]
    if chosen.empty:
        chosen = attention[(attention["inputs"] == "uniform") & (attention["carry_in"] == "all")]
    mean = chosen.groupby("role")[["weight", "uniform", "random_init"]].mean()
    own = mean.reindex(["a_i", "b_i"]).fillna(0.0).sum()
    below = mean.reindex(["a_{i-1}", "b_{i-1}"]).fillna(0.0).sum()
    ratio = own["weight"] / below["weight"] if below["weight"] > 0 else float("inf")
    text = (
        f"Attention puts {own['weight']:.3f} on a_i and b_i together and {below['weight']:.3f} on "
        f"a_(i-1) and b_(i-1), {ratio:.1f} to 1 (uniform causal {own['uniform']:.3f} and "
        f"{below['uniform']:.3f}; random init {own['random_init']:.3f} and "
        f"{below['random_init']:.3f})."
    )
    if not edges.empty:
        cut = edges[(edges["cut"] == "mean") & (edges["norm"] == "live")]
        cut = cut[cut["path"] == "total"].groupby("role")["accuracy"].mean()
        names = [role for role in ("a_i", "b_i", "a_{i-1}", "b_{i-1}", "s_{i-1}") if role in cut]
        listed = ", ".join(f"{r.replace('{', '(').replace('}', ')')} {cut[r]:.3f}" for r in names)
        text += f" Accuracy of the digit with one edge set to its position mean: {listed}."
    looks = own["weight"] + below["weight"] > 2 * (own["uniform"] + below["uniform"])
    return Statement("attention", bool(looks), text)


def _carry_rows(probes: pd.DataFrame, kind: str) -> pd.DataFrame:
    return probes[(probes["feature"] == "carry_in") & (probes["kind"] == kind)]


def _before(probes: pd.DataFrame) -> Statement:
    names = ["before_attention", "bayes_query"]
    rows = _carry_rows(probes, "conditional").groupby("column")[names].first().mean()
    score, floor = rows["before_attention"], rows["bayes_query"]
    more = bool(score > floor + MARGIN)
    text = (
        f"Before attention (resid_pre) a probe for carry_in, given a_i + b_i, scores "
        f"{_percent(score)}, {'more' if more else 'no more'} than the best guess from s_(i-1) "
        f"alone ({_percent(floor)})."
    )
    return Statement("before attention", more, text)


def _present(probes: pd.DataFrame) -> list[Statement]:
    statements = []
    kinds = {
        "conditional": "given a_i + b_i",
        "shared": "with one direction for all sums and an offset for each",
        "global": "with one probe for all inputs (columns with operand digits)",
    }
    sites = list(dict.fromkeys(probes["site"]))
    for kind, how in kinds.items():
        rows = _carry_rows(probes, kind)
        if kind == "global" and (rows["column"] < N_DIGITS).any():
            # In column 10 the digit sum is always 0, so nothing is left to condition on.
            rows = rows[rows["column"] < N_DIGITS]
        if rows.empty:
            continue
        mean = rows.groupby("site")["accuracy"].mean().reindex(sites)
        site = str(mean.idxmax())
        best = rows[rows["site"] == site]
        passed = int((best["p_holm"] < PRESENT).sum())
        worst = best.loc[best["accuracy"].idxmin()]
        text = (
            f"Carry_in is read best at {site}, {how}: {_percent(best['accuracy'].mean())} "
            f"(lowest: column {worst['column']}, {_percent(worst['accuracy'])}, 95 % interval "
            f"{worst['low']:.3f} to {worst['high']:.3f}); floors: s_(i-1) "
            f"{_percent(best['bayes_query'].mean())}, best random init "
            f"{_percent(best['random_init_max'].mean())}, shuffled labels "
            f"{_percent(best['shuffled'].mean())}, control task "
            f"{_percent(best['control_task'].mean())}; above its floor in {passed} of {len(best)} "
            f"columns (Holm). Sites above it in every column: {_everywhere(rows)}."
        )
        statements.append(Statement(f"present, {kind}", passed == len(best), text))
    return statements


def _everywhere(rows: pd.DataFrame) -> str:
    """Name the sites whose scores pass in every column, in the order of the computation."""
    passed = (rows["p_holm"] < PRESENT).groupby(rows["site"], sort=False).all()
    return ", ".join(str(site) for site in passed.index[passed]) or "none"


def _moved(interchange: pd.DataFrame, method: str) -> pd.Series:
    rows = interchange[interchange["method"] == method]
    order = list(dict.fromkeys(rows["site"]))
    return rows.groupby("site")["moved"].mean().reindex(order)


def _used(interchange: pd.DataFrame) -> Statement:
    carry, random = _moved(interchange, "mean difference"), _moved(interchange, "random")
    full, probe = _moved(interchange, "full"), _moved(interchange, "probe")
    used = [site for site in carry.index if carry[site] >= USED]
    site = used[0] if used else str(carry.idxmax())
    rows = interchange[(interchange["site"] == site) & (interchange["method"] == "mean difference")]
    worst = rows.loc[rows["moved"].idxmin()]
    das = interchange[interchange["method"] == "DAS 1"]
    searched = ""
    if not das.empty and site in set(das["site"]):
        searched = f", a searched direction (DAS) {_percent(_moved(interchange, 'DAS 1')[site])}"
    text = (
        f"Swapping one direction at {site}, the mean carry difference, between inputs that differ "
        f"only in carry_in moves the digit by exactly one in {_percent(carry[site])} of the cases "
        f"(lowest: column {worst['column']}, {_percent(worst['moved'])}); a random move of the "
        f"same length {_percent(random[site])}, the probe's direction {_percent(probe[site])}"
        f"{searched}, the whole activation {_percent(full[site])}. "
        + (
            f"Sites where it moves at least {_percent(USED)}: {', '.join(used)}."
            if used
            else f"No site reaches {_percent(USED)}."
        )
    )
    return Statement("used", bool(used), text)


def _route(interchange: pd.DataFrame) -> Statement:
    full = _moved(interchange, "full")
    text = (
        f"By route: swapping all values moves {_percent(full['values'])} of the digits by one, all "
        f"keys {_percent(full['keys'])}, both {_percent(full['keys and values'])}."
    )
    return Statement("route of attention", bool(full["values"] >= USED > full["keys"]), text)


def _reader(reader: pd.DataFrame) -> Statement:
    live = reader[reader["norm"] == "live"].groupby(["part", "path"])["moved"].mean()
    dimension = reader.groupby("part")["dimension"].first()
    text = (
        f"Of the difference at resid_mid, what the feed-forward layer reads "
        f"({dimension['read']} of {dimension['whole']} dimensions) moves "
        f"{_percent(live['read', 'both'])}, the rest {_percent(live['unread', 'both'])}; the whole "
        f"difference through the feed-forward layer alone {_percent(live['whole', 'feed-forward'])}"
        f", through the skip alone {_percent(live['whole', 'skip'])}, a random one of the same "
        f"length {_percent(live['random', 'both'])}."
    )
    return Statement("path", bool(live["read", "both"] >= USED), text)


def _dose(steering: pd.DataFrame) -> Statement:
    rows = steering[(steering["site"] == "resid_mid")]
    table = rows.groupby(["direction", "dose", "shift"])["rate"].mean()
    one, two = table["carry", 1.0, 1], table["carry", 2.0, 2]
    stays = table["carry", 2.0, 1]
    kind = "goes on, as a place value does" if two > stays else "stays, as a carry bit does"
    if one < 0.5:
        kind = "is not moved in the first place"
    text = (
        f"Adding the mean carry difference once at resid_mid to inputs without a carry moves "
        f"{_percent(one)} of the digits by one (random direction "
        f"{_percent(table['random', 1.0, 1])}); added twice, {_percent(two)} move by two and "
        f"{_percent(stays)} by one: the digit {kind}."
    )
    return Statement("dose", bool(one >= USED), text)


def _prefix(rivals: pd.DataFrame, response: pd.DataFrame) -> Statement:
    score = rivals.groupby("rival")["r_squared"].mean()
    counted = response.assign(weight=response["n"])
    high = counted[counted["x"] >= 16]
    low = counted[counted["x"] <= -7]
    two = float((high["shift 2"] * high["n"]).sum() / max(high["n"].sum(), 1))
    minus = float((low["shift -1"] * low["n"]).sum() / max(low["n"].sum(), 1))
    name = account(rivals)
    text = (
        f"Under a wrong s_(i-1) the response is explained by t - s_(i-1) as a line with R^2 "
        f"{score['linear']:.3f}, as a step {score['step']:.3f}, as a ramp between saturation "
        f"points {score['ramp']:.3f}, from the operands alone {score['flat']:.3f}, by a free table "
        f"{score['lookup']:.3f} (held out); at t - s_(i-1) >= 16 the digit moves by two in "
        f"{_percent(two)}, at <= -7 by minus one in {_percent(minus)}: {name}."
    )
    return Statement("inconsistent prefixes", name in ACCOUNTS[:3], text)


ACCOUNTS = (
    "a graded place value",
    "a step, as of a carry bit",
    "looking ahead at the operands",
    "none of the accounts",
)
"""How the next digit may depend on a wrong s_{i-1}."""


def account(rivals: pd.DataFrame) -> str:
    """Choose the account of `ACCOUNTS` that explains the response to wrong prefixes best."""
    score = rivals.groupby("rival")["r_squared"].mean()
    best = max(score["linear"], score["step"], score["flat"])
    if not best > 0.5:
        return ACCOUNTS[3]
    if score["linear"] > max(score["step"], score["flat"]) + GRADED:
        return ACCOUNTS[0]
    if score["step"] > max(score["linear"], score["flat"]) + GRADED:
        return ACCOUNTS[1]
    return ACCOUNTS[2] if score["flat"] == best else ACCOUNTS[3]


def _summary(statements: list[Statement], tables: Tables) -> Statement:
    holds = {statement.topic: statement.holds for statement in statements}
    present, used = holds.get("present, conditional", False), holds.get("used", False)
    parts = [
        "carry information is linearly present" if present else "no site shows the carry linearly",
        "is used causally" if used else "no direction was found to be used",
    ]
    if used and not tables["rivals"].empty:
        parts.append(f"and behaves like {account(tables['rivals'])}")
    if not holds.get("answers", False):
        parts.append("the network does not answer these columns reliably")
    text = "In sum: " + ", ".join(parts) + "."
    return Statement("summary", present and used, text)
