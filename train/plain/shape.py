"""The network that is trained: its parameters, how they start, and its effective weights.

Parameters lie end to end in one vector, in the order of `param_shapes`.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from model.errors import InputError
from model.layouts import LAYOUTS, Layout
from model.network import Network
from model.parts import NORMS, no_biases
from train.plain.config import Shape

Params = dict[str, Tensor]
EPS = 1e-8


def layout_of(shape: Shape) -> Layout:
    """Look up the task."""
    return LAYOUTS[shape.layout]


def param_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Give the name and shape of every parameter, in the order in which they are stored."""
    d, ff, layout = shape.d_model, shape.d_ff, layout_of(shape)
    return {
        "W_E": (layout.vocab_size, d),
        "W_pos": (layout.n_input, d),
        **{name: (d, d) for name in ("W_Q", "W_K", "W_V", "W_O")},
        "W_in": (d, ff),
        "W_out": (ff, d),
        **{f"{name}_w": (d,) for name in NORMS},
    }


def count_params(shape: Shape) -> int:
    """Count the trained numbers; the head is the embedding and counts once."""
    return sum(math.prod(x) for x in param_shapes(shape).values())


def split(flat: Float[Tensor, " n"], shape: Shape) -> Params:
    """Give parameters their names and shapes (views)."""
    shapes = param_shapes(shape)
    parts = flat.split([math.prod(x) for x in shapes.values()])
    return {name: x.view(size) for (name, size), x in zip(shapes.items(), parts, strict=True)}


def init_params(
    shape: Shape, seed: int, *, token_std: float, position_std: float
) -> Float[Tensor, " n"]:
    """Draw initial parameters: gains 1, W_pos with `position_std`, the rest with `token_std`."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for name, size in param_shapes(shape).items():
        std = position_std if name == "W_pos" else token_std
        normal = torch.randn(size, generator=generator) * std
        parts.append(torch.ones(size) if name.startswith("ln") else normal)
    return torch.cat([x.flatten() for x in parts])


def flatten(network: Network, shape: Shape) -> Float[Tensor, " n"]:
    """Return the parameters of a network that `network_of` gave, float32.

    Raises:
        InputError: It is another kind of network.
    """
    params = network.tensors()
    parts = [params[name].squeeze(0) for name in param_shapes(shape)]
    flat = torch.cat([x.flatten() for x in parts]).float()
    if network.layout == layout_of(shape) and len(flat) == count_params(shape):
        again, same = network_of(flat, shape), network.to(torch.float64)
        if all(torch.equal(x, again.tensors()[name]) for name, x in same.tensors().items()):
            return flat
    raise InputError(
        f"the adder to start from is no {shape.layout} one of this kind, {shape.d_model} wide "
        f"with {shape.d_ff} units"
    )


def network_of(flat: Float[Tensor, " n"], shape: Shape) -> Network:
    """Return parameters as a network, float64."""
    params = {name: x.double() for name, x in split(flat.detach(), shape).items()}
    d, layout = shape.d_model, layout_of(shape)
    plain = no_biases(
        d=d,
        heads=1,
        kv_heads=1,
        qk=d,
        v=d,
        ff=shape.d_ff,
        vocab=layout.vocab_size,
        dtype=torch.float64,
    )
    heads = {name: params.pop(name)[None] for name in ("W_Q", "W_K", "W_V", "W_O")}
    options = {
        "norm": "rms",
        "eps": EPS,
        "qk_eps": EPS,
        "act": "gelu",
        "attn_scale": math.sqrt(d),
        "rotary": None,
    }
    head = {"W_U": params["W_E"].T.contiguous()}
    return Network.build(layout, options, {**plain, **params, **heads, **head})
