"""Judge a small network by all that can occur in a column, and repair it where it fails.

Attention depends on position alone and a head writes one number u, so a column's logits depend on
(token of the query, u). For each context (column, token of the query, carry, a_i + b_i) the least
and the largest u follow exactly from a pass over the columns below with the carry as the state: the
u of true prefixes. Each extreme is a pair of operands. Where the true digit wins at both ends and
between them, the network is right on every pair in the context.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from train.search.parametrisations import (
    CIRCLE,
    D_MODEL,
    EPS,
    RADIUS,
    Parametrisation,
    arc,
    attention,
    shrink,
)

WIDTH = CIRCLE.width
_A, _B = (x.ravel() for x in np.meshgrid(np.arange(10), np.arange(10), indexing="ij"))
_CARRY = np.array([0, 1])[:, None]
_SUM = (_A + _B + _CARRY) % 10
_OUT = (_A + _B + _CARRY) // 10


@dataclass(frozen=True, kw_only=True)
class Contexts:
    """Extreme pairs, two rows (least and largest u) a context."""

    column: Int[Tensor, " row"]
    """The column that is judged."""
    target: Int[Tensor, " row"]
    """Its true digit."""
    tokens: Int[Tensor, "row source"]
    """The network's input, zeros from the column on."""
    u: Float[Tensor, " row"]
    """What the head sums up."""

    def pick(self, chosen: Int[Tensor, " context"]) -> "Contexts":
        """Keep some contexts."""
        rows = torch.stack([2 * chosen, 2 * chosen + 1], 1).flatten()
        kept = {name: value[rows] for name, value in vars(self).items()}
        return Contexts(**kept)


def find_extremes(
    pattern: Float[np.ndarray, "column source"], v: Float[np.ndarray, " token"]
) -> Contexts:
    """Find the pairs with the least and the largest u of every context."""
    rows = []
    for i in range(CIRCLE.n_answer):
        for sign in (-1.0, 1.0):
            rows += _extremes(i, sign, sign * pattern[i], v)
    # Least and largest side by side, the contexts in order.
    rows.sort(key=lambda row: row[0])
    tokens = torch.from_numpy(np.stack([row[2] for row in rows]))
    return Contexts(
        column=torch.tensor([row[0][0] for row in rows]),
        target=torch.tensor([row[1] for row in rows]),
        tokens=tokens,
        u=torch.tensor([row[3] for row in rows], dtype=torch.float64),
    )


def _extremes(i: int, sign: float, weights: np.ndarray, v: np.ndarray) -> list:
    start = CIRCLE.n_prompt
    worth = weights[:, None] * v  # (source, token)
    separators = worth[list(CIRCLE.separators), 0].sum()
    # best[c, q]: most that columns below k bring, with carry c and last digit q.
    best = np.full((2, 10), -np.inf)
    best[0, 0] = 0.0
    back = []
    for k in range(i):
        pair = worth[CIRCLE.a_position(k), _A] + worth[CIRCLE.b_position(k), _B]
        before, last = best.max(1), best.argmax(1)
        value = before[:, None] + pair + worth[start + k, _SUM]
        best, choice = np.full((2, 10), -np.inf), np.zeros((2, 10, 4), np.int64)
        for c in range(2):
            for q in range(10):
                fits = np.where((q == _SUM) & (c == _OUT), value, -np.inf)
                at = int(fits.argmax())
                carry, p = divmod(at, 100)
                best[c, q] = fits[carry, p]
                choice[c, q] = (_A[p], _B[p], carry, last[carry])
        back.append(choice)
    above = [worth[CIRCLE.a_position(k)] for k in range(i + 1, WIDTH)]
    above_b = [worth[CIRCLE.b_position(k)] for k in range(i + 1, WIDTH)]
    free = sum(float(x.max()) for x in above + above_b)
    pair = worth[CIRCLE.a_position(i), _A] + worth[CIRCLE.b_position(i), _B] if i < WIDTH else None
    rows = []
    for q in range(10):
        for c in range(2):
            if not math.isfinite(best[c, q]):
                continue
            for pair_sum in range(19) if i < WIDTH else (0,):
                target = (pair_sum + c) % 10
                tokens = np.zeros(CIRCLE.n_input, np.int64)
                total = best[c, q] + free + separators
                if pair is not None:
                    fits = np.where(pair_sum == _A + _B, pair, -np.inf)
                    p = int(fits.argmax())
                    total += fits[p]
                    tokens[CIRCLE.a_position(i)], tokens[CIRCLE.b_position(i)] = _A[p], _B[p]
                for k, (x, y) in enumerate(zip(above, above_b, strict=True), start=i + 1):
                    tokens[CIRCLE.a_position(k)] = x.argmax()
                    tokens[CIRCLE.b_position(k)] = y.argmax()
                carry, digit = c, q
                for k in reversed(range(i)):
                    a, b, below, last = back[k][carry, digit]
                    tokens[CIRCLE.a_position(k)], tokens[CIRCLE.b_position(k)] = a, b
                    tokens[start + k] = digit
                    carry, digit = below, last
                rows.append(((i, q, c, pair_sum, sign), target, tokens, sign * total))
    return rows


def margins(
    parametrisation: Parametrisation,
    numbers: Float[Tensor, " number"],
    contexts: Contexts,
    inside: int = 0,
) -> Float[Tensor, "point row"]:
    """Compute by how much the true digit's logit leads, relative to the size of the head.

    Args:
        parametrisation: What the numbers mean.
        numbers: One seed's.
        contexts: Rows to judge.
        inside: Points between each pair of ends that are judged as well.
    """
    parts = parametrisation.expand(numbers[:, None])
    tokens = arc(parts)[..., 0]  # (2, token)
    v = shrink(parts)[0] * (parts["W_V"][:, 0] @ tokens)
    u = (attention(parts)[contexts.column, :, 0] * v[contexts.tokens]).sum(1)
    query = tokens.T[contexts.tokens[_rows(contexts), contexts.column + CIRCLE.n_prompt - 1]]
    points = u[None]
    if inside:
        low, high = u[0::2], u[1::2]
        steps = torch.linspace(0, 1, inside + 2, dtype=u.dtype)[:, None]
        points = (low + steps * (high - low)).repeat_interleave(2, dim=1)
    mid = query + points[..., None] * parts["W_O"][:, 0]
    g = mid * _rinv(mid)
    pre = g @ parts["W_in"][..., 0] + parts["b_in"][:, 0]
    post = mid + torch.nn.functional.gelu(pre) @ parts["W_out"][..., 0]
    logits = (post * _rinv(post)) @ (parts["head"][..., 0] @ tokens)
    target = contexts.target.expand(logits.shape[:2])[..., None]
    true = logits.gather(-1, target)[..., 0]
    others = logits.scatter(-1, target, float("-inf")).amax(-1)
    size = parts["arc_radius"].abs() * parts["head"].square().sum().sqrt()
    return (true - others) / size


def _rows(contexts: Contexts) -> Tensor:
    return torch.arange(len(contexts.column))


def _rinv(x: Tensor) -> Tensor:
    floor = RADIUS**2 / D_MODEL + EPS
    return (x.square().sum(-1, keepdim=True) / D_MODEL + floor).rsqrt()


def judge(
    parametrisation: Parametrisation, numbers: Float[Tensor, " number"], inside: int = 15
) -> Float[Tensor, "point row"]:
    """Compute the margins at the extremes of every context and between them."""
    with torch.no_grad():
        return margins(parametrisation, numbers, extremes_of(parametrisation, numbers), inside)


def extremes_of(parametrisation: Parametrisation, numbers: Float[Tensor, " number"]) -> Contexts:
    """Find the extreme pairs of a network."""
    with torch.no_grad():
        parts = parametrisation.expand(numbers[:, None])
        v = shrink(parts) * (parts["W_V"] * arc(parts).transpose(0, 1)).sum(1)
        return find_extremes(attention(parts)[..., 0].numpy(), v[:, 0].numpy())
