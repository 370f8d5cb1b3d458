"""Networks whose stream is a token part beside a position part, as MicroAdder and JackCai have.

Positions are shared: digit i of a, of b and of the answer stands at one place, so ten rows serve
thirty positions; the last digit of the answer and the separators have rows of their own. Queries
and keys read the position part of the normed stream, values the token part, and the logits compare
the head's output with the token table.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from model.errors import InputError
from model.layouts import MICRO_10, MICRO_14, Layout
from model.network import Network
from model.parts import NormKind, no_biases

EPS = 1e-5
LAYOUTS = {layout.vocab_size: layout for layout in (MICRO_10, MICRO_14)}


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the files hold, all oriented so that activations stand on the left.

    Attributes:
        tokens: Token part of the stream.
        positions: Position part, one row a position.
        q: Query projection of the part that it reads; heads lie side by side.
        k: Key projection.
        v: Value projection of the token part.
        n_heads: Heads of queries.
        phase: Angle by which each head's query is turned.
        W_O: Attention output.
        W_in: Feed-forward reading matrix, and W_out the writing one.
        biases: b_in and b_out, where there are any.
        head: From the stream to the token part.
        norms: Gains and biases by name.
        norm: Kind of the norms.
    """

    tokens: Float[Tensor, "vocab tok"]
    positions: Float[Tensor, "pos place"]
    q: Float[Tensor, "read all_qk"]
    k: Float[Tensor, "read all_k"]
    v: Float[Tensor, "tok all_v"]
    n_heads: int
    phase: Float[Tensor, " head"] | None
    W_O: Float[Tensor, "all_z d"]
    W_in: Float[Tensor, "d ff"]
    W_out: Float[Tensor, "ff d"]
    biases: dict[str, Tensor]
    head: Float[Tensor, "d tok"]
    norms: dict[str, Tensor]
    norm: NormKind


def layout_of(vocab_size: int) -> Layout:
    """Tell the task by the number of tokens.

    Raises:
        InputError: Neither 10 nor 14.
    """
    if vocab_size not in LAYOUTS:
        known = " and ".join(map(str, LAYOUTS))
        raise InputError(f"the network has {vocab_size} tokens: layouts of {known} are known")
    return LAYOUTS[vocab_size]


def place_rows(
    layout: Layout,
    digit: Float[Tensor, "ten place"],
    last: Float[Tensor, "1 place"],
    special: Float[Tensor, "three place"],
) -> Float[Tensor, "pos place"]:
    """Give every position its row.

    Args:
        layout: The task.
        digit: Rows of digits 0 to 9, the same for a, b and the answer.
        last: Row of digit 10 of the answer.
        special: Rows of the separators after a and after b, and of the end token.
    """
    prompt = [digit, special[:1], digit, special[1:2]]
    rows = torch.cat([*prompt, digit, last, special[2:]])
    assert len(rows) == layout.n_prompt + layout.n_target
    return rows


def place_indices() -> tuple[list[int], list[int]]:
    """Name, for each position, the table (0 digit, 1 last, 2 special) and row that it takes."""
    ten, zeros = list(range(10)), [0] * 10
    sources = [*zeros, 2, *zeros, 2, *zeros, 1, 2]
    return sources, [*ten, 0, *ten, 1, *ten, 0, 2]


def spiral(
    amp: Tensor, phase: Tensor, slope: Tensor, offset: Tensor, width: int
) -> Float[Tensor, "ten place"]:
    """Place ten digits on a turn of a spiral: (amp cos t, amp sin t, slope i + offset, 0, ...)."""
    i = torch.arange(10, dtype=amp.dtype)
    angle = 2.0 * math.pi * i / 10 + phase
    rows = torch.zeros(10, width, dtype=amp.dtype)
    places = (amp * torch.cos(angle), amp * torch.sin(angle), slope * i + offset)
    for at, value in enumerate(places[:width]):
        rows[:, at] = value
    return rows


def arc(A: Tensor, B: Tensor, start: Tensor, stride: Tensor, n: int) -> Float[Tensor, "vocab two"]:
    """Place tokens on an arc of an ellipse: (A cos, B sin)(start + token stride)."""
    angle = start + torch.arange(n, dtype=A.dtype) * stride
    return torch.stack([A * torch.cos(angle), B * torch.sin(angle)], dim=1)


def assemble(parts: Parts) -> Network:
    """Multiply the parts out to effective weights.

    Raises:
        InputError: Widths do not fit together.
    """
    vocab, tok = parts.tokens.shape
    place = parts.positions.shape[1]
    d, heads = tok + place, parts.n_heads
    qk, kv_heads = _width(parts.q, heads, "queries"), 0
    v = _width(parts.W_O.T, heads, "attention output")
    if parts.v.shape[1] % v or parts.k.shape[1] % qk:
        raise InputError("keys or values do not fit the width of a head")
    kv_heads = parts.v.shape[1] // v
    if parts.k.shape[1] != kv_heads * qk:
        raise InputError(f"there are {kv_heads} heads of values, and the keys are not as many")
    W_Q = _read(parts.q, heads, d, tok)
    if parts.phase is not None:
        W_Q = turn_pairs(W_Q, parts.phase)
    ff = parts.W_in.shape[1]
    plain = no_biases(
        d=d, heads=heads, kv_heads=kv_heads, qk=qk, v=v, ff=ff, vocab=vocab, dtype=torch.float64
    )
    weights = {
        **plain,
        **parts.biases,
        **parts.norms,
        "W_E": torch.cat([parts.tokens, parts.tokens.new_zeros(vocab, place)], dim=1),
        "W_pos": torch.nn.functional.pad(parts.positions, (tok, 0)),
        "W_Q": W_Q,
        "W_K": _read(parts.k, kv_heads, d, tok),
        "W_V": _read(parts.v, kv_heads, d, tok, token_part=True),
        "W_O": parts.W_O.unflatten(0, (heads, v)),
        "W_in": parts.W_in,
        "W_out": parts.W_out,
        "W_U": parts.head @ parts.tokens.T,
    }
    return Network(
        layout=layout_of(vocab),
        norm=parts.norm,
        eps=EPS,
        act="gelu",
        attn_scale=math.sqrt(qk),
        **weights,
    )


def turn_pairs(
    W: Float[Tensor, "head d qk"], phase: Float[Tensor, " head"]
) -> Float[Tensor, "head d qk"]:
    """Turn coordinates (0, 1), (2, 3), ... of each head by its angle; an odd last one stays."""
    turned = W.clone()
    even = W.shape[-1] // 2 * 2
    first, second = W[..., 0:even:2], W[..., 1:even:2]
    cos, sin = phase.cos()[:, None, None], phase.sin()[:, None, None]
    turned[..., 0:even:2] = first * cos - second * sin
    turned[..., 1:even:2] = first * sin + second * cos
    return turned


def _width(matrix: Tensor, heads: int, what: str) -> int:
    if heads < 1 or matrix.shape[1] % heads:
        raise InputError(f"{what} {matrix.shape[1]} wide do not part into {heads} heads")
    return matrix.shape[1] // heads


def _read(
    matrix: Tensor, heads: int, d: int, tok: int, *, token_part: bool = False
) -> Float[Tensor, "head d width"]:
    """Let a projection of one part of the stream, or of all of it, read the whole stream."""
    n = matrix.shape[0]
    if n != d:
        above = 0 if token_part else tok
        if n != (tok if token_part else d - tok):
            raise InputError(f"a projection reads {n} coordinates, and the stream has {d}")
        matrix = torch.nn.functional.pad(matrix, (0, 0, above, d - above - n))
    return matrix.unflatten(1, (heads, -1)).transpose(0, 1).contiguous()
