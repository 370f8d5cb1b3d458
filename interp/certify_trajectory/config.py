"""Which snapshots are certified, and how much work goes into each."""

from dataclasses import dataclass
from typing import Annotated

from interp.certify import Budget
from model.shell import Between, Few, Sample, Seed, check_fields


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which snapshots, and how much work for each.

    Raises:
        InputError: A number out of range.
    """

    snapshots: Few = 15
    """How many snapshots, spread evenly; the last is always among them."""
    first_step: Annotated[int, Between(0, 10**9)] = 0
    """Leave out snapshots before this step."""
    budget: Budget = 60_000
    """Cells that may be judged in each answer column."""
    pairs: Sample = 100_000
    """Pairs in the sample."""
    seed: Seed = 0
    """Seed of the sample."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_fields(self)
