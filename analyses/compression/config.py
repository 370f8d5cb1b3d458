"""Which shapes are reached by truncation, and how they are fine-tuned."""

from dataclasses import dataclass
from typing import Annotated

from interp.truncation import RANKS
from model.errors import InputError
from model.shell import Parsed, Sample, Seeds, Steps, check_fields

FIELDS = (*RANKS, "d_ff")


def read_target(text: str) -> dict[str, int]:
    """Read a shape such as "attn_out_rank=1,d_ff=4".

    Raises:
        InputError: Not of that form, or a field that cannot be cut.
    """
    target = {}
    for part in text.split(","):
        field, _, value = part.partition("=")
        if field not in FIELDS or not value.isdigit():
            raise InputError(
                f"target {text!r} is not FIELD=VALUE,... with fields {', '.join(FIELDS)}"
            )
        target[field] = int(value)
    return target


Target = Annotated[str, Parsed(read_target)]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which shapes to reach, and how to fine-tune them.

    Raises:
        InputError: A target or a number that cannot be used.
    """

    targets: tuple[Target, ...] = (
        "attn_out_rank=2",
        "attn_out_rank=1",
        "attn_out_rank=1,d_ff=4",
        "ffn_rank=2",
        "attn_out_rank=2,ffn_rank=2",
        "attn_out_rank=1,ffn_rank=2",
        "qkv_rank=2",
        "pos_rank=2",
        "pos_rank=2,d_ff=6",
    )
    """Shapes as FIELD=VALUE,...; those that the network already has or lacks are passed over."""
    steps: Steps = 20_000
    """Steps of fine-tuning, for cut networks and controls alike."""
    lr: float = 3e-3
    """Peak learning rate of fine-tuning."""
    seeds: Seeds = ("0-1",)
    """Seeds of the data stream, numbers and ranges; controls also draw their weights from them."""
    pairs: Sample = 100_000
    """Uniform sums on which networks are decoded before fine-tuning."""

    def __post_init__(self) -> None:
        """Check every field."""
        check_fields(self)
        if self.lr <= 0:
            raise InputError(f"--lr is {self.lr}: it must be above 0")
