"""Statements about training: grok rates, least rank and size, the step of the transition."""

from scipy.stats import fisher_exact

from analyses.claims.finding import (
    Finding,
    Measure,
    Verdict,
    count_of,
    missing,
    percent,
    verdict_of,
)
from analyses.claims.world import PUBLISHED_RECIPE, Sweep, World
from interp.failure_diff import records
from model.intervals import clopper_pearson


def _describe(sweep: Sweep) -> str:
    low, high = clopper_pearson(sweep.grokked, len(sweep.best))
    return (
        f"{sweep.grokked} of {len(sweep.best)} ({percent(low, high)}; {sweep.steps:,} steps, "
        f"{sweep.recipe})"
    )


def grok_rate(world: World, preset: str, stated: tuple[int, int], steps: int) -> Finding:
    """Compare a grok rate with our sweeps of the same shape, recipe and length."""
    stated_range = percent(*clopper_pearson(*stated))
    sweeps = world.sweeps_of(preset)
    same = [s for s in sweeps if s.recipe == PUBLISHED_RECIPE and s.steps == steps]
    if not same:
        others = "; ".join(map(_describe, sweeps))
        what = f"no sweep of ours of {preset} by the published recipe in analyses/results"
        what += f" (others: {others})" if others else ""
        return Finding("not testable here", f"{what}; the stated rate is {stated_range}")
    hits, n = sum(s.grokked for s in same), sum(len(s.best) for s in same)
    p_value = float(fisher_exact([[hits, n - hits], [stated[0], stated[1] - stated[0]]])[1])
    text = f"{hits} of {n} here; stated {stated_range}; Fisher's exact test p = {p_value:.2g}"
    interval = percent(*clopper_pearson(hits, n))
    return Finding(verdict_of(p_value > 0.05), text, interval, ", ".join(s.name for s in same))


def minimum_rank(world: World, field: str, rank: int, d_model: int) -> Finding:
    """Look for a network of lower rank that learned to add."""

    def lower(config: object) -> bool:
        return 0 < getattr(config, field) < rank and getattr(config, "d_model", 0) == d_model

    subjects = [s for s in world.subjects if lower(s.config)]
    learned = [s for s in subjects if s.uniform.exact_match > 0.9]
    sweeps = [s for s in world.sweeps if lower(s.config)]
    parts = [
        f"{s.name} ({field} {getattr(s.config, field)}): {count_of(s.uniform.errors)} "
        f"in {s.uniform.n:,}"
        for s in subjects
    ]
    parts += [f"sweep {s.name}: {_describe(s)}" for s in sweeps]
    if not parts:
        return missing(f"no checkpoint and no sweep with {field} below {rank} at d_model {d_model}")
    viable = bool(learned) or any(s.grokked for s in sweeps)
    if viable:
        return Finding("does not", "; ".join(parts), how="checkpoints, sweeps in analyses/results")
    return Finding(
        "holds" if sweeps else "not testable here",
        "; ".join(parts),
        how="checkpoints, sweeps in analyses/results",
    )


def smaller_learns(world: World, n_params: int) -> Finding:
    """Look for a smaller network that learned to add."""
    small = [s for s in world.subjects if s.config.n_params < n_params]
    parts = [
        f"{s.name} ({s.config.n_params}): {count_of(s.uniform.errors)} in {s.uniform.n:,}"
        for s in small
    ]
    sweeps = [s for s in world.sweeps if s.config.n_params < n_params]
    parts += [f"sweep {s.name} ({s.config.n_params}): {_describe(s)}" for s in sweeps]
    if not parts:
        return missing(f"no checkpoint and no sweep with fewer than {n_params} parameters")
    learned = any(s.uniform.exact_match > 0.99 for s in small) or any(s.grokked for s in sweeps)
    verdict: Verdict = "does not" if learned else "not testable here"
    return Finding(verdict, "; ".join(parts), how="uniform pairs, sweeps in analyses/results")


def transition_step(world: World, preset: str, above: float, stated: int) -> Finding:
    """Find the first logged step above a level of exact match, in our runs of that shape.

    Only runs from scratch say when a network learns, and only those by the published recipe test
    the statement: it holds if the stated step is within a quarter of every one of them.
    """
    found: list[tuple[str, str, int | None]] = []
    for subject in world.ours(preset):
        if subject.log is None or not subject.from_scratch:
            continue
        hits = [row["step"] for row in records(subject.log) if row["exact"] > above]
        found.append((subject.name, subject.recipe, int(hits[0]) if hits else None))
    if not found:
        return missing(f"no checkpoint of ours of {preset} from scratch with a log was given")
    text = "; ".join(
        f"{name} ({recipe}): "
        + (f"never above {above:.1%}" if step is None else f"above {above:.1%} at step {step:,}")
        for name, recipe, step in found
    )
    tested = [step for _, recipe, step in found if recipe == PUBLISHED_RECIPE]
    if not tested:
        return Finding("not testable here", f"no run of ours by the published recipe; {text}")
    holds = all(step is not None and abs(step - stated) <= stated / 4 for step in tested)
    return Finding(verdict_of(holds), text, how="training logs")


MEASURES: dict[str, Measure] = {
    measure.__name__: measure
    for measure in (
        grok_rate,
        minimum_rank,
        smaller_learns,
        transition_step,
    )
}
"""Measures of this module by name."""
