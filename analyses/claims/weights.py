"""Statements about what weights do: accuracy, the failing case, what is possible at a size."""

from analyses.claims.finding import (
    Finding,
    Measure,
    count_of,
    error_range,
    missing,
    pair_of,
    verdict_of,
)
from analyses.claims.world import Subject, World
from interp.anatomy import trace_column
from interp.certify import TOTAL
from interp.failure_diff import (
    column_table,
    edit_table,
    error_kind,
    find_focus,
    greedy_sum,
    records,
    single_digit_edits,
)
from model.dense import dense
from model.intervals import clopper_pearson
from model.task import N_DIGITS, chain_length, encode


def _unpublished(preset: str) -> Finding:
    return missing(f"no published {preset} checkpoint was given")


def official_errors(world: World, preset: str, errors: int) -> Finding:
    """Count errors under the official protocol, on the published checkpoint."""
    subject = world.published(preset)
    if subject is None:
        return _with_ours(_unpublished(preset), world, preset)
    return Finding(
        verdict_of(subject.official_errors == errors),
        f"{count_of(subject.official_errors)} in {subject.official_pairs:,}",
        error_range(subject.official_errors, subject.official_pairs),
        f"{subject.name}, official protocol",
    )


def _with_ours(finding: Finding, world: World, preset: str) -> Finding:
    """Say beside a missing published checkpoint what ours of the same shape do."""
    ours = [
        f"{s.name}: {count_of(s.official_errors)} in {s.official_pairs:,}"
        for s in world.ours(preset)
    ]
    text = "; ".join([finding.measured, *(f"of ours, {x}" for x in ours)])
    return Finding(finding.verdict, text, how="official protocol" if ours else "")


def official_at_least(world: World, preset: str, accuracy: float) -> Finding:
    """Compare the exact match under the official protocol with a stated least value."""
    subject = world.published(preset)
    if subject is None:
        return _with_ours(_unpublished(preset), world, preset)
    errors, n = subject.official_errors, subject.official_pairs
    return Finding(
        verdict_of(1 - errors / n >= accuracy),
        f"{count_of(errors)} in {n:,}",
        error_range(errors, n),
        f"{subject.name}, official protocol",
    )


def errors_by_seed(world: World, preset: str, stated: dict[int, int]) -> Finding:
    """Count errors by official test seed, on the published checkpoint."""
    subject = world.published(preset)
    if subject is None:
        return _unpublished(preset)
    found = {seed: r.errors for seed, r in subject.official.items() if r.errors}
    text = ", ".join(f"seed {seed}: {n}" for seed, n in found.items()) or "no errors"
    return Finding(verdict_of(found == stated), text, how=f"{subject.name}, official protocol")


def true_accuracy(world: World, preset: str, stated: float) -> Finding:
    """Measure the exact match on uniform pairs: certified, or far beyond the official sample."""
    subject = world.published(preset)
    if subject is None:
        return _unpublished(preset)
    result = subject.uniform
    text = f"{100 * result.exact_match:.5f} %: {count_of(result.errors)} in {result.n:,} pairs"
    low, high = clopper_pearson(result.n - result.errors, result.n)
    half_a_digit = 0.5e-5
    if subject.certified is not None:
        text += f"; certified: {_certified(subject)}"
        high_rate, low_rate = (1 - rate for rate in subject.certified.error_rates)
        holds = low_rate - half_a_digit <= stated <= high_rate + half_a_digit
    else:
        holds = low <= stated <= high or abs(result.exact_match - stated) < half_a_digit
    interval = error_range(result.errors, result.n)
    return Finding(verdict_of(holds), text, interval, f"{subject.name}, uniform pairs")


def _certified(subject: Subject) -> str:
    """Write the share of all 10^20 pairs that is certified wrong."""
    if subject.certified is None:
        return "not certified"
    low, high = subject.certified.error_rates
    if high == 0:
        return "no error among all 10^20 pairs"
    if low == high:
        wrong = TOTAL - subject.certified.lower
        return f"exactly {wrong:,} of all 10^20 pairs are wrong ({low:.6g})"
    return f"a share of {low:.6g} to {high:.6g} of all 10^20 pairs is wrong"


def perfect(world: World, preset: str, sample: int) -> Finding:
    """Test "100 %" on the published checkpoint, else say what ours do."""
    low, _ = clopper_pearson(sample, sample)
    bound = f"no error in {sample:,} shows {100 * low:.3f} % or more"
    subject = world.published(preset)
    if subject is None:
        found = _with_ours(_unpublished(preset), world, preset)
        return Finding(found.verdict, f"{found.measured}; {bound}", how=found.how)
    errors, n = subject.uniform.errors, subject.uniform.n
    parts = [
        f"{count_of(subject.official_errors)} in {subject.official_pairs:,}",
        f"{count_of(errors)} in {n:,} uniform pairs",
        *([_certified(subject)] if subject.certified else []),
        bound,
    ]
    verdict = verdict_of(subject.official_errors == 0 and errors == 0)
    how = f"{subject.name}, official protocol, uniform pairs"
    return Finding(verdict, "; ".join(parts), error_range(errors, n), how)


def failing_pair(world: World, preset: str, a: int, b: int, seed: int) -> Finding:
    """List the errors under the official protocol."""
    subject = world.published(preset)
    if subject is None:
        return _unpublished(preset)
    found = [(s, f.a, f.b) for s, r in subject.official.items() for f in r.failures]
    text = "; ".join(f"{x} + {y} on seed {s}" for s, x, y in found[:5]) or "no error"
    how = f"{subject.name}, official protocol"
    return Finding(verdict_of(found == [(seed, a, b)]), text, how=how)


def failing_answer(world: World, preset: str, a: int, b: int, stated: int) -> Finding:
    """Decode the failing pair."""
    subject = world.published(preset)
    if subject is None:
        return _unpublished(preset)
    answer = greedy_sum(column_table(dense(subject.checkpoint.model), a, b))
    return Finding(verdict_of(answer == stated), f"{answer}", how=f"{subject.name}, greedy")


def failing_column(
    world: World, preset: str, a: int, b: int, column: int, said: int, true: int, off: int
) -> Finding:
    """Find the first wrong column of the failing pair."""
    subject = world.published(preset)
    if subject is None:
        return _unpublished(preset)
    table = column_table(dense(subject.checkpoint.model), a, b)
    focus, answer = find_focus(table), greedy_sum(table)
    how = f"{subject.name}, greedy"
    if not focus.wrong:
        return Finding("does not", "every column is right", how=how)
    second = records(table)[column]
    text = (
        f"off by {answer - a - b:+,}: digit {focus.column} is {focus.rival} instead of "
        f"{focus.true}, by {focus.gap:.3f} logits; digit {column} is {second['greedy_predicted']}, "
        f"right by {second['forced_margin']:.2f}"
    )
    same = (focus.column, focus.rival, focus.true, answer - a - b) == (column, said, true, off)
    return Finding(verdict_of(same), text, how=how)


def chain_error(world: World, preset: str, a: int, b: int) -> Finding:
    """Ask whether a carry that travelled failed to arrive in the first wrong column."""
    subject = world.published(preset)
    if subject is None:
        return _unpublished(preset)
    table = column_table(dense(subject.checkpoint.model), a, b)
    focus = find_focus(table)
    carry_in = records(table)[focus.column]["carry_in"]
    travelled = int(chain_length(*pair_of(a, b))[0, focus.column])
    kind = error_kind(focus, carry_in)
    text = f"{kind} in column {focus.column}, into which "
    text += f"a carry travels {travelled} columns" if travelled else "no carry comes"
    holds = focus.wrong and kind == "a missed carry" and travelled > 1
    return Finding(verdict_of(holds), text, how=f"{subject.name}, column table")


def looks_ahead(world: World, preset: str, a: int, b: int) -> Finding:
    """Ask whether digits above the wrong column of the failing pair can repair it."""
    subject = world.published(preset)
    if subject is None:
        return _unpublished(preset)
    weights = dense(subject.checkpoint.model)
    focus = find_focus(column_table(weights, a, b))
    edits = [e for e in single_digit_edits(a, b) if focus.column < e[0][1] < N_DIGITS]
    if not edits:
        return missing(f"no column lies above column {focus.column}")
    rows = records(edit_table(weights, a, b, focus, edits))
    changed = sum(row["right_here"] != (not focus.wrong) for row in rows)
    pattern = trace_column(weights, encode(*pair_of(a, b)), focus.column)["pattern"][0]
    above = N_DIGITS - 1 - focus.column
    seen = float(pattern[:above].sum() + pattern[N_DIGITS + 1 : N_DIGITS + 1 + above].sum())
    text = (
        f"{changed} of {len(rows)} edits of digits above column {focus.column} change whether it "
        f"is right; it gives them {seen:.4f} of its attention"
    )
    return Finding(verdict_of(changed == 0), text, how=f"{subject.name}, single-digit edits")


def fundamental_limit(world: World, n_params: int, d_model: int) -> Finding:
    """Look for a checkpoint of at most that size that makes no error."""
    small = [
        s
        for s in world.subjects
        if s.config.n_params <= n_params and s.config.d_model <= d_model and not s.published
    ]
    if not small:
        return missing(f"no checkpoint of ours with at most {n_params} parameters was given")
    clean = [s for s in small if s.official_errors == 0 and s.uniform.errors == 0]
    if clean:
        best = max(clean, key=lambda s: s.uniform.smallest_margin)
        text = (
            f"{best.name} ({best.config.n_params} parameters) makes no error in the official "
            f"{best.official_pairs:,} nor in {best.uniform.n:,} uniform pairs"
        )
        text += f"; certified: {_certified(best)}" if best.certified else ""
        interval = error_range(0, best.uniform.n)
        return Finding("does not", text, interval, f"{best.name}, uniform pairs")
    errors = "; ".join(f"{s.name}: {count_of(s.uniform.errors)} in {s.uniform.n:,}" for s in small)
    return Finding(
        "not testable here", f"none of ours is free of errors: {errors}", how="uniform pairs"
    )


MEASURES: dict[str, Measure] = {
    measure.__name__: measure
    for measure in (
        official_errors,
        official_at_least,
        errors_by_seed,
        true_accuracy,
        perfect,
        failing_pair,
        failing_answer,
        failing_column,
        chain_error,
        looks_ahead,
        fundamental_limit,
    )
}
"""Measures of this module by name."""
