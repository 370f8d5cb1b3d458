"""How much is measured of every run."""

from dataclasses import dataclass
from typing import Annotated

from interp.certify import Budget
from model.shell import Between, Sample, Seed, check_fields


@dataclass(frozen=True, kw_only=True)
class Config:
    """How much is measured.

    Raises:
        InputError: A number out of range.
    """

    snapshots: Annotated[int, Between(3, 10_000)] = 40
    """Snapshots of each run, half of them spread evenly, half by the logarithm of the step; first
    and last are among them."""
    pairs: Sample = 20_000
    """Pairs for exact match, of each kind (uniform and with long carry chains)."""
    inputs: Annotated[int, Between(400, 10**6)] = 2_000
    """Inputs for loss, attention and probes; about half of them are held out from a probe."""
    random_inits: Annotated[int, Between(1, 1_000)] = 5
    """Random initialisations of the run's recipe beside it."""
    certify: Budget = 20_000
    """Budget of certification: cells that may be judged in each answer column."""
    certified_snapshots: Annotated[int, Between(2, 10_000)] = 5
    """How many of the snapshots are certified; this takes far longer than all the rest."""
    no_certify: bool = False
    """Leave certification out."""
    seed: Seed = 0
    """Seed of pairs, inputs, splits, shuffles and random initialisations."""

    def __post_init__(self) -> None:
        """Check every field."""
        check_fields(self)

    @property
    def sample(self) -> tuple[int, int, int]:
        """What the numbers of one snapshot depend on, apart from its weights."""
        return (self.pairs, self.inputs, self.seed)
