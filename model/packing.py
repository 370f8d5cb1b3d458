"""The tables of a network in the order in which the decoder's kernel reads them."""

from dataclasses import dataclass

import numpy as np
import torch

from model.lanes import LANES
from model.layouts import Layout
from model.parts import Activation, NormKind
from model.tables import Tables


@dataclass(frozen=True)
class Shape:
    """What the code of a decoder depends on; everything else is in its tables."""

    layout: Layout
    d: int
    d_ff: int
    n_heads: int
    qk: int
    norm: NormKind
    eps: float
    act: Activation
    gated: bool

    @property
    def stride(self) -> int:
        """Room of a table's row of all tokens."""
        return round_up(self.layout.vocab_size)

    @property
    def low_digits(self) -> int:
        """Digits in the lower of an operand's two limbs."""
        return -(-self.layout.width // 2)

    @property
    def limb(self) -> int:
        """What the higher limb counts."""
        return self.layout.base**self.low_digits


def shape_of(tables: Tables) -> Shape:
    """Read the shape off the tables."""
    d, d_ff = tables.W_in.shape
    return Shape(
        layout=tables.layout,
        d=d,
        d_ff=d_ff,
        n_heads=tables.n_heads,
        qk=tables.q.shape[-1] // tables.n_heads,
        norm=tables.norm,
        eps=tables.eps,
        act=tables.act,
        gated=tables.W_gate is not None,
    )


class Packing:
    """Where each table lies, by name, in one run of float32 numbers.

    Attributes:
        at: Offset of each table.
        widths: Numbers that x, q, k and ov hold for a position and token.
        size: Numbers in all.
    """

    def __init__(self, shape: Shape) -> None:
        """Lay the tables out."""
        self.shape, self.layout = shape, shape.layout
        n_target, n_input = self.layout.n_target, self.layout.n_input
        d, d_ff, vocab = shape.d, shape.d_ff, self.layout.vocab_size
        self.widths = {"x": d, "q": shape.n_heads * shape.qk, "k": shape.n_heads * shape.qk}
        self.widths["ov"] = shape.n_heads * d
        rows = {"x": n_target, "q": n_target, "k": n_input, "ov": n_input}
        sizes = {
            **{name: rows[name] * width * shape.stride for name, width in self.widths.items()},
            "attn_bias": n_target * d,
            "W_in": d * d_ff,
            "b_in": n_target * d_ff,
            "W_gate": d * d_ff * shape.gated,
            "b_gate": d_ff * shape.gated,
            "W_out": d_ff * d,
            "b_out": n_target * d,
            "W_U": vocab * d,
            "b_U": vocab,
        }
        self.at: dict[str, int] = {}
        self.size = 0
        for name, size in sizes.items():
            self.at[name] = self.size
            self.size += round_up(size)

    def pack(self, tables: Tables) -> np.ndarray:
        """Put tables into the kernel's order, norms' gains folded into what reads them."""
        packed = np.zeros(self.size, np.float32)
        shape, W_in, W_U = self.shape, tables.W_in.double(), tables.W_U.double()
        normed = shape.norm != "none"

        def put(name: str, value: torch.Tensor) -> None:
            flat = value.float().contiguous().numpy().ravel()
            packed[self.at[name] : self.at[name] + flat.size] = flat

        def read(gain: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
            return gain.double()[:, None] * matrix if normed else matrix

        def shift(bias: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
            return bias.double() @ matrix if normed else matrix.new_zeros(matrix.shape[1])

        for name in self.widths:
            by_token = getattr(tables, name).transpose(1, 2)
            padding = (0, shape.stride - self.layout.vocab_size)
            put(name, torch.nn.functional.pad(by_token, padding))
        put("attn_bias", tables.attn_bias)
        put("W_in", read(tables.ln2_w, W_in))
        put("b_in", tables.b_in.double() + shift(tables.ln2_b, W_in))
        if tables.W_gate is not None and tables.b_gate is not None:
            W_gate = tables.W_gate.double()
            put("W_gate", read(tables.ln2_w, W_gate))
            put("b_gate", tables.b_gate.double() + shift(tables.ln2_b, W_gate))
        put("W_out", tables.W_out)
        put("b_out", tables.b_out)
        put("W_U", read(tables.ln_final_w, W_U).T)
        b_U = shift(tables.ln_final_b, W_U)
        put("b_U", b_U if tables.b_U is None else b_U + tables.b_U.double())
        return packed


def supports(tables: Tables) -> bool:
    """Tell whether the kernel can be built in a few seconds.

    The stream is at most 16 wide, the feed-forward layer 64, all heads together 64, and there are
    at most 256 tokens.
    """
    shape, layout = shape_of(tables), tables.layout
    narrow = shape.d <= 16 and shape.d_ff <= 64 and layout.vocab_size <= 256
    heads = shape.n_heads * max(shape.d, shape.qk) <= 64
    return narrow and heads and shape.limb < 2**31


def round_up(size: int) -> int:
    """Round up to a multiple of the lanes."""
    return -(-size // LANES) * LANES
