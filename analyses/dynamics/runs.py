"""Training runs as their own records describe them: recipe, outcome, boundaries, snapshots.

A run is a shipped checkpoint or a folder that `train` wrote. Its class is not chosen here: it is
read from its card and log, so that failed seeds cannot be left out by name.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from model.checkpoint import TRAJECTORY, read_checkpoint, trajectory_steps
from model.config import ModelConfig
from model.errors import InputError
from model.reading import open_regular, read_regular
from train.config import TrainConfig
from train.progress import LOG
from train.run import GROKKED, RUN

LOG_SCALE = 1_000
"""Steps are spread, and drawn, evenly up to about this one, and by their ratio from there on."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One training run, as it describes itself.

    Attributes:
        name: What to call it; unique among the runs of one analysis.
        reference: How `model.checkpoint.load` finds it.
        model: The network's shape.
        train: Its recipe.
        seed: Its seed.
        fine_tuned: Whether it started from a trained network, so that step 0 is no random init.
        attempts: Attempts that its restart rule took; log and snapshots are those of the last.
        highest_exact: Highest validation exact match in its log.
        steps: Steps of its snapshots.
        sha256: Hash of the file of its snapshots.
    """

    name: str
    reference: str
    model: ModelConfig
    train: TrainConfig
    seed: int
    fine_tuned: bool
    attempts: int
    highest_exact: float
    steps: tuple[int, ...]
    sha256: str

    @property
    def outcome(self) -> str:
        """Grokked: its log has an exact match above the write-ups' 90 %."""
        return "grokked" if self.highest_exact > GROKKED else "failed"

    @property
    def recipe(self) -> str:
        """What the data did over time, and whether the start was random."""
        lengths = "length curriculum" if self.train.phase_2 else "no length curriculum"
        start = "fine-tuned" if self.fine_tuned else lengths
        return f"{start}, carry mixture" if self.train.carry_heavy else start

    @property
    def group(self) -> str:
        """The class that runs are compared by."""
        return f"{self.outcome}, {self.recipe}"

    @property
    def marks(self) -> dict[str, int]:
        """Steps at which the recipe itself changes, by name: these mimic transitions."""
        train = self.train
        marks = {"lr peak": train.warmup}
        if 0 < train.phase_1 < train.phase_2:
            marks["6 digits"] = train.phase_1
        marks["10 digits"] = train.phase_2
        marks["shift ends"] = train.shift_until
        if train.carry_heavy:
            marks |= {"mixture fades": train.fade_start, "mixture gone": train.fade_stop}
        return {name: step for name, step in marks.items() if 0 < step < self.steps[-1]}

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON, with the class that follows from it."""
        return {
            **{name: getattr(self, name) for name in self.__dataclass_fields__},
            "model": self.model.to_dict(),
            "train": self.train.to_dict(),
            "steps": list(self.steps),
            "group": self.group,
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "RunRecord":
        """Read a record from JSON.

        Raises:
            InputError: Not the record of a run.
        """
        try:
            known = {name: fields[name] for name in cls.__dataclass_fields__}
            known["model"] = ModelConfig.from_dict(known["model"])
            known["train"] = TrainConfig.from_dict(known["train"])
            known["steps"] = tuple(known["steps"])
            return cls(**known)
        except (KeyError, TypeError) as error:
            raise InputError(f"not the record of a run: {error}") from error


def read_runs(references: Sequence[str]) -> tuple[RunRecord, ...]:
    """Read several runs, and give them names that differ.

    Raises:
        InputError: None given, one given twice, or one that is unusable; see `read_run`.
    """
    if not references:
        raise InputError("no run given: name a shipped checkpoint or a folder that a run wrote")
    short = Counter(Path(x).name for x in references)
    names = [
        Path(x).name if short[Path(x).name] == 1 else "-".join(Path(x).resolve().parts[-2:])
        for x in references
    ]
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise InputError(f"run {repeated[0]} is given twice: name each run once")
    return tuple(read_run(x, name) for x, name in zip(references, names, strict=True))


def read_run(reference: str, name: str) -> RunRecord:
    """Read one run.

    Raises:
        InputError: No such run, one that is still training, or one without snapshots or log; the
            message says which.
    """
    folder = Path(reference)
    if folder.is_dir() and (folder / LOG).exists() and not (folder / TRAJECTORY).exists():
        missing = "has not ended yet" if not (folder / RUN).exists() else f"has no {TRAJECTORY}"
        raise InputError(f"{folder} {missing}: its snapshots appear when the run ends")
    checkpoint = read_checkpoint(reference)
    if "@" in checkpoint.name:
        raise InputError(f"{reference} is one snapshot: give the run, {reference.split('@')[0]}")
    steps = trajectory_steps(reference)
    if len(steps) < 2:
        raise InputError(f"{reference} keeps no snapshots of its training: give a run that does")
    if steps != sorted(set(steps)):
        raise InputError(f"{reference} has snapshots out of order: copy its {TRAJECTORY} again")
    path = checkpoint.path if checkpoint.path.is_dir() else checkpoint.path.parent
    card = checkpoint.card
    if not isinstance(card.get("train"), dict):
        raise InputError(f"the card of {reference} does not say how it was trained")
    return RunRecord(
        name=name,
        reference=reference,
        model=checkpoint.model.config,
        train=TrainConfig.from_dict(card["train"]),
        seed=int(card.get("seed", 0)),
        fine_tuned=len(card.get("lineage", [])) > 1,
        attempts=int(card.get("attempts", 1)),
        highest_exact=_highest_exact(path / LOG),
        steps=tuple(steps),
        sha256=hashlib.sha256(read_regular(path / TRAJECTORY)).hexdigest(),
    )


def _highest_exact(path: Path) -> float:
    try:
        return float(pd.read_csv(open_regular(path))["exact"].max())
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: a run is classed by its log") from error
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} is no log of a run: copy it again") from error


def choose_steps(steps: Sequence[int], count: int) -> list[int]:
    """Choose snapshots, first and last always among them.

    They lie evenly alternately in log(1 + step / LOG_SCALE), so that the length curriculum is
    resolved, and in the step, because exact match wanders late in training.
    """
    if count >= len(steps):
        return list(steps)
    left = list(steps[1:-1])
    chosen = [steps[0], steps[-1]]
    last = math.log1p((steps[-1] - steps[0]) / LOG_SCALE)
    for i in range(1, count - 1):
        share = i / (count - 1)
        place = LOG_SCALE * math.expm1(share * last) if i % 2 else share * (steps[-1] - steps[0])
        nearest = min(left, key=lambda step: abs(step - steps[0] - place))
        left.remove(nearest)
        chosen.append(nearest)
    return sorted(chosen)
