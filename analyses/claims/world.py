"""What statements are checked against: checkpoints with their accuracy, sweeps, training logs."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from interp.certify import Count, certify
from model.checkpoint import Checkpoint, read_checkpoint
from model.config import PRESETS, ModelConfig
from model.errors import InputError
from model.evaluation import Evaluation, evaluate, uniform_chunks
from model.reading import open_regular, read_json
from model.task import OFFICIAL_SEEDS, official_split
from train.config import PUBLISHED
from train.progress import LOG
from train.run import GROKKED

RESULTS = Path(__file__).resolve().parents[1] / "results"
UNIFORM_SEED = 6
PUBLISHED_RECIPE = "published recipe"


@dataclass(frozen=True)
class Subject:
    """A checkpoint with the lengths of its checks; accuracies are measured when first asked for."""

    checkpoint: Checkpoint
    pairs: int
    certify: bool = False

    @property
    def name(self) -> str:
        """The checkpoint's name."""
        return self.checkpoint.name

    @property
    def config(self) -> ModelConfig:
        """The network's shape."""
        return self.checkpoint.model.config

    @property
    def preset(self) -> str | None:
        """The write-ups' name of this shape, if it has one."""
        return next((name for name, config in PRESETS.items() if config == self.config), None)

    @property
    def published(self) -> bool:
        """Whether it is one of the write-ups' own files."""
        return "published" in self.checkpoint.card

    @functools.cached_property
    def official(self) -> dict[int, Evaluation]:
        """The official protocol: 10,000 pairs for each of ten test seeds."""
        model = self.checkpoint.model
        return {
            seed: evaluate(model, [official_split(seed)[1]], name=f"official {seed}")
            for seed in OFFICIAL_SEEDS
        }

    @property
    def official_errors(self) -> int:
        """Errors among the official 100,000 pairs."""
        return sum(result.errors for result in self.official.values())

    @property
    def official_pairs(self) -> int:
        """Number of pairs of the official protocol: 100,000."""
        return sum(result.n for result in self.official.values())

    @functools.cached_property
    def uniform(self) -> Evaluation:
        """Fresh uniform pairs."""
        chunks = uniform_chunks(self.pairs, UNIFORM_SEED)
        return evaluate(self.checkpoint.model, chunks, name="uniform")

    @functools.cached_property
    def certified(self) -> Count | None:
        """How many of all 10^20 pairs are right in real arithmetic, where that was asked for."""
        return certify(self.checkpoint.model).real if self.certify else None

    @property
    def from_scratch(self) -> bool:
        """Whether its training began from random parameters."""
        return len(self.checkpoint.card.get("lineage", [None])) == 1

    @property
    def recipe(self) -> str:
        """How it was trained: the published recipe, or what of it was changed."""
        train = self.checkpoint.card.get("train")
        return describe_recipe(train) if isinstance(train, dict) else "unknown recipe"

    @functools.cached_property
    def log(self) -> pd.DataFrame | None:
        """The training log beside the weights, if there is one."""
        path = self.checkpoint.path
        file = (path if path.is_dir() else path.parent) / LOG
        if self.published or not file.exists():
            return None
        table = pd.read_csv(open_regular(file))
        return table if {"step", "exact"} <= set(table.columns) else None


@dataclass(frozen=True)
class Sweep:
    """One committed sweep of ours: many seeds of one shape and recipe.

    Attributes:
        name: Stem of its file.
        preset: The write-ups' name of the shape, None if it has none.
        config: The shape.
        steps: Length of the runs.
        recipe: "published recipe", or what of it was changed.
        best: Highest exact match of each seed on its validation pairs.
    """

    name: str
    preset: str | None
    config: ModelConfig
    steps: int
    recipe: str
    best: tuple[float, ...]

    @property
    def grokked(self) -> int:
        """Seeds above the write-ups' threshold of 90 %."""
        return sum(value > GROKKED for value in self.best)


@dataclass(frozen=True)
class World:
    """Everything that statements are checked against."""

    subjects: tuple[Subject, ...]
    sweeps: tuple[Sweep, ...]

    def published(self, preset: str) -> Subject | None:
        """The published checkpoint of that shape, if it was given."""
        return next((s for s in self.subjects if s.published and s.preset == preset), None)

    def ours(self, preset: str) -> list[Subject]:
        """Our own checkpoints of that shape."""
        return [s for s in self.subjects if not s.published and s.preset == preset]

    def sweeps_of(self, preset: str) -> list[Sweep]:
        """Our sweeps of that shape."""
        return [s for s in self.sweeps if s.preset == preset]


def read_world(
    references: Sequence[str], pairs: int, *, certify: bool = False, results: Path = RESULTS
) -> World:
    """Load checkpoints and committed sweeps.

    Raises:
        InputError: A checkpoint cannot be used, or a sweep's files are damaged.
    """
    if pairs < 1:
        raise InputError(f"--pairs is {pairs}: it must be 1 or more")
    subjects = tuple(
        Subject(read_checkpoint(reference), pairs, certify) for reference in references
    )
    return World(subjects, read_sweeps(results))


def read_sweeps(folder: Path) -> tuple[Sweep, ...]:
    """Read every sweep in a folder: NAME.csv with a row a seed beside NAME.json with the recipe.

    These are the two files that `python -m train.sweep` leaves; other tables are passed over.

    Raises:
        InputError: A table of seeds whose JSON is damaged.
    """
    sweeps = []
    for path in sorted(folder.rglob("*.csv")):
        table = pd.read_csv(open_regular(path))
        if not {"seed", "best_exact"} <= set(table.columns):
            continue
        if not path.with_suffix(".json").exists():
            continue
        try:
            spec = read_json(path.with_suffix(".json"))["spec"]
            config = ModelConfig.from_dict(spec["model"])
            steps = int(spec["train"]["steps"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} has no readable {path.with_suffix('.json').name} beside it: copy both "
                "files of the sweep"
            ) from error
        name = str(path.relative_to(folder).with_suffix(""))
        preset = next((key for key, value in PRESETS.items() if value == config), None)
        best = tuple(float(x) for x in table["best_exact"].fillna(0.0))
        sweeps.append(Sweep(name, preset, config, steps, describe_recipe(spec["train"]), best))
    return tuple(sweeps)


def describe_recipe(train: dict[str, Any]) -> str:
    """Name what differs from the published recipe, the number of steps apart."""
    published = PUBLISHED.to_dict()
    mixed = train.get("carry_heavy", 0) > 0
    ignored = {"steps"} | (set() if mixed else {"propagate", "fade_start", "fade_stop"})
    changed = [
        f"{key} {value}"
        for key, value in train.items()
        if key not in ignored and published.get(key) != value
    ]
    return ", ".join(changed) or PUBLISHED_RECIPE
