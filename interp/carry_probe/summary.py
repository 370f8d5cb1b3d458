"""Is the carry there, and is it used? The one screen that the carry probe ends on.

Every row and sentence is computed from the tables of the run by the criteria of `criteria`, with
its floor or control beside it. Where a criterion holds in some columns, the numbers are means over
those, otherwise over all; the long form, with every number, is in `verdict`.
"""

import re
from collections.abc import Callable

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
    head_attention,
    is_local,
    listed,
    local_attention,
    moved,
    route,
    used,
)
from interp.carry_probe.result import Result
from interp.carry_probe.verdict import fed
from model.shell import SENTENCES, Row, Summary, percent, some_of

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
    found = [find(result) for find, name in FINDINGS if name in tables and not tables[name].empty]
    columns = listed(answered(tables["patterns"]).index)
    sentences = [sentence for _, sentence in found if sentence]
    if len(sentences) > SENTENCES:
        sentences.remove(_before(result)[1])  # its row says the same
    return Summary(
        f"{result.name}, {columns}: where is the carry, is it used?",
        (*(row for row, _ in found), *_left_out(result)),
        tuple(sentences),
    )


def _left_out(result: Result) -> list[Row]:
    """Say which questions cannot be asked of this network."""
    tables, rows = result.tables, []
    if not tables["interchange"].empty and tables["reader"].empty:
        rows.append(Row("through the MLP alone?", "not asked", "no feed-forward layer"))
    if not tables["interchange"].empty and tables["rivals"].empty:
        rows.append(Row("acts like", "not asked", "the answer is written units last"))
    return rows


def message(result: Result, find: Callable[[Result], Finding]) -> str:
    """Say a finding as the title of its figure."""
    row, sentence = find(result)
    if find is find_attention or not sentence:
        sentence = f"attention puts {row.number} ({row.control})"
    text = sentence[0].lower() + sentence[1:].removesuffix(".").replace("R^2", "$R^2$")
    text = re.sub(r"\bit (is|acts)\b", r"the carry \1", text, count=1)
    return f"{result.name}: {text}"


def _answers(result: Result) -> Finding:
    tables = result.tables
    table = tables["patterns"].pivot(index="column", columns="pattern", values="accuracy")
    right = answered(tables["patterns"])
    columns = some_of(right.index[right], list(right.index))
    whole, cut = (percent(table[name].mean()) for name in ("live", "position mean"))
    return (
        Row("columns right", columns, f"{whole} of digits", f"{cut} fixed attention"),
        f"The network answers {columns} reliably: {whole} of digits are right, with fixed "
        f"attention {cut}.",
    )


def find_attention(result: Result) -> Finding:
    """Say whether attention singles out the digits of columns i and i - 1, and of which head."""
    shares = local_attention(result.tables["attention"], result.layout)
    weight, even = (percent(shares[name].sum()) for name in ("weight", "uniform"))
    verdict = _yes(is_local(shares))
    heads, fixed = _heads(result), result.by_position_alone
    sentence = ""
    if heads:
        sentence = f"{heads}{', by position alone' if fixed else ''}."
    elif fixed:
        sentence = "Attention depends on position alone, so its keys cannot bring a carry."
    return Row("local attention?", verdict, f"{weight} on i, i-1", f"{even} uniform"), sentence


def _heads(result: Result) -> str:
    """Say where each of several heads looks most, as long as a sentence can hold it."""
    weights = head_attention(result.tables["attention"], result.layout)
    if not 0 < len(weights) <= MOST_HEADS:
        return ""
    parts = []
    for _, row in weights.iterrows():
        role = str(row.idxmax())
        plain = role.replace("{", "(").replace("}", ")").replace(" ", "\N{NO-BREAK SPACE}")
        parts.append(f"at {plain} ({percent(row.max())})")
    rest = [f"head {head} {part}" for head, part in enumerate(parts)][1:]
    return ", ".join([f"Head 0 looks most {parts[0]}", *rest])


MOST_HEADS = 3
"""Heads that one sentence has room for."""


def _before(result: Result) -> Finding:
    score, floor = before_attention(result.tables["probes"], result.layout)
    more = score > floor + MARGIN
    right, guess = percent(score), percent(floor)
    return (
        Row("readable before attention?", _yes(bool(more)), right, f"{guess} guess"),
        f"Before attention the carry {'is' if more else 'is not'} readable: a probe scores "
        f"{right}, a guess from {fed(result.layout)} {guess}.",
    )


def find_presence(result: Result) -> Finding:
    """Say where and in which columns a probe reads the carry."""
    rows = carry_rows(result.tables["probes"], "conditional", result.layout)
    site, found, among = best_present(rows)
    columns = some_of(found, among)
    best = rows[(rows["site"] == site) & rows["column"].isin(found or among)]
    score, floor = (percent(best[name].mean()) for name in ("accuracy", "best_floor"))
    return (
        Row("readable later?", columns, f"{score} at {site}", f"{floor} best floor"),
        f"It is readable at {site} in {columns}: probes score {score}, the best floor {floor}.",
    )


def find_use(result: Result) -> Finding:
    """Say in which columns swapping the carry's direction moves the digit."""
    tables = result.tables
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


def _route(result: Result) -> Finding:
    tables = result.tables
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


def _path(result: Result) -> Finding:
    tables = result.tables
    live = tables["reader"][tables["reader"]["norm"] == "live"]
    rate = live.groupby(["part", "path"])["moved"].mean()
    through, around = rate["whole", "feed-forward"], rate["whole", "skip"]
    number = f"{percent(through)}, skip alone {percent(around)}"
    control = f"{percent(rate['random', 'both'])} random direction"
    return Row("through the MLP alone?", _yes(bool(through >= USED)), number, control), ""


def find_account(result: Result) -> Finding:
    """Say what the carry acts like when a wrong digit is fed."""
    tables = result.tables
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


FINDINGS: tuple[tuple[Callable[[Result], Finding], str], ...] = (
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
