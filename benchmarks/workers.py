"""How a sweep scales with worker processes: two against one, beside what two bare kernels gain.

    python -m benchmarks.workers --preset 262p --seeds 4 --steps 10000

Baseline: the same sweep with one worker. Both include what a sweep costs besides its steps:
starting the processes, compiling the kernel in each, validation and files.

Control: the bare kernel in two processes at once against one alone, nothing shared and start-up not
counted: what the machine's two cores are worth at the time.

A round has all four in turn. There are three rounds, or fewer where the next would end after
`--seconds`; medians, and the medians of the ratios. On a machine too busy for one round, the sweeps
are cut in steps until it should fit.
"""

import argparse
import dataclasses
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import joblib

from model.checkpoint import versions
from model.config import preset
from model.shell import progress_bar
from train.config import PUBLISHED
from train.engine import FusedEngine, fresh_state
from train.spec import RunSpec
from train.sweep import run_sweep

ROUNDS = 3
WARM_UP = 200


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
    engine.run(state, WARM_UP)
    start = time.perf_counter()
    engine.run(state, steps)
    return time.perf_counter() - start


def time_together(pool: joblib.Parallel, n: int, name: str, steps: int) -> float:
    """Give the seconds of the slowest of `n` bare kernels at once."""
    return max(pool(joblib.delayed(time_kernel)(name, steps) for _ in range(n)))


def time_round(
    pool: joblib.Parallel, name: str, n_seeds: int, steps: int, tell: Callable[[str], None]
) -> dict[str, float]:
    """Time two workers and one, two kernels and one."""
    seconds = {}
    for workers in (2, 1):
        tell(f"{workers} worker{'s' * (workers > 1)}")
        seconds[f"workers_{workers}"] = time_sweep(name, n_seeds, steps, workers)
    for n in (2, 1):
        tell(f"{n} kernel{'s' * (n > 1)}")
        seconds[f"kernels_{n}"] = time_together(pool, n, name, steps)
    return seconds


def measure(
    name: str, n_seeds: int, steps: int, seconds: float, tell: Callable[[str], None]
) -> tuple[int, list[dict[str, float]]]:
    """Take rounds until there are enough or the time is up; gives the steps and the rounds."""
    start, rounds = time.perf_counter(), []
    with joblib.Parallel(n_jobs=2) as pool:
        tell("starting")
        step = time_together(pool, 2, name, WARM_UP) / WARM_UP
        start_up = time.perf_counter() - start
        left = seconds - start_up
        # One seed after the other, half of them at once, and two kernels: what a step costs.
        most = (left / 2 - 2 * start_up) / (step * (1.5 * n_seeds + 2))
        steps = min(steps, max(100, int(most) // 100 * 100))
        while len(rounds) < ROUNDS:
            begin = time.perf_counter()
            rounds.append(time_round(pool, name, n_seeds, steps, tell))
            now = time.perf_counter()
            if now - start + 1.1 * (now - begin) > seconds:
                break
    return steps, rounds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="262p")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=100)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with progress_bar() as bar:
        task = bar.add_task("starting", total=1 + 4 * ROUNDS)

        def tell(what: str) -> None:
            bar.update(task, advance=1, description=what)

        steps, rounds = measure(given.preset, given.seeds, given.steps, given.seconds, tell)
    seconds = {what: statistics.median(taken[what] for taken in rounds) for what in rounds[0]}
    ratio = statistics.median(x["workers_1"] / x["workers_2"] for x in rounds)
    ceiling = statistics.median(2 * x["kernels_1"] / x["kernels_2"] for x in rounds)
    if given.json:
        found = {"preset": given.preset, "seeds": given.seeds, "steps": steps}
        found |= {"rounds": len(rounds), "seconds": seconds, "ratio": ratio, "ceiling": ceiling}
        print(json.dumps(found | {"versions": versions()}, indent=2))
        return
    print(f"{given.seeds} seeds of {given.preset}, {steps:,} steps each, {len(rounds)} rounds")
    for what, taken in sorted(seconds.items()):
        print(f"{' '.join(what.split('_'))}: {taken:7.1f} s")
    print(f"two workers against one: {ratio:.2f} times; two bare kernels: {ceiling:.2f} times")


if __name__ == "__main__":
    main()
