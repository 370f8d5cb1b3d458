"""What the page needs to know of a network: layout, options, weights, rank components, examples."""

import base64
from typing import Any

import torch
from torch import Tensor

from analyses.explorer.components import Term, cut
from analyses.explorer.examples import choose_examples
from model.anyone import AnyAdder
from model.errors import InputError
from model.network import Network

MOST_NUMBERS = 200_000
"""Numbers of a network that a page takes: some 2 MB."""


def describe(adder: AnyAdder, *, pairs: int) -> dict[str, Any]:
    """Describe a network as plain values for JSON; the weights are exact, in float64.

    Args:
        adder: The network.
        pairs: Pairs of either kind that are decoded in the search for failing or tight sums; 0 for
            no search.

    Raises:
        InputError: The network is too large for a page.
    """
    described = describe_network(adder.network)
    counted = "" if adder.n_params is None else f"{adder.n_params:,} trained parameters"
    return {
        "name": adder.name,
        "title": counted,
        **described,
        "examples": choose_examples(adder.network, pairs),
    }


def describe_network(network: Network) -> dict[str, Any]:
    """Describe layout, options, weights and components."""
    tensors = network.tensors()
    if sum(tensor.numel() for tensor in tensors.values()) > MOST_NUMBERS:
        raise InputError(f"a network of over {MOST_NUMBERS:,} numbers is too large for a page")
    rotary = network.rotary
    return {
        "layout": network.layout.to_dict(),
        "options": {
            "norm": network.norm,
            "eps": network.eps,
            "qk_eps": network.qk_eps,
            "act": network.act,
            "attn_scale": network.attn_scale,
            "rotary": None if rotary is None else dict(vars(rotary)),
        },
        "tensors": {name: pack(tensor) for name, tensor in tensors.items()},
        "components": [describe_term(term) for term in cut(network)],
    }


def describe_term(term: Term) -> dict[str, Any]:
    """Describe a rank component; the page adds multiples of left right^T to its matrix."""
    return {
        "key": term.key,
        "matrix": term.matrix,
        "head": term.head,
        "index": term.index,
        "size": term.size,
        "left": pack(term.left),
        "right": pack(term.right),
    }


def pack(tensor: Tensor) -> dict[str, Any]:
    """Write numbers as little-endian float64 in base64, with their shape."""
    data = tensor.detach().to(torch.float64).contiguous().numpy().astype("<f8").tobytes()
    return {"shape": list(tensor.shape), "data": base64.b64encode(data).decode("ascii")}
