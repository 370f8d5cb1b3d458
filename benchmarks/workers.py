"""How a sweep scales with worker processes: two against one, beside what two bare kernels gain.

    python -m benchmarks.workers --preset 262p --seeds 8 --steps 20000

Baseline: the same sweep with one worker. Both include what a sweep costs besides its steps:
starting the processes, compiling the kernel in each, validation and files. In turn, three times;
medians, and the median of the ratios.

Control: the bare kernel in two processes at once against one alone, nothing shared and start-up not
counted: what the machine's two cores are worth at the time.
"""

import argparse
import dataclasses
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path

import joblib

from model.checkpoint import versions
from model.config import preset
from train.config import PUBLISHED
from train.engine import FusedEngine, fresh_state
from train.spec import RunSpec
from train.sweep import run_sweep

REPEATS = 3


def time_sweep(name: str, n_seeds: int, steps: int, workers: int) -> float:
    """Give the seconds of a whole sweep into a fresh folder."""
    train = dataclasses.replace(PUBLISHED, steps=steps)
    specs = [
        RunSpec(model=preset(name), train=train, seed=seed, every=steps // 4)
        for seed in range(n_seeds)
    ]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        run_sweep(specs, Path(folder), workers=workers)
        return time.perf_counter() - start


def time_kernel(name: str, steps: int) -> float:
    """Give the seconds of some steps of the bare kernel, compiled and warm."""
    model = preset(name)
    state, engine = fresh_state(model, PUBLISHED, 0), FusedEngine(model, PUBLISHED, 0)
    engine.run(state, 100)
    start = time.perf_counter()
    engine.run(state, steps)
    return time.perf_counter() - start


def measure_ceiling(name: str, steps: int) -> float:
    """Give how much faster two bare kernels take their steps than one; median."""
    ratios = []
    with joblib.Parallel(n_jobs=2) as pool:

        def run_together(n: int) -> float:
            return max(pool(joblib.delayed(time_kernel)(name, steps) for _ in range(n)))

        run_together(2)  # starts the processes
        for _ in range(REPEATS):
            ratios.append(2 * run_together(1) / run_together(2))
    return statistics.median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="262p")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    run = (arguments.preset, arguments.seeds, arguments.steps)
    rounds = [{n: time_sweep(*run, n) for n in (2, 1)} for _ in range(REPEATS)]
    seconds = {n: statistics.median(taken[n] for taken in rounds) for n in (1, 2)}
    ratio = statistics.median(taken[1] / taken[2] for taken in rounds)
    ceiling = measure_ceiling(arguments.preset, arguments.steps)
    if arguments.json:
        found = {"preset": run[0], "seeds": run[1], "steps": run[2], "seconds": seconds}
        found |= {"ratio": ratio, "ceiling": ceiling, "versions": versions()}
        print(json.dumps(found, indent=2))
        return
    print(f"{run[1]} seeds of {run[0]}, {run[2]:,} steps each, Python {platform.python_version()}")
    for workers, taken in sorted(seconds.items()):
        print(f"{workers} worker{'s' * (workers > 1)}: {taken:7.1f} s")
    print(f"two against one: {ratio:.2f} times; the bare kernel: {ceiling:.2f} times")


if __name__ == "__main__":
    main()
