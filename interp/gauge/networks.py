"""Changes of gauge of effective weights: any network, whatever its parametrisation was.

Question: which other weights are the same network?

Method: a head's scores and outputs stay when W_Q and W_K change by R^-T and R, W_V and W_O by R and
R^-1; heads that share keys and values share R. Rotary positions leave turns and scales of each pair
of coordinates, norms of q and k only their gains. The gains of norms move into what reads them.
Units scale freely under ReLU and on the linear side of a gated layer. Under RMSNorm the stream may
be turned, and a shift of all positions may become one of all tokens.
"""

import torch
from torch import Tensor

from interp.gauge.changes import random_invertible
from model.network import Network

READERS = {"ln1": ("W_Q", "W_K", "W_V"), "ln2": ("W_in", "W_gate"), "ln_final": ("W_U",)}
"""What reads each norm."""


def random_network_gauge(network: Network, generator: torch.Generator) -> Network:
    """Draw other effective weights of the same function, in float64."""
    network = network.to(torch.float64)
    if network.norm == "rms":
        network = _turn_stream(move_gains(network), generator)
    shift = torch.randn(network.d_model, generator=generator, dtype=torch.float64)
    network = network.edit(W_E=network.W_E + shift, W_pos=network.W_pos - shift)
    network = _change_values(network, generator)
    network = _change_keys(network, generator)
    network = _scale_units(network, generator)
    return _scale_gains(network, generator)


def move_gains(network: Network) -> Network:
    """Move the gains of all norms into the matrices that read them, biases of LayerNorm apart."""
    edits: dict[str, Tensor] = {}
    for norm, readers in READERS.items():
        gain, bias = getattr(network, f"{norm}_w"), getattr(network, f"{norm}_b")
        if bool(((gain == 0) & (bias != 0)).any()):
            continue
        edits[f"{norm}_w"] = torch.ones_like(gain)
        edits[f"{norm}_b"] = torch.where(gain == 0, 0.0, bias / gain)
        edits |= {name: gain[:, None] * x for name, x in _present(network, readers).items()}
    return network.edit(**edits)


def balance_network(network: Network) -> Network:
    """Give factors of every head equal weight, in float64: the same function.

    W_Q and W_K (their biases among the rows) get equal norms in every direction where nothing
    stands between them, and so do W_V and W_O. Gains move into the matrices that read them.
    """
    network = move_gains(network.to(torch.float64))
    group = network.n_heads // network.n_kv_heads
    new = {x: getattr(network, x).clone() for x in ("W_Q", "W_K", "W_V", "W_O")}
    new |= {x: getattr(network, x).clone() for x in ("b_Q", "b_K", "b_V")}
    d = network.d_model
    for kv in range(network.n_kv_heads):
        heads = range(kv * group, (kv + 1) * group)
        if network.rotary is None and network.q_norm_w is None:
            rows = [torch.cat([network.W_Q[h], network.b_Q[h, None]]) for h in heads]
            keys = torch.cat([network.W_K[kv], network.b_K[kv, None]])
            left, right = _balanced(torch.cat(rows), keys.T)
            for h, part in zip(heads, left.split(d + 1), strict=True):
                new["W_Q"][h], new["b_Q"][h] = part[:d], part[d]
            new["W_K"][kv], new["b_K"][kv] = right.T[:d], right.T[d]
        values = torch.cat([network.W_V[kv], network.b_V[kv, None]])
        left, right = _balanced(values, torch.cat([network.W_O[h] for h in heads], dim=1))
        new["W_V"][kv], new["b_V"][kv] = left[:d], left[d]
        for h, part in zip(heads, right.split(d, dim=1), strict=True):
            new["W_O"][h] = part
    return network.edit(**new)


def _balanced(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Split the product of two factors evenly, over as many directions as they had."""
    n = left.shape[1]
    U, S, Vh = torch.linalg.svd(left @ right, full_matrices=False)
    pad = max(0, n - S.shape[0])
    root = torch.nn.functional.pad(S[:n], (0, pad)).sqrt()
    U = torch.nn.functional.pad(U[:, :n], (0, pad))
    Vh = torch.nn.functional.pad(Vh[:n], (0, 0, 0, pad))
    return U * root, root[:, None] * Vh


def _turn_stream(network: Network, generator: torch.Generator) -> Network:
    d = network.d_model
    noise = torch.randn(d, d, generator=generator, dtype=torch.float64)
    R = torch.linalg.qr(noise)[0]
    writers = ("W_E", "W_pos", "W_X", "W_O", "b_O", "W_out", "b_out")
    edits = {name: x @ R for name, x in _present(network, writers).items()}
    for readers in READERS.values():
        edits |= {name: R.T @ x for name, x in _present(network, readers).items()}
    return network.edit(**edits)


def _change_values(network: Network, generator: torch.Generator) -> Network:
    n, width = network.W_V.shape[0], network.W_V.shape[-1]
    R = torch.stack([random_invertible(width, generator) for _ in range(n)])
    groups = [network.kv_head(head) for head in range(network.n_heads)]
    return network.edit(
        W_V=network.W_V @ R,
        b_V=(network.b_V[:, None] @ R)[:, 0],
        W_O=torch.linalg.inv(R)[groups] @ network.W_O,
    )


def _change_keys(network: Network, generator: torch.Generator) -> Network:
    width, rotary = network.W_K.shape[-1], network.rotary
    if network.q_norm_w is not None and network.k_norm_w is not None:
        scale = _pair_scales(network, generator)
        return network.edit(q_norm_w=network.q_norm_w * scale, k_norm_w=network.k_norm_w / scale)
    n = network.n_kv_heads
    if rotary is None:
        R = torch.stack([random_invertible(width, generator) for _ in range(n)])
    else:
        R = torch.stack([torch.diag(_pair_scales(network, generator)) for _ in range(n)])
    groups = [network.kv_head(head) for head in range(network.n_heads)]
    back = torch.linalg.inv(R).mT[groups]
    return network.edit(
        W_K=network.W_K @ R,
        b_K=(network.b_K[:, None] @ R)[:, 0],
        W_Q=network.W_Q @ back,
        b_Q=(network.b_Q[:, None] @ back)[:, 0],
    )


def _pair_scales(network: Network, generator: torch.Generator) -> Tensor:
    """Draw a scale for each coordinate of a head, the same for two that are turned together."""
    scale = _scales(network.W_K.shape[-1], generator)
    rotary = network.rotary
    if rotary is not None:
        half = rotary.dim // 2
        at = torch.arange(half)
        pairs = (2 * at, 2 * at + 1) if rotary.interleaved else (at, at + half)
        scale[pairs[1]] = scale[pairs[0]]
    return scale


def _scale_units(network: Network, generator: torch.Generator) -> Network:
    gated = network.W_gate is not None
    if network.act == "none" or not (gated or network.act == "relu"):
        return network
    scale = _scales(network.d_ff, generator)
    return network.edit(
        W_in=network.W_in * scale, b_in=network.b_in * scale, W_out=network.W_out / scale[:, None]
    )


def _scale_gains(network: Network, generator: torch.Generator) -> Network:
    if network.norm == "none":
        return network
    edits: dict[str, Tensor] = {}
    for norm, readers in READERS.items():
        if norm == "ln2" and network.act == "none":
            continue
        scale = _scales(network.d_model, generator)
        edits |= {f"{norm}_{part}": getattr(network, f"{norm}_{part}") * scale for part in "wb"}
        edits |= {name: x / scale[:, None] for name, x in _present(network, readers).items()}
    return network.edit(**edits)


def _scales(n: int, generator: torch.Generator) -> Tensor:
    return torch.exp(0.5 * torch.randn(n, generator=generator, dtype=torch.float64))


def _present(network: Network, names: tuple[str, ...]) -> dict[str, Tensor]:
    found = {name: getattr(network, name) for name in names}
    return {name: x for name, x in found.items() if x is not None}
