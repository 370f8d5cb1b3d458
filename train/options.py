"""What the training commands take: changes to a preset, devices, bounds, rounds."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from model.config import ModelConfig, Norm, TieQKV, preset
from model.errors import InputError
from model.shell import Parsed
from train.spec import StopRule

Device = Literal["cpu", "cuda"]
Preset = Annotated[str, Parsed(preset)]


@dataclass(frozen=True, kw_only=True)
class ModelOverrides:
    """Fields of the preset to change; each defaults to the preset's own."""

    d_model: int | None = None
    """Width of the residual stream."""
    d_ff: int | None = None
    """Number of GELU units."""
    n_ctx: int | None = None
    """Number of learned positions, at least 33."""
    pos_rank: int | None = None
    """Rank of the position embedding; 0 for a full table."""
    qkv_rank: int | None = None
    """Rank of queries, keys and values; 0 for full matrices."""
    attn_out_rank: int | None = None
    """Rank of the attention output; 0 for a full matrix."""
    ffn_rank: int | None = None
    """Rank of the feed-forward matrices; 0 for full ones."""
    norm: Norm | None = None
    """rms or layer."""
    tie_qkv: TieQKV | None = None
    """Which factors queries, keys and values share."""

    def apply(self, config: ModelConfig) -> ModelConfig:
        """Give the configuration with these changes."""
        given = {k: v for k, v in dataclasses.asdict(self).items() if v is not None}
        return dataclasses.replace(config, **given)


UNCHANGED = ModelOverrides()


def read_stop_rule(bounds: Sequence[str]) -> StopRule:
    """Read bounds such as "40000:0.7".

    Raises:
        InputError: A bound that is not STEP:LOSS.
    """
    rule = []
    for text in bounds:
        step, _, loss = text.partition(":")
        try:
            rule.append((_read_steps(step), _read_positive(loss)))
        except ValueError as error:
            raise InputError(f"stop bound {text!r} is not STEP:LOSS, such as 40000:0.7") from error
    return tuple(rule)


def read_rounds(texts: Sequence[str]) -> list[tuple[float, int]]:
    """Read rounds such as "1e-3:100000".

    Raises:
        InputError: A round that is not LR:STEPS.
    """
    rounds = []
    for text in texts:
        lr, _, steps = text.partition(":")
        try:
            rounds.append((_read_positive(lr), _read_steps(steps)))
        except ValueError as error:
            raise InputError(f"round {text!r} is not LR:STEPS, such as 1e-3:100000") from error
    return rounds


def _read_steps(text: str) -> int:
    if not 1 <= int(text) <= 10**9:
        raise ValueError
    return int(text)


def _read_positive(text: str) -> float:
    if not 0 < float(text) < math.inf:
        raise ValueError
    return float(text)


StopBounds = Annotated[tuple[str, ...], Parsed(read_stop_rule)]
Rounds = Annotated[tuple[str, ...], Parsed(read_rounds)]
