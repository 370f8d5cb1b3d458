"""What a network is put together from: options, shapes of weights, and what must fit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from model.errors import InputError, printable
from model.layouts import Layout

NormKind = Literal["rms", "layer", "none"]
Activation = Literal["none", "relu", "gelu", "gelu_tanh", "silu"]
NORMS = ("ln1", "ln2", "ln_final")
OPTIONS = ("norm", "eps", "qk_eps", "act", "attn_scale", "rotary")
"""Fields of a network that are neither weights nor its task."""
MOST_NUMBERS, MAX_POSITIONS = 2**24, 4096
"""Room for the largest table, and the most positions; a few hundred times what adders need."""
MAX_NUMBER = 1e300
"""What an option stays below, whole numbers too."""
WEIGHTS = (
    *("W_E", "W_pos", "W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V", "b_O"),
    *("W_in", "W_out", "b_in", "b_out", "W_U", "b_U"),
    *(f"{name}_{part}" for name in NORMS for part in "wb"),
)
"""Weights of every network."""
OPTIONAL = ("W_X", "q_norm_w", "k_norm_w", "W_gate", "b_gate")
"""Weights of some networks."""


@dataclass(frozen=True, kw_only=True)
class Rotary:
    """Rotary positions (Su et al. 2021): pairs of coordinates of q and k, turned by the position.

    Pair i of position p turns by p theta^(-2 i / dim).
    """

    theta: float
    """Base of the frequencies."""
    dim: int
    """Coordinates that are turned, the first ones of a head; even."""
    interleaved: bool = False
    """Whether pair i is (2 i, 2 i + 1), and not (i, i + dim / 2)."""


def no_biases(
    *, d: int, heads: int, kv_heads: int, qk: int, v: int, ff: int, vocab: int, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Return zero biases and unit gains of the given sizes, by name, for networks without them."""

    def zeros(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=dtype)

    return {
        "b_Q": zeros(heads, qk),
        "b_K": zeros(kv_heads, qk),
        "b_V": zeros(kv_heads, v),
        "b_O": zeros(d),
        "b_in": zeros(ff),
        "b_out": zeros(d),
        "b_U": zeros(vocab),
        **{f"{name}_w": torch.ones(d, dtype=dtype) for name in NORMS},
        **{f"{name}_b": zeros(d) for name in NORMS},
    }


def check_parts(layout: Layout, options: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Check that options and weights make a network for the task.

    Raises:
        InputError: A part is missing, unknown, or does not fit; the message names it.
    """
    for name in tensors:
        if name not in (*WEIGHTS, *OPTIONAL):
            raise InputError(f"tensor {printable(name)} is not one of a network")
    for name in WEIGHTS:
        if name not in tensors:
            raise InputError(f"tensor {name} is missing")
    _check_shapes(layout, tensors)
    _check_options(options, tensors)


def _check_options(options: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    for name, choices in (("norm", get_args(NormKind)), ("act", get_args(Activation))):
        if options[name] not in choices:
            found, known = printable(repr(options[name])), ", ".join(choices)
            raise InputError(f"{name} is {found}: it must be one of {known}")
    for name in ("eps", "qk_eps"):
        if not _is_number(options[name]) or options[name] < 0:
            found = printable(repr(options[name]))
            raise InputError(f"{name} is {found}: it must be a number of at least 0")
    if not _is_number(options["attn_scale"]) or options["attn_scale"] == 0:
        found = printable(repr(options["attn_scale"]))
        raise InputError(f"attn_scale is {found}: it must be a number but 0")
    ff = tensors["W_in"].shape[1]
    if (options["act"] == "none") != (ff == 0):
        raise InputError(f'act is {options["act"]!r} with {ff} units: "none" means no units')
    for name in _unused(options):
        given = tensors[name]
        if bool((given != (1.0 if name.endswith("_w") else 0.0)).any()):
            raise InputError(f"{name} is given, and this network has no such weight")
    rotary, width = options["rotary"], tensors["W_Q"].shape[-1]
    if rotary is None:
        return
    if not _is_number(rotary.theta) or rotary.theta <= 0:
        found = printable(repr(rotary.theta))
        raise InputError(f"rotary theta is {found}: it must be a positive number")
    if rotary.dim % 2 or not 0 < rotary.dim <= width:
        raise InputError(f"rotary dim is {rotary.dim}: it must be even, 2 to the head's {width}")


def _unused(options: Mapping[str, Any]) -> set[str]:
    """Gains and biases that stay one and zero, because what they belong to is not there."""
    unused = {"ln2_w", "ln2_b", "b_out"} if options["act"] == "none" else set()
    if options["norm"] != "layer":
        unused |= {f"{name}_b" for name in NORMS}
    if options["norm"] == "none":
        unused |= {f"{name}_w" for name in NORMS}
    return unused


def _is_number(value: Any) -> bool:
    right = isinstance(value, int | float) and not isinstance(value, bool)
    return right and -MAX_NUMBER < value < MAX_NUMBER


def _check_shapes(layout: Layout, tensors: Mapping[str, Tensor]) -> None:
    axes = {"W_E": 2, "W_pos": 2, "W_in": 2, "W_Q": 3, "W_V": 3}
    for name, n in axes.items():
        if tensors[name].ndim != n:
            raise InputError(f"{name} has shape {tuple(tensors[name].shape)}: it needs {n} axes")
    vocab, d = layout.vocab_size, tensors["W_E"].shape[1]
    heads, _, qk = tensors["W_Q"].shape
    kv, _, v = tensors["W_V"].shape
    pos, ff = tensors["W_pos"].shape[0], tensors["W_in"].shape[1]
    shapes = {
        "W_E": (vocab, d),
        "W_pos": (pos, d),
        "W_X": (pos, vocab, d),
        "W_Q": (heads, d, qk),
        "W_K": (kv, d, qk),
        "W_V": (kv, d, v),
        "W_O": (heads, v, d),
        "b_Q": (heads, qk),
        "b_K": (kv, qk),
        "b_V": (kv, v),
        "b_O": (d,),
        "q_norm_w": (qk,),
        "k_norm_w": (qk,),
        "W_in": (d, ff),
        "W_gate": (d, ff),
        "W_out": (ff, d),
        "b_in": (ff,),
        "b_gate": (ff,),
        "b_out": (d,),
        "W_U": (d, vocab),
        "b_U": (vocab,),
        **{f"{name}_{part}": (d,) for name in NORMS for part in ("w", "b")},
    }
    for name, value in tensors.items():
        if tuple(value.shape) != shapes[name]:
            raise InputError(f"{name} has shape {tuple(value.shape)}, not {shapes[name]}")
        if value.dtype != tensors["W_E"].dtype or value.dtype not in (torch.float32, torch.float64):
            raise InputError(f"{name} is {value.dtype}: weights are float32 or float64, all alike")
    if 0 in (d, qk, v, kv) or heads % kv:
        raise InputError(f"{heads} heads of queries cannot share {kv} heads of keys and values")
    if pos < layout.n_input:
        raise InputError(
            f"the network knows {pos} positions, and layout {layout.name} needs {layout.n_input}"
        )
    if layout.n_input * vocab * heads * max(d, qk) > MOST_NUMBERS or pos > MAX_POSITIONS:
        raise InputError(
            f"{heads} heads, a stream {d} wide, {vocab} tokens and {pos} positions: this is no "
            "small adder, and its tables would be too large"
        )
    for left, right in (("W_gate", "b_gate"), ("q_norm_w", "k_norm_w")):
        if (left in tensors) != (right in tensors):
            raise InputError(f"{left} and {right} go together: give both or neither")
