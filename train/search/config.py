"""What a search is told: names and recipes, without anything slow to import."""

from dataclasses import dataclass
from typing import Literal

from model.errors import InputError

Name = Literal["circle23", "circle21", "circle21-unbiased", "circle20", "circle19", "circle19-tied"]
"""Names of the parametrisations."""
LANES = 16
"""Sums that the kernel takes at a time; model.lanes has the same number, and is slow to import."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a group is trained."""

    steps: int = 20_000
    """Steps of a run; the learning rate falls as a cosine over them."""
    batch: int = 64
    """Sums a step, a multiple of 16."""
    lr: float = 0.008
    """Learning rate at the start."""
    final: float = 0.02
    """Share of the learning rate that is left at the end."""
    heavy: float = 0.6
    """Share of carry-heavy sums at the start."""
    heavy_last: float = 0.0
    """Share of carry-heavy sums from three quarters of the run on."""
    propagate: float = 0.6
    """How often a column of a carry-heavy sum adds to 9."""
    clip: float = 1.0
    """Largest norm of a seed's gradient."""
    stream: int = 0
    """Seed of the stream of sums."""

    def __post_init__(self) -> None:
        """Check every field."""
        whole = {"steps": self.steps, "batch": self.batch}
        for name, value in whole.items():
            if value < 1:
                raise InputError(f"{name} is {value}: it must be 1 or more")
        if self.batch % LANES:
            raise InputError(f"batch is {self.batch}: it must be a multiple of {LANES}")
        if not 0 < self.lr < 10 or not 0 < self.clip < 1e6:
            raise InputError("lr must be over 0 and below 10, clip over 0 and below 1e6")
        for name in ("final", "heavy", "heavy_last", "propagate"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}: it must be 0 to 1")
        if self.stream < 0:
            raise InputError(f"stream is {self.stream}: it must be 0 or more")


@dataclass(frozen=True, kw_only=True)
class Polish:
    """How a network is trained on its extreme pairs."""

    polish_steps: int = 3_000
    """Steps at most."""
    look_every: int = 50
    """Steps between two looks at the contexts."""
    polish_lr: float = 0.001
    """Learning rate at the start; it falls as a cosine."""
    hardest: int = 512
    """Contexts in a batch, those of smallest margin; each brings two pairs."""
    beside: int = 512
    """Sums of the stream beside them."""
    margin_steps: int = 80
    """Linear programs at most that raise the least margin at the end; see `minimax`."""
    target: float = 1e-3
    """Least margin that is enough, relative to the size of the head."""

    def __post_init__(self) -> None:
        """Check every field."""
        for name in ("polish_steps", "look_every", "hardest", "beside", "margin_steps"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}: it must be 1 or more")
        for name in ("hardest", "beside"):
            if getattr(self, name) % LANES:
                raise InputError(f"{name} must be a multiple of {LANES}")
        if not 0 < self.polish_lr < 10:
            raise InputError(f"polish_lr is {self.polish_lr}: it must be over 0 and below 10")
