"""Activations and their slopes over balls.

Every smooth activation here is z S(z) with S - 1/2 odd: GELU (S = Phi), GELU by tanh, SiLU (S the
logistic function). So act - z / 2 is even, and |act''| is a function of |z|. Over a ball,

    act(z)  in act(middle)  +- slope radius,        |act'| <= slope everywhere,
    act'(z) in act'(middle) +- C(least |z|) radius,  |act''(z)| <= C(m) for all |z| >= m.

C is a table over m in steps of 1/256 up to 16, built by evaluating act'' on balls that cover each
step; beyond 16 a closed form bounds it. Bounds and derivations: docs/certification.md.
"""

from functools import cache

import numpy as np
from scipy.special import erf

from interp.certify_any.balls import LIBRARY, UP, Ball
from model.parts import Activation

SLOPE = {"relu": 1.0, "gelu": 1.13, "gelu_tanh": 1.13, "silu": 1.1}
"""Above sup |act'|: 1.12890 at sqrt 2, 1.12898 at 1.4169, 1.09984 at 2.3994."""
STEP, END = 2.0**-8, 16.0
BEYOND = {"gelu": 1e-50, "gelu_tanh": 1e-50, "silu": 3e-6}
"""Above |act''(z)| for |z| >= 16: phi(z) z^2; a square of e^(-2 |g|); e^-|z| (2 + |z|)."""
_A, _B = float(np.sqrt(2 / np.pi)), 0.044715
_PHI0 = float(1 / np.sqrt(2 * np.pi))


def activate(z: Ball, act: Activation) -> Ball:
    """Enclose act(z)."""
    if act == "relu":
        return Ball(np.maximum(z.middle, 0.0), z.radius)
    # z S(z): the product adds U, S as below; |S| <= 1.
    middle = z.middle * _share(z.middle, act)
    own = (6 * LIBRARY + 8 * 2.0**-53) * np.abs(z.middle)
    return Ball(middle, (SLOPE[act] * z.radius + own) * UP)


def slope(z: Ball, act: Activation) -> Ball:
    """Enclose act'(z); for ReLU its generalised derivative, 0 to 1 at the kink."""
    if act == "relu":
        above, below = z.middle > z.radius * UP, z.middle < -z.radius * UP
        return Ball(
            np.where(above, 1.0, np.where(below, 0.0, 0.5)), np.where(above | below, 0, 0.5)
        )
    m = z.middle
    closest = np.maximum(np.abs(m) - z.radius * UP, 0.0)
    middle, own = _slope_at(m, act)
    return Ball(middle, (curvature(closest, act) * z.radius + own) * UP)


def curvature(closest: np.ndarray, act: Activation) -> np.ndarray:
    """Bound |act''(z)| over all |z| >= `closest`, which is not negative; it never increases."""
    table = _curvatures(act)
    steps = np.nan_to_num(closest / STEP, nan=0.0, posinf=END / STEP)
    return table[np.minimum(steps, END / STEP).astype(np.int64)]


def _share(z: np.ndarray, act: Activation) -> np.ndarray:
    """Compute S(z), off by at most 6 LIBRARY + 7 U beyond rounding in its argument.

    The argument of tanh or exp is off by a few U of itself; x / cosh(x)^2 and x e^-x stay below
    1/2, so that moves S by at most 4 U.
    """
    if act == "gelu":
        return 0.5 * (1 + erf(z / np.sqrt(2)))
    if act == "gelu_tanh":
        return 0.5 * (1 + np.tanh(_A * (z + _B * z * z * z)))
    return 0.5 * (1 + np.tanh(0.5 * z))


def _slope_at(z: np.ndarray, act: Activation) -> tuple[np.ndarray, float]:
    """Compute act'(z) = S + z S', and a bound of its error.

    S' is phi(z), or e / (1 + e)^2 times the derivative of its argument, e = e^-|argument|. Errors
    of arguments are relative, a few U; |z|^3 phi(z) <= 0.47 and x^2 e^-x <= 0.55 keep what they do
    to z S' below 8 LIBRARY. Together with S (6 LIBRARY) and the products: below 32 LIBRARY.
    """
    if act == "gelu":
        bell = z * _PHI0 * np.exp(-0.5 * z * z)
    elif act == "gelu_tanh":
        e = np.exp(-2 * _A * np.abs(z + _B * z * z * z))
        bell = z * (2 * _A * (1 + 3 * _B * z * z)) * (e / (1 + e) ** 2)
    else:
        e = np.exp(-np.abs(z))
        bell = z * (e / (1 + e) ** 2)
    return _share(z, act) + bell, 32 * LIBRARY


@cache
def _curvatures(act: Activation) -> np.ndarray:
    """Tabulate C(m) for m = 0, STEP, ..., END."""
    edges = np.arange(0, END, STEP)
    parts = 16  # balls per step: narrow ones overestimate less
    middle = (edges[:, None] + (np.arange(parts) + 0.5) * (STEP / parts)).ravel()
    z = Ball(middle, np.full_like(middle, STEP / parts / 2 * (1 + 2.0**-20)))
    sizes = bend(z, act).size.reshape(len(edges), parts).max(axis=1)
    largest = np.append(sizes, BEYOND[act])
    return np.maximum.accumulate(largest[::-1])[::-1]


def bend(z: Ball, act: Activation) -> Ball:
    """Enclose act''(z), by interval evaluation of its closed form."""
    one, two = Ball.exact(np.ones_like(z.middle)), Ball.exact(np.full_like(z.middle, 2.0))
    square = z * z
    if act == "gelu":  # phi(z) (2 - z^2)
        return (-square.scale(0.5)).exponential().scale(_PHI0).widen(1e-15) * (two - square)
    if act == "silu":  # s (1 - s) (2 + z (1 - 2 s)), s the logistic function
        s = (one + (-z).exponential()).inverse()
        return s * (one - s) * (two + z * (one - s - s))
    # S = 1 / (1 + exp(-2 g)), g = A (z + B z^3): S' = 2 S (1 - S) g',
    # S'' = 4 S (1 - S) (1 - 2 S) g'^2 + 2 S (1 - S) g''; act'' = 2 S' + z S''.
    g = (z + (square * z).scale(_B)).scale(_A)
    first = (one + square.scale(3 * _B)).scale(_A).widen(1e-15)
    second = z.scale(6 * _A * _B).widen(1e-15)
    s = (one + (-g.scale(2.0)).exponential()).inverse()
    odd = s * (one - s)
    high = (odd * (one - s - s) * first * first).scale(4.0) + (odd * second).scale(2.0)
    return (odd * first).scale(4.0) + z * high
