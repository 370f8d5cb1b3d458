"""The sections of a report, and how missing ones are made."""

import functools
import importlib
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import joblib
import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from analyses.report.section import Section, discard, load_section, save_section
from analyses.report.source import Source
from interp.output import save_json
from model.errors import InputError
from model.shell import TIMING, progress_console


@dataclass(frozen=True)
class Chapter:
    """How a section is made.

    Attributes:
        module: Where its builder is; imported when it is needed.
        builder: Name of the builder, which takes a `Source` and the section's folder.
        share: Its rough share of a report's time: seconds of one processor for 262p.
    """

    module: str
    builder: str
    share: int

    def build(self, source: Source, folder: Path) -> Section:
        """Make the section."""
        module = importlib.import_module(self.module)
        return getattr(module, self.builder)(source, folder)


CHAPTERS: dict[str, Chapter] = {
    "model": Chapter("analyses.report.model", "build_model", 3),
    "accuracy": Chapter("analyses.report.accuracy", "build_accuracy", 4),
    "probe": Chapter("analyses.report.carry", "build_probe", 19),
    "algorithm": Chapter("analyses.report.carry", "build_algorithm", 9),
    "gallery": Chapter("analyses.report.gallery", "build_gallery", 23),
    "ranks": Chapter("analyses.report.ranks", "build_ranks", 24),
    "failure": Chapter("analyses.report.failure", "build_failure", 10),
    "dynamics": Chapter("analyses.report.history", "build_dynamics", 22),
    "claims": Chapter("analyses.report.history", "build_claims", 8),
}
"""The sections of a report by name, in reading order."""

TOGETHER = (("accuracy", "failure"),)
"""Sections that share what they compute, and are made one after the other by one process."""


def group_sections(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Put sections together that share what they compute; those that take longest go first."""
    groups = [tuple(name for name in group if name in names) for group in TOGETHER]
    grouped = {name for group in TOGETHER for name in group}
    groups += [(name,) for name in names if name not in grouped]
    # Longest first, so that no process is left alone with it at the end.
    return sorted(filter(None, groups), key=lambda group: -sum(CHAPTERS[x].share for x in group))


def make_section(name: str, source: Source, out: Path, origin: dict[str, Any]) -> str:
    """Make one section and keep it.

    Returns:
        Its name.

    Raises:
        InputError: An instrument cannot do it; the message says why.
    """
    torch.set_num_threads(1)
    folder = out / "sections" / name
    started, busy = perf_counter(), process_time()
    save_section(CHAPTERS[name].build(source, folder), origin, folder)
    took = {
        "seconds": perf_counter() - started,
        "of them processor time": process_time() - busy,
        "finished": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    save_json(took, folder / TIMING)  # apart, so that all other files are the same every time
    return name


def find_sections(
    names: Sequence[str], out: Path, origin: dict[str, Any], *, recompute: bool
) -> list[str]:
    """Name the sections that have to be made; damaged ones are made again, and said to be."""
    missing = []
    for name in names:
        folder = out / "sections" / name
        if recompute:
            _clear(folder)
        try:
            found = load_section(folder, origin)
        except InputError as error:
            progress_console.print(f"{error}: made again", highlight=False, soft_wrap=True)
            found = None
        if found is None:
            missing.append(name)
    return missing


def _clear(folder: Path) -> None:
    """Remove a section with everything that its instruments keep to go on from."""
    discard(folder)
    try:
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise InputError(f"cannot remove {folder}: {error.strerror or error}") from error


def make_all(
    names: Sequence[str], source: Source, out: Path, origin: dict[str, Any], workers: int
) -> None:
    """Make sections, `workers` at a time, and show how far that is.

    Raises:
        InputError: One cannot be made; those that are finished are kept.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    left = (TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns, *left, console=progress_console, transient=True) as bar:
        task = bar.add_task("report", total=sum(CHAPTERS[name].share for name in names))
        waiting = list(names)
        bar.update(task, description=", ".join(waiting[:workers]))
        for name in _done(names, source, out, origin, workers):
            waiting.remove(name)
            bar.update(task, advance=CHAPTERS[name].share, description=", ".join(waiting[:workers]))


def _done(
    names: Sequence[str], source: Source, out: Path, origin: dict[str, Any], workers: int
) -> Iterator[str]:
    work = functools.partial(make_section, source=source, out=out, origin=origin)
    groups = group_sections(names)
    if workers == 1 or len(groups) < 2:
        yield from map(work, names)
        return
    with warnings.catch_warnings():
        # joblib replaces workers whose memory grew, and says so each time.
        warnings.filterwarnings("ignore", message="A worker stopped", category=UserWarning)
        pool = joblib.Parallel(
            n_jobs=min(workers, len(groups)),
            return_as="generator_unordered",
            pre_dispatch="n_jobs",
            batch_size=1,
        )
        for made in pool(joblib.delayed(in_worker)(work, group) for group in groups):
            yield from made


def in_worker(work: Callable[[str], str], names: Sequence[str]) -> list[str]:
    """Work without progress bars of its own: several would overwrite each other."""
    progress_console.quiet = True
    return [work(name) for name in names]
