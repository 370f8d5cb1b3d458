"""Networks put together anew: a head's products as matrices of their own, units of equal size.

Question: which effective weights have a given bilinear form of the scores, or a given map from
source to stream, with everything else as it was?

Method: a form F becomes W_Q = F beside W_K = 1, a map M becomes W_V = M beside W_O = 1. Biases of
queries and keys add three terms to a score, q-side, k-side and constant; two further dimensions of
the head carry them. Heads that shared keys and values get their own.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from model.network import Network


def rewrite_scores(network: Network, forms: Mapping[int, Float[Tensor, "d d"]]) -> Network:
    """Give heads other bilinear forms of their scores; biases and other heads stay.

    Args:
        network: A network without rotary positions and norms of q and k.
        forms: Form by head; rows are the query side.
    """
    network = unshare(network)
    n, d, qk = network.W_Q.shape
    W_Q, W_K, b_Q, b_K = network.W_Q, network.W_K, network.b_Q, network.b_K
    biased = any(bool(b_Q[head].any() or b_K[head].any()) for head in forms)
    size = d + 2 if biased else d
    width = size if len(forms) == n else max(size, qk)
    zeros = network.W_E.new_zeros
    new = {"W_Q": zeros(n, d, width), "W_K": zeros(n, d, width)}
    new |= {"b_Q": zeros(n, width), "b_K": zeros(n, width)}
    for head in range(n):
        if head not in forms:
            for name, value in new.items():
                value[head, ..., :qk] = getattr(network, name)[head]
            continue
        new["W_Q"][head, :, :d] = forms[head]
        new["W_K"][head, :, :d] = torch.eye(d, dtype=W_Q.dtype)
        if biased:
            new["W_Q"][head, :, d], new["b_K"][head, d] = W_Q[head] @ b_K[head], 1
            new["W_K"][head, :, d + 1], new["b_Q"][head, d + 1] = W_K[head] @ b_Q[head], 1
            new["b_Q"][head, d] = b_Q[head] @ b_K[head]
    return network.edit(**new)


def rewrite_maps(network: Network, maps: Mapping[int, Float[Tensor, "d d"]]) -> Network:
    """Give heads other maps from source to stream; biases and other heads stay.

    Args:
        network: The network.
        maps: Map by head; rows are the source side.
    """
    network = unshare(network)
    n, d, v = network.W_V.shape
    width = d if len(maps) == n else max(d, v)
    zeros = network.W_E.new_zeros
    new = {"W_V": zeros(n, d, width), "W_O": zeros(n, width, d), "b_V": zeros(n, width)}
    for head in range(n):
        if head in maps:
            new["W_V"][head, :, :d] = maps[head]
            new["W_O"][head, :d] = torch.eye(d, dtype=network.W_E.dtype)
            new["b_V"][head, :d] = network.b_V[head] @ network.W_O[head]
        else:
            new["W_V"][head, :, :v], new["W_O"][head, :v] = network.W_V[head], network.W_O[head]
            new["b_V"][head, :v] = network.b_V[head]
    return network.edit(**new)


def unshare(network: Network) -> Network:
    """Give every head of queries keys and values of its own."""
    if network.n_kv_heads == network.n_heads:
        return network
    groups = [network.kv_head(head) for head in range(network.n_heads)]
    return network.edit(
        **{name: getattr(network, name)[groups] for name in ("W_K", "W_V", "b_K", "b_V")}
    )


def level_units(network: Network) -> Network:
    """Scale each unit so that what it reads and writes have equal norms, where that is free.

    It is free for ReLU, and for the linear side of a gated layer. Units that read or write nothing
    stay.
    """
    gated = network.W_gate is not None and network.b_gate is not None
    if network.act == "none" or not (gated or network.act == "relu"):
        return network
    sides = {"W_in": network.W_in.norm(dim=0), "W_out": network.W_out.norm(dim=1)}
    if network.W_gate is not None and network.act == "relu":
        sides["W_gate"] = network.W_gate.norm(dim=0)
    norms = torch.stack(list(sides.values()))
    alive = (norms > 0).all(dim=0)
    mean = norms.clamp(min=1e-300).log().mean(dim=0).exp()
    scale = {x: torch.where(alive, mean / n.clamp(min=1e-300), 1.0) for x, n in sides.items()}
    edits = {"W_in": network.W_in * scale["W_in"], "b_in": network.b_in * scale["W_in"]}
    edits["W_out"] = network.W_out * scale["W_out"][:, None]
    if "W_gate" in scale and network.W_gate is not None and network.b_gate is not None:
        edits["W_gate"] = network.W_gate * scale["W_gate"]
        edits["b_gate"] = network.b_gate * scale["W_gate"]
    return network.edit(**edits)


def centre_positions(network: Network) -> Network:
    """Move the mean over positions from W_pos to W_E, where the head is not the embedding.

    What is added to every position may as well be added to every token; only a tied head tells.
    """
    if torch.equal(network.W_U, network.W_E.T):
        return network
    mean = network.W_pos[: network.layout.n_input].mean(dim=0)
    return network.edit(W_E=network.W_E + mean, W_pos=network.W_pos - mean)
