"""What the network is: one frozen configuration, and the named members of the family."""

import dataclasses
import functools
import math
import reprlib
from dataclasses import dataclass
from typing import Any, Literal, get_args

from model.errors import InputError

Norm = Literal["rms", "layer"]
TieQKV = Literal[
    "none",
    "all",
    "qk",
    "kv",
    "shareA",
    "shareA_tieKV",
    "shareA_tieQK",
    "shareB",
    "shareB_tieKV",
    "shareB_tieQK",
]

VOCAB_SIZE = 14

# For each tie mode, the (A, B) factor that Q, K and V read: equal suffixes are one parameter.
QKV_FACTORS: dict[TieQKV, tuple[tuple[str, str], tuple[str, str], tuple[str, str]]] = {
    "none": (("", "Q"), ("", "K"), ("", "V")),
    "all": (("", ""), ("", ""), ("", "")),
    "qk": (("QK", "QK"), ("QK", "QK"), ("V", "V")),
    "kv": (("Q", "Q"), ("KV", "KV"), ("KV", "KV")),
    "shareA": (("", "Q"), ("", "K"), ("", "V")),
    "shareA_tieKV": (("", "Q"), ("", "KV"), ("", "KV")),
    "shareA_tieQK": (("", "QK"), ("", "QK"), ("", "V")),
    "shareB": (("Q", ""), ("K", ""), ("V", "")),
    "shareB_tieKV": (("Q", ""), ("KV", ""), ("KV", "")),
    "shareB_tieQK": (("QK", ""), ("QK", ""), ("V", "")),
}
_NEEDS_RANK = tuple(mode for mode in get_args(TieQKV) if mode.startswith("share"))


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """One decoder-only layer with one head; ranks of 0 mean a full matrix.

    Raises:
        InputError: A field is outside its range; the message names the field.
    """

    d_model: int = 4
    """Width of the residual stream, and of the single head."""
    d_ff: int = 8
    """Number of GELU units in the feed-forward layer."""
    n_ctx: int = 33
    """Number of learned positions; a sum occupies 33, so at least 33."""
    pos_rank: int = 3
    """Rank of the position embedding W_pos = A B; 0 for a full table."""
    qkv_rank: int = 3
    """Rank of the query, key and value projections; 0 for full matrices."""
    attn_out_rank: int = 3
    """Rank of the attention output W_O; 0 for a full matrix."""
    ffn_rank: int = 3
    """Rank of W_in and of W_out; 0 for full matrices."""
    norm: Norm = "rms"
    """"rms": RMSNorm with a gain (eps 1e-8); "layer": LayerNorm with gain and bias (eps 1e-5)."""
    tie_qkv: TieQKV = "shareA_tieKV"
    """Which factors Q, K and V share; shareA_tieKV: one A, and K = V."""

    def __post_init__(self) -> None:
        """Check every field against its range."""
        _check(self.to_dict())

    @property
    def eps(self) -> float:
        """The constant under the root of the norm."""
        return 1e-8 if self.norm == "rms" else 1e-5

    @property
    def n_params(self) -> int:
        """Number of trained numbers, tied ones counted once."""
        return sum(math.prod(shape) for shape in param_shapes(self).values())

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "ModelConfig":
        """Build a configuration from JSON, refusing keys that it does not know.

        Raises:
            InputError: An unknown key, or a value out of range.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(fields) - known)
        if unknown:
            raise InputError(
                f"unknown model configuration key {reprlib.repr(unknown[0])}: "
                f"known are {', '.join(sorted(known))}"
            )
        _check(cls().to_dict() | fields)
        return cls(**fields)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a plain dictionary for JSON."""
        return dataclasses.asdict(self)


def _check(fields: dict[str, Any]) -> None:
    bounds = {"d_model": (1, 64), "d_ff": (1, 256), "n_ctx": (33, 1024)}
    bounds |= {name: (0, 64) for name in ("pos_rank", "qkv_rank", "attn_out_rank", "ffn_rank")}
    for name, (low, high) in bounds.items():
        value = fields[name]
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise InputError(
                f"{name} is {reprlib.repr(value)}: it must be a whole number {low} to {high}"
            )
    for name, choices in (("norm", get_args(Norm)), ("tie_qkv", get_args(TieQKV))):
        if fields[name] not in choices:
            found = reprlib.repr(fields[name])
            raise InputError(f"{name} is {found}: it must be one of {', '.join(choices)}")
    if fields["tie_qkv"] in _NEEDS_RANK and fields["qkv_rank"] == 0:
        raise InputError(
            f"tie_qkv {fields['tie_qkv']} shares a factor, so qkv_rank must be 1 or more, not 0"
        )


@functools.cache
def qkv_names(config: ModelConfig) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Name the parameters whose product is W_Q, W_K and W_V, in this order."""

    def join(stem: str, suffix: str) -> str:
        return f"{stem}_{suffix}" if suffix else stem

    def names(role: str, factor: tuple[str, str]) -> tuple[str, ...]:
        if config.qkv_rank:
            return join("qkv_A", factor[0]), join("qkv_B", factor[1])
        return (join("W", "QKV" if config.tie_qkv == "all" else factor[1] or role),)

    q, k, v = QKV_FACTORS[config.tie_qkv]
    return names("Q", q), names("K", k), names("V", v)


def param_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Give the name and shape of every parameter, in the order in which they are stored.

    A matrix W of rank r is held as W_A (m, r) and W_B (r, n), used as x @ W_A @ W_B.
    """
    return dict(_list_shapes(config))


@functools.cache
def _list_shapes(config: ModelConfig) -> tuple[tuple[str, tuple[int, ...]], ...]:
    d, r = config.d_model, config.qkv_rank
    shapes: dict[str, tuple[int, ...]] = {"W_E": (VOCAB_SIZE, d)}

    def add(name: str, m: int, n: int, rank: int) -> None:
        if rank:
            shapes[f"{name}_A"], shapes[f"{name}_B"] = (m, rank), (rank, n)
        else:
            shapes[name] = (m, n)

    def add_norm(name: str) -> None:
        shapes[f"{name}_w"] = (d,)
        if config.norm == "layer":
            shapes[f"{name}_b"] = (d,)

    add("W_pos", config.n_ctx, d, config.pos_rank)
    add_norm("ln1")
    for names in qkv_names(config):
        if len(names) == 1:
            shapes[names[0]] = (d, d)
        else:
            shapes[names[0]], shapes[names[1]] = (d, r), (r, d)
    add("W_O", d, d, config.attn_out_rank)
    add_norm("ln2")
    add("W_in", d, config.d_ff, config.ffn_rank)
    add("W_out", config.d_ff, d, config.ffn_rank)
    add_norm("ln_final")
    return tuple(shapes.items())


_D7 = ModelConfig(d_model=7, d_ff=14, tie_qkv="none", norm="layer")
_FULL = ModelConfig(
    d_model=7,
    d_ff=14,
    n_ctx=35,
    pos_rank=0,
    qkv_rank=0,
    attn_out_rank=0,
    ffn_rank=0,
    norm="layer",
    tie_qkv="none",
)
_311P = ModelConfig()

PRESETS: dict[str, ModelConfig] = {
    "262p": dataclasses.replace(_311P, pos_rank=2, d_ff=6),
    "274p": dataclasses.replace(_311P, pos_rank=2),
    "271p": dataclasses.replace(_311P, attn_out_rank=1, d_ff=4),
    "295p": dataclasses.replace(_311P, attn_out_rank=1),
    "303p": dataclasses.replace(_311P, attn_out_rank=2),
    "311p": _311P,
    "456p": dataclasses.replace(_D7, tie_qkv="shareA_tieKV", attn_out_rank=2, norm="rms"),
    "491p": dataclasses.replace(_D7, norm="rms"),
    "512p": _D7,
    "582p": dataclasses.replace(_D7, ffn_rank=0),
    "777p": _FULL,
    "973p": dataclasses.replace(_FULL, d_ff=28),
}
"""Every model of the two write-ups, by its number of parameters."""


def preset(name: str) -> ModelConfig:
    """Look up a preset.

    Raises:
        InputError: No preset of that name; the message lists them.
    """
    if name not in PRESETS:
        raise InputError(f"unknown preset {name!r}: known are {', '.join(PRESETS)}")
    return PRESETS[name]
