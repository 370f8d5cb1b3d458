"""Where carry information is linearly present: hook sites x answer columns x features.

Every score stands beside its floors on the same held-out inputs: the majority class, the best guess
from s_{i-1} alone (uniform digits make it independent of a_i + b_i), the best guess from a_{i-1} +
b_{i-1} alone (a site that holds this sum does not hold the carry yet; in column 1 the sum decides
it, so there is no such floor), shuffled training labels, a control task with a random label for
each type (Hewitt & Liang 2019; selectivity is the score less
the control's), random-init models, the site before attention, and, as ceiling, the raw digits.
Control tasks are split at random, so that their types are all seen in training, which favours the
control. p-values test a score against its best floor and are corrected (Holm) over all scores.

Given the sum, `answer` and `carry_out` are `carry_in` by another name, and `state` and `digit_sum`
are constant, so only `carry_in` and `previous_carry` are asked conditionally.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import joblib
import numpy as np
import pandas as pd

from interp.anatomy import HOOKS, Specimen, at_query, trace_hooks
from interp.carry_probe.data import OF_THE_COLUMN_BELOW, ProbeInputs, split_by_context
from interp.carry_probe.fit import (
    Score,
    best_guess,
    holm,
    same_span,
    score_conditional,
    score_global,
    score_shared,
    whiten,
)
from model.threads import limit_threads

Kind = Literal["global", "conditional", "shared"]

ASKED_CONDITIONALLY = ("carry_in", "previous_carry")
BEFORE_ATTENTION = "resid_pre"
SHUFFLES: dict[Kind, int] = {"global": 4, "conditional": 1, "shared": 4}
"""Shuffles to average: one makes one probe, whose few weights may be right by chance; a conditional
score pools the probes of all sums."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What to ask.

    Attributes:
        columns: Answer columns.
        sites: Names from `HOOKS` that the network has.
        features: Names from `FEATURES`.
        seed: Seed of splits, shuffles and control labels.
        jobs: Processes to share the columns among.
    """

    columns: tuple[int, ...]
    sites: tuple[str, ...]
    features: tuple[str, ...]
    seed: int
    jobs: int = 1


def kinds_of(feature: str) -> tuple[Kind, ...]:
    """List how a feature is asked."""
    return ("global", "conditional", "shared") if feature in ASKED_CONDITIONALLY else ("global",)


def sweep_probes(
    specimen: Specimen, controls: Sequence[Specimen], inputs: ProbeInputs, sweep: Sweep
) -> pd.DataFrame:
    """Score every site, column and feature, with all floors beside; see `start_probes`."""
    return finish_probes(start_probes(specimen, controls, inputs, sweep))


def start_probes(
    specimen: Specimen, controls: Sequence[Specimen], inputs: ProbeInputs, sweep: Sweep
) -> Iterator[list[dict]]:
    """Begin to score every site, column and feature; several processes go on by themselves.

    Args:
        specimen: The network.
        controls: Random networks of the same shape.
        inputs: Input sequences, split here into training and held-out halves.
        sweep: What to ask.

    Returns:
        What `finish_probes` waits for. The numbers are the same for any number of processes.
    """
    work = [(column, feature) for column in sweep.columns for feature in sweep.features]
    parallel = joblib.Parallel(n_jobs=sweep.jobs, return_as="generator")
    return parallel(
        joblib.delayed(_score_feature)(specimen, tuple(controls), inputs, column, feature, sweep)
        for column, feature in work
    )


def finish_probes(parts: Iterable[list[dict]]) -> pd.DataFrame:
    """Collect what `start_probes` began.

    Returns:
        One row per site, column, feature and kind; features that are constant in a column are left
        out.
    """
    with warnings.catch_warnings():
        # joblib replaces workers whose memory grew, and says so each time.
        warnings.filterwarnings("ignore", message="A worker stopped", category=UserWarning)
        table = pd.DataFrame([row for part in parts for row in part])
    return table if table.empty else _with_significance(table)


@limit_threads()  # in a worker too
def _score_feature(
    specimen: Specimen,
    controls: tuple[Specimen, ...],
    inputs: ProbeInputs,
    column: int,
    feature: str,
    sweep: Sweep,
) -> list[dict]:
    """Score one feature of one column at every site."""
    y, given = inputs.labels(feature, column), inputs.sums(column)
    if (y == y[0]).all():
        return []
    rng = np.random.default_rng([sweep.seed, column, sorted(sweep.features).index(feature)])
    train = split_by_context(inputs.context(feature, column), inputs.stratum(feature, column), rng)
    if (y[train] == y[train][0]).all():
        return []
    shuffled = np.stack([y] * max(SHUFFLES.values()))
    shuffled[:, train] = rng.permuted(shuffled[:, train], axis=1)
    at_random = rng.permutation(len(y)) < len(y) // 2
    control_labels = _random_labels(inputs, feature, column, rng)
    query = inputs.query(column)

    def score(kind: Kind, x: np.ndarray, y: np.ndarray, train: np.ndarray) -> Score:
        if kind == "global":
            return score_global(x, y, train)
        return (score_conditional if kind == "conditional" else score_shared)(x, y, train, given)

    floors = {
        "majority": best_guess(y, ~train, np.zeros_like(y)).accuracy,
        "bayes_query": best_guess(y, ~train, query).accuracy,
        "bayes_below": float("nan"),
    }
    if feature in OF_THE_COLUMN_BELOW:
        below = best_guess(y, ~train, inputs.sums(column - 1))
        if below.hits < below.trials:
            floors["bayes_below"] = below.accuracy
    raw = whiten(inputs.raw_digits(column), train)
    ceilings = {kind: score(kind, raw, y, train).accuracy for kind in kinds_of(feature)}
    spans = [_Spans(one, inputs, column, train) for one in (specimen, *controls)]
    known: dict[tuple, Score] = {}

    def at(model: int, site: str, kind: Kind, labels: str) -> Score:
        """Score one site, once for all sites of one span."""
        key = (model, spans[model].representative(site), kind, labels)
        if key not in known:
            x = spans[model].whitened[key[1]]
            if labels == "shuffled":
                draws = [score(kind, x, drawn, train) for drawn in shuffled[: SHUFFLES[kind]]]
                known[key] = Score(sum(s.hits for s in draws), sum(s.trials for s in draws))
            elif labels == "control":
                known[key] = score(kind, x, control_labels, at_random)
            else:
                known[key] = score(kind, x, y, train)
        return known[key]

    rows = []
    for site in sweep.sites:
        for kind in kinds_of(feature):
            found = at(0, site, kind, "true")
            low, high = found.interval()
            models = range(1, len(spans))
            inits = [at(i, site, kind, "true").accuracy for i in models]
            control = at(0, site, kind, "control").accuracy
            rows.append(
                {
                    "site": site,
                    "hook": HOOKS[site],
                    "column": column,
                    "feature": feature,
                    "kind": kind,
                    "accuracy": found.accuracy,
                    "low": low,
                    "high": high,
                    "hits": found.hits,
                    "n": found.trials,
                    **floors,
                    "shuffled": at(0, site, kind, "shuffled").accuracy,
                    "control_task": control,
                    "selectivity": found.accuracy - control,
                    "random_init": float(np.mean(inits)) if inits else float("nan"),
                    "random_init_max": max(inits, default=float("nan")),
                    "before_attention": at(0, BEFORE_ATTENTION, kind, "true").accuracy,
                    "raw_digits": ceilings[kind],
                }
            )
    return rows


class _Spans:
    """Whitened activations of one column; sites that are affine images of each other share one."""

    def __init__(
        self, specimen: Specimen, inputs: ProbeInputs, column: int, train: np.ndarray
    ) -> None:
        self._trace = trace_hooks(specimen, inputs.tokens, column)
        self._train = train
        self._representative: dict[str, str] = {}
        self.whitened: dict[str, np.ndarray] = {}

    def representative(self, site: str) -> str:
        """Name the first site seen with the same span."""
        if site not in self._representative:
            x = whiten(at_query(self._trace, site).numpy(), self._train)
            alike = (s for s, y in self.whitened.items() if same_span(x, y, self._train))
            self._representative[site] = next(alike, site)
            if self._representative[site] == site:
                self.whitened[site] = x
        return self._representative[site]


def _random_labels(
    inputs: ProbeInputs, feature: str, column: int, rng: np.random.Generator
) -> np.ndarray:
    """Give every type a label of its own at random, with as many classes as the feature has."""
    conditional = feature in ASKED_CONDITIONALLY
    types = inputs.cell(column) if conditional else inputs.pair(column)
    _, code = np.unique(types, return_inverse=True)
    classes = len(np.unique(inputs.labels(feature, column)))
    labels = rng.integers(0, classes, int(code.max()) + 1)
    labels[: min(classes, len(labels))] = np.arange(min(classes, len(labels)))
    return labels[code]


def best_floor(table: pd.DataFrame) -> pd.Series:
    """Take the largest of the floors that a score must beat to say anything about the site."""
    names = ["majority", "bayes_query", "bayes_below", "random_init_max"]
    return table[names].max(axis=1)


def _with_significance(table: pd.DataFrame) -> pd.DataFrame:
    floor = best_floor(table)
    scores = zip(table["hits"], table["n"], floor, strict=True)
    p_values = np.array([Score(h, n).p_value(f) for h, n, f in scores])
    return table.assign(best_floor=floor, p=p_values, p_holm=holm(p_values))
