"""What is measured of one snapshot: answers, loss, attention, probes, spectra, certified count.

Everything is measured on pairs of ten digits, uniform unless it says "hard", the same for every
snapshot: a change at a curriculum boundary is then one of the network, not of the data it is asked.
Attention and probes pool columns 1 to 9, which have digits of their own and a column below; columns
0 and 10 are special (they attend to `+` and `=`).
"""

import functools
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.stats import norm

from analyses.dynamics.config import Config
from interp.anatomy import CANONICAL, ROLES, Trace, fold, matrices, specimen_of, trace_columns
from interp.carry_probe import (
    ProbeInputs,
    Score,
    best_guess,
    by_role,
    probe_inputs,
    score_conditional,
    score_global,
    split_by_context,
    whiten,
)
from model.adder import Adder
from model.decode import count_errors
from model.dense import dense
from model.intervals import clopper_pearson
from model.layouts import WRITE_UPS
from model.task import (
    EOS,
    N_ANSWER,
    N_TARGET,
    Pairs,
    carry_stratified_pairs,
    uniform_pairs,
)

INNER = range(1, N_ANSWER - 1)
"""Columns that have digits of their own and a column below."""
SITE = "resid_mid"
"""Where the probe reads: after attention, what the feed-forward layer sees."""
HERE, BELOW = (
    [ROLES.index(role) for role in roles] for roles in (("a_i", "b_i"), ("a_{i-1}", "b_{i-1}"))
)
WRITERS = ("W_pos", "W_OV", "W_out")
COLUMNS = ["measure", "part", "value", "low", "high"]
ALL = "all"


@dataclass(frozen=True)
class Sample:
    """The pairs and inputs that every snapshot is asked."""

    uniform: Pairs
    hard: Pairs
    inputs: ProbeInputs


@functools.cache
def draw_sample(pairs: int, inputs: int, seed: int) -> Sample:
    """Draw what every snapshot is asked."""
    generator = torch.Generator().manual_seed(seed)
    return Sample(
        uniform_pairs(pairs, generator),
        carry_stratified_pairs(pairs, generator),
        probe_inputs(uniform_pairs(inputs, generator), WRITE_UPS),
    )


def measure(model: Adder, config: Config) -> pd.DataFrame:
    """Measure one snapshot.

    Returns:
        One row per measure and part ("all", an answer column, or the place of a singular value):
        value and its 95 % interval over inputs (low = high = value where nothing is sampled).
    """
    sample = draw_sample(*config.sample)
    network = specimen_of(model)
    traces = list(trace_columns(network, sample.inputs.tokens, range(N_TARGET)))
    rows = [
        *_exact(model, sample),
        *_loss(traces, sample.inputs),
        *_attention(traces),
        *_probes(traces, sample.inputs, config.seed),
        *_spectra(model),
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _exact(model: Adder, sample: Sample) -> list[list]:
    """Count greedy answers whose 11 digits are all right."""
    rows = []
    for name, (a, b) in (("exact", sample.uniform), ("exact_hard", sample.hard)):
        right = len(a) - count_errors(model, a, b)
        rows.append([name, ALL, right / len(a), *clopper_pearson(right, len(a))])
    return rows


def _loss(traces: list[Trace], inputs: ProbeInputs) -> list[list]:
    """Cross-entropy in nats and digit accuracy under the true prefix, column by column."""
    n = len(inputs.tokens)
    truth = torch.cat([inputs.features["answer"], torch.full((n, 1), EOS)], dim=1)
    logits = torch.stack([trace["logits"] for trace in traces], dim=1)
    loss = -logits.log_softmax(dim=-1).gather(2, truth[:, :, None])[:, :, 0].numpy()
    right = (logits.argmax(dim=-1) == truth)[:, :N_ANSWER].numpy()
    rows = [["loss", ALL, *_mean(loss.mean(axis=1))]]
    rows += [["loss", str(column), *_mean(loss[:, column])] for column in range(N_TARGET)]
    rows.append(["digit_accuracy", ALL, *_mean(right.mean(axis=1))])
    for column in range(N_ANSWER):
        hits = int(right[:, column].sum())
        rows.append(["digit_accuracy", str(column), hits / n, *clopper_pearson(hits, n)])
    return rows


def _attention(traces: list[Trace]) -> list[list]:
    """Ratio of the weight on a_i, b_i to that on a_{i-1}, b_{i-1}; share of all four together."""
    rows = []
    weights = [
        by_role(traces[column]["pattern"][:, 0], column, WRITE_UPS).numpy() for column in INNER
    ]
    here = np.stack([w[:, HERE].sum(axis=1) for w in weights], axis=1)
    below = np.stack([w[:, BELOW].sum(axis=1) for w in weights], axis=1)
    for part, chosen in _parts():
        x, y = here[:, chosen].mean(axis=1), below[:, chosen].mean(axis=1)
        rows.append(["attention_ratio", part, *_ratio(x, y)])
        rows.append(["attention_local", part, *_mean(x + y)])
    return rows


def _probes(traces: list[Trace], inputs: ProbeInputs, seed: int) -> list[list]:
    """Probe for carry_in after attention: given a_i + b_i, and global.

    The floor of shuffled labels pools every third column: it says the same in each.
    """
    names = ("probe", "probe_shuffled", "probe_global")
    scores: dict[str, list[Score]] = {name: [] for name in names}
    for column in INNER:
        y, given = inputs.labels("carry_in", column), inputs.sums(column)
        rng = np.random.default_rng([seed, column])
        train = _split(inputs, column, rng)
        x = whiten(traces[column][SITE].numpy(), train)
        scores["probe"].append(score_conditional(x, y, train, given))
        scores["probe_global"].append(score_global(x, y, train))
        if column in INNER[1::3]:
            shuffled = y.copy()
            shuffled[train] = rng.permutation(y[train])
            scores["probe_shuffled"].append(score_conditional(x, shuffled, train, given))
    rows = [["probe_shuffled", ALL, *_rate(scores["probe_shuffled"])]]
    for name in ("probe", "probe_global"):
        rows += [
            [name, part, *_rate([scores[name][i] for i in chosen])] for part, chosen in _parts()
        ]
    return rows


def _spectra(model: Adder) -> list[list]:
    """Singular values of the canonical matrices, gains folded, and their Frobenius norms.

    What writes to the residual stream (W_pos, W_OV, W_out) is in units of the root-mean-square row
    of W_E: RMSNorm leaves the scale of the stream free, and ln_final's gain takes it up.
    """
    folded = fold(dense(model))
    unit = float(folded.W_E.pow(2).sum(dim=1).mean().sqrt())
    rows = []
    for name in CANONICAL:
        W = matrices(folded)[name]
        values = torch.linalg.svdvals(W / unit if name in WRITERS else W).tolist()
        whole = float(np.linalg.norm(values))
        rows.append([f"norm {name}", ALL, *[whole] * 3])
        rows += [[f"spectrum {name}", str(i + 1), *[x] * 3] for i, x in enumerate(values)]
    return rows


def data_floors(config: Config) -> pd.DataFrame:
    """Compute what is possible without knowing the carry, from the pairs alone.

    Returns:
        Rows like those of `measure`: "probe": the best guess of carry_in from s_{i-1} alone, on
        the held-out inputs; "loss" and "digit_accuracy": those of an adder that knows a_i + b_i
        and s_{i-1} but not the carry, exactly.
    """
    inputs = draw_sample(*config.sample).inputs
    scores = []
    for column in INNER:
        test = ~_split(inputs, column, np.random.default_rng([config.seed, column]))
        scores.append(best_guess(inputs.labels("carry_in", column), test, inputs.query(column)))
    rows = [["probe", part, *_rate([scores[i] for i in chosen])] for part, chosen in _parts()]
    entropy, accuracy = carry_blind()
    for name, values in (("loss", [*entropy, 0.0]), ("digit_accuracy", accuracy)):
        rows.append([name, ALL, *[float(np.mean(values))] * 3])
        rows += [[name, str(column), *[float(x)] * 3] for column, x in enumerate(values)]
    return pd.DataFrame(rows, columns=COLUMNS)


def carry_blind() -> tuple[np.ndarray, np.ndarray]:
    """Compute what s_{i-1} alone says of the carry into columns 0 to 10 of uniform pairs.

    Returns:
        Entropy (nats) of carry_in given s_{i-1}, and the accuracy of the best guess.
    """
    total = np.add.outer(np.arange(10), np.arange(10)).ravel()
    entropy, accuracy = np.zeros(N_ANSWER), np.ones(N_ANSWER)
    carry = 0.0
    for column in range(1, N_ANSWER):
        joint = np.zeros((10, 2))
        for came, share in ((0, 1 - carry), (1, carry)):
            np.add.at(joint, ((total + came) % 10, (total + came) // 10), share / 100)
        given = joint / joint.sum(axis=1, keepdims=True)
        entropy[column] = -(joint * np.log(given, where=given > 0, out=np.zeros((10, 2)))).sum()
        accuracy[column] = joint.max(axis=1).sum()
        carry = joint[:, 1].sum()
    return entropy, accuracy


def _split(inputs: ProbeInputs, column: int, rng: np.random.Generator) -> np.ndarray:
    return split_by_context(
        inputs.context("carry_in", column), inputs.stratum("carry_in", column), rng
    )


def _parts() -> list[tuple[str, list[int]]]:
    """All inner columns together, and each alone, as places in `INNER`."""
    return [(ALL, list(range(len(INNER))))] + [(str(c), [i]) for i, c in enumerate(INNER)]


def _rate(scores: list[Score]) -> list[float]:
    pooled = Score(sum(s.hits for s in scores), sum(s.trials for s in scores))
    return [pooled.accuracy, *pooled.interval()]


Z = float(norm.ppf(0.975))


def _mean(x: np.ndarray) -> list[float]:
    """Mean with its normal interval over inputs."""
    centre, error = float(x.mean()), float(x.std(ddof=1)) / len(x) ** 0.5
    return [centre, centre - Z * error, centre + Z * error]


def _ratio(x: np.ndarray, y: np.ndarray) -> list[float]:
    """Ratio of means; interval by the delta method for its logarithm."""
    tiny = 1e-300
    top, bottom = max(float(x.mean()), tiny), max(float(y.mean()), tiny)
    error = float((x / top - y / bottom).std(ddof=1)) / len(x) ** 0.5
    ratio = top / bottom
    return [ratio, ratio * float(np.exp(-Z * error)), ratio * float(np.exp(Z * error))]
