"""A network before the softmax as tables of balls over (position, token).

Whatever the parametrisation (learned positions or rotary ones, norms of queries and keys, shared
heads, biases), scores and written values are finite tables. They are computed with proven errors,
so nothing that follows depends on how they came about. Weights are taken as exact numbers.
"""

from dataclasses import dataclass

import numpy as np

from interp.certify_any.balls import LIBRARY, Ball
from model.network import Network


@dataclass(frozen=True)
class Sources:
    """What attention reads.

    Attributes:
        x: Residual stream with the bias of attention added, (pos, token, d).
        q: Queries, divided by the scale of the scores, (pos, token, head, qk).
        k: Keys, one set a head of queries, (pos, token, head, qk).
        v: Values times W_O, (pos, token, head, d).
    """

    x: Ball
    q: Ball
    k: Ball
    v: Ball


def arrays(network: Network) -> dict[str, np.ndarray]:
    """Return the weights as float64 arrays, by name; nothing is rounded."""
    return {name: x.detach().cpu().double().numpy() for name, x in network.tensors().items()}


def tabulate(network: Network) -> Sources:
    """Tabulate a network over the positions and tokens of its task."""
    w = {name: Ball.exact(x) for name, x in arrays(network).items()}
    n, group = network.layout.n_input, network.n_heads // network.n_kv_heads
    x = Ball(w["W_E"].middle[None], w["W_E"].radius[None]) + w["W_pos"][:n, None]
    if "W_X" in w:
        x = x + w["W_X"][:n]
    h = normalise(x, network, w["ln1_w"], w["ln1_b"])
    queries = [
        _project(h, w["W_Q"][i], w["b_Q"][i], w.get("q_norm_w"), network)
        for i in range(network.n_heads)
    ]
    keys = [
        _project(h, w["W_K"][i], w["b_K"][i], w.get("k_norm_w"), network)
        for i in range(network.n_kv_heads)
    ]
    values = [h @ w["W_V"][i] + w["b_V"][i] for i in range(network.n_kv_heads)]
    scale = Ball.exact(network.attn_scale).inverse()
    heads = range(network.n_heads)
    return Sources(
        x=x + w["b_O"],
        q=_stack([queries[i] * scale for i in heads]),
        k=_stack([keys[i // group] for i in heads]),
        v=_stack([values[i // group] @ w["W_O"][i] for i in heads]),
    )


def normalise(x: Ball, network: Network, gain: Ball, bias: Ball) -> Ball:
    """Apply a norm along the last axis."""
    if network.norm == "none":
        return x
    if network.norm == "layer":
        x = x - x.mean()
    eps = Ball.exact(network.eps)
    return x * (x.square().mean() + eps).root().inverse() * gain + bias


def _project(h: Ball, weight: Ball, bias: Ball, gain: Ball | None, network: Network) -> Ball:
    x = h @ weight + bias
    if gain is not None:
        eps = Ball.exact(network.qk_eps)
        x = x * (x.square().mean() + eps).root().inverse() * gain
    return x if network.rotary is None else _turn(x, network)


def _turn(x: Ball, network: Network) -> Ball:
    """Turn pairs of coordinates by the angles of their positions.

    An angle is a position times a power: its relative error is at most LIBRARY + 8 U.
    """
    rotary = network.rotary
    assert rotary is not None
    half = rotary.dim // 2
    angle = np.arange(x.shape[0])[:, None] * rotary.theta ** -(np.arange(half) / half)
    # The exponent is rounded: it moves the power by U |log theta|, relative to it.
    share = 3 * LIBRARY + 4 * 2.0**-53 * (1 + abs(np.log(rotary.theta)))
    off = share * np.abs(angle) + 2 * LIBRARY
    cos, sin = (Ball(f(angle), off)[:, None] for f in (np.cos, np.sin))
    if rotary.interleaved:
        places = slice(0, rotary.dim, 2), slice(1, rotary.dim, 2)
    else:
        places = slice(0, half), slice(half, rotary.dim)
    first, second = (x[..., place] for place in places)
    turned = first * cos - second * sin, first * sin + second * cos
    middle, radius = x.middle.copy(), x.radius.copy()
    for place, ball in zip(places, turned, strict=True):
        middle[..., place], radius[..., place] = ball.middle, ball.radius
    return Ball(middle, radius)


def _stack(heads: list[Ball]) -> Ball:
    return Ball(
        np.stack([x.middle for x in heads], axis=-2), np.stack([x.radius for x in heads], axis=-2)
    )
