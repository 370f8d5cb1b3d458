"""The write-ups' family as networks: its factors multiplied out into effective weights."""

import math
from typing import Any

import torch

from model.adder import Adder
from model.config import ModelConfig, qkv_names
from model.factored import Params, factor_names, product
from model.layouts import WRITE_UPS
from model.network import Network
from model.parts import no_biases


def compose(params: Params, config: ModelConfig) -> Network:
    """Multiply the factors out.

    Args:
        params: Parameters by name.
        config: The network's shape.

    Returns:
        The effective weights, one head as wide as the stream, in the parameters' type and
        differentiable in them. They are free of the gauge: (A G, G^-1 B) gives the same.
    """
    d = config.d_model
    shapes = {"d": d, "qk": d, "v": d, "ff": config.d_ff, "vocab": WRITE_UPS.vocab_size}
    plain = no_biases(heads=1, kv_heads=1, dtype=params["W_E"].dtype, **shapes)
    q, k, v = qkv_names(config)
    heads = {"W_Q": q, "W_K": k, "W_V": v, "W_O": factor_names(params, "W_O")}
    flat = {name: factor_names(params, name) for name in ("W_pos", "W_in", "W_out")}
    options: dict[str, Any] = {
        "norm": config.norm,
        "eps": config.eps,
        "act": "gelu",
        "attn_scale": math.sqrt(d),
    }
    tensors: dict[str, Any] = {
        **plain,
        **{name: product(params, names)[None] for name, names in heads.items()},
        **{name: product(params, names) for name, names in flat.items()},
        **{name: value for name, value in params.items() if name.startswith("ln")},
    }
    return Network(layout=WRITE_UPS, W_E=params["W_E"], W_U=params["W_E"].T, **options, **tensors)


def dense(model: Adder, dtype: torch.dtype = torch.float64) -> Network:
    """Return the effective weights of a model, detached, multiplied out in `dtype`."""
    params = {name: value.detach().to(dtype) for name, value in model.params.items()}
    return compose(params, model.config)
