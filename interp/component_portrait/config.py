"""Which component to draw."""

from dataclasses import dataclass
from typing import Annotated, Literal

from interp.rank_ablation import Kind
from model.shell import Between, Few, Sample, Seed, Share, check_fields

Drawn = Literal[
    "W_pos", "W_QK", "W_OV", "W_Q", "W_KV", "W_K", "W_V", "W_O", "W_in", "W_gate", "W_out"
]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which component to draw.

    Raises:
        InputError: A number is out of range.
    """

    matrix: Drawn = "W_OV"
    """The matrix."""
    head: Annotated[int, Between(0, 63)] = 0
    """Which head's, where there are several, from 0; W_K and W_V count heads of keys and values."""
    component: Few = 1
    """Place in the basis, from 1."""
    basis: Literal["svd", "data"] = "svd"
    """How the matrix is cut."""
    kind: Kind = "mean"
    """What replaces the component when breakage is measured."""
    pairs: Sample = 20_000
    """Sums on which breakage is measured; a fifth as many again are stratified by carry chain."""
    seed: Seed = 0
    """Seed of the sums."""
    block_tolerance: Share = 0.02
    """Singular values closer than this, relatively, are one block."""

    def __post_init__(self) -> None:
        """Check every number."""
        check_fields(self)
