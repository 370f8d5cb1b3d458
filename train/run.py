"""One run: trains, logs, keeps snapshots, survives interruption, and leaves a checkpoint."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch

from model.adder import Adder
from model.checkpoint import TRAJECTORY, read_checkpoint, save, versions
from model.reading import read_regular
from model.shell import Output, write_atomic
from train.cases import CASES_LIMIT, read_cases
from train.engine import make_engine, unflatten
from train.progress import Boundaries, Progress, begin, place_boundaries, resume, save_progress
from train.schedule import LR, schedule
from train.spec import RunSpec
from train.validation import Score, count_test_errors, validate

COMMAND = "python -m train"
RUN, CASES = "run.json", "cases.csv"
SAVE_SECONDS = 5.0
N_TEST = 100_000
GROKKED = 0.9
"""Exact match above which the write-ups count a seed as grokked."""

Report = Callable[[dict[str, Any]], None]
"""Called with every row of the log."""


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        status: "finished", "stopped" (by its stop rule) or "diverged" (loss not a number).
        step: Last step taken.
        best: Log row of the best snapshot, None where there is none.
        folder: Where checkpoint, log and trajectory are.
    """

    status: str
    step: int
    best: dict[str, float | int] | None
    folder: Path


def train_run(spec: RunSpec, folder: Path, report: Report | None = None) -> RunResult:
    """Train to the end, resuming whatever the folder already holds of the same run.

    Interrupted at any moment, it loses at most the work since the last save (5 s, or one row of the
    log if that takes longer), and a resumed run ends with the same weights, bit for bit
    (with the same vector instructions: see docs/training.md).

    Args:
        spec: The run.
        folder: Where it is kept; made if missing.
        report: Called with each new row of the log.

    Raises:
        FolderInUse: Another process trains there.
        InputError: The folder holds another run or a damaged file, or the specification cannot be
            met (no such parent, cases or device).
    """
    with Output(folder, by=COMMAND) as output:
        progress = resume(spec, folder) or begin(spec)
        if progress.status == "running" or not output.is_whole:
            with output.writing():
                progress = _train(spec, folder, progress, report)
        return RunResult(progress.status, progress.state.step, progress.best_row, folder)


def _train(spec: RunSpec, folder: Path, progress: Progress, report: Report | None) -> Progress:
    """Take a run from where it stands to its end, saving on the way."""
    cases = read_cases(Path(spec.cases)) if spec.cases else None
    engine = make_engine(
        spec.model,
        spec.train,
        spec.seed,
        device=spec.device,
        reference=spec.reference,
        cases=cases,
    )
    saved = time.monotonic()
    boundaries = place_boundaries(spec)
    losses: list[np.ndarray] = []
    while (stop := find_next_stop(progress, spec, boundaries)) is not None:
        losses.append(engine.run(progress.state, stop - progress.state.step))
        if close_stretch(progress, spec, boundaries, losses):
            if report:
                report(progress.rows[-1])
            progress = start_over_if_stuck(progress, spec)
            if time.monotonic() - saved > SAVE_SECONDS:
                save_progress(progress, spec, folder)
                saved = time.monotonic()
    export(progress, spec, folder, engine.name)
    return progress


def find_next_stop(progress: Progress, spec: RunSpec, boundaries: Boundaries) -> int | None:
    """Keep the snapshot that is due; give the step to train to, or None where the run has ended."""
    if progress.status != "running":
        return None
    step = progress.state.step
    if step in boundaries.snapshots and step not in progress.snapshot_steps:
        progress.snapshot_steps.append(step)
        progress.snapshots.append(progress.state.params.copy())
    if step >= spec.train.steps:
        progress.status = "finished"
        return None
    return min(b for b in boundaries.all if b > step)


def close_stretch(
    progress: Progress, spec: RunSpec, boundaries: Boundaries, losses: list[np.ndarray]
) -> bool:
    """Judge the steps just taken: a run diverges here, or gets its row of the log.

    Args:
        progress: The run, standing at a boundary.
        spec: Its specification.
        boundaries: Its boundaries.
        losses: Losses since the last row, a piece a stretch; emptied when a row is written.

    Returns:
        Whether a row was written.
    """
    finite = np.isfinite(losses[-1])
    if not finite.all():
        progress.state.step += int(np.argmax(~finite)) + 1 - len(finite)
        progress.status = "diverged"
        return False
    if progress.state.step not in boundaries.rows:
        return False
    log_row(progress, spec, float(np.concatenate(losses).mean()))
    losses.clear()
    return True


def start_over_if_stuck(progress: Progress, spec: RunSpec) -> Progress:
    """Start a run over from other initial parameters where its last row calls for it."""
    row, train = progress.rows[-1], spec.train
    bounds = {train.restart_step: train.restart_loss}
    if train.second_step:
        bounds[train.second_step] = train.second_loss
    stuck = row["loss"] > bounds.get(int(row["step"]), math.inf)
    if not stuck or progress.attempt >= train.restarts:
        return progress
    fresh = begin(spec, progress.attempt + 1)
    fresh.abandoned_steps = progress.abandoned_steps + progress.state.step
    return fresh


def log_row(progress: Progress, spec: RunSpec, loss: float) -> None:
    """Validate the current parameters, add a row, and keep them if they are the best so far."""
    state = progress.state
    score = validate(Adder(spec.model, unflatten(state.params, spec.model)), spec.seed)
    lr = float(schedule(spec.train, state.step - 1, 1)[0, LR])
    row = {"step": state.step, "loss": loss, "lr": lr, **asdict(score)}
    progress.rows.append(row)
    if progress.best_row is None or score.key > _score(progress.best_row).key:
        progress.best, progress.best_row = state.params.copy(), row
    if any(state.step == at and loss > bound for at, bound in spec.stop_rule):
        progress.status = "stopped"


def _score(row: dict[str, float | int]) -> Score:
    return Score(row["exact"], row["exact_hard"], row["margin"])


def export(progress: Progress, spec: RunSpec, folder: Path, engine: str) -> None:
    """Write log, state, checkpoint and trajectory of an ended run, and run.json last."""
    save_progress(progress, spec, folder)
    if spec.cases:
        write_atomic(folder / CASES, read_regular(Path(spec.cases), CASES_LIMIT))
    _write_trajectory(progress, spec, folder)
    result: dict[str, Any] = {
        "status": progress.status,
        "step": progress.state.step,
        "attempts": progress.attempt + 1,
        "steps_taken": progress.abandoned_steps + progress.state.step,
        "best": progress.best_row,
        "highest_exact": max((row["exact"] for row in progress.rows), default=0.0),
        "grok_step": next((row["step"] for row in progress.rows if row["exact"] > GROKKED), None),
        "engine": engine,
        "versions": versions(),
        "command": spec.command(),
        "spec": spec.to_dict(),
    }
    if progress.best is not None and np.isfinite(progress.best).all():
        model = Adder(spec.model, unflatten(progress.best, spec.model))
        measured = {
            kind: {
                "errors": count_test_errors(model, N_TEST, 1_000_003, stratified=hard),
                "pairs": N_TEST,
            }
            for kind, hard in (("uniform", False), ("stratified", True))
        }
        result["measured"] = measured
        card = {
            "command": spec.command(),
            "seed": spec.seed,
            "engine": engine,
            "train": spec.train.to_dict(),
            "attempts": progress.attempt + 1,
            "best": progress.best_row,
            "measured": measured,
            "lineage": [*_ancestry(spec), {"command": spec.command(), "best": progress.best_row}],
        }
        save(folder, model, card)
    write_atomic(folder / RUN, json.dumps(_finite(result), indent=2) + "\n")


def _ancestry(spec: RunSpec) -> list[dict[str, Any]]:
    """List the runs that led to this one's start, each with its command."""
    if spec.parent is None:
        return []
    parent = read_checkpoint(spec.parent)
    return parent.card.get("lineage") or [
        {"checkpoint": spec.parent, "sha256": parent.card.get("sha256")}
    ]


def _write_trajectory(progress: Progress, spec: RunSpec, folder: Path) -> None:
    snapshots = [unflatten(x, spec.model) for x in progress.snapshots]
    stacked = {name: torch.stack([x[name] for x in snapshots]) for name in snapshots[0]}
    stacked["step"] = torch.tensor(progress.snapshot_steps, dtype=torch.int64)
    write_atomic(folder / TRAJECTORY, safetensors.torch.save(stacked))


def _finite(value: Any) -> Any:
    """Replace numbers that JSON has no word for."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
