"""The weights of the hand-built adder, matrix by matrix; model.handbuilt explains them."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from model.config import VOCAB_SIZE
from model.factored import Params
from model.task import (
    EOS,
    N_DIGITS,
    N_INPUT,
    N_TARGET,
    a_position,
    b_position,
    query_position,
)

Carry = Literal["discrete", "soft", "ignored"]
"""How the feed-forward layer uses z: [z > 4.5], z / 10, or computed but written nowhere."""

COORDINATES = (
    "even",
    "odd",
    "rest_even",
    "rest_odd",
    "digit",
    "square",
    "fill",
    "key_square",
    "key_linear",
    "key_one",
    "query_square",
    "query_linear",
    "query_one",
    "in_even_column",
    "in_odd_column",
    "end",
)
"""Names of the coordinates of the residual stream; nothing reads `fill` after attention."""

UNITS = (
    "sum_even",
    "sum_odd",
    "carry_even_low",
    "carry_even_high",
    "carry_odd_low",
    "carry_odd_high",
    "wrap_even_low",
    "wrap_even_high",
    "wrap_odd_low",
    "wrap_odd_high",
    "scratch",
)
"""Names of the feed-forward units; `scratch` reads and writes `fill` and changes no answer."""

ATTN_OUT_COMPONENTS = ("even", "odd", "scratch")
"""Raw rank-one components of W_O; `scratch` writes the mean attended digit into `fill`."""
W_IN_COMPONENTS = ("even", "odd", "digit", "in_even_column", "in_odd_column", "scratch")
"""Raw rank-one components of W_in, by what they read."""
W_OUT_COMPONENTS = ("sum_even", "sum_odd", "carry", "wrap_even", "wrap_odd", "scratch")
"""Raw rank-one components of W_out, by what they write."""

UNIT = 1 / 30  # one digit step in the residual stream
LARGE = 1000.0  # the constants at query positions beside which tokens are small
_SHARPNESS = 14.0  # score of the nearest wrong column, negated, halved
_KEY = 0.01  # scale of the key coordinates at operand positions
_QUERY = 0.01
_OFFSET = 40.0  # keeps the linear units where GELU is the identity
_SHUT = -1e6  # pre-activation of a unit in a column of the other parity
MARGIN = 8.0  # logit by which the true digit wins


@dataclass(frozen=True, kw_only=True)
class Ramp:
    """(gelu(k (x - low)) - gelu(k (x - high))) / (k (high - low)), times `height`, plus `shift`."""

    low: float
    high: float
    k: float
    height: float
    shift: float = 0.0

    @property
    def slope(self) -> float:
        """What turns the difference of the two units into the ramp."""
        return self.height / (self.k * (self.high - self.low))


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The feed-forward layer's two non-linear functions: of z, and of wrap_sum * S + wrap_z * z."""

    carry: Ramp
    wrap: Ramp
    wrap_sum: float
    wrap_z: float


VARIANTS: dict[Carry, Variant] = {
    "discrete": Variant(
        carry=Ramp(low=4.25, high=4.75, k=40.0, height=1.0),
        wrap=Ramp(low=364.25, high=364.75, k=40.0, height=-10.0),
        wrap_sum=40.0,
        wrap_z=1.0,
    ),
    "soft": Variant(
        carry=Ramp(low=-24.0, high=24.0, k=1.0, height=4.8, shift=-2.4),
        wrap=Ramp(low=92.0, high=97.0, k=4.0, height=-10.0),
        wrap_sum=10.0,
        wrap_z=1.0,
    ),
    "ignored": Variant(
        carry=Ramp(low=4.25, high=4.75, k=40.0, height=0.0),
        wrap=Ramp(low=9.25, high=9.75, k=40.0, height=-10.0),
        wrap_sum=1.0,
        wrap_z=0.0,
    ),
}

AT = {name: index for index, name in enumerate(COORDINATES)}
WIDTH = len(COORDINATES)


def zeros(*shape: int) -> Tensor:
    """Make a float64 tensor of zeros."""
    return torch.zeros(shape, dtype=torch.float64)


def embeddings(variant: Variant) -> tuple[Tensor, Tensor]:
    """Lay out tokens and positions; the position norms are equal wherever it matters."""
    W_E = zeros(VOCAB_SIZE, WIDTH)
    e = torch.arange(10, dtype=torch.float64) * UNIT
    h = e / (1 + e)
    key_norm2 = 0.1  # of the position part of every operand
    for name, value in (
        ("even", -h),
        ("odd", -h),
        ("rest_even", h - e),
        ("rest_odd", h - e),
        ("digit", e),
        ("square", e**2),
    ):
        W_E[:10, AT[name]] = value
    others = W_E[:10].pow(2).sum(1) - h**2
    W_E[:10, AT["fill"]] = torch.sqrt((1 - h) ** 2 - others - key_norm2)
    W_E[10:, AT["square"]] = 400 * UNIT**2  # keeps symbols from winning
    W_E[EOS, AT["end"]] = 1.0

    W_pos = zeros(N_INPUT, WIDTH)
    keys = [AT["key_square"], AT["key_linear"], AT["key_one"]]
    for column in range(N_DIGITS):
        centred = column - 4.5
        for position in (a_position(column), b_position(column)):
            row = W_pos[position]
            row[keys] = _KEY * torch.tensor([centred**2, centred, 1.0], dtype=torch.float64)
            row[AT["query_one"]] = math.sqrt(key_norm2 - float(row.pow(2).sum()))
            row[AT["odd" if column % 2 == 0 else "even"]] = 1.0
    sink = _KEY * torch.tensor([24.75, 0.0, -1.0], dtype=torch.float64)
    W_pos[N_DIGITS, keys] = sink
    W_pos[query_position(0), keys] = LARGE * sink
    masked = LARGE * float(sink.norm())
    for column in range(N_TARGET):
        row = W_pos[query_position(column)]
        centred = column - 4.5
        products = [-1.0, 2 * centred - 1, -centred * (centred - 1)]
        for name, value in zip(("square", "linear", "one"), products, strict=True):
            row[AT[f"query_{name}"]] = _QUERY * value
        if column > 0:
            row[AT["key_square"]] = masked
        attended = [k for k in (column - 1, column) if 0 <= k < N_DIGITS]
        row[AT["rest_odd"]] = 2.0 * sum(k % 2 == 0 for k in attended)
        row[AT["rest_even"]] = 2.0 * sum(k % 2 == 1 for k in attended)
        row[AT["digit"]] = UNIT * _digit_start(variant)
        row[AT["square"]] = -LARGE
        row[AT["in_even_column" if column % 2 == 0 else "in_odd_column"]] = LARGE
    W_pos[query_position(N_TARGET - 1), AT["end"]] = 1.0
    return W_E, W_pos


def _digit_start(variant: Variant) -> float:
    """Constant in `digit`, in digit steps, that the feed-forward layer's offsets will cancel."""
    return variant.carry.shift - _OFFSET


def attention(from_norm: float) -> Params:
    """Write the pattern (W_Q, W_K) and the two alternating sums (W_V, W_O)."""
    W_Q, W_K, W_V = (zeros(WIDTH, WIDTH) for _ in range(3))
    for index, name in enumerate(("square", "linear", "one")):
        W_Q[AT[f"query_{name}"], index] = from_norm / _QUERY
        W_K[AT[f"key_{name}"], index] = _SHARPNESS * math.sqrt(2) / _KEY
    A, B = zeros(WIDTH, 3), zeros(3, WIDTH)
    for index, (source, target) in enumerate((("even", "even"), ("odd", "odd"), ("digit", "fill"))):
        W_V[AT[source], index] = 1.0
        A[index, index] = 1.0
        B[index, AT[target]] = -4 * math.sqrt(2 / WIDTH)
    return {"W_Q": W_Q, "W_K": W_K, "W_V": W_V, "W_O_A": A, "W_O_B": B}


def feed_forward(variant: Variant, from_norm: float) -> Params:
    """Write the units; W_in_A turns the normed stream into digit steps, W_in_B into slopes."""
    reads, writes = {n: i for i, n in enumerate(W_IN_COMPONENTS)}, W_OUT_COMPONENTS
    unit = {name: index for index, name in enumerate(UNITS)}
    in_A, in_B = zeros(WIDTH, len(reads)), zeros(len(reads), len(UNITS))
    out_A, out_B = zeros(len(UNITS), len(writes)), zeros(len(writes), WIDTH)
    for name in ("even", "odd"):
        in_A[[AT[name], AT[f"rest_{name}"]], reads[name]] = from_norm / UNIT
        in_A[AT[f"in_{name}_column"], reads[f"in_{name}_column"]] = from_norm / LARGE
    in_A[AT["digit"], reads["digit"]] = from_norm / UNIT
    in_A[AT["fill"], reads["scratch"]] = from_norm
    out_B[:, AT["digit"]] = UNIT
    out_B[writes.index("scratch")] = 0.0

    for own, other in (("even", "odd"), ("odd", "even")):
        opened, shut = reads[f"in_{own}_column"], reads[f"in_{other}_column"]

        name = f"sum_{own}"
        in_B[reads[own], unit[name]] = 1.0
        in_B[opened, unit[name]], in_B[shut, unit[name]] = _OFFSET, _SHUT
        out_A[unit[name], writes.index(name)] = 1.0

        ramp = variant.carry
        for end, threshold, sign in (("low", ramp.low, 1.0), ("high", ramp.high, -1.0)):
            index = unit[f"carry_{own}_{end}"]
            in_B[reads[other], index] = ramp.k
            in_B[opened, index], in_B[shut, index] = -ramp.k * threshold, _SHUT
            out_A[index, writes.index("carry")] = sign * ramp.slope

        ramp = variant.wrap
        start = variant.wrap_sum * _digit_start(variant)
        for end, threshold, sign in (("low", ramp.low, 1.0), ("high", ramp.high, -1.0)):
            index = unit[f"wrap_{own}_{end}"]
            in_B[[reads[own], reads["digit"]], index] = ramp.k * variant.wrap_sum
            in_B[reads[other], index] = ramp.k * variant.wrap_z
            in_B[opened, index], in_B[shut, index] = -ramp.k * (threshold + start), _SHUT
            out_A[index, writes.index(f"wrap_{own}")] = sign * ramp.slope

    in_B[reads["scratch"], unit["scratch"]] = 1.0
    out_A[unit["scratch"], writes.index("scratch")] = 1.0
    out_B[writes.index("scratch"), AT["fill"]] = 1.0
    return {"W_in_A": in_A, "W_in_B": in_B, "W_out_A": out_A, "W_out_B": out_B}
