"""Where a run stands: its state, log and snapshots, saved and resumed as one file."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import safetensors.torch
import torch

from model.checkpoint import read_checkpoint
from model.errors import InputError
from model.reading import MIB, read_regular
from model.shell import write_atomic
from model.tensor_file import parse_metadata, parse_tensors
from train.engine import State, fresh_state, state_from
from train.spec import RunSpec

STATE, LOG = "state.safetensors", "log.csv"
STATE_LIMIT = 512 * MIB
ATTEMPT_STRIDE = 1_000_003
"""Distance between the initial seeds of a run's attempts."""


@dataclass
class Progress:
    """All of a run that is not its specification; saved and resumed as one file.

    `attempt` counts how often the run has started over (see `TrainConfig.restarts`), after
    `abandoned_steps` in all; log and snapshots are those of the current attempt.
    """

    state: State
    rows: list[dict[str, float | int]] = field(default_factory=list)
    best: np.ndarray | None = None
    best_row: dict[str, float | int] | None = None
    snapshot_steps: list[int] = field(default_factory=list)
    snapshots: list[np.ndarray] = field(default_factory=list)
    status: str = "running"
    attempt: int = 0
    abandoned_steps: int = 0


@dataclass(frozen=True)
class Boundaries:
    """Steps at which a run is logged, and at which its parameters are kept."""

    rows: set[int]
    snapshots: set[int]

    @property
    def all(self) -> set[int]:
        """All of them."""
        return self.rows | self.snapshots


def place_boundaries(spec: RunSpec) -> Boundaries:
    """Place log rows every `every` steps, and snapshots first logarithmically, then evenly."""
    steps = spec.train.steps
    rows = set(range(spec.every, steps, spec.every)) | {steps}
    early = {m * 10**e for e in range(4) for m in (1, 2, 5) if m * 10**e < 1_000}
    stride = max(1, round(steps / 200 / spec.every)) * spec.every
    snapshots = {0, *early, *range(stride, steps, stride), steps}
    return Boundaries(rows, {s for s in snapshots if s <= steps})


def begin(spec: RunSpec, attempt: int = 0) -> Progress:
    """Start a run from its seed, or from its parent.

    Args:
        spec: The run.
        attempt: How often it has started over; each attempt has its own initial parameters, and
            attempt 0 those of the seed itself.

    Raises:
        InputError: No such parent, or one of another shape.
    """
    if spec.parent is None:
        seed = spec.seed + attempt * ATTEMPT_STRIDE
        return Progress(fresh_state(spec.model, spec.train, seed), attempt=attempt)
    parent = read_checkpoint(spec.parent)
    if parent.model.config != spec.model:
        raise InputError(f"{spec.parent} has another shape than the run asks for")
    return Progress(state_from(parent.model.params))


def save_progress(progress: Progress, spec: RunSpec, folder: Path) -> None:
    """Write log.csv, and then everything that resuming needs, each atomically."""
    write_atomic(folder / LOG, pd.DataFrame(progress.rows).to_csv(index=False))
    state = progress.state
    arrays = {
        "params": state.params,
        "mean": state.mean,
        "square": state.square,
        "snapshots": np.array(progress.snapshots, np.float32).reshape(-1, state.params.size),
    }
    if progress.best is not None:
        arrays["best"] = progress.best
    content = {
        "spec": spec.to_dict(),
        "step": state.step,
        "rows": progress.rows,
        "best_row": progress.best_row,
        "snapshot_steps": progress.snapshot_steps,
        "status": progress.status,
        "attempt": progress.attempt,
        "abandoned_steps": progress.abandoned_steps,
    }
    data = safetensors.torch.save(
        {name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in arrays.items()},
        metadata={"progress": json.dumps(content)},
    )
    write_atomic(folder / STATE, data)


def resume(spec: RunSpec, folder: Path) -> Progress | None:
    """Read what a folder holds of this run; None where it holds nothing.

    Raises:
        InputError: Another run, or a damaged file.
    """
    path = folder / STATE
    try:
        data = read_regular(path, STATE_LIMIT)
    except FileNotFoundError:
        return None
    try:
        arrays = {name: value.numpy() for name, value in parse_tensors(data, path).items()}
        content = json.loads(parse_metadata(data)["progress"])
        same = RunSpec.from_dict(content["spec"]) == spec
        state = State(arrays["params"], arrays["mean"], arrays["square"], content["step"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is damaged: delete {folder} to start the run over") from error
    if not same:
        raise InputError(f"{folder} holds another run: choose another --out, or delete it")
    return Progress(
        state=state,
        rows=content["rows"],
        best=arrays.get("best"),
        best_row=content["best_row"],
        snapshot_steps=content["snapshot_steps"],
        snapshots=list(arrays["snapshots"]),
        status=content["status"],
        attempt=content["attempt"],
        abandoned_steps=content.get("abandoned_steps", 0),
    )
