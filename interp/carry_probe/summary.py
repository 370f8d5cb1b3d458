"""Is the carry there, and is it used? The one screen that the carry probe ends on.

Every row and sentence is computed from the tables of the run by the criteria of `criteria`, with
its floor or control beside it. Where a criterion holds in some columns, the numbers are means over
those, otherwise over all; the long form, with every number, is in `verdict`.
"""

import re
from collections.abc import Callable, Mapping

import pandas as pd

from interp.carry_probe.criteria import (
    ACCOUNTS,
    MARGIN,
    NEITHER_ROUTE,
    USED,
    accounts,
    answered,
    before_attention,
    best_present,
    best_site,
    carry_rows,
    is_local,
    listed,
    local_attention,
    moved,
    route,
    used,
)
from interp.carry_probe.result import Result
from model.shell import Row, Summary, percent, some_of

Tables = Mapping[str, pd.DataFrame]
Finding = tuple[Row, str]

RIVALS = {
    ACCOUNTS[0]: ("linear", "a graded place value"),
    ACCOUNTS[1]: ("step", "a carry bit"),
    ACCOUNTS[2]: ("flat", "looking ahead"),
}
"""Each account of the response to wrong prefixes: its row in the table, and its short name."""


def summarise(result: Result) -> Summary:
    """Say in one screen what a run found."""
    tables = result.tables
    found = [find(tables) for find, name in FINDINGS if name in tables and not tables[name].empty]
    columns = listed(answered(tables["patterns"]).index)
    return Summary(
        f"{result.name}, {columns}: where is the carry, is it used?",
        tuple(row for row, _ in found),
        tuple(sentence for _, sentence in found if sentence),
    )


def message(result: Result, find: Callable[[Tables], Finding]) -> str:
    """Say a finding as the title of its figure."""
    row, sentence = find(result.tables)
    text = sentence or f"attention puts {row.number} ({row.control})"
    text = text[0].lower() + text[1:].removesuffix(".").replace("R^2", "$R^2$")
    text = re.sub(r"\bit (is|acts)\b", r"the carry \1", text, count=1)
    return f"{result.name}: {text}"


def _answers(tables: Tables) -> Finding:
    table = tables["patterns"].pivot(index="column", columns="pattern", values="accuracy")
    right = answered(tables["patterns"])
    columns = some_of(right.index[right], list(right.index))
    whole, cut = (percent(table[name].mean()) for name in ("live", "position mean"))
    return (
        Row("columns right", columns, f"{whole} of digits", f"{cut} fixed attention"),
        f"The network answers {columns} reliably: {whole} of digits are right, with fixed "
        f"attention {cut}.",
    )


def find_attention(tables: Tables) -> Finding:
    """Say whether attention singles out the digits of columns i and i - 1."""
    shares = local_attention(tables["attention"])
    weight, even = (percent(shares[name].sum()) for name in ("weight", "uniform"))
    verdict = _yes(is_local(shares))
    return Row("local attention?", verdict, f"{weight} on i, i-1", f"{even} uniform"), ""


def _before(tables: Tables) -> Finding:
    score, floor = before_attention(tables["probes"])
    more = score > floor + MARGIN
    right, guess = percent(score), percent(floor)
    return (
        Row("readable before attention?", _yes(bool(more)), right, f"{guess} guess"),
        f"Before attention the carry {'is' if more else 'is not'} readable: a probe scores "
        f"{right}, a guess from s_(i-1) {guess}.",
    )


def find_presence(tables: Tables) -> Finding:
    """Say where and in which columns a probe reads the carry."""
    rows = carry_rows(tables["probes"], "conditional")
    site, found, among = best_present(rows)
    columns = some_of(found, among)
    best = rows[(rows["site"] == site) & rows["column"].isin(found or among)]
    score, floor = (percent(best[name].mean()) for name in ("accuracy", "best_floor"))
    return (
        Row("readable later?", columns, f"{score} at {site}", f"{floor} best floor"),
        f"It is readable at {site} in {columns}: probes score {score}, the best floor {floor}.",
    )


def find_use(tables: Tables) -> Finding:
    """Say in which columns swapping the carry's direction moves the digit."""
    judged, rates = used(tables["interchange"]), moved(tables["interchange"], "mean difference")
    site = best_site(judged, rates)
    found = list(judged.columns[judged.loc[site] == 1])
    columns, chosen = some_of(found, list(judged.columns)), found or list(judged.columns)
    methods = ("mean difference", "random")
    swap, random = (
        percent(moved(tables["interchange"], name).loc[site, chosen].mean()) for name in methods
    )
    return (
        Row("carry used?", columns, f"{swap} moved at {site}", f"{random} random direction"),
        f"It is used in {columns}: swapping its direction moves {swap} of digits, a random one "
        f"{random}.",
    )


def _route(tables: Tables) -> Finding:
    full, same = (moved(tables["interchange"], m).mean(axis=1) for m in ("full", "same carry"))
    ways = list(dict.fromkeys(route(tables["interchange"])))
    verdict, site, text = ROUTES[ways[0]] if len(ways) == 1 else DIFFERS
    rate, control = percent(full[site]), percent(same[site])
    return (
        Row("brought by", verdict, f"{rate} by {site}", f"{control} equal carries"),
        f"{text}: swapping {site} moves {rate} of digits, between equal carries {control}.",
    )


BOTH = "keys and values"
ROUTES = {
    "by the values": ("values", "values", "Attention brings it by its values"),
    "by the keys": ("keys", "keys", "Attention brings it by its keys"),
    "by keys and by values, either alone,": ("either", "values", "Values or keys alone bring it"),
    "by keys and values only together": (
        "both together",
        BOTH,
        "Only keys and values together bring it",
    ),
    NEITHER_ROUTE: ("neither", BOTH, "Not even both together bring it"),
}
"""For each route of `criteria.route`: the verdict, the swap whose rate is given, the words."""
DIFFERS = ("differs by column", BOTH, "What brings it differs by column")


def _path(tables: Tables) -> Finding:
    live = tables["reader"][tables["reader"]["norm"] == "live"]
    rate = live.groupby(["part", "path"])["moved"].mean()
    through, around = rate["whole", "feed-forward"], rate["whole", "skip"]
    number = f"{percent(through)}, skip alone {percent(around)}"
    control = f"{percent(rate['random', 'both'])} random direction"
    return Row("through the MLP alone?", _yes(bool(through >= USED)), number, control), ""


def find_account(tables: Tables) -> Finding:
    """Say what the carry acts like when a wrong digit is fed."""
    by_column = accounts(tables["rivals"])
    among, best = list(by_column.index), str(by_column.value_counts().index[0])
    chosen = [column for column in among if by_column[column] == best]
    rows = tables["rivals"][tables["rivals"]["column"].isin(chosen)]
    score = rows.groupby("rival")["r_squared"].mean()
    columns = some_of(chosen, among)
    named = score[[rival for rival, _ in RIVALS.values()]]
    if best not in RIVALS:
        top, table = f"R^2 {named.max():.2f}", f"R^2 {score['lookup']:.2f}"
        return (
            Row(
                "acts like",
                "none of the accounts",
                f"{top} best",
                f"{table} table",
            ),
            f"In {columns} no account explains what wrong digits do to the answer.",
        )
    rival, name = RIVALS[best]
    own, rest = f"R^2 {named[rival]:.2f}", f"{named.drop(rival).max():.2f}"
    return (
        Row("acts like", name, own, f"R^2 {rest} next account"),
        f"In {columns} it acts like {name}: {own}, the next account {rest}.",
    )


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


FINDINGS: tuple[tuple[Callable[[Tables], Finding], str], ...] = (
    (_answers, "patterns"),
    (find_attention, "attention"),
    (_before, "probes"),
    (find_presence, "probes"),
    (find_use, "interchange"),
    (_route, "interchange"),
    (_path, "reader"),
    (find_account, "rivals"),
)
"""The rows in order, each with the table that it needs."""
