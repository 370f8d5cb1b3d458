"""Why is this sum wrong, or where else do sums fail? The one screen of a failure diff.

Every clause is computed from the tables of the run, its control beside it. The column table, the
controls and the paragraphs are in the files.
"""

from fractions import Fraction

from interp.failure_diff.atlas import say_wrong
from interp.failure_diff.error_search import SearchResult
from interp.failure_diff.explain import describe_player, error_kind, pushes
from interp.failure_diff.result import Result, records
from model.shell import Row, Summary, clip, count, percent
from model.task import TOKENS

Finding = tuple[list[Row], list[str]]


def summarise(result: Result) -> Summary:
    """Say in one screen what one pair's comparison found."""
    parts = (_what, _scale, _push, _edits, _patch, _context, _elsewhere)
    rows, sentences = [], []
    for part in parts:
        found, said = part(result)
        rows += found
        sentences += said
    title = f"{result.checkpoint}: {result.a} + {result.b} = {result.a + result.b}?"
    return Summary(title, tuple(rows), tuple(sentences))


def _what(result: Result) -> Finding:
    focus = result.focus
    carry_in = records(result.columns)[focus.column]["carry_in"]
    kind = error_kind(focus, carry_in).partition(",")[0]
    true, rival, by = TOKENS[focus.true], TOKENS[focus.rival], f"{abs(focus.gap):.2f} logits"
    answer = f"answers {result.answer if result.answer >= 0 else 'no number'}"
    verdict = "no" if focus.wrong else "yes"
    right = Row("sum right?", verdict, answer, f"true {result.a + result.b}")
    if focus.wrong:
        return [
            right,
            Row(
                "first wrong column", f"column {focus.column}", f"{rival} for {true} by {by}", kind
            ),
        ], [f"Column {focus.column} answers {rival} for {true}, by {by}: {kind}."]
    return [
        right,
        Row("thinnest column", f"column {focus.column}", f"{true} leads {rival} by {by}", kind),
    ], [f"The answer is right, and column {focus.column} is its thinnest, by {by}."]


def _scale(result: Result) -> Finding:
    scale = result.scale
    if scale is None:
        return [], []
    side = "wrong" if result.focus.gap > 0 else "right"
    apart = f"{abs(scale.position - scale.boundary):.2f} on the {side} side"
    return [
        Row(
            "carry seen, 0 none to 1 full",
            apart,
            f"{scale.position:.2f}",
            f"answer changes at {scale.boundary:.2f}",
        )
    ], [
        f"On a scale from no carry (0) to carry (1) it stands at {scale.position:.2f}, and answers "
        f"change at {scale.boundary:.2f}."
    ]


def _push(result: Result) -> Finding:
    """Name the digits that moved the column towards the rival."""
    moved = pushes(result)
    if not moved:
        return [], []
    player, top = max(moved.items(), key=lambda item: item[1])
    if top <= 0:
        return [], []
    whole = sum(moved.values())
    name = describe_player(result, player)
    return [Row("pushed by", name, f"{top:+.2f} logits", f"all columns {whole:+.2f}")], [
        f"The digits of {name.partition(' (')[0]} push it most: {top:+.2f} logits, all columns "
        f"together {whole:+.2f}."
    ]


def _edits(result: Result) -> Finding:
    edits, chains = (records(result.tables[name]) for name in ("single_edits", "chains"))
    passing = sum(row["passes"] for row in edits)
    right = sum(row["right_here"] for row in chains)
    control = f"{right:,} of {len(chains):,} same carry chain" if chains else ""
    text = f"Of {len(edits)} single-digit edits {passing} are right"
    also = f", and {right:,} of {len(chains):,} pairs with the same carry chain" if chains else ""
    return [Row("single-digit edits", f"{passing} right", f"of {len(edits)}", control)], [
        f"{text}{also}."
    ]


def _patch(result: Result) -> Finding:
    """Give the smallest patch from the first control that mends the column."""
    if not result.controls:
        return [Row("smallest patch that mends it", "nothing to patch from", "", "")], []
    control = result.controls[0].name
    found = [
        row
        for row in records(result.tables["minimal_sets"])
        if row["control"] == control
        and row["direction"] == "control into input"
        and row["size"] > 0
    ]
    question = "patch that mends it" if result.focus.wrong else "patch that moves it half way"
    if not found:
        return [Row(question, "none found", "", clip(f"from {control}"))], []
    best = min(found, key=lambda row: row["size"])
    size = count(int(best["size"]), "patch").replace("patchs", "patches")
    return [Row(question, clip(str(best["patches"])), size, clip(f"from {control}"))], []


def _context(result: Result) -> Finding:
    often = result.how_often
    low, high = (percent(x) for x in often.interval)
    share = float(Fraction(often.share))
    fail = f"{often.failing:,} of {often.sampled:,}"
    return [
        Row("same local context", f"{fail} fail", f"{low} to {high}", f"{share:.1e} of all pairs")
    ], [f"In its local context {fail} random inputs fail, and it holds {share:.1e} of all pairs."]


def _elsewhere(result: Result) -> Finding:
    if "certified" in result.tables:
        verdict, number = say_wrong(result.tables)
        return [Row("wrong of all 10^20 pairs", verdict, number, "certified")], [
            f"Certified: {verdict} {number} of all 10^20 pairs are wrong."
        ]
    columns = records(result.tables["search_columns"])
    tried = sum(row["contexts"] for row in columns)
    failing = sum(row["failing_contexts"] for row in columns)
    return [_tried(columns)], [
        f"A quick search over {tried:,} contexts found {failing:,} that fail."
        if failing
        else f"A quick search over {tried:,} contexts found no failure, which proves nothing."
    ]


def _tried(columns: list[dict]) -> Row:
    tried = sum(row["contexts"] for row in columns)
    failing = sum(row["failing_contexts"] for row in columns)
    thin = min(columns, key=lambda row: row["thinnest_margin"])
    margin = f"thinnest margin {thin['thinnest_margin']:.2f}"
    verdict = f"{failing:,} contexts" if failing else "none found, no proof"
    return Row("fails elsewhere?", verdict, margin, f"{tried:,} contexts tried")


def summarise_search(result: SearchResult, name: str) -> Summary:
    """Say in one screen what a search for failing sums found."""
    columns, contexts, groups = (
        records(getattr(result, table)) for table in ("columns", "contexts", "groups")
    )
    tried = sum(row["contexts"] for row in columns)
    failing = {row["column"]: row["failing_contexts"] for row in columns}
    total = sum(failing.values())
    thin = min(columns, key=lambda row: row["thinnest_margin"])
    pair = f"{thin['a']} + {thin['b']}"
    margin = f"{thin['thinnest_margin']:.2f} logits"
    found, among = count(total, "failing context"), f"{tried:,} contexts tried"
    rows = [
        Row("fails anywhere?", "yes" if total else "not found", found, among),
        Row("thinnest margin", f"column {thin['column']}", margin, pair),
    ]
    if not total:
        sentences = [
            f"No failing pair was found in {result.evaluations:,} column evaluations.",
            "That is no proof, which python -m interp.certify gives.",
            f"The thinnest margin is {margin}, in column {thin['column']} of {pair}.",
        ]
        return Summary(f"{name}: which sums fail?", tuple(rows), tuple(sentences))
    worst = max(columns, key=lambda row: row["error_rate"])
    low, high = (worst[f"error_rate_{side}"] for side in ("low", "high"))
    bad = sum(n > 0 for n in failing.values())
    mass = sum(row["mass"] for row in contexts)
    rows += [
        Row("columns that fail", f"{bad} of {len(columns)}", "", ""),
        Row(
            "worst column",
            f"column {worst['column']}",
            f"{worst['error_rate']:.2g} of inputs",
            f"{low:.1e} to {high:.1e}",
        ),
        Row("share of all pairs", "sampled", f"{mass:.2g}", f"{len(contexts):,} contexts listed"),
    ]
    sentences = [
        f"Of {tried:,} contexts {total:,} hold a failing pair, in {bad} of {len(columns)} columns.",
        f"The {len(contexts):,} listed hold {mass:.2g} of all pairs, counted once a column.",
        f"Column {worst['column']} is worst: {worst['error_rate']:.2g} of its random inputs fail.",
    ]
    if groups:
        first = max(groups, key=lambda row: row["mass"])
        true, said = (TOKENS[int(first[key])] for key in ("true", "answered"))
        rows.append(
            Row(
                "largest group",
                f"column {first['column']}: {said} for {true}",
                f"{first['mass']:.1e} of all pairs",
                f"{first['a']} + {first['b']}",
            )
        )
        sentences.append(
            f"The largest group answers {said} for {true} in column {first['column']}, as in "
            f"{first['a']} + {first['b']}."
        )
    return Summary(f"{name}: which sums fail?", tuple(rows), tuple(sentences))
