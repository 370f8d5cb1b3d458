"""What the carry probe found, in sentences computed from its tables.

Each statement says for which columns its criterion is met (`criteria`), with the number and its
controls; nothing is said that the tables of the run do not hold.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from interp.anatomy import fed_roles
from interp.carry_probe.criteria import (
    ACCOUNTS,
    CORRECT,
    IN_PART,
    MARGIN,
    NOT_MOVED,
    OF_SOURCES,
    USED,
    accounts,
    after_attention,
    answered,
    before_attention,
    best_present,
    best_site,
    carry_rows,
    dormant,
    dose,
    grouped,
    head_attention,
    is_local,
    listed,
    local_attention,
    moved,
    path,
    present,
    route,
    share,
    used,
)
from model.layouts import Layout

Tables = Mapping[str, pd.DataFrame]

KINDS = {
    "conditional": "given a_i + b_i",
    "shared": "with one direction for all sums and an offset for each",
    "global": "with one probe for all inputs (columns with operand digits)",
}


@dataclass(frozen=True)
class Statement:
    """One finding.

    Attributes:
        topic: What it is about.
        holds: Whether the criterion was met, in every column looked at.
        text: The sentence, with number and control.
    """

    topic: str
    holds: bool
    text: str


def verdict(tables: Tables, layout: Layout) -> list[Statement]:
    """State what the tables of one run show, in the order of the argument."""
    statements = [_answers(tables["patterns"])]
    statements.append(_attention(tables["attention"], tables["edges"], layout))
    if not tables["probes"].empty:
        statements.append(_before(tables["probes"], layout))
        statements += [_present(tables["probes"], kind, layout) for kind in KINDS]
    if not tables["interchange"].empty:
        statements += [_used(tables["interchange"]), _route(tables["interchange"])]
        if not tables["reader"].empty:
            statements.append(_path(tables["reader"]))
        statements.append(_dose(tables["steering"]))
    if not tables["rivals"].empty:
        statements.append(_prefix(tables["rivals"], tables["response"], layout))
    return [*statements, _summary(tables, layout)]


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _answers(patterns: pd.DataFrame) -> Statement:
    accuracy = patterns.pivot(index="column", columns="pattern", values="accuracy")
    live, right = accuracy["live"], answered(patterns)
    worst = int(live.idxmin())
    text = (
        f"With true prefixes the network answers {share(live.index[right], live.index)}: at least "
        f"{_percent(CORRECT)} of their digits are right. The mean of all columns is "
        f"{_percent(live.mean())}, the lowest is column {worst} with {_percent(live.min())}. With "
        f"every attention pattern replaced by its mean at each position, "
        f"{_percent(accuracy['position mean'].mean())} are right, and with uniform attention "
        f"{_percent(accuracy['uniform causal'].mean())}."
    )
    return Statement("answers", bool(right.all()), text)


def _attention(attention: pd.DataFrame, edges: pd.DataFrame, layout: Layout) -> Statement:
    shares = local_attention(attention, layout)
    looks = is_local(shares)
    own, below = shares.loc["own"], shares.loc["below"]
    ratio = own["weight"] / below["weight"] if below["weight"] > 0 else float("inf")
    text = (
        f"Attention {'singles' if looks else 'does not single'} out the digits of columns i and "
        f"i - 1: it puts {own['weight']:.3f} on a_i and b_i together and {below['weight']:.3f} on "
        f"a_(i-1) and b_(i-1), {ratio:.1f} to 1 (uniform causal {own['uniform']:.3f} and "
        f"{below['uniform']:.3f}; random init {own['random_init']:.3f} and "
        f"{below['random_init']:.3f})."
    )
    for head, weights in head_attention(attention, layout).iterrows():
        text += f" Head {head}: {_roles(weights, 3)}."
    if not edges.empty:
        edges = edges[edges["head"] == "all"]
        cut = edges[(edges["cut"] == "mean") & (edges["norm"] == "live")]
        total = cut[cut["path"] == "total"].groupby("role")["accuracy"].mean()
        text += (
            f" With one edge set to its mean at each position, the digit is right this often: "
            f"{_roles(total, 3)}."
        )
        direct = edges[(edges["cut"] == "mean") & (edges["path"] == "direct")]
        live, frozen = (
            direct[direct["norm"] == norm].groupby("role")["drop"].mean()
            for norm in ("live", "frozen")
        )
        if not live.empty:
            text += (
                f" Of a margin of {edges['clean_margin'].mean():.2f} the direct path "
                f"alone then loses {_roles(live, 2)}"
            )
            text += f"; with norms frozen, {_roles(frozen, 2)}." if not frozen.empty else "."
    return Statement("attention", looks, text)


def _roles(values: pd.Series, places: int) -> str:
    names = [role for role in ("a_i", "b_i", "a_{i-1}", "b_{i-1}", "s_{i-1}") if role in values]
    plain = {role: role.replace("{", "(").replace("}", ")") for role in names}
    return ", ".join(f"{plain[role]} {values[role]:.{places}f}" for role in names)


def _before(probes: pd.DataFrame, layout: Layout) -> Statement:
    score, floor = before_attention(probes, layout)
    more = bool(score > floor + MARGIN)
    text = (
        f"Before attention (resid_pre) a probe for carry_in, given a_i + b_i, scores "
        f"{_percent(score)}, {'more' if more else 'no more'} than the best guess from "
        f"{fed(layout)} alone ({_percent(floor)})."
    )
    return Statement("before attention", more, text)


def _present(probes: pd.DataFrame, kind: str, layout: Layout) -> Statement:
    rows = carry_rows(probes, kind, layout)
    site, columns, _ = best_present(rows)
    found = present(rows)
    best = rows[rows["site"] == site]
    worst = best.loc[best["accuracy"].idxmin()]
    text = (
        f"Carry_in is linearly present, {KINDS[kind]}, in {share(columns, found.columns)}, best at "
        f"{site}: {_percent(best['accuracy'].mean())}"
    )
    if 0 < len(columns) < len(best):
        passed = best["column"].isin(columns)
        text += (
            f" ({_percent(best['accuracy'][passed].mean())} in these columns, "
            f"{_percent(best['accuracy'][~passed].mean())} in the others)"
        )
    text += (
        f". The lowest is column {worst['column']} with {_percent(worst['accuracy'])} (95 % "
        f"interval {worst['low']:.3f} to {worst['high']:.3f}). The floors are: {fed(layout)} alone "
        f"{_percent(best['bayes_query'].mean())}, "
    )
    if best["bayes_below"].notna().any():
        text += f"a_(i-1) + b_(i-1) alone {_percent(best['bayes_below'].mean())}, "
    text += (
        f"best random init {_percent(best['random_init_max'].mean())}, shuffled labels "
        f"{_percent(best['shuffled'].mean())}, control task "
        f"{_percent(best['control_task'].mean())}. P-values have Holm's correction over "
        f"{len(probes)} scores."
    )
    others = [str(s) for s in found.index if s != site and columns and found.loc[s, columns].all()]
    if columns:
        text += f" Other sites above all floors in these columns: {', '.join(others) or 'none'}."
    aside = rows[rows["site"].isin(OF_SOURCES)]
    if not aside.empty and site not in OF_SOURCES:
        each = aside.groupby("site", sort=False)["accuracy"].mean()
        text += (
            f" Scores and patterns are not counted, because they hold a number for each digit, as "
            f"the digits themselves do ({_percent(best['raw_digits'].mean())}): "
            f"{', '.join(f'{name} {_percent(score)}' for name, score in each.items())}."
        )
    return Statement(f"present, {kind}", len(columns) == len(found.columns), text)


def _used(interchange: pd.DataFrame) -> Statement:
    judged, mean = used(interchange), moved(interchange, "mean difference")
    site = best_site(judged, mean)
    row = mean.loc[site]
    wholly, partly = _degrees(judged.loc[site])
    methods = {method: moved(interchange, method) for method in interchange["method"].unique()}

    def over(method: str, columns: list[int]) -> str:
        return _percent(methods[method].loc[site, columns].mean())

    parts = []
    for columns, how in (
        (wholly, f"by exactly one nearly always (at least {_percent(USED)})"),
        (partly, f"in part (at least {_percent(IN_PART)})"),
        ([c for c in row.index if c not in wholly + partly], "in fewer cases"),
    ):
        if columns:
            parts.append(
                f"In {listed(columns)} this moves the digit {how}: "
                f"{over('mean difference', columns)}. Swapping the whole activation moves "
                f"{over('full', columns)}, a random direction of the same length "
                f"{over('random', columns)}, the whole activation between inputs of equal carry "
                f"{over('same carry', columns)}."
            )
    listing = [f"the probe's {_percent(methods['probe'].loc[site].mean())}"]
    for method in ("DAS 1", "DAS 2", "DAS 3"):
        if method in methods and site in methods[method].index:
            listing.append(f"{method} {_percent(methods[method].loc[site].mean())}")
    complete = [str(s) for s in judged.index if (judged.loc[s] == 1).all()]
    text = (
        f"Two inputs that differ only in carry_in swap one direction at {site}: their mean "
        f"difference. {' '.join(parts)} Other directions there move, in the mean of columns: "
        f"{', '.join(listing)}. Sites where the swap moves the digit in every column: "
        f"{', '.join(complete) or 'none'}."
    )
    if illusions := dormant(interchange):
        text += (
            f" Some swaps move more digits than the whole activation does. They open a path that "
            f"is dormant otherwise, and are not counted: {', '.join(illusions)}."
        )
    return Statement("used", len(wholly) == len(row), text)


def _degrees(row: pd.Series) -> tuple[list[int], list[int]]:
    return list(row.index[row == 1]), list(row.index[row == 0.5])


def _route(interchange: pd.DataFrame) -> Statement:
    full, same = (moved(interchange, m).mean(axis=1) for m in ("full", "same carry"))
    by_column = route(interchange)
    names = {"values": "values", "keys": "keys", "keys and values": "both"}
    different, equal = (
        ", ".join(f"{name} {_percent(rate[site])}" for site, name in names.items())
        for rate in (full, same)
    )
    text = (
        f"The carry is brought {grouped(by_column)}. All values or keys of attention are swapped "
        f"between two inputs. This share of digits moves by one, in the mean of columns, when the "
        f"inputs differ in carry_in: {different}; when their carry is equal: {equal}."
    )
    return Statement("route of attention", bool((by_column == "by the values").all()), text)


def _path(reader: pd.DataFrame) -> Statement:
    rows = reader[reader["norm"] == "live"]
    live = rows.groupby(["part", "path"])["moved"].mean()
    dimension = rows.groupby("part")["dimension"].first()
    both = rows[(rows["part"] == "read") & (rows["path"] == "both")].set_index("column")["moved"]
    enough = both >= USED
    text = (
        f"The feed-forward layer reads {dimension['read']} of {dimension['whole']} dimensions of "
        f"the difference at resid_mid. These suffice in {share(both.index[enough], both.index)}: "
        f"they move {_percent(live['read', 'both'])} of the digits, "
    )
    text += (
        f"the rest {_percent(live['unread', 'both'])}"
        if dimension["unread"]
        else "and the layer reads everything"
    )
    text += (
        f"; a random difference of the same length {_percent(live['random', 'both'])}. The whole "
        f"difference acts {grouped(path(reader))}: through the feed-forward layer alone it moves "
        f"{_percent(live['whole', 'feed-forward'])}, through the skip alone "
        f"{_percent(live['whole', 'skip'])}."
    )
    return Statement("path", bool(enough.all()), text)


def _dose(steering: pd.DataFrame) -> Statement:
    site, rows = after_attention(steering)
    by_column = dose(steering)
    table = rows.groupby(["direction", "dose", "shift"])["rate"].mean()
    text = (
        f"The mean carry difference is added at {site} to inputs without a carry. Added once, "
        f"it moves {_percent(table['carry', 1.0, 1])} of the digits by one, a random direction "
        f"{_percent(table['random', 1.0, 1])}. Added twice, it moves "
        f"{_percent(table.get(('carry', 2.0, 2), 0.0))} by two and "
        f"{_percent(table['carry', 2.0, 1])} by one "
        f"(means of columns). So the digit {grouped(by_column)}."
    )
    return Statement("dose", bool((by_column != NOT_MOVED).all()), text)


def _prefix(rivals: pd.DataFrame, response: pd.DataFrame, layout: Layout) -> Statement:
    score = rivals.groupby("rival")["r_squared"].mean()
    top, bottom = 2 * layout.base - 4, 3 - layout.base  # the last steps of what can be fed
    high, low = response[response["x"] >= top], response[response["x"] <= bottom]
    two = float((high["shift 2"] * high["n"]).sum() / max(high["n"].sum(), 1))
    minus = float((low["shift -1"] * low["n"]).sum() / max(low["n"].sum(), 1))
    by_column = accounts(rivals)
    text = (
        f"When a wrong s_(i-1) is fed, the response fits {grouped(by_column)}. With t = a_(i-1) + "
        f"b_(i-1), held-out R^2 (mean of columns) is {score['linear']:.3f} for a line in "
        f"t - s_(i-1), {score['step']:.3f} for a step and {score['ramp']:.3f} for a ramp. It is "
        f"{score['flat']:.3f} for t alone, {score['fed']:.3f} for s_(i-1) alone and "
        f"{score['lookup']:.3f} for a free table of both. At t - s_(i-1) >= {top} the digit moves "
        f"by two in {_percent(two)} of cases, at <= {bottom} by minus one in {_percent(minus)}."
    )
    return Statement("inconsistent prefixes", bool((by_column != ACCOUNTS[3]).all()), text)


def fed(layout: Layout) -> str:
    """Name the fed digit at the query in plain text."""
    return fed_roles(layout)[0].replace("{", "(").replace("}", ")")


def _summary(tables: Tables, layout: Layout) -> Statement:
    parts, held = [], []
    if not tables["probes"].empty:
        given, always = (
            present(carry_rows(tables["probes"], kind, layout))
            for kind in ("conditional", "global")
        )
        columns = given.columns[given.any()]
        parts.append(
            f"carry_in is linearly present, given a_i + b_i, in {share(columns, given.columns)}"
        )
        parts.append(
            f"without that condition in {share(always.columns[always.any()], always.columns)}"
        )
        held.append(len(columns) == given.shape[1])
    if not tables["interchange"].empty:
        best = used(tables["interchange"]).max()
        wholly, partly = _degrees(best)
        parts.append(
            f"one direction of it is used in {share(wholly, best.index)}"
            + (f", and in part in {listed(partly)}" if partly else "")
        )
        held.append(len(wholly) == len(best))
        if wholly:
            parts.append(f"it is brought {grouped(route(tables['interchange'])[wholly])}")
            if not tables["rivals"].empty:
                parts.append(f"it behaves like {grouped(accounts(tables['rivals'])[wholly])}")
    right = answered(tables["patterns"])
    parts.append(f"the network answers {share(right.index[right], right.index)} reliably")
    return Statement("summary", bool(held) and all(held), f"In sum: {'; '.join(parts)}.")
