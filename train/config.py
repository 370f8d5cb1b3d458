"""How a model is trained: one frozen configuration; its defaults are the published recipe."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any

from model.errors import InputError
from model.shell import Between, Share, Steps, check_fields

Moment = Annotated[int, Between(0, 10**9)]
"""A step, or a number of steps that may be none."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Schedule, data and optimizer of one run.

    Raises:
        InputError: A field is outside its range; the message names the field.
    """

    steps: Steps = 500_000
    """Optimizer steps in all."""
    batch: Annotated[int, Between(16, 65_536)] = 512
    """Pairs per step; a multiple of 16."""
    lr: float = 0.02
    """Peak learning rate."""
    warmup: Moment = 1_350
    """Steps of linear warm-up."""
    min_lr_ratio: Share = 0.1
    """Learning rate at the end of the cosine, as a share of the peak."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay, on every parameter."""
    clip: float = 1.0
    """Largest global norm of the gradient."""
    phase_1: Moment = 2_000
    """Until this step operands have 1 to 3 digits."""
    phase_2: Moment = 7_000
    """From phase_1 until this step operands have 1 to 6 digits; afterwards 1 to 10."""
    shift_until: Moment = 0
    """Until this step operands shorter than ten digits start at a uniform column instead of the
    units: the same short sums, spread evenly over the columns."""
    carry_heavy: Share = 0.0
    """Share of carry-heavy examples at the start: each column becomes a propagating one (sum 9)
    with probability `propagate`."""
    propagate: Share = 0.75
    """How likely a column of a carry-heavy example is to propagate."""
    fade_start: Moment = 60_000
    """Step until which the share of carry-heavy examples stays at `carry_heavy`."""
    fade_stop: Moment = 200_000
    """Step from which there are no carry-heavy examples; linear in between."""
    extra_share: Share = 0.0
    """Share of examples drawn from the extra cases, where a run is given some."""
    restarts: Annotated[int, Between(0, 1_000)] = 0
    """How many times a run may start over from other initial parameters, each time its loss is
    still above `restart_loss` at `restart_step`; 0 is the published recipe."""
    restart_step: Steps = 20_000
    """Step at which a run with restarts is judged; it must be a row of the log."""
    restart_loss: float = 0.5
    """Mean training loss above which it starts over."""
    second_step: Moment = 0
    """Step at which such a run is judged once more, likewise; 0 for never."""
    second_loss: float = 0.1
    """Mean training loss above which it starts over there."""
    token_std: float = 0.02
    """Initial standard deviation of the token embedding and of full matrices."""
    position_std: float = 0.02
    """Initial standard deviation of the position embedding, or of both its factors."""

    def __post_init__(self) -> None:
        """Check every field against its range."""
        check_fields(self)
        self._check("batch", self.batch % 16 == 0, "a multiple of 16")
        for name in ("lr", "clip", "token_std", "position_std"):
            self._check(name, getattr(self, name) > 0, "above 0")
        self._check("weight_decay", self.weight_decay >= 0, "0 or more")
        self._check("phase_2", self.phase_2 >= self.phase_1, "at least phase_1")
        self._check("fade_stop", self.fade_stop >= self.fade_start, "at least fade_start")
        self._check(
            "extra_share", self.extra_share + self.carry_heavy <= 1, "at most 1 - carry_heavy"
        )

    def _check(self, name: str, holds: bool, range_: str) -> None:
        if not holds:
            raise InputError(f"{name} is {getattr(self, name)!r}: it must be {range_}")

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "TrainConfig":
        """Build a configuration from JSON, refusing keys that it does not know.

        Raises:
            InputError: An unknown key, or a value out of range.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(fields) - known)
        if unknown:
            raise InputError(f"unknown training key {unknown[0]!r}: known are {', '.join(known)}")
        return cls(**fields)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a plain dictionary for JSON."""
        return dataclasses.asdict(self)


BETA_1, BETA_2, ADAM_EPS = 0.9, 0.999, 1e-8

PUBLISHED = TrainConfig()
"""The recipe of the write-ups (262p; 311p takes 162,000 steps)."""
