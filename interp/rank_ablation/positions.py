"""How parts of the position embedding are replaced: it varies over positions, not over sums.

Question: what of a component of W_pos does the network need: that it is there ("zero"), its value
averaged over all positions ("mean"), over the positions of the same segment, that is a, +, b, = or
the answer ("conditional"), or its spread alone, under the wrong positions ("resample")?

Method: W_pos is edited and the network tabulated anew; the scale of the first norm may be kept.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.anatomy import FIRST, Component, class_means, normed_sources, with_matrices
from interp.rank_ablation.config import Kind
from model.network import Network
from model.tables import Tables, tabulate
from model.task import N_DIGITS, N_INPUT, N_PROMPT

POSITION_DRAWS = 16
"""Into how many groups of sums a resampled W_pos splits, each with its own random positions."""


def replace_positions(
    folded: Network, part: Component, kind: Kind, generator: torch.Generator, *, frozen: bool
) -> Tables:
    """Replace a part of the position embedding, which is the same in every sum.

    Args:
        folded: The network, gains folded.
        part: A component of W_pos; of basis "unit", the rows of single positions.
        kind: By what it is replaced.
        generator: Source of the positions that "resample" borrows from.
        frozen: Keep the first norm's scale at that of the intact network.
    """
    term = part.term
    if kind == "zero":
        new = torch.zeros_like(term)
    elif kind == "mean":
        new = term.mean(dim=0, keepdim=True).expand_as(term)
    elif kind == "conditional":
        new = class_means(term[None], _segments()[:, None])[0][_segments()]
    else:
        new = term[torch.randint(N_INPUT, (N_INPUT,), generator=generator)]
    if part.basis == "unit":
        # A position is replaced as a whole, and only its own row: by the mean of the others'.
        new = _replace_rows(folded, part, kind, generator)
    edited = with_matrices(folded, {"W_pos": folded.W_pos[:N_INPUT] - term + new})
    tables = tabulate(edited)
    if frozen:
        h = normed_sources(edited, scale_of=folded)
        tables = tables.edit(
            q=h[FIRST:] @ folded.W_Q[0] / h.shape[-1] ** 0.5,
            k=h @ folded.W_K[0],
            ov=h @ folded.W_V[0] @ folded.W_O[0],
        )
    return tables


def _replace_rows(
    folded: Network, part: Component, kind: Kind, generator: torch.Generator
) -> Float[Tensor, "pos d"]:
    """What stands in for the rows of single positions: zero, or other positions' rows."""
    W, new = folded.W_pos[:N_INPUT], torch.zeros_like(part.term)
    for row in part.index:
        others = torch.arange(N_INPUT) != row
        if kind == "conditional":
            same = others & (_segments() == _segments()[row])
            others = same if same.any() else others
        if kind == "resample":
            new[row] = W[others][torch.randint(int(others.sum()), (), generator=generator)]
        elif kind != "zero":
            new[row] = W[others].mean(dim=0)
    return new


def _segments() -> Int[Tensor, " pos"]:
    """Segment of each position: 0 first operand, 1 "+", 2 second operand, 3 "=", 4 answer."""
    lengths = torch.tensor([N_DIGITS, 1, N_DIGITS, 1, N_INPUT - N_PROMPT])
    return torch.repeat_interleave(torch.arange(5), lengths)
