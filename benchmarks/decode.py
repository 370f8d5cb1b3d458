"""Greedy additions a second: the fused decoder against the PyTorch model, in one run.

    python -m benchmarks.decode --checkpoint 262p

Baseline: the model's own forward pass, twelve times over the growing sequence. One thread each.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from model.adder import Adder
from model.checkpoint import load
from model.decode import count_errors, decode, decode_exactly, tables_of
from model.task import N_PROMPT, N_TARGET, encode, uniform_pairs

REPEATS = 5


def rate(run: Callable[[], object], pairs: int) -> float:
    """Median pairs a second over the repeats, after one warm-up."""
    run()
    rates = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        rates.append(pairs / (time.perf_counter() - start))
    return statistics.median(rates)


@torch.no_grad()
def decode_plainly(model: Adder, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Decode with the model's forward pass alone."""
    tokens = encode(a, b)[:, :N_PROMPT]
    for _ in range(N_TARGET):
        answer = model(tokens)[:, -1].argmax(dim=1, keepdim=True)
        tokens = torch.cat([tokens, answer], dim=1)
    return tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default="262p")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load(options.checkpoint)
    tables = tables_of(model)
    generator = torch.Generator().manual_seed(0)
    few, many = uniform_pairs(2_048, generator), uniform_pairs(1 << 18, generator)
    base = rate(lambda: decode_plainly(model, *few), 2_048)
    rows = {
        "PyTorch model": base,
        "decode_exactly (float64 tables)": rate(lambda: decode_exactly(tables, *few), 2_048),
        "decode (fused, tokens and margins)": rate(lambda: decode(tables, *many), 1 << 18),
        "count_errors (fused)": rate(lambda: count_errors(tables, *many), 1 << 18),
    }
    for name, value in rows.items():
        print(f"{name:36s} {value:12,.0f} additions a second   {value / base:7.1f} x")


if __name__ == "__main__":
    main()
