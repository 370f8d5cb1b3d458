"""How a sweep scales with worker processes: seeds per minute of two workers against one.

    python -m benchmarks.workers --preset 262p --seeds 8 --steps 20000

Baseline: the same sweep with one worker. Both include what a sweep costs besides its steps:
starting the processes, compiling the kernel in each, validation and files.
"""

import argparse
import dataclasses
import json
import platform
import tempfile
import time
from pathlib import Path

from model.checkpoint import versions
from model.config import preset
from train.config import PUBLISHED
from train.spec import RunSpec
from train.sweep import run_sweep


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="262p")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    run = (arguments.preset, arguments.seeds, arguments.steps)
    seconds = {workers: time_sweep(*run, workers) for workers in (2, 1)}
    ratio = seconds[1] / seconds[2]
    if arguments.json:
        found = {"preset": run[0], "seeds": run[1], "steps": run[2], "seconds": seconds}
        print(json.dumps({**found, "ratio": ratio, "versions": versions()}, indent=2))
        return
    print(f"{run[1]} seeds of {run[0]}, {run[2]:,} steps each, Python {platform.python_version()}")
    for workers, taken in sorted(seconds.items()):
        print(f"{workers} worker{'s' * (workers > 1)}: {taken:7.1f} s")
    print(f"two against one: {ratio:.2f} times")


if __name__ == "__main__":
    main()
