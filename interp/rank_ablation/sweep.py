"""The sweep over components: single ones with their null, truncations, subsets and pairs.

Every job is one table of rows (component, metric, stratum); jobs are independent of each other and
of their order, so that an interrupted sweep goes on where it stopped.
"""

import itertools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch

from interp.anatomy import Basis, Component, join, overlap, stem_of
from interp.rank_ablation.config import Kind, NormMode
from interp.rank_ablation.kinds import Ablation, ablate, ablate_set
from interp.rank_ablation.metrics import answer, measure, tabulate_measured
from interp.rank_ablation.random_terms import random_term
from interp.rank_ablation.world import World, cut

Scope = Literal["intact", "single", "truncation", "subset", "pair"]

MAX_SUBSET_PARTS = 8
"""Of more parts than this there are too many subsets to enumerate."""


@dataclass(frozen=True)
class Job:
    """A part of the sweep.

    Attributes:
        scope: What is removed at a time: one component, the last ones, any set, one of each of two
            matrices; "intact" is the control.
        matrix: Which matrix (a pair: the first).
        basis: How it is cut.
        kind: What replaces what is removed.
        norm: Whether later norms are recomputed.
        other: The second matrix of a pair.
    """

    scope: Scope
    matrix: str = ""
    basis: Basis = "svd"
    kind: Kind = "zero"
    norm: NormMode = "live"
    other: str = ""

    @property
    def name(self) -> str:
        """Name the job's file."""
        fields = (self.scope, self.matrix, self.other, self.basis, self.kind, self.norm)
        return "-".join(field for field in fields if field)


def plan(
    names: Sequence[str],
    bases: Sequence[Basis],
    kinds: Sequence[Kind],
    norms: Sequence[NormMode],
    *,
    subsets: bool,
    pairs: bool,
) -> list[Job]:
    """List the jobs of a sweep; those for which a network has no components return empty tables."""
    jobs = [Job("intact")]
    for matrix, basis in itertools.product(names, bases):
        jobs += [
            Job("single", matrix, basis, kind, norm)
            for kind, norm in itertools.product(kinds, norms)
        ]
        if basis != "unit":
            jobs.append(Job("truncation", matrix, basis))
        if subsets:
            jobs.append(Job("subset", matrix, basis))
    if pairs:
        jobs += [
            Job("pair", first, basis, other=second)
            for basis in bases
            for first, second in itertools.combinations(names, 2)
            if not overlap(first, second) and "edges" not in (stem_of(first), stem_of(second))
        ]
    return jobs


def run_job(world: World, null_world: World, job: Job, draws: int) -> pd.DataFrame:
    """Measure one job.

    Args:
        world: The network and the sums.
        null_world: The same with fewer sums, for the null.
        job: What to do.
        draws: Random terms per single component.

    Returns:
        Rows as of `tabulate_measured` with the component's columns before them; empty where the
        network has no such components.
    """
    if job.scope == "intact":
        return _score(world, job, [], ablate_set(world.setting, []))
    tables = []
    for removed in _removals(world, job):
        table = _score(world, job, removed, _ablations(world, job, removed))
        null = _null(null_world, job, removed, draws)
        tables.append(pd.concat([table, null], axis=1))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _removals(world: World, job: Job) -> list[tuple[Component, ...]]:
    """What is removed together, one tuple at a time: one component (or set) per matrix."""
    parts = cut(world, job.matrix, job.basis)
    if job.scope == "single":
        return [(part,) for part in parts]
    if job.scope == "pair":
        return list(itertools.product(parts, cut(world, job.other, job.basis)))
    if stem_of(job.matrix) == "edges":
        return []
    return [(join(chosen),) for chosen in _sets(job.scope, parts)]


def _ablations(world: World, job: Job, removed: Sequence[Component]) -> list[Ablation]:
    if job.scope == "single":
        return ablate(world.setting, removed[0], job.kind, job.norm)
    return ablate_set(world.setting, removed)


def _sets(scope: Scope, parts: list[Component]) -> list[tuple[Component, ...]]:
    """Which components are removed together: the last ones, or any two or more of them."""
    if scope == "truncation":
        return [tuple(parts[keep:]) for keep in range(len(parts))]
    if len(parts) > MAX_SUBSET_PARTS:
        return []
    sizes = range(2, len(parts) + 1)
    return [chosen for size in sizes for chosen in itertools.combinations(parts, size)]


def _score(
    world: World, job: Job, removed: Sequence[Component], ablations: list[Ablation]
) -> pd.DataFrame:
    table = tabulate_measured(measure(world.cases, answer(world.setting, ablations, world.cases)))
    columns = {
        "scope": job.scope,
        "matrix": " & ".join(part.matrix for part in removed),
        "basis": job.basis,
        "component": " & ".join(part.label for part in removed),
        "rank": sum(part.rank for part in removed),
        "weight": float(np.linalg.norm([part.weight for part in removed])),
        "kind": job.kind,
        "norm": job.norm,
    }
    for place, (name, value) in enumerate(columns.items()):
        table.insert(place, name, value)
    return table


def _null(world: World, job: Job, removed: Sequence[Component], draws: int) -> pd.DataFrame:
    """Quantiles of every metric over random terms of the same Frobenius norms."""
    labels = "/".join(part.label for part in removed)
    seed = zlib.crc32(f"{job.name}/{labels}/{world.setting.seed}".encode())
    generator = torch.Generator().manual_seed(seed)
    values = []
    for _ in range(draws):
        drawn = [random_term(part, generator, world.cases.layout) for part in removed]
        answers = answer(world.setting, _ablations(world, job, drawn), world.cases)
        values.append(measure(world.cases, answers).value)
    quantiles = np.quantile(np.stack(values), (0.05, 0.5, 0.95), axis=0)
    return pd.DataFrame(quantiles.T, columns=["null_low", "null_median", "null_high"])
