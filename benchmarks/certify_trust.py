"""Certified counts against brute force and large samples, too long for the test suite.

python benchmarks/certify_trust.py CHECKPOINT [--domains 20] [--pairs 100000000]

Brute force: in each domain seven digit pairs are fixed (at random, or to those of a failing pair)
and three are free, 10^6 inputs; the model itself decodes them (float32 kernel, float64 wherever a
margin is below 0.5) and the number of right answers must lie within the domain's certified count.
Sample: the error rate of uniform pairs, with its 99.9 % Clopper-Pearson interval.
"""

import argparse
import sys

import numpy as np
import torch

from interp.certify import (
    UNDECIDED,
    WRONG,
    CertifyConfig,
    build_automaton,
    certify,
    count_avoiding,
    sample_pairs,
)
from model.checkpoint import load
from model.decode import count_errors, decode, decode_exactly
from model.intervals import clopper_pearson
from model.task import N_ANSWER, uniform_pairs

POWERS = 10 ** np.arange(10)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("--domains", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=100_000_000)
    parser.add_argument("--budget", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    model = load(options.checkpoint)
    certificate = certify(model, CertifyConfig(budget=options.budget, eos_budget=2))
    print("real", certificate.real, "float32", certificate.float32, flush=True)
    automata = [
        [build_automaton(cells) for cells in certificate.cells("real", verdicts, range(N_ANSWER))]
        for verdicts in ((WRONG, UNDECIDED), (WRONG,))
    ]
    failing = np.concatenate(certificate.cells("real", (WRONG,), range(N_ANSWER)))
    rng = np.random.default_rng(options.seed)
    bad = 0
    for number in range(options.domains):
        fixed, free = rng.integers(0, 100, 10), rng.choice(10, 3, replace=False)
        if number % 2 and len(failing):
            x, y = sample_pairs(failing[rng.choice(len(failing), 1)], rng)
            fixed = 10 * (x[0] // POWERS % 10) + y[0] // POWERS % 10
        allowed = np.zeros((10, 100), dtype=bool)
        allowed[np.arange(10), fixed] = True
        allowed[free] = True
        lower, upper = (count_avoiding(part, allowed) for part in automata)
        right = brute_force(model, fixed, free)
        agrees = lower <= right <= upper
        bad += not agrees
        print(
            f"domain {number}: free {sorted(free.tolist())}, certified {lower} to {upper}, "
            f"brute force {right}: {'agrees' if agrees else 'DISAGREES'}",
            flush=True,
        )
    generator, errors, done = torch.Generator().manual_seed(options.seed), 0, 0
    while done < options.pairs:
        a, b = uniform_pairs(min(1_000_000, options.pairs - done), generator)
        errors, done = errors + count_errors(model, a, b), done + len(a)
    if done:
        low, high = clopper_pearson(errors, done, level=0.999)
        smallest, largest = certificate.float32.error_rates
        agrees = low <= largest and smallest <= high
        bad += not agrees
        print(
            f"sample: {errors} errors in {done}, interval {low:.3e} to {high:.3e}, certified "
            f"{smallest:.3e} to {largest:.3e}: {'agrees' if agrees else 'DISAGREES'}"
        )
    return int(bad > 0)


def brute_force(model, fixed: np.ndarray, free: np.ndarray) -> int:
    """Count right answers among the 10^6 pairs of a domain."""
    grid = np.stack(np.meshgrid(*[np.arange(100)] * 3), axis=-1).reshape(-1, 3)
    pairs = np.tile(fixed, (len(grid), 1))
    pairs[:, free] = grid
    a = torch.from_numpy((pairs // 10 * POWERS).sum(1))
    b = torch.from_numpy((pairs % 10 * POWERS).sum(1))
    decoded = decode(model, a, b)
    exact = decoded.exact.clone()
    close = (decoded.margin[:, :N_ANSWER].abs() < 0.5).any(dim=1).nonzero()[:, 0]
    if len(close):
        exact[close] = decode_exactly(model, a[close], b[close]).exact
    return int(exact.sum())


if __name__ == "__main__":
    sys.exit(main())
