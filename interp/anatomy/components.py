"""What can be taken out of a network: rank components in three bases, and single units.

Question: into which parts is a matrix cut, without the cut depending on how it was stored?

Method: gains are folded into the reading side, so that W_pos, W_QK, W_OV, W_Q, W_KV, W_O, W_in and
W_out act on plain normed activations and do not change with the gauge of the factors. A component
is a term of such a matrix, and the terms of a basis sum to it:

- "svd": u s v^T, signs fixed, near-equal singular values kept together as one block;
- "data": the singular directions of Sigma^(1/2) W, with Sigma the covariance of what W reads
  (of both sides for the bilinear W_QK), so that components are ordered by what they pass on;
- "raw": A[:, r] B[r], the factors as stored: these move with the gauge (see interp.gauge_test);
- "unit": positions, FFN neurons, norm gains and attention edges by role, the natural coordinates.
"""

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.anatomy.roles import ROLES, role_index
from interp.gauge import fixed_signs
from model.adder import Adder
from model.config import qkv_names
from model.errors import InputError
from model.factored import factor_names, rank_one_terms
from model.network import Network
from model.task import N_INPUT

Basis = Literal["svd", "data", "raw", "unit", "random"]

RANK_MATRICES = ("W_pos", "W_QK", "W_OV", "W_Q", "W_KV", "W_K", "W_V", "W_O", "W_in", "W_out")
UNIT_MATRICES = ("W_pos", "W_out", "ln1", "ln2", "ln_final", "edges")
CANONICAL = ("W_pos", "W_QK", "W_OV", "W_in", "W_out")
"""The matrices that no gauge changes, not even that of the head; no two overlap."""

_OVERLAP = {
    "W_QK": {"W_Q", "W_K", "W_KV", "ln1"},
    "W_OV": {"W_O", "W_V", "W_KV", "ln1"},
    "W_KV": {"W_K", "W_V"},
}
_UNIT_LABELS = {"W_pos": "position", "W_out": "neuron"}


@dataclass(frozen=True)
class Component:
    """A part of one matrix.

    Attributes:
        matrix: Which matrix (or "ln1", "ln2", "ln_final", "edges").
        basis: How the matrix was cut.
        index: Places in the basis, more than one for a block or a set.
        term: The part itself, in the matrix's shape.
        weight: Frobenius norm of the part in the metric of its basis (its singular value).
    """

    matrix: str
    basis: Basis
    index: tuple[int, ...]
    term: Float[Tensor, "m n"]
    weight: float

    @property
    def rank(self) -> int:
        """How many directions the part takes (each row, gain or role counts as one)."""
        return len(self.index)

    @property
    def label(self) -> str:
        """Name the part for tables and figures, counting components from 1."""
        if self.matrix == "edges":
            return "+".join(ROLES[i] for i in self.index)
        if self.basis == "unit":
            return f"{_UNIT_LABELS.get(self.matrix, 'gain')} {'+'.join(map(str, self.index))}"
        return "+".join(str(i + 1) for i in self.index)


def fold(weights: Network) -> Network:
    """Move the gains of the first two norms into the matrices that read them: the same function.

    Raises:
        InputError: A LayerNorm gain is exactly zero, so that its bias cannot be moved.
    """
    edits: dict[str, Tensor] = {}
    for norm, readers in (("ln1", ("W_Q", "W_K", "W_V")), ("ln2", ("W_in",))):
        gain, bias = getattr(weights, f"{norm}_w"), getattr(weights, f"{norm}_b")
        if bool(((gain == 0) & (bias != 0)).any()):
            raise InputError(f"{norm} has a gain of exactly 0 beside a bias: it cannot be folded")
        edits[f"{norm}_w"] = torch.ones_like(gain)
        edits[f"{norm}_b"] = torch.where(gain == 0, 0.0, bias / gain)
        edits |= {name: gain[:, None] * getattr(weights, name) for name in readers}
    return weights.edit(**edits)


def matrices(folded: Network) -> dict[str, Float[Tensor, "m n"]]:
    """List everything that can be cut, by name, of a folded network.

    W_K and W_V are one matrix "W_KV" where they are tied. Gains act on the normed activation, so
    the whole is the identity; edges are a mask over (answer column, source position).
    """
    d = folded.W_E.shape[1]
    W_Q, W_K, W_V, W_O = (getattr(folded, name)[0] for name in ("W_Q", "W_K", "W_V", "W_O"))
    keys = {"W_KV": W_K} if torch.equal(W_K, W_V) else {"W_K": W_K, "W_V": W_V}
    eye = torch.eye(d, dtype=folded.W_E.dtype)
    return {
        "W_pos": folded.W_pos[:N_INPUT],
        "W_QK": W_Q @ W_K.T,
        "W_OV": W_V @ W_O,
        "W_Q": W_Q,
        **keys,
        "W_O": W_O,
        "W_in": folded.W_in,
        "W_out": folded.W_out,
        **dict.fromkeys(("ln1", "ln2", "ln_final"), eye),
        "edges": causal_edges().to(eye.dtype),
    }


def overlap(first: str, second: str) -> bool:
    """Say whether two matrices share parameters, so that editing both has no single meaning."""
    return second in _OVERLAP.get(first, ()) or first in _OVERLAP.get(second, ())


@functools.cache
def causal_edges() -> Bool[Tensor, "column pos"]:
    """Say which source positions each answer column can see."""
    return role_index() >= 0


def with_matrices(folded: Network, edited: Mapping[str, Tensor]) -> Network:
    """Put edited matrices (any but "edges") back into a folded network.

    Raises:
        InputError: Two of them share parameters, so that the edit has no single meaning.
    """
    for first, second in itertools.combinations(edited, 2):
        if overlap(first, second):
            raise InputError(f"{first} and {second} share parameters: edit only one of them")
    eye = torch.eye(folded.W_E.shape[1], dtype=folded.W_E.dtype)
    edits: dict[str, Tensor] = {}
    for name, value in edited.items():
        if name == "W_QK":
            edits |= {"W_Q": value[None], "W_K": eye[None]}
        elif name == "W_OV":
            edits |= {"W_V": value[None], "W_O": eye[None]}
        elif name == "W_KV":
            edits |= {"W_K": value[None], "W_V": value[None]}
        elif name in RANK_MATRICES:
            edits[name] = value if getattr(folded, name).ndim == 2 else value[None]
    readers = {"ln1": ("W_Q", "W_K", "W_V"), "ln2": ("W_in",), "ln_final": ("W_U",)}
    for norm, names in readers.items():
        if norm in edited:
            for name in names:
                matrix = edits[name] if name in edits else getattr(folded, name)
                edits[name] = edited[norm] @ matrix
    if "W_pos" in edits:
        edits["W_pos"] = torch.cat([edits["W_pos"], folded.W_pos[N_INPUT:]])
    return folded.edit(**edits)


def without(folded: Network, components: Sequence[Component]) -> Network:
    """Remove components (of one matrix or of several) from a folded network."""
    whole = matrices(folded)
    edited: dict[str, Tensor] = {}
    for part in components:
        edited[part.matrix] = edited.get(part.matrix, whole[part.matrix]) - part.term
    return with_matrices(folded, edited)


def blocks(values: Float[Tensor, " r"], tolerance: float) -> list[tuple[int, ...]]:
    """Group singular values (falling) that differ by less than `tolerance`, relatively.

    Values below 1e-9 of the first are zero: they and their directions are left out.
    """
    groups: list[tuple[int, ...]] = []
    for i, value in enumerate(values.tolist()):
        if value <= 1e-9 * float(values[0]):
            break
        if groups and value >= (1 - tolerance) * float(values[i - 1]):
            groups[-1] = (*groups[-1], i)
        else:
            groups.append((i,))
    return groups


def decompose(
    matrix: str,
    W: Float[Tensor, "m n"],
    basis: Basis,
    left: Float[Tensor, "m m"],
    right: Float[Tensor, "n n"],
    tolerance: float,
) -> list[Component]:
    """Cut `W` along the singular directions of left^(1/2) W right^(1/2).

    Args:
        matrix: Its name, for the components.
        W: The matrix.
        basis: What the cut is called.
        left: Second moments of what the rows read; the identity for the plain SVD. Directions that
            never vary get a millionth of the mean variance, so that the terms still sum to W.
        right: The same for the columns.
        tolerance: Relative gap below which singular values form one block.

    Returns:
        Components by falling weight; they sum to W.
    """
    (root_l, back_l), (root_r, back_r) = _roots(left), _roots(right)
    U, S, Vh = torch.linalg.svd(root_l @ W @ root_r, full_matrices=False)
    signs = fixed_signs(Vh.T)
    U, Vh = back_l @ U * signs, signs[:, None] * Vh @ back_r
    parts = []
    for group in blocks(S, tolerance):
        i = list(group)
        weight = float(S[i].norm())
        parts.append(Component(matrix, basis, group, U[:, i] * S[i] @ Vh[i], weight))
    return parts


def raw_components(model: Adder, matrix: str) -> list[Component]:
    """Cut a matrix into the rank-one terms of its stored factors, gains folded.

    Returns:
        One component per stored rank; none where the matrix is stored full or is itself a product
        of several parameters (W_QK, W_OV).
    """
    params = {name: value.detach().double() for name, value in model.params.items()}
    q, k, v = qkv_names(model.config)
    names = {"W_Q": q, "W_K": k, "W_V": v, "W_KV": k}.get(matrix)
    if names is None:
        if matrix in ("W_QK", "W_OV"):
            return []
        names = factor_names(params, matrix)
    if len(names) == 1:
        return []
    A, B = (params[name] for name in names)
    if matrix in ("W_Q", "W_K", "W_V", "W_KV"):
        A = params["ln1_w"][:, None] * A
    elif matrix == "W_in":
        A = params["ln2_w"][:, None] * A
    elif matrix == "W_pos":
        A = A[:N_INPUT]
    terms = rank_one_terms(A, B)
    return [
        Component(matrix, "raw", (r,), term, float(term.norm())) for r, term in enumerate(terms)
    ]


def unit_components(folded: Network, matrix: str) -> list[Component]:
    """Cut into natural coordinates: rows of W_pos (positions) and W_out (neurons), gains, edges."""
    whole = matrices(folded)[matrix]
    if matrix == "edges":
        index = role_index()
        masks = [(i, (index == i).to(whole.dtype)) for i in range(len(ROLES))]
        return [Component(matrix, "unit", (i,), m, float(m.norm())) for i, m in masks if m.any()]
    parts = []
    for i in range(whole.shape[0]):
        term = torch.zeros_like(whole)
        term[i] = whole[i]
        parts.append(Component(matrix, "unit", (i,), term, float(term.norm())))
    return parts


def join(parts: Sequence[Component]) -> Component:
    """Add components of one matrix and one basis up into one."""
    first = parts[0]
    index = tuple(sorted(i for part in parts for i in part.index))
    weight = float(torch.tensor([part.weight for part in parts]).norm())
    return Component(first.matrix, first.basis, index, sum_terms(parts), weight)


def sum_terms(parts: Sequence[Component]) -> Float[Tensor, "m n"]:
    """Add up the terms of components of one matrix."""
    return torch.stack([part.term for part in parts]).sum(dim=0)


def _roots(moments: Float[Tensor, "m m"]) -> tuple[Tensor, Tensor]:
    """Compute the square root of a covariance and its inverse, tiny directions lifted."""
    values, vectors = torch.linalg.eigh(moments)
    scale = values.clamp(min=1e-6 * float(values.mean())).sqrt()
    transposed: Tensor = vectors.T
    return vectors * scale @ transposed, vectors / scale @ transposed
