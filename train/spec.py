"""What identifies a run: network, recipe, seed and start; and the command that repeats it."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from model.config import PRESETS, ModelConfig
from model.errors import InputError
from model.shell import Seed, Steps, check_fields
from train.config import PUBLISHED, TrainConfig

StopRule = tuple[tuple[int, float], ...]
"""Steps and the mean training loss above which a run ends there."""


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """Everything that a run's numbers depend on, apart from the machine.

    Attributes:
        model: The network's shape.
        train: Schedule, data and optimizer.
        seed: Seed of initial parameters and of the data stream.
        every: Steps between two rows of the log.
        reference: Train with plain PyTorch instead of the fused kernel.
        device: "cpu" or "cuda"; no part of what the run is, so that either resumes the other.
        stop_rule: End the run early where its loss is above these bounds.
        parent: Checkpoint to start from, as given; None for a fresh start.
        cases: File of extra training cases, as given; None for none.
    """

    model: ModelConfig
    train: TrainConfig
    seed: Seed
    every: Steps = 1_000
    reference: bool = False
    device: str = dataclasses.field(default="cpu", compare=False)
    stop_rule: StopRule = ()
    parent: str | None = None
    cases: str | None = None

    def __post_init__(self) -> None:
        """Check what the parts cannot check alone."""
        check_fields(self)
        for name in ("restart_step", "second_step"):
            step = getattr(self.train, name)
            if self.train.restarts and step % self.every:
                raise InputError(f"{name} is {step}: it must be a multiple of every, {self.every}")
        if self.train.extra_share > 0 and self.cases is None:
            raise InputError("extra_share is above 0, but no file of cases was given: add --cases")

    def to_dict(self) -> dict[str, Any]:
        """Return the specification as JSON."""
        return {
            **{field.name: getattr(self, field.name) for field in dataclasses.fields(self)},
            "model": self.model.to_dict(),
            "train": self.train.to_dict(),
            "stop_rule": [list(bound) for bound in self.stop_rule],
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "RunSpec":
        """Read a specification from JSON.

        Raises:
            InputError: Not a specification, or a value out of range.
        """
        try:
            parts = dict(fields)
            parts["model"] = ModelConfig.from_dict(parts["model"])
            parts["train"] = TrainConfig.from_dict(parts["train"])
            parts["stop_rule"] = tuple((int(a), float(b)) for a, b in parts["stop_rule"])
            return cls(**parts)
        except (KeyError, TypeError) as error:
            raise InputError(f"not the specification of a run: {error}") from error

    def command(self) -> str:
        """Write the command line that repeats this run."""
        base, words = _base_command(self.model, self.parent)
        defaults = FINETUNE if self.parent else PUBLISHED
        words += _options(self.train, defaults)
        words += ["--seeds" if self.parent else "--seed", str(self.seed)]
        for name, default in (("every", 1_000), ("device", "cpu"), ("cases", None)):
            if getattr(self, name) != default:
                words += [f"--{name}", str(getattr(self, name))]
        if self.reference:
            words.append("--reference")
        if self.stop_rule:
            words += ["--stop", *(f"{step}:{bound:g}" for step, bound in self.stop_rule)]
        return " ".join([base, *words])


FINETUNE = TrainConfig(lr=1e-3, steps=100_000, warmup=500, min_lr_ratio=0.01, phase_1=0, phase_2=0)
"""Defaults of fine-tuning: the published schedule, all lengths from the start."""


def _base_command(model: ModelConfig, parent: str | None) -> tuple[str, list[str]]:
    if parent:
        return "python -m train.finetune", [parent]
    for name, config in PRESETS.items():
        if config == model:
            return "python -m train", ["--preset", name]
    return "python -m train", ["--preset", "311p", *_options(model, PRESETS["311p"])]


def _options(values: Any, defaults: Any) -> list[str]:
    words: list[str] = []
    for field in dataclasses.fields(values):
        value = getattr(values, field.name)
        if value != getattr(defaults, field.name):
            words += [f"--{field.name.replace('_', '-')}", str(value)]
    return words
