"""Rank components of any network: singular terms of the matrices that no gauge changes.

The bilinear form of the scores and the product of values and outputs are cut for each head, with
the gains of the norms folded into the reading side, as `interp.anatomy` does for the write-ups'
family. Where rotary positions or norms stand between queries and keys there is no such form, and
the two matrices are cut apart.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from model.network import Network

MOST = 8
"""Terms of one matrix that are offered, the largest."""
FLOOR = 1e-9
"""Terms below this share of the largest are zero."""


@dataclass(frozen=True)
class Term:
    """One singular term, left right^T, to be added to unfolded weights.

    Attributes:
        matrix: "W_pos", "W_QK", "W_OV", "W_Q", "W_K", "W_in", "W_gate" or "W_out".
        head: Which head (for W_K a head of keys); None for matrices without heads.
        index: Its place, from 1 for the largest.
        size: Singular value of the folded matrix.
        left: What reads, times the size, gain taken off.
        right: What is written (for W_QK: what reads on the key side, gain taken off).
    """

    matrix: str
    head: int | None
    index: int
    size: float
    left: Float[Tensor, " m"]
    right: Float[Tensor, " n"]

    @property
    def key(self) -> str:
        """Name for the page's changes and its address."""
        head = "" if self.head is None else f".{self.head}"
        return f"{self.matrix}{head}.{self.index}"


def cut(network: Network) -> list[Term]:
    """Cut every matrix of a network into singular terms."""
    return [term for matrix in _matrices(network) for term in _terms(*matrix)]


Matrix = tuple[str, int | None, Tensor, Tensor | None, Tensor | None]


def _matrices(network: Network) -> Iterator[Matrix]:
    """Name, head, matrix, and the gains of its two sides (None for none)."""
    gain1, gain2 = network.ln1_w, network.ln2_w
    group = network.n_heads // network.n_kv_heads
    yield "W_pos", None, network.W_pos[: network.layout.n_input], None, None
    if network.rotary is None and network.q_norm_w is None:
        for head in range(network.n_heads):
            form = network.W_Q[head] @ network.W_K[head // group].T
            yield "W_QK", head, form, gain1, gain1
    else:
        for head in range(network.n_heads):
            yield "W_Q", head, network.W_Q[head], gain1, None
        for head in range(network.n_kv_heads):
            yield "W_K", head, network.W_K[head], gain1, None
    for head in range(network.n_heads):
        yield "W_OV", head, network.W_V[head // group] @ network.W_O[head], gain1, None
    if network.act != "none":
        yield "W_in", None, network.W_in, gain2, None
        if network.W_gate is not None:
            yield "W_gate", None, network.W_gate, gain2, None
        yield "W_out", None, network.W_out, None, None


def _terms(
    name: str, head: int | None, matrix: Tensor, left: Tensor | None, right: Tensor | None
) -> Iterator[Term]:
    folded = matrix.double()
    if left is not None:
        folded = left.double()[:, None] * folded
    if right is not None:
        folded = folded * right.double()
    U, S, Vh = torch.linalg.svd(folded, full_matrices=False)
    for i in range(min(MOST, len(S))):
        if S[i] <= FLOOR * S[0] or S[0] == 0:
            return
        sides = _unfold(U[:, i], left) * S[i], _unfold(Vh[i], right)
        yield Term(name, head, i + 1, float(S[i]), *sides)


def _unfold(vector: Float[Tensor, " n"], gain: Tensor | None) -> Float[Tensor, " n"]:
    """Take a gain off again; where it is zero nothing is read, and the term has nothing there."""
    if gain is None:
        return vector
    gain = gain.double()
    return torch.where(gain == 0, 0.0, vector / torch.where(gain == 0, 1.0, gain))
