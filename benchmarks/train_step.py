"""Time of a training step: the fused kernel against its peers, all in one run.

    python -m benchmarks.train_step --preset 262p --batch 512

Baseline: the reference trainer of this project (eager PyTorch, the arithmetic and the batch sampler
as published). Peers: the same step under torch.compile, and, if jax is installed, a jitted JAX step
that computes only the twelve scored queries. The fused kernel is timed for every set of vector
instructions that the processor has. One thread each; CPU time, so that other work on the machine
counts as little as it can; median of the repeats, and the ratio to the baseline.
"""

import argparse
import dataclasses
import json
import os
import statistics
import time
from collections.abc import Callable

import torch

from benchmarks.published_sampler import sample_published_batch
from model.adder import forward
from model.checkpoint import versions
from model.config import preset
from model.lanes import VARIABLE, supported_sets
from model.task import N_INPUT, N_PROMPT
from train.config import PUBLISHED, TrainConfig
from train.engine import FusedEngine, fresh_state, unflatten

REPEATS = 5


def time_steps(run: Callable[[int], object], steps: int) -> float:
    """Median milliseconds of CPU time per step over the repeats, after one warm-up."""
    run(steps)
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        run(steps)
        times.append((time.process_time() - start) / steps * 1e3)
    return statistics.median(times)


def fused(name: str, train: TrainConfig) -> Callable[[int], object]:
    model = preset(name)
    state = fresh_state(model, train, 0)
    engine = FusedEngine(model, train, 0)
    return lambda steps: engine.run(state, steps)


def eager(name: str, train: TrainConfig, *, compiled: bool) -> Callable[[int], None]:
    model = preset(name)
    params = {
        key: value.requires_grad_()
        for key, value in unflatten(fresh_state(model, train, 0).params, model).items()
    }
    optimizer = torch.optim.AdamW(params.values(), lr=0.002, weight_decay=0.01)
    generator = torch.Generator().manual_seed(0)

    def loss_of(tokens: torch.Tensor) -> torch.Tensor:
        logits = forward(params, model, tokens[:, :N_INPUT])[:, N_PROMPT - 1 :]
        return torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), tokens[:, N_PROMPT:].flatten()
        )

    step = torch.compile(loss_of) if compiled else loss_of

    def run(steps: int) -> None:
        for _ in range(steps):
            tokens = sample_published_batch(train.batch, generator)
            optimizer.zero_grad(set_to_none=True)
            step(tokens).backward()
            torch.nn.utils.clip_grad_norm_(params.values(), 1.0)
            optimizer.step()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="262p")
    parser.add_argument("--batch", type=int, default=PUBLISHED.batch)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    what = (options.preset, dataclasses.replace(PUBLISHED, batch=options.batch))
    torch.set_num_threads(1)
    rows = {"reference (eager PyTorch)": time_steps(eager(*what, compiled=False), 10)}
    for vectors in supported_sets():
        os.environ[VARIABLE] = vectors.name
        rows[f"fused kernel, {vectors.name}"] = time_steps(fused(*what), 500)
    del os.environ[VARIABLE]
    try:
        rows["torch.compile"] = time_steps(eager(*what, compiled=True), 10)
    except RuntimeError as error:
        print(f"torch.compile left out: {str(error).splitlines()[0]}")
    try:
        from benchmarks.jax_step import jitted

        rows["jitted JAX"] = time_steps(jitted(*what), 50)
    except ImportError:
        print("jitted JAX left out: jax is not installed")
    base = rows["reference (eager PyTorch)"]
    if options.json:
        print(json.dumps({"ms": rows, "versions": versions()}, indent=2))
        return
    print(f"{options.preset}, batch {options.batch}, one thread, {versions()['processor']}")
    for name, ms in rows.items():
        print(f"{name:28s} {ms:9.3f} ms a step   {base / ms:7.1f} x")


if __name__ == "__main__":
    main()
