"""How the Jacobian is sampled."""

from dataclasses import dataclass
from typing import Annotated

from model.shell import Between, Seed, check_fields


@dataclass(frozen=True, kw_only=True)
class Config:
    """How the Jacobian is sampled.

    Raises:
        InputError: Too few sums, or too many for memory.
    """

    pairs: Annotated[int, Between(1, 10_000)] = 64
    """Random sums; of each all logits of the answer count."""
    seed: Seed = 0
    """Seed of the sums."""

    def __post_init__(self) -> None:
        """Check the number of sums."""
        check_fields(self)
