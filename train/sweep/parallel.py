"""Runs on several processes, or on the workers of a Dask scheduler, each as it would be alone."""

import functools
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import joblib
import torch

from model.errors import InputError
from model.shell import MANIFEST, FolderInUse, Output, write_atomic
from train.progress import STATE
from train.run import COMMAND, RUN, train_run
from train.spec import RunSpec

CONNECT_SECONDS = 10
ATTEMPTS = 5
"""How often a lost worker is replaced before the sweep gives up."""


@dataclass(frozen=True)
class Job:
    """One run and the folder that keeps it."""

    spec: RunSpec
    folder: Path


def run_jobs(
    jobs: Sequence[Job], *, workers: int = 2, scheduler: str | None = None
) -> Iterator[Job]:
    """Train all jobs and give each one back as it ends.

    A worker that is killed is replaced, and its run resumed from its last save (on a Dask
    scheduler: started again elsewhere).

    Args:
        jobs: The runs.
        workers: Processes on this machine.
        scheduler: Address of a Dask scheduler, tcp://HOST:PORT, instead.

    Raises:
        InputError: No such scheduler, fewer than one worker, or workers that die again and again.
    """
    if workers < 1:
        raise InputError(f"workers is {workers}: it must be 1 or more")
    if scheduler is not None:
        yield from _run_on_dask(jobs, scheduler)
        return
    pending = list(jobs)
    done: set[int] = set()
    for _ in range(ATTEMPTS):
        try:
            pool = joblib.Parallel(
                n_jobs=min(workers, max(1, len(pending))),
                return_as="generator_unordered",
                pre_dispatch="n_jobs",
            )
            here = os.getpid()
            tasks = [joblib.delayed(_train_here)(i, job, here) for i, job in enumerate(pending)]
            for index in pool(tasks):
                done.add(index)
                yield pending[index]
            return
        except BrokenProcessPool:
            pending = [job for i, job in enumerate(pending) if i not in done]
            done = set()
    raise InputError(f"workers were killed {ATTEMPTS} times: is the memory full?")


def _train_here(index: int, job: Job, sweep: int) -> int:
    if os.getpid() != sweep:
        _follow(sweep)
    torch.set_num_threads(1)
    _train_or_restart(job)
    return index


@functools.cache
def _follow(sweep: int) -> None:
    """End this worker soon after the sweep that it belongs to, however that ended."""

    def watch() -> None:
        while os.getppid() == sweep:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _train_or_restart(job: Job) -> None:
    """Resume a run, or start it over where its saved state is damaged or another run's."""
    try:
        train_run(job.spec, job.folder)
    except FolderInUse:
        raise
    except InputError:
        if not (job.folder / STATE).exists():
            raise
        (job.folder / STATE).unlink()
        train_run(job.spec, job.folder)


def _run_on_dask(jobs: Sequence[Job], scheduler: str) -> Iterator[Job]:
    try:
        from distributed import Client, KilledWorker  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError("--scheduler needs Dask: pip install distributed") from error
    if not jobs:
        return
    try:
        client = Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise InputError(f"no Dask scheduler answers at {scheduler}") from error
    with client:
        try:
            with joblib.parallel_config(backend="dask", client=client):
                # One run a task: a batch of short runs would be lost together with its worker.
                pool = joblib.Parallel(return_as="generator_unordered", batch_size=1)
                results = pool(joblib.delayed(_train_away)(i, x.spec) for i, x in enumerate(jobs))
            for index, files in results:
                with Output(jobs[index].folder, by=COMMAND) as output, output.writing() as folder:
                    for name, data in sorted(files.items(), key=lambda item: item[0] == RUN):
                        write_atomic(folder / name, data)
                yield jobs[index]
        except TimeoutError as error:
            raise InputError(f"the scheduler at {scheduler} has no worker: start some") from error
        except KilledWorker as error:
            raise InputError(
                f"workers of {scheduler} die again and again: see their logs"
            ) from error


def _train_away(index: int, spec: RunSpec) -> tuple[int, dict[str, bytes]]:
    """Train in a temporary folder and give back the files, so that no disk has to be shared."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        train_run(spec, Path(folder))
        files = (path for path in Path(folder).iterdir() if path.name != MANIFEST)
        return index, {path.name: path.read_bytes() for path in files}
