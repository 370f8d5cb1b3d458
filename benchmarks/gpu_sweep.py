"""Steps per second of a sweep on a GPU, over all its seeds.

    python -m benchmarks.gpu_sweep --preset 262p --batch 512

Baseline: the batched PyTorch program, a step of which is one CUDA graph. Against it: a block of
threads for each seed, all steps in one launch. The time of a step is the difference of a long and a
short call over the difference of their steps: compilation, capture and transfers drop out.
"""

import argparse
import dataclasses
import json
import platform
import time
from typing import Any

import numpy as np
import torch

from model.checkpoint import versions
from model.config import preset
from train.batched import BatchedEngine
from train.blocks import BlockEngine
from train.config import PUBLISHED
from train.engine import ReferenceEngine, fresh_state

SEEDS = (1, 16, 256, 1_024)
LENGTHS = {"block": (200, 1_200), "batched": (20, 120)}


def measure(engine: BlockEngine | BatchedEngine, n_seeds: int, lengths: tuple[int, int]) -> float:
    """Give steps per second over all seeds."""
    seeds = range(n_seeds)
    states = [fresh_state(engine.model, engine.config, seed) for seed in seeds]
    engine.run(states, seeds, [lengths[0]] * n_seeds)
    times = []
    for steps in lengths:
        torch.cuda.synchronize()
        start = time.perf_counter()
        engine.run(states, seeds, [steps] * n_seeds)
        times.append(time.perf_counter() - start)
    return n_seeds * (lengths[1] - lengths[0]) / (times[1] - times[0])


def compare(name: str, batch: int, device: str = "cuda") -> dict[str, float]:
    """Compare a block's steps with the reference engine's on the CPU, and with themselves."""
    model, config = preset(name), dataclasses.replace(PUBLISHED, batch=batch, token_std=0.3)
    engine = BlockEngine(model, config, device)
    states = [fresh_state(model, config, seed) for seed in (4, 7, 4)]
    losses = engine.run(states, (4, 7, 4), [50, 20, 50])
    alone = fresh_state(model, config, 4)
    expected = ReferenceEngine(model, config, 4).run(alone, 50)
    return {
        "largest difference of a loss from the reference, 50 steps": float(
            np.abs(losses[0] - expected).max()
        ),
        "of a parameter": float(np.abs(states[0].params - alone.params).max()),
        "same bits twice": float(np.array_equal(states[0].params, states[2].params)),
    }


def run(name: str, batch: int, counts: tuple[int, ...] = SEEDS) -> dict[str, Any]:
    """Measure both programs."""
    model, config = preset(name), dataclasses.replace(PUBLISHED, batch=batch)
    rates: dict[str, dict[int, float]] = {}
    for engine in (BatchedEngine(model, config, "cuda"), BlockEngine(model, config)):
        rates[engine.name] = {}
        for n in counts:
            try:
                rates[engine.name][n] = measure(engine, n, LENGTHS[engine.name])
            except torch.OutOfMemoryError:
                rates[engine.name][n] = float("nan")
        torch.cuda.empty_cache()
    return {"preset": name, "batch": batch, "steps_per_second": rates, **compare(name, batch)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="262p")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        parser.exit(2, "PyTorch sees no GPU: nothing to measure\n")
    found = run(arguments.preset, arguments.batch)
    found |= {"gpu": torch.cuda.get_device_name(), "python": platform.python_version()}
    found |= {"versions": versions()}
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    rates = found["steps_per_second"]
    print(f"{found['preset']}, batch {found['batch']}, {found['gpu']}")
    print(f"{'seeds':>6} {'CUDA graph':>12} {'block':>12} {'ratio':>7}   steps per second in all")
    for n, baseline in rates["batched"].items():
        block = rates["block"][n]
        print(f"{n:>6} {baseline:>12,.0f} {block:>12,.0f} {block / baseline:>7.1f}")
    for key in list(found)[3:6]:
        print(f"{key}: {found[key]:.2g}")


if __name__ == "__main__":
    main()
