"""Statements that the shape, the encoding or the write-up's own figures decide."""

import math

from scipy.stats import fisher_exact

from analyses.claims.finding import Finding, Measure, pair_of, percent, verdict_of
from analyses.claims.world import World
from model.config import PRESETS, param_shapes
from model.intervals import clopper_pearson
from model.task import N_INPUT, TOKENS, carries, encode


def _components(preset: str) -> dict[str, int]:
    """Count parameters by component: W_E, W_pos, ln (three norms), QKV, W_O, W_in, W_out."""
    counts: dict[str, int] = {}
    for name, shape in param_shapes(PRESETS[preset]).items():
        stem = name.split("_")[0]
        key = "ln" if stem.startswith("ln") else "_".join(name.split("_")[:2])
        if stem == "qkv" or key in ("W_Q", "W_K", "W_V", "W_KV", "W_QK", "W_QKV"):
            key = "QKV"
        counts[key] = counts.get(key, 0) + math.prod(shape)
    return counts


def parameter_count(world: World, preset: str, stated: int) -> Finding:
    """Count the parameters of a shape, and those of any checkpoint of it."""
    found = PRESETS[preset].n_params
    names = [s.name for s in world.subjects if s.preset == preset]
    counted = {
        sum(p.numel() for p in s.checkpoint.model.parameters())
        for s in world.subjects
        if s.preset == preset
    }
    how = f"shape; tensors of {', '.join(names)}" if names else "shape"
    return Finding(verdict_of({found} | counted == {stated}), f"{found}", how=how)


def component_table(world: World, preset: str, parts: dict[str, int], total: int) -> Finding:
    """Compare a table of components with the real ones, and its rows with its total."""
    real = _components(preset)
    wrong = [f"{key} {real[key]}, not {n}" for key, n in parts.items() if real[key] != n]
    rest = {key: n for key, n in real.items() if key not in parts}
    filled = "".join(f" + {key} {n}" for key, n in rest.items())
    sum_text = f"rows{filled} add to {sum(parts.values()) + sum(rest.values())}, not {total}"
    problems = [*wrong, *([sum_text] if sum(parts.values()) + sum(rest.values()) != total else [])]
    return Finding(
        verdict_of(not problems),
        "; ".join(problems) or "all rows and the sum are right",
        how="shape",
    )


def qkv_saving(world: World, before: str, after: str, stated: float) -> Finding:
    """Compare the parameters of the query, key and value projections of two shapes."""
    old, new = _components(before)["QKV"], _components(after)["QKV"]
    saved = 1 - new / old
    text = f"{before} has {old} (its Q, K and V share A already), {after} {new}: {saved:.0%} less"
    return Finding(verdict_of(abs(saved - stated) < 0.005), text, how="shape")


def arithmetic(
    world: World, stated: int | float, found: int | float, unit: str, tolerance: float = 0.0
) -> Finding:
    """Compare a number with what the write-up's own figures give."""
    text = f"{found:,.4g} {unit}" if found != int(found) else f"{int(found):,} {unit}"
    return Finding(verdict_of(abs(found - stated) <= tolerance), text, how="the write-up's figures")


def counted(world: World, values: tuple[float, ...], above: float, stated: int) -> Finding:
    """Count the rows of a write-up's table above a threshold."""
    n = sum(value > above for value in values)
    return Finding(
        verdict_of(n == stated), f"{n} rows above {above:.0%}", how="the write-up's table"
    )


def sequence_length(world: World, stated: int) -> Finding:
    """Count the tokens of an encoded sum."""
    n = encode(*pair_of(123, 45)).shape[1]
    text = f"{n} tokens with prompt and answer, of which the network reads {N_INPUT}"
    return Finding(verdict_of(n == stated), text, how="encoding")


def written_as(world: World, a: int, b: int, stated: str) -> Finding:
    """Write a sum as tokens."""
    text = "".join(TOKENS[t] for t in encode(*pair_of(a, b))[0].tolist())
    return Finding(verdict_of(text == stated), text, how="encoding")


def column_digits(
    world: World, a: int, b: int, column: int, digits: tuple[int, int], carry_in: int, total: int
) -> Finding:
    """Add up one column of a pair."""
    own = (a // 10**column % 10, b // 10**column % 10)
    carry = int(carries(*pair_of(a, b))[0][0, column])
    text = f"{own[0]} + {own[1]} + {carry} = {sum(own) + carry}"
    same = (own, carry, sum(own) + carry) == (tuple(digits), carry_in, total)
    return Finding(verdict_of(same), text, how="the operands")


def rates_differ(world: World, first: tuple[int, int], second: tuple[int, int]) -> Finding:
    """Ask whether two stated counts differ by more than chance."""
    table = [[hits, n - hits] for hits, n in (first, second)]
    p_value = float(fisher_exact(table)[1])
    ranges = "; ".join(
        f"{hits} of {n}: {percent(*clopper_pearson(hits, n))}" for hits, n in (first, second)
    )
    text = f"the counts do not tell them apart (Fisher's exact test, p = {p_value:.2g})"
    if p_value < 0.05:
        text = f"the counts differ (Fisher's exact test, p = {p_value:.2g})"
    return Finding(verdict_of(p_value < 0.05), text, ranges, "the write-up's counts")


MEASURES: dict[str, Measure] = {
    measure.__name__: measure
    for measure in (
        parameter_count,
        component_table,
        qkv_saving,
        arithmetic,
        counted,
        sequence_length,
        written_as,
        column_digits,
        rates_differ,
    )
}
"""Measures of this module by name."""
