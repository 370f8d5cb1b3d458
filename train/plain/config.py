"""What identifies a run: shape, recipe and seed; and the command that repeats it."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from model.errors import InputError
from model.shell import Between, Seed, Share, Steps, check_fields
from train.config import Moment, TrainConfig

LayoutName = Literal["write-ups", "micro-14", "micro-10", "qwen3", "pairs"]
"""Names of `model.layouts`, said again here so that a command's help needs no PyTorch."""
EVERY = 2_000


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One layer: learned positions, one head as wide as the stream, RMSNorm, GELU, tied head.

    Raises:
        InputError: An unknown layout, or a width out of range.
    """

    layout: LayoutName = "pairs"
    """The task as tokens."""
    d_model: Annotated[int, Between(1, 64)] = 7
    """Width of the residual stream, and of the head."""
    d_ff: Annotated[int, Between(1, 256)] = 40
    """Number of GELU units."""

    def __post_init__(self) -> None:
        """Check every field."""
        check_fields(self)
        if self.layout not in get_args(LayoutName):
            known = ", ".join(get_args(LayoutName))
            raise InputError(f"layout is {self.layout!r}: it must be one of {known}")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Schedule, data and optimizer: those of `train.config` that fit any layout.

    Raises:
        InputError: A field is outside its range; the message names the field.
    """

    steps: Steps = 200_000
    """Optimizer steps in all."""
    batch: Steps = 256
    """Pairs per step; a multiple of 16."""
    lr: float = 0.01
    """Peak learning rate."""
    warmup: Moment = 1_000
    """Steps of linear warm-up."""
    min_lr_ratio: Share = 0.02
    """Learning rate at the end of the cosine, as a share of the peak."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay, on every parameter."""
    clip: float = 1.0
    """Largest global norm of the gradient."""
    short: Share = 0.1
    """Share of examples whose operands have a uniform number of digits; the others have all."""
    carry_heavy: Share = 0.5
    """Share of carry-heavy examples at the start."""
    propagate: Share = 0.75
    """How likely a column of a carry-heavy example is to propagate."""
    fade_start: Moment = 60_000
    """Step until which the share of carry-heavy examples stays."""
    fade_stop: Moment = 120_000
    """Step from which there are none; linear in between."""
    token_std: float = 0.3
    """Initial standard deviation of the token embedding and of matrices."""
    position_std: float = 0.1
    """Initial standard deviation of the position embedding."""

    def __post_init__(self) -> None:
        """Check every field against its range."""
        check_fields(self)
        self.full()

    def full(self) -> TrainConfig:
        """Return the recipe as a training configuration without stages of short operands."""
        fields = {name: x for name, x in dataclasses.asdict(self).items() if name != "short"}
        return TrainConfig(**fields, phase_1=0, phase_2=0)


@dataclass(frozen=True, kw_only=True)
class PlainSpec:
    """Everything that a run's numbers depend on, apart from the machine."""

    shape: Shape
    recipe: Recipe
    seed: Seed
    every: Steps = EVERY
    """Steps between two rows of the log."""
    start: str | None = None
    """Adder to start from, as given; None for random numbers."""

    def __post_init__(self) -> None:
        """Check every field against its range."""
        check_fields(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the specification as JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "PlainSpec":
        """Read a specification from JSON.

        Raises:
            InputError: Not a specification, or a value out of range.
        """
        try:
            parts = {"shape": Shape(**fields["shape"]), "recipe": Recipe(**fields["recipe"])}
            return cls(**{**fields, **parts})
        except (KeyError, TypeError) as error:
            raise InputError(f"not the specification of a run: {error}") from error

    def command(self) -> str:
        """Write the command line that repeats this run."""
        words = ["python -m train.plain"]
        given = {"shape": Shape(), "recipe": Recipe()}
        for part, default in given.items():
            for name, value in dataclasses.asdict(getattr(self, part)).items():
                if value != getattr(default, name):
                    words += [f"--{name.replace('_', '-')}", str(value)]
        words += ["--seed", str(self.seed)]
        if self.start is not None:
            words += ["--start", self.start]
        if self.every != EVERY:
            words += ["--every", str(self.every)]
        return " ".join(words)
