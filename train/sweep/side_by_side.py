"""A sweep as one program: all its runs side by side on one device, each kept as if it were alone.

Where the program wants all runs at the same step, those that are behind catch up first: an
interrupted sweep may have saved some later than others, and a run may have started over. A run that
diverges or is stopped leaves the batch. Runs are judged side by side too, by the CPU's cores.
"""

import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np

from model.config import ModelConfig
from model.errors import InputError
from model.shell import Output
from model.threads import limit_threads
from train.batched import BatchedEngine
from train.blocks import BlockEngine, fits_block, gpu_blocks_available
from train.config import TrainConfig
from train.progress import (
    STATE,
    Boundaries,
    Progress,
    begin,
    place_boundaries,
    resume,
    save_progress,
)
from train.run import (
    COMMAND,
    SAVE_SECONDS,
    close_stretch,
    export,
    find_next_stop,
    start_over_if_stuck,
)
from train.spec import RunSpec
from train.sweep.parallel import Job

SAVE_SHARE = 0.05
"""Largest share of the time that goes into saving."""


@dataclass(eq=False)
class _Run:
    """One run of the batch: its folder, locked, and its losses since the last row of its log."""

    job: Job
    progress: Progress
    room: ExitStack
    losses: list[np.ndarray] = field(default_factory=list)

    def find_stop(self, boundaries: Boundaries) -> int | None:
        """Give the step to train to, None where the run has ended."""
        return find_next_stop(self.progress, self.job.spec, boundaries)

    def close(self, boundaries: Boundaries) -> None:
        """Judge the steps just taken."""
        if close_stretch(self.progress, self.job.spec, boundaries, self.losses):
            self.progress = start_over_if_stuck(self.progress, self.job.spec)

    def export(self, engine: str) -> None:
        """Write what an ended run leaves."""
        export(self.progress, self.job.spec, self.job.folder, engine)
        self.room.close()


def make_batched_engine(
    model: ModelConfig, config: TrainConfig, device: str
) -> BatchedEngine | BlockEngine:
    """Choose the program: blocks of threads where Numba finds a GPU, PyTorch otherwise.

    Raises:
        InputError: The recipe asks for extra cases.
    """
    if device == "cuda" and fits_block(model, config.batch) and gpu_blocks_available():
        return BlockEngine(model, config, device)
    return BatchedEngine(model, config, device)


def train_together(
    jobs: Sequence[Job], *, device: str, report: Callable[[float], None] | None = None
) -> Iterator[Job]:
    """Train all jobs at once and give each one back as it ends.

    Each run leaves the files, rows and snapshots that `train_run` leaves, up to float32 rounding.

    Args:
        jobs: Runs that differ only in their seeds and parents.
        device: "cuda" or "cpu".
        report: Called after each stretch with the runs' worth of steps that have been taken.

    Raises:
        InputError: Runs of different recipes, or a recipe with extra cases.
    """
    if not jobs:
        return
    spec = jobs[0].spec
    _check_recipe([job.spec for job in jobs])
    with ExitStack() as rooms, limit_threads(), ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = [_enter(job, rooms) for job in jobs]
        boundaries = place_boundaries(spec)
        engine = make_batched_engine(spec.model, spec.train, device)
        save = _Saver()
        while runs:
            ended = [run for run in runs if run.find_stop(boundaries) is None]
            list(pool.map(lambda run: run.export(engine.name), ended))
            for run in ended:
                yield run.job
            runs = [run for run in runs if run not in ended]
            if report:
                behind = sum((1 - run.progress.state.step / spec.train.steps for run in runs), 0.0)
                report(len(jobs) - behind)
            if runs:
                _take_stretch(engine, runs, boundaries, pool)
                save.save_if_due(runs)


def _enter(job: Job, rooms: ExitStack) -> _Run:
    """Lock a run's folder and take up what it holds; `rooms` closes it where the batch fails."""
    room = rooms.enter_context(ExitStack())
    output = room.enter_context(Output(job.folder, by=COMMAND))
    run = _Run(job, _resume_or_begin(job), room)
    room.enter_context(output.writing())
    return run


def _take_stretch(
    engine: BatchedEngine | BlockEngine,
    runs: Sequence[_Run],
    boundaries: Boundaries,
    pool: ThreadPoolExecutor,
) -> None:
    """Train every run to its next boundary, or those that are furthest behind."""
    step = min(run.progress.state.step for run in runs)
    group = [run for run in runs if not engine.in_step or run.progress.state.step == step]
    states = [run.progress.state for run in group]
    stops = [run.find_stop(boundaries) for run in group]
    counts = [stop - x.step for stop, x in zip(stops, states, strict=True) if stop is not None]
    losses = engine.run(states, [run.job.spec.seed for run in group], counts)
    for run, taken in zip(group, losses, strict=True):
        run.losses.append(taken)
    list(pool.map(lambda run: run.close(boundaries), group))


def _check_recipe(specs: Sequence[RunSpec]) -> None:
    shared = {dataclasses.replace(spec, seed=0, parent=None) for spec in specs}
    if len(shared) > 1:
        raise InputError("a batched sweep trains one recipe: its runs may differ only in seed")


def _resume_or_begin(job: Job) -> Progress:
    """Resume a run, or start it over where its saved state is damaged or another run's."""
    try:
        return resume(job.spec, job.folder) or begin(job.spec)
    except InputError:
        (job.folder / STATE).unlink(missing_ok=True)
        return begin(job.spec)


class _Saver:
    """Saves every few seconds, and more rarely where saving takes long."""

    def __init__(self) -> None:
        self.at, self.pause = time.monotonic(), SAVE_SECONDS

    def save_if_due(self, runs: Sequence[_Run]) -> None:
        """Save the runs that are still going."""
        began = time.monotonic()
        if began - self.at < self.pause:
            return
        for run in runs:
            if run.progress.status == "running":
                save_progress(run.progress, run.job.spec, run.job.folder)
        self.at = time.monotonic()
        self.pause = max(SAVE_SECONDS, (self.at - began) / SAVE_SHARE)
