"""What truncation tries."""

from dataclasses import dataclass

from model.errors import InputError
from model.shell import Sample, Seed, check_fields

RANKS = ("pos_rank", "qkv_rank", "attn_out_rank", "ffn_rank")


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to try.

    Raises:
        InputError: A number is out of range.
    """

    pairs: Sample = 20_000
    """Uniform sums that every truncated network is decoded on."""
    seed: Seed = 0
    """Seed of the sums."""
    thresholds: tuple[float, ...] = (0.99, 0.999, 1.0)
    """Exact match to keep: the smallest network at each is reported (1.0: no error)."""

    def __post_init__(self) -> None:
        """Check every field."""
        check_fields(self)
        for value in self.thresholds:
            if not 0 < value <= 1:
                raise InputError(f"--thresholds holds {value}: each must be above 0 and at most 1")
