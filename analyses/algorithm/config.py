"""How much is sampled to tell the accounts apart."""

from dataclasses import dataclass
from typing import Annotated

from model.errors import InputError
from model.shell import Between, Sample, Seed, check_fields


@dataclass(frozen=True, kw_only=True)
class Config:
    """How much is sampled.

    Raises:
        InputError: A number out of range.
    """

    contexts: Annotated[int, Between(100, 100_000)] = 100_000
    """Contexts per column for agreement; 100000 is all of them."""
    pairs: Sample = 300_000
    """Uniform pairs whose failing columns are to be predicted."""
    receivers: Annotated[int, Between(10, 10**6)] = 400
    """Inputs per column, site and account that are scrubbed."""
    pool: Annotated[int, Between(10, 10**6)] = 8_000
    """Inputs per column from which donors come."""
    programs: Annotated[int, Between(10, 10**6)] = 10_000
    """Pairs of each kind on which the program runs beside the network."""
    draws: Annotated[int, Between(20, 10_000)] = 200
    """Bootstrap draws of every interval."""
    seed: Seed = 0
    """For everything that is drawn."""

    def __post_init__(self) -> None:
        """Check every field."""
        check_fields(self)
        if self.pool < self.receivers:
            raise InputError(f"--pool is {self.pool}: it must be at least --receivers")
