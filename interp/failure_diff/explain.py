"""The explanation in words, every clause computed from a result's numbers."""

from fractions import Fraction
from typing import Any

from interp.failure_diff.atlas import describe_atlas
from interp.failure_diff.columns import Focus, column_sum_text, is_carry_error
from interp.failure_diff.result import Result, records
from model.task import N_DIGITS, TOKENS

_NO_MOVE = 0.005
_OFFSETS = {"column below": -1, "two below": -2, "column above": 1}


def error_kind(focus: Focus, carry_in: int) -> str:
    """Name what taking the rival for the true digit would mean for the carry."""
    if focus.rival >= 10:
        return "no carry error, since the rival is no digit"
    step = (focus.rival - focus.true) % 10
    if step == 1:
        return "one too many, although its carry is in" if carry_in else "a spurious carry"
    if step == 9:
        return "a missed carry" if carry_in else "one too few, although no carry is due"
    return f"no carry error, since the digits are {step} apart modulo 10"


def explain(result: Result) -> str:
    """Write three paragraphs: what is wrong and why; controls and patching; how often."""
    paragraphs = [
        [*_what(result), *_boundary(result), *_evidence(result), _attribution(result)],
        [*_edits(result), *_patching(result)],
        [*_frequency(result), _search(result), *_atlas(result)],
    ]
    return "\n\n".join(" ".join(sentences) for sentences in paragraphs)


def _what(result: Result) -> list[str]:
    focus, true_sum = result.focus, result.a + result.b
    carry_in = records(result.columns)[focus.column]["carry_in"]
    here = f"column {focus.column} ({column_sum_text(result.columns, focus.column)})"
    true, rival = TOKENS[focus.true], TOKENS[focus.rival]
    kind = error_kind(focus, carry_in)
    if not focus.wrong:
        return [
            f"The model is right: {result.a} + {result.b} = {true_sum}.",
            f"Its thinnest column is {here}: {true} leads {rival} by {-focus.gap:.3f} logits, and "
            f"{rival} would be {kind}.",
        ]
    answer = str(result.answer) if result.answer >= 0 else "no number"
    off = f", off by {result.answer - true_sum:+d}" if result.answer >= 0 else ""
    return [
        f"The model answers {answer} for {result.a} + {result.b} = {true_sum}{off}.",
        f"Its first error is {here}: it answers {rival} for {true}, by {focus.gap:.3f} logits; "
        f"this is {kind}.",
    ]


def _boundary(result: Result) -> list[str]:
    scale, focus = result.scale, result.focus
    if scale is None:
        return []
    side = "wrong" if focus.gap > 0 else "right"
    return [
        f"Random inputs with the same digits in column {focus.column} show what a carry does to "
        f"the logit of {TOKENS[focus.rival]} less that of {TOKENS[focus.true]}.",
        f"Its mean is {scale.without:.2f} without a carry in (n = {scale.n[0]}, 95 % of them "
        f"{scale.without_range[0]:.2f} to {scale.without_range[1]:.2f}) and {scale.with_carry:.2f} "
        f"with one (n = {scale.n[1]}, {scale.with_range[0]:.2f} to {scale.with_range[1]:.2f}).",
        f"On the scale from 0 (no carry) to 1 (carry) this input stands at {scale.position:.3f}.",
        f"The answer changes at {scale.boundary:.3f}, so it is "
        f"{abs(scale.position - scale.boundary):.3f} of a carry on the {side} side.",
    ]


def pushes(result: Result) -> dict[str, float]:
    """Say how far each player's digits moved the gap; empty if the gap hardly moved."""
    moved = {row["player"]: row["contribution"] for row in records(result.tables["evidence"])}
    return moved if abs(sum(moved.values())) >= _NO_MOVE else {}


def _evidence(result: Result) -> list[str]:
    pushed = pushes(result)
    if not pushed:
        return []
    rows = records(result.tables["evidence"])
    column, moved = result.focus.column, sum(pushed.values())
    ranked = sorted(rows, key=lambda row: -abs(row["contribution"]))
    parts = [
        f"{describe_player(result, row['player'])} {row['contribution']:+.2f} "
        f"(s.e. {row['error']:.2f})"
        for row in ranked
        if abs(row["contribution"]) >= 0.02 * abs(moved)
    ]
    sentences = [
        f"Inputs with the same digits in column {column} and the same carry in have a mean of "
        f"{rows[0]['baseline']:.2f}.",
        f"This input lies {moved:+.2f} away, which comes from "
        f"{', '.join(parts) or 'no single column'} (Shapley values over the other columns).",
    ]
    top = max(pushed, key=lambda player: pushed[player])
    if pushed[top] > 0 and column > 0:
        sentences.append(_mistaken(result, top))
    return sentences


def describe_player(result: Result, player: str) -> str:
    """Name the column of a player with its digits, or "all other columns"."""
    offset = _OFFSETS.get(player)
    if offset is None:
        return "all other columns"
    j = result.focus.column + offset
    row = records(result.columns)[j]
    seen = f", answer digit {row['true']}" if offset < 0 else ", not yet answered"
    return f"column {j} ({row['a']} + {row['b']}{seen})"


def _mistaken(result: Result, player: str) -> str:
    """Say what pushed the column towards the rival, in terms of the carry where it is one."""
    focus, rows = result.focus, records(result.columns)
    below, carry_in = rows[focus.column - 1], rows[focus.column]["carry_in"]
    total = below["sum"] + below["carry_in"]
    near = f"{10 - total} short of a carry" if total < 10 else f"{total - 10} more than carries"
    near = "just enough to carry" if total == 10 else near
    state = f"column {focus.column - 1} adds to {total} with its carry in, {near}"
    mistaken = is_carry_error(focus, carry_in)
    if mistaken and not carry_in:
        verb = "What the model took" if focus.wrong else "What comes nearest to being taken"
        return f"{verb} for a carry is {describe_player(result, player)}; {state}."
    if mistaken:
        verb = "What hid the carry" if focus.wrong else "What comes nearest to hiding the carry"
        return f"{verb} is {describe_player(result, player)}; {state}."
    return f"The largest push is that of {describe_player(result, player)}; {state}."


def _attribution(result: Result) -> str:
    totals: dict[str, float] = {}
    for row in records(result.tables["attribution"]):
        if row["input"] == "input":
            name = row["component"]
            totals[name] = totals.get(name, 0.0) + row["contribution"]
    parts = [f"{name} {value:+.3f}" for name, value in totals.items() if abs(value) > 5e-4]
    return (
        f"The difference of {sum(totals.values()):+.3f} logits adds up from what is in the "
        f"residual stream: {', '.join(parts)}."
    )


def _edits(result: Result) -> list[str]:
    focus, rows = result.focus, records(result.tables["single_edits"])
    passing = sum(row["passes"] for row in rows)
    rarer = passing <= len(rows) / 2
    places: dict[int, list[bool]] = {}
    for row in rows:
        places.setdefault(int(row["edit_column"]), []).append(row["passes"] == rarer)
    named = [
        f"{sum(hits)} of {len(hits)} in column {column}"
        for column, hits in sorted(places.items())
        if any(hits)
    ]
    near = records(result.tables["two_digit_edits"])
    swapped = records(result.tables["commuted"])[1]
    chains = records(result.tables["chains"])
    sentences = [f"Of the {len(rows)} single-digit edits of the pair, {passing} pass."]
    if named:
        sentences.append(f"Those that {'pass' if rarer else 'fail'}: {', '.join(named)}.")
    sentences += [
        f"Of the {len(near)} two-digit edits of the neighbouring columns, "
        f"{sum(row['passes'] for row in near)} pass.",
        f"The commuted pair {'passes' if swapped['passes'] else 'fails'} "
        f"({swapped['gap']:+.3f} in column {focus.column}).",
    ]
    if chains:
        right = sum(row["right_here"] for row in chains)
        sentences.append(
            f"Of {len(chains)} random pairs whose carry chain into the column has the same length "
            f"and states, {right} are right there."
        )
    return sentences


def _patching(result: Result) -> list[str]:
    if not result.controls:
        return ["No passing control was found, so nothing was patched."]
    verb = "restores the digit" if result.focus.wrong else "moves it at least half of the way"
    sentences = []
    for control in result.controls:
        texts = []
        for kind in ("sources", "units"):
            found = [
                row["patches"]
                for row in records(result.tables["minimal_sets"])
                if row["control"] == control.name
                and row["direction"] == "control into input"
                and row["kind"] == kind
                and row["size"] > 0
            ]
            more = f", or {len(found) - 3} more of that size" if len(found) > 3 else ""
            if found:
                texts.append(f"among {kind} {', or '.join(found[:3])}{more}")
        if texts:
            sentences.append(
                f"Patching from the control {control.a} + {control.b} ({control.name}) {verb} "
                f"with these smallest sets: {', and '.join(texts)}."
            )
    return sentences


def _frequency(result: Result) -> list[str]:
    often, above = result.how_often, result.focus.column + 1
    low, high = often.interval
    sentences = [
        f"The local context ({often.context}) is exactly {often.share} = "
        f"{float(Fraction(often.share)):.3g} of all pairs, and {often.failing} of {often.sampled} "
        f"random inputs of it fail in that column (95 % interval {low:.3f} to {high:.3f})."
    ]
    if above < N_DIGITS:
        wider = records(result.tables["wider_context"])
        failing = sum(not row["right_here"] for row in wider)
        sentences.append(f"With column {above} left open, {failing} of {len(wider)} fail there.")
    return sentences


def _search(result: Result) -> str:
    columns = records(result.tables["search_columns"])
    total = sum(row["failing_contexts"] for row in columns)
    tried = sum(row["contexts"] for row in columns)
    start = f"The search over {tried} contexts of all columns"
    if not total:
        thin = min(columns, key=lambda row: row["thinnest_margin"])
        return (
            f"{start} found no failing one, which proves nothing about the rest. The thinnest "
            f"margin is {thin['thinnest_margin']:.3f}, in column {thin['column']} ({thin['a']} + "
            f"{thin['b']})."
        )
    contexts = records(result.tables["search_contexts"])
    by_column = [
        f"{row['failing_contexts']} in column {row['column']}"
        for row in columns
        if row["failing_contexts"]
    ]
    return (
        f"{start} found {total} failing ones ({', '.join(by_column)}); the {len(contexts)} listed "
        f"hold {_mass(contexts):.2g} of all pairs as errors{_same_digits(result, contexts)}."
    )


def _atlas(result: Result) -> list[str]:
    return [describe_atlas(result.tables)] if "certified" in result.tables else []


def _same_digits(result: Result, contexts: list[dict[str, Any]]) -> str:
    """Count the failing contexts whose error is the one explained here."""
    focus = result.focus
    if not focus.wrong:
        return ""
    here = (focus.column, focus.true, focus.rival)
    near = [row for row in contexts if (row["column"], row["true"], row["answered"]) == here]
    return (
        f", and {len(near)} of these answer {TOKENS[focus.rival]} for {TOKENS[focus.true]} in "
        f"column {focus.column} as here ({_mass(near):.2g} of all pairs)"
    )


def _mass(contexts: list[dict[str, Any]]) -> float:
    return sum((row["mass"] for row in contexts), 0.0)
