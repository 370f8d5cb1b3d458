"""What can be taken out of a network: rank components in three bases, and single units.

Question: into which parts is a matrix cut, without the cut depending on how it was stored?

Method: gains are folded into the reading side, so that W_pos, W_QK, W_OV, W_Q, W_KV, W_O, W_in,
W_gate and W_out act on plain normed activations and do not change with the gauge of the factors.
With several heads there is a W_QK, W_OV, W_Q and W_O of each ("W_QK.0"), and a W_K and W_V of each
head of keys and values. Rotary positions and norms of q and k leave no static bilinear form of the
scores: such a network has no W_QK. Biases stay as they are. A component is a term of a matrix, and
the terms of a basis sum to it:

- "svd": u s v^T, signs fixed, near-equal singular values kept together as one block;
- "data": the singular directions of Sigma^(1/2) W, with Sigma the covariance of what W reads
  (of both sides for the bilinear W_QK), so that components are ordered by what they pass on;
- "raw": A[:, r] B[r], the factors as stored: these move with the gauge (see interp.gauge_test);
- "unit": positions, FFN neurons, norm gains and attention edges by role, the natural coordinates.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.anatomy.edits import centre_positions, level_units, rewrite_maps, rewrite_scores
from interp.anatomy.roles import role_index, roles_of
from interp.gauge import READERS, fixed_signs
from model.adder import Adder
from model.config import qkv_names
from model.errors import InputError
from model.factored import factor_names, rank_one_terms
from model.layouts import Layout
from model.network import Network
from model.task import N_INPUT

Basis = Literal["svd", "data", "raw", "unit", "random"]

RANK_MATRICES = (
    *("W_pos", "W_QK", "W_OV", "W_Q", "W_KV", "W_K", "W_V", "W_O"),
    *("W_in", "W_gate", "W_out"),
)
UNIT_MATRICES = ("W_pos", "W_out", "ln1", "ln2", "ln_final", "edges")
CANONICAL = ("W_pos", "W_QK", "W_OV", "W_in", "W_out")
"""The family's matrices that no gauge changes, not even that of the head; no two overlap."""
PER_HEAD = ("W_QK", "W_OV", "W_Q", "W_O", "edges")
"""Matrices of each head of queries; W_K, W_V and W_KV belong to heads of keys and values."""

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
        matrix: Which matrix (or "ln1", "ln2", "ln_final", "edges"), with its head: "W_QK.0".
        basis: How the matrix was cut.
        index: Places in the basis, more than one for a block or a set.
        term: The part itself, in the matrix's shape.
        weight: Frobenius norm of the part in the metric of its basis (its singular value).
        names: Names of the basis' places, where they have names (roles of edges).
    """

    matrix: str
    basis: Basis
    index: tuple[int, ...]
    term: Float[Tensor, "m n"]
    weight: float
    names: tuple[str, ...] = ()

    @property
    def rank(self) -> int:
        """How many directions the part takes (each row, gain or role counts as one)."""
        return len(self.index)

    @property
    def label(self) -> str:
        """Name the part for tables and figures, counting components from 1."""
        if self.names:
            return "+".join(self.names[i] for i in self.index)
        if self.basis == "unit":
            return f"{_UNIT_LABELS.get(self.stem, 'gain')} {'+'.join(map(str, self.index))}"
        return "+".join(str(i + 1) for i in self.index)

    @property
    def stem(self) -> str:
        """Name the matrix without its head."""
        return stem_of(self.matrix)

    @property
    def head(self) -> int:
        """Head that the matrix belongs to, 0 where there is only one."""
        return head_of(self.matrix)


def stem_of(matrix: str) -> str:
    """Name a matrix without its head."""
    return matrix.partition(".")[0]


def head_of(matrix: str) -> int:
    """Say which head a matrix belongs to, 0 where there is only one."""
    return int(matrix.partition(".")[2] or 0)


def fold(weights: Network) -> Network:
    """Fix what can be chosen freely: the same function in folded form.

    The gains of the first two norms move into the matrices that read them. Where units may be
    scaled (ReLU, gated layers), each unit's columns and row get equal norms. Where the head is not
    the embedding, the mean over positions moves from W_pos to W_E.

    Raises:
        InputError: A LayerNorm gain is exactly zero, so that its bias cannot be moved.
    """
    edits: dict[str, Tensor] = {}
    for norm, readers in READERS.items():
        if norm == "ln_final":
            continue
        gain, bias = getattr(weights, f"{norm}_w"), getattr(weights, f"{norm}_b")
        if bool(((gain == 0) & (bias != 0)).any()):
            raise InputError(f"{norm} has a gain of exactly 0 beside a bias: it cannot be folded")
        edits[f"{norm}_w"] = torch.ones_like(gain)
        edits[f"{norm}_b"] = torch.where(gain == 0, 0.0, bias / gain)
        present = [name for name in readers if getattr(weights, name) is not None]
        edits |= {name: gain[:, None] * getattr(weights, name) for name in present}
    return centre_positions(level_units(weights.edit(**edits)))


def missing(network: Network, *, raw: bool = False) -> list[str]:
    """Say what cannot be cut in a network and why, and what is no fact of it, a sentence each.

    Args:
        network: The network.
        raw: Whether raw factors are wanted that nobody knows.
    """
    turned = ["rotary positions"] if network.rotary is not None else []
    between = turned + (["norms of q and k"] if network.q_norm_w is not None else [])
    said = {
        f"{' and '.join(between).capitalize()} stand between W_Q and W_K: scores have no static "
        "W_QK.": bool(between),
        "It has no feed-forward layer, so there is no W_in and no W_out.": network.act == "none",
        "It has no norms, so singular directions depend on the coordinates of its stream.": (
            network.norm == "none"
        ),
        "Its LayerNorms do not see the stream's mean: what components do along it is a choice of "
        "coordinates.": network.norm == "layer",
        "No position is added to its stream, so there is no W_pos.": not network.W_pos.any(),
        "W_X, a table over position and token, is not cut.": network.W_X is not None,
        'Its trained factors are not known, so there is no basis "raw".': raw,
    }
    return [sentence for sentence, true in said.items() if true]


def matrices(folded: Network) -> dict[str, Float[Tensor, "m n"]]:
    """List everything that can be cut, by name, of a folded network.

    W_K and W_V are one matrix "W_KV" where they are tied. Gains act on the normed activation, so
    the whole is the identity; edges are a mask over (step of the answer, source position).
    """
    n = folded.n_heads
    found: dict[str, Tensor] = {}

    def add(stem: str, stack: Sequence[Tensor] | Tensor) -> None:
        many = len(stack) > 1
        found.update({f"{stem}.{i}" if many else stem: x for i, x in enumerate(stack)})

    if bool(folded.W_pos.any()):
        found["W_pos"] = folded.W_pos[: folded.layout.n_input]
    groups = [folded.kv_head(head) for head in range(n)]
    if has_static_scores(folded):
        add("W_QK", [folded.W_Q[h] @ folded.W_K[g].T for h, g in enumerate(groups)])
    add("W_OV", [folded.W_V[g] @ folded.W_O[h] for h, g in enumerate(groups)])
    add("W_Q", folded.W_Q)
    if torch.equal(folded.W_K, folded.W_V):
        add("W_KV", folded.W_K)
    else:
        add("W_K", folded.W_K)
        add("W_V", folded.W_V)
    add("W_O", folded.W_O)
    if folded.act != "none":
        found["W_in"] = folded.W_in
        if folded.W_gate is not None:
            found["W_gate"] = folded.W_gate
        found["W_out"] = folded.W_out
    if folded.norm != "none":
        eye = torch.eye(folded.d_model, dtype=folded.W_E.dtype)
        norms = ("ln1", "ln_final") if folded.act == "none" else ("ln1", "ln2", "ln_final")
        found |= dict.fromkeys(norms, eye)
    add("edges", [causal_edges(folded.layout).to(folded.W_E.dtype)] * n)
    return found


def has_static_scores(network: Network) -> bool:
    """Say whether scores are a bilinear form of the normed stream (and biases)."""
    return network.rotary is None and network.q_norm_w is None


def overlap(first: str, second: str) -> bool:
    """Say whether two matrices share parameters, so that editing both has no single meaning.

    Keys and values that heads share count as each head's.
    """
    one, two = stem_of(first), stem_of(second)
    if two not in _OVERLAP.get(one, ()) and one not in _OVERLAP.get(two, ()):
        return False
    alike = (one in PER_HEAD) == (two in PER_HEAD)
    return not alike or "ln1" in (one, two) or head_of(first) == head_of(second)


def causal_edges(layout: Layout) -> Bool[Tensor, "step pos"]:
    """Say which source positions each step of the answer can see."""
    last = layout.n_prompt - 1 + torch.arange(layout.n_target)
    return torch.arange(layout.n_input) <= last[:, None]


def with_matrices(folded: Network, edited: Mapping[str, Tensor]) -> Network:
    """Put edited matrices (any but "edges") back into a folded network.

    Raises:
        InputError: Two of them share parameters, so that the edit has no single meaning.
    """
    for first, second in itertools.combinations(edited, 2):
        if overlap(first, second):
            raise InputError(f"{first} and {second} share parameters: edit only one of them")
    edits: dict[str, Tensor] = {}
    scores: dict[int, Tensor] = {}
    maps: dict[int, Tensor] = {}
    for name, value in edited.items():
        stem, head = stem_of(name), head_of(name)
        if stem in ("W_QK", "W_OV"):
            (scores if stem == "W_QK" else maps)[head] = value
        elif stem in ("W_in", "W_gate", "W_out"):
            edits[stem] = value
        elif stem == "W_pos":
            edits[stem] = torch.cat([value, folded.W_pos[folded.layout.n_input :]])
        elif stem in RANK_MATRICES:
            for part in ("W_K", "W_V") if stem == "W_KV" else (stem,):
                before: Tensor = edits[part] if part in edits else getattr(folded, part)
                edits[part] = torch.cat([before[:head], value[None], before[head + 1 :]])
    network = folded.edit(**edits)
    network = rewrite_scores(network, scores) if scores else network
    network = rewrite_maps(network, maps) if maps else network
    edits = {}
    for norm, readers in READERS.items():
        for name in readers if norm in edited else ():
            matrix = getattr(network, name)
            if matrix is not None:
                edits[name] = edited[norm] @ matrix
    return network.edit(**edits) if edits else network


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
    if stem_of(matrix) == "edges":
        layout = folded.layout
        names = roles_of(layout)
        index = role_index(layout)[[layout.step(step) for step in range(layout.n_target)]]
        masks = [(i, (index == i).to(whole.dtype)) for i in range(len(names))]
        return [
            Component(matrix, "unit", (i,), mask, float(mask.norm()), names)
            for i, mask in masks
            if mask.any()
        ]
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
    return dataclasses.replace(first, index=index, term=sum_terms(parts), weight=weight)


def sum_terms(parts: Sequence[Component]) -> Float[Tensor, "m n"]:
    """Add up the terms of components of one matrix."""
    return torch.stack([part.term for part in parts]).sum(dim=0)


def _roots(moments: Float[Tensor, "m m"]) -> tuple[Tensor, Tensor]:
    """Compute the square root of a covariance and its inverse, tiny directions lifted."""
    values, vectors = torch.linalg.eigh(moments)
    scale = values.clamp(min=1e-6 * float(values.mean())).sqrt()
    transposed: Tensor = vectors.T
    return vectors * scale @ transposed, vectors / scale @ transposed
