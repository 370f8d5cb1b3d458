"""A sweep as one program: all its runs side by side on one device, each kept as if it were alone.

Runs that stand at the same step go on together. An interrupted sweep may have saved some later than
others: those that are behind catch up first. A run that diverges or is stopped leaves the batch.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from model.errors import InputError
from train.batched import BatchedEngine
from train.parallel import Job
from train.progress import STATE, Progress, begin, place_boundaries, resume, save_progress
from train.run import SAVE_SECONDS, close_stretch, export, find_next_stop
from train.spec import RunSpec

SAVE_SHARE = 0.05
"""Largest share of the time that goes into saving."""


@dataclass
class _Run:
    """One run of the batch, with its losses since the last row of its log."""

    job: Job
    progress: Progress
    losses: list[np.ndarray] = field(default_factory=list)


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
        InputError: Runs of different recipes, or a recipe that needs a run to be alone (restarts,
            extra cases).
    """
    if not jobs:
        return
    spec = jobs[0].spec
    _check_recipe([job.spec for job in jobs])
    runs = [_Run(job, _resume_or_begin(job)) for job in jobs]
    boundaries = place_boundaries(spec)
    engine, seeds = None, ()
    save = _Saver()
    while True:
        live = []
        for run in runs:
            if find_next_stop(run.progress, run.job.spec, boundaries) is not None:
                live.append(run)
            else:
                export(run.progress, run.job.spec, run.job.folder, BatchedEngine.name)
                yield run.job
        if report:
            behind = sum((1 - x.progress.state.step / spec.train.steps for x in live), 0.0)
            report(len(jobs) - behind)
        if not live:
            return
        runs = live
        step = min(run.progress.state.step for run in live)
        group = [run for run in live if run.progress.state.step == step]
        if seeds != (seeds := tuple(run.job.spec.seed for run in group)) or engine is None:
            engine = BatchedEngine(spec.model, spec.train, seeds, device)
        stop = min(b for b in boundaries.all if b > step)
        losses = engine.run([run.progress.state for run in group], stop - step)
        for run, taken in zip(group, losses, strict=True):
            run.losses.append(taken)
            close_stretch(run.progress, run.job.spec, boundaries, run.losses)
        if stop in boundaries.rows:
            save.save_if_due(group)


def _check_recipe(specs: Sequence[RunSpec]) -> None:
    if specs[0].train.restarts:
        raise InputError("a batched sweep has no restarts: use --device cpu, or --restarts 0")
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
