"""Parametrisations: differentiable functions from a few trained numbers to a one-layer adder.

The circle family. Positions are a frozen circle of period 11 that a_i, b_i share and that answer
column i's query stands one step before; tokens lie on an arc; so every stream vector has the same
length, and one head's pattern depends on positions alone. The head reads one number of the token
part and writes it back; a feed-forward layer of two GELU units reads and writes the token part.

    x       = (2 cos t, 2 sin t, A cos w, A sin w),  t = 2 pi p / 11,  w = start + token stride
    score   = kappa^2 cos(t_q - t_k - phi)
    logits  = token part of the normed stream, times head (2 x 2), times the arc

A parametrisation names its trained numbers; `expand` gives the parts of the layer, with the seeds
on the last axis, and `to_network` one seed's network.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from model.layouts import Layout
from model.network import Network

CIRCLE = Layout(name="circle", prompt=("a", 0, "b", 0), vocab_size=10, end=None)
"""Digits alone, units first; token 0 also separates; the answer just stops."""
PERIOD, RADIUS, EPS, D_MODEL = 11, 2.0, 1e-5, 4

Parts = dict[str, Tensor]
"""Parts of the layer by name, shapes (..., seed); see `Parametrisation.expand`."""


@dataclass(frozen=True, kw_only=True)
class Parametrisation:
    """A way to write a small adder."""

    name: str
    """What it is called."""
    numbers: tuple[str, ...]
    """Names of the trained numbers."""
    expand: Callable[[Float[Tensor, "number seed"]], Parts]
    """Trained numbers to parts: arc_radius, arc_start, arc_stride, kappa, phi (seed), W_V (2 seed),
    W_O (2 seed), W_in (2 2 seed), b_in (2 seed), W_out (2 2 seed), head (2 2 seed)."""

    @property
    def n_params(self) -> int:
        """Count the trained numbers."""
        return len(self.numbers)

    def draw(self, seed: int) -> Float[Tensor, " number"]:
        """Draw random initial numbers."""
        generator = torch.Generator().manual_seed(seed)
        normal = torch.randn(len(self.numbers), generator=generator, dtype=torch.float64)
        uniform = torch.rand(len(self.numbers), generator=generator, dtype=torch.float64)
        return torch.stack(
            [
                _draw(name, float(n), float(u))
                for name, n, u in zip(self.numbers, normal, uniform, strict=True)
            ]
        )


def _draw(name: str, normal: float, uniform: float) -> Tensor:
    starts = {
        "arc_radius": 2.5 + 0.5 * normal,
        "arc_start": 2 * math.pi * uniform,
        "arc_stride": 0.2 + 0.5 * uniform,
        "kappa": 2.5 + 0.5 * normal,
        "phi": math.pi * (2 * uniform - 1),
        "turn": 2 * math.pi * uniform,
        "scale": 1.0 + 0.2 * normal,
    }
    value = starts.get(name, (1.0 if name in ("head_00", "head_11") else 0.0) + 0.7 * normal)
    return torch.tensor(value, dtype=torch.float64)


def matrix(name: str) -> tuple[str, ...]:
    """Name the four numbers of a 2 x 2 matrix."""
    return tuple(f"{name}_{i}{j}" for i in range(2) for j in range(2))


def vector(name: str) -> tuple[str, ...]:
    """Name the two numbers of a vector."""
    return tuple(f"{name}_{i}" for i in range(2))


ARC, SCORES = ("arc_radius", "arc_start", "arc_stride"), ("kappa", "phi")
COMMON = (*ARC, *SCORES, *vector("W_V"), *vector("W_O"), *matrix("W_in"))


def _circle(
    name: str, extra: tuple[str, ...], fill: Callable[[Parts, Tensor], Parts]
) -> Parametrisation:
    numbers = (*COMMON, *extra)

    def expand(p: Float[Tensor, "number seed"]) -> Parts:
        by_name = dict(zip(numbers, p, strict=True))
        parts = {key: by_name[key] for key in (*ARC, *SCORES)}
        for key in ("W_V", "W_O", "b_in"):
            if f"{key}_0" in by_name:
                parts[key] = torch.stack([by_name[x] for x in vector(key)])
        for key in ("W_in", "W_out", "head"):
            if f"{key}_00" in by_name:
                parts[key] = torch.stack([by_name[x] for x in matrix(key)]).unflatten(0, (2, 2))
        for key in ("turn", "scale"):
            if key in by_name:
                parts[key] = by_name[key]
        return fill(parts, torch.ones_like(p[0]))

    return Parametrisation(name=name, numbers=numbers, expand=expand)


def _rotation(angle: Tensor, scale: Tensor) -> Tensor:
    c, s = scale * angle.cos(), scale * angle.sin()
    return torch.stack([torch.stack([c, s]), torch.stack([-s, c])])


def _turned(parts: Parts, one: Tensor) -> Parts:
    return parts | {"head": _rotation(parts["turn"], parts.get("scale", one))}


def _identity(parts: Parts, one: Tensor) -> Parts:
    return parts | {"head": _rotation(0 * one, one)}


def _tied(parts: Parts, one: Tensor) -> Parts:
    return parts | {"W_out": parts["head"]}


def _unbiased(parts: Parts, one: Tensor) -> Parts:
    return parts | {"b_in": torch.stack([0 * one, 0 * one])}


PARAMETRISATIONS = {
    p.name: p
    for p in (
        _circle(
            "circle23",
            (*vector("b_in"), *matrix("W_out"), *matrix("head")),
            lambda parts, one: parts,
        ),
        _circle("circle21", (*vector("b_in"), *matrix("W_out"), "turn", "scale"), _turned),
        _circle("circle21-unbiased", (*matrix("W_out"), *matrix("head")), _unbiased),
        _circle("circle20", (*vector("b_in"), *matrix("W_out"), "turn"), _turned),
        _circle("circle19", (*vector("b_in"), *matrix("W_out")), _identity),
        _circle("circle19-tied", (*vector("b_in"), *matrix("head")), _tied),
    )
}
"""Parametrisations by name; the number is that of the trained numbers.

circle21 and circle20 have a head that turns (and scales), circle19 none, circle19-tied one that is
also W_out, circle21-unbiased no biases."""


def arc(parts: Parts) -> Float[Tensor, "2 token seed"]:
    """Lay the tokens on their arc."""
    tokens = torch.arange(CIRCLE.vocab_size, dtype=parts["arc_start"].dtype)[:, None]
    angle = parts["arc_start"] + tokens * parts["arc_stride"]
    return parts["arc_radius"] * torch.stack([angle.cos(), angle.sin()])


def shrink(parts: Parts) -> Float[Tensor, " seed"]:
    """Compute what the first norm multiplies every stream vector by."""
    return ((RADIUS**2 + parts["arc_radius"] ** 2) / D_MODEL + EPS).rsqrt()


def find_steps() -> Int[Tensor, "column source"]:
    """Tabulate how many steps of the circle a source stands before a query; -1 where it is late."""
    sources = torch.arange(CIRCLE.n_input)
    queries = torch.arange(CIRCLE.n_answer)[:, None] + CIRCLE.n_prompt - 1
    return torch.where(sources <= queries, (queries - sources) % PERIOD, -1)


def step_attention(parts: Parts) -> Float[Tensor, "column step seed"]:
    """Compute what a source gets of every column's attention, by its step before the query."""
    dtype = parts["phi"].dtype
    angle = torch.arange(PERIOD, dtype=dtype)[:, None] * (2 * math.pi / PERIOD)
    # cos(x - phi) - 1 <= 0: no maximum needs to be subtracted.
    weights = (parts["kappa"] ** 2 * ((angle - parts["phi"]).cos() - 1)).exp()
    count = torch.nn.functional.one_hot(find_steps() + 1, PERIOD + 1)[..., 1:].sum(1).to(dtype)
    total = (count[..., None] * weights).sum(1, keepdim=True)
    return weights / total


def attention(parts: Parts) -> Float[Tensor, "column source seed"]:
    """Compute the pattern of every answer column."""
    steps = find_steps()
    pattern = step_attention(parts)[torch.arange(CIRCLE.n_answer)[:, None], steps]
    return pattern * (steps >= 0)[..., None]


def to_network(parametrisation: Parametrisation, numbers: Float[Tensor, " number"]) -> Network:
    """Write one seed's network in the numbers' type."""
    parts = {k: v[..., 0] for k, v in parametrisation.expand(numbers[:, None]).items()}
    dtype = numbers.dtype
    kept = {k: v[..., None] for k, v in parts.items()}
    tokens, scale = arc(kept)[..., 0], shrink(kept)[0]
    places = torch.arange(CIRCLE.n_input, dtype=dtype) * (2 * math.pi / PERIOD)
    unit = parts["kappa"] / (RADIUS * scale)
    c, s = parts["phi"].cos(), parts["phi"].sin()
    none = torch.zeros(2, 2, dtype=dtype)
    turn = torch.stack([torch.stack([c, -s]), torch.stack([s, c])])
    zeros, ones = torch.zeros(D_MODEL, dtype=dtype), torch.ones(D_MODEL, dtype=dtype)
    circle = RADIUS * torch.stack([places.cos(), places.sin()], 1)
    return Network(
        layout=CIRCLE,
        W_E=torch.cat([torch.zeros(10, 2, dtype=dtype), tokens.T], 1),
        W_pos=torch.cat([circle, torch.zeros_like(circle)], 1),
        W_Q=(unit * torch.cat([turn, none]))[None],
        W_K=(unit * torch.cat([torch.eye(2, dtype=dtype), none]))[None],
        W_V=torch.cat([none[:, 0], parts["W_V"]])[None, :, None],
        W_O=torch.cat([none[:, 0], parts["W_O"]])[None, None],
        b_Q=torch.zeros(1, 2, dtype=dtype),
        b_K=torch.zeros(1, 2, dtype=dtype),
        b_V=torch.zeros(1, 1, dtype=dtype),
        b_O=zeros,
        W_in=torch.cat([none, parts["W_in"]]),
        W_out=torch.cat([none, parts["W_out"]], 1),
        b_in=parts["b_in"],
        b_out=zeros,
        W_U=torch.cat([none[:, :1].expand(2, 10), parts["head"] @ tokens]),
        b_U=torch.zeros(10, dtype=dtype),
        ln1_w=ones,
        ln1_b=zeros,
        ln2_w=ones,
        ln2_b=zeros,
        ln_final_w=ones,
        ln_final_b=zeros,
        norm="rms",
        eps=EPS,
        act="gelu",
        attn_scale=1.0,
    )
