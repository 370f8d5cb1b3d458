"""Qwen3 adders under Hugging Face's names: rotary positions, norms of q and k, SwiGLU.

The tensors do not show the base of the rotary angles nor epsilon. A config.json beside the file
says them; without one they are those of the published adders, theta 3 and 1e-6.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch

from model.errors import InputError, printable
from model.layouts import QWEN3
from model.network import Network
from model.parts import Rotary, no_biases
from model.readers.keys import Keys, check_layers

THETA, EPS = 3.0, 1e-6
LAYER = "layers.0."

# Keys of config.json that change the forward pass: only these values are read.
FIXED: dict[str, tuple[Any, ...]] = {
    "num_hidden_layers": (1,),
    "hidden_act": ("silu",),
    "rope_scaling": (None,),
    "use_sliding_window": (False,),
    "attention_bias": (False, True),
    "model_type": ("qwen3", "qwen2", "llama"),
}


def recognises(names: Mapping[str, Any]) -> bool:
    """Tell these files by their names."""
    return any(str(name).removeprefix("model.") == "embed_tokens.weight" for name in names)


def read_qwen3(state: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[Network, int]:
    """Turn a file's tensors into a network, and count the trained numbers.

    Args:
        state: Tensors by name, with or without a leading "model.".
        config: What config.json says; may be empty.

    Raises:
        InputError: A tensor is missing, unknown or does not fit, or an option is not supported.
    """
    check_layers([str(name).removeprefix("model.") for name in state], "layers.")
    for key, known in FIXED.items():
        if config.get(key, known[0]) not in known:
            found = printable(repr(config[key]))
            raise InputError(f"config.json says {key} = {found}: it is not supported")
    keys = Keys(state, strip=("model.", LAYER, "self_attn.", "mlp."))
    keys.buffer("rotary_emb.inv_freq")
    W_E = keys.take("embed_tokens.weight", (None, None))
    vocab, d = W_E.shape
    if vocab != QWEN3.vocab_size:
        raise InputError(
            f"the network has {vocab} tokens: of this kind, adders of {QWEN3.vocab_size} are read"
        )
    q_norm = keys.find("q_norm.weight", (None,))
    k_norm = keys.find("k_norm.weight", (None if q_norm is None else len(q_norm),))
    q, k, v = (keys.take(f"{x}_proj.weight", (None, d)).T for x in "qkv")
    width = len(q_norm) if q_norm is not None else _head_width(config)
    heads, kv_heads = q.shape[1] // width, k.shape[1] // width
    if heads * width != q.shape[1] or kv_heads * width != k.shape[1] or k.shape != v.shape:
        raise InputError(f"q, k and v projections do not part into heads {width} wide")
    gate = keys.take("gate_proj.weight", (None, d)).T
    ff = gate.shape[1]
    weights = no_biases(
        d=d, heads=heads, kv_heads=kv_heads, qk=width, v=width, ff=ff, vocab=vocab, dtype=W_E.dtype
    )
    for role, n in (("q", heads), ("k", kv_heads), ("v", kv_heads)):
        bias = keys.find(f"{role}_proj.bias", (n * width,))
        if bias is not None:
            weights[f"b_{role.upper()}"] = bias.unflatten(0, (n, width))
    for ours, theirs in (
        ("ln1", "input_layernorm"),
        ("ln2", "post_attention_layernorm"),
        ("ln_final", "norm"),
    ):
        weights[f"{ours}_w"] = keys.take(f"{theirs}.weight", (d,))
    W_O = keys.take("o_proj.weight", (d, heads * width)).T
    head = W_E
    if "lm_head.weight" in keys:
        same = torch.equal(torch.as_tensor(state["lm_head.weight"]).double(), W_E)
        head = keys.take("lm_head.weight", (vocab, d), tied=same)
    weights |= {
        "W_E": W_E,
        "W_pos": W_E.new_zeros(QWEN3.n_input, d),
        "W_O": W_O.unflatten(0, (heads, width)),
        "W_in": keys.take("up_proj.weight", (ff, d)).T,
        "W_gate": gate,
        "b_gate": W_E.new_zeros(ff),
        "W_out": keys.take("down_proj.weight", (d, ff)).T,
        "W_U": head.T,
    }
    for name, matrix, n in (("W_Q", q, heads), ("W_K", k, kv_heads), ("W_V", v, kv_heads)):
        weights[name] = matrix.unflatten(1, (n, width)).transpose(0, 1).contiguous()
    keys.finish()
    eps = _number(config, "rms_norm_eps", EPS)
    rotary = Rotary(theta=_number(config, "rope_theta", THETA), dim=width)
    network = Network(
        layout=QWEN3,
        q_norm_w=q_norm,
        k_norm_w=k_norm,
        norm="rms",
        eps=eps,
        qk_eps=eps,
        act="silu",
        attn_scale=math.sqrt(width),
        rotary=rotary,
        **weights,
    )
    return network, keys.trained


def _head_width(config: Mapping[str, Any]) -> int:
    width = config.get("head_dim")
    if isinstance(width, bool) or not isinstance(width, int) or width < 1:
        raise InputError("without q_norm the width of a head is not known: put config.json beside")
    return width


def _number(config: Mapping[str, Any], key: str, default: float) -> float:
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e300:
        found = printable(repr(value))
        raise InputError(f"config.json says {key} = {found}: it must be a positive number")
    return float(value)
