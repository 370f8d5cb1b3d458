"""How parts of the position embedding are replaced: it varies over positions, not over sums.

Question: what of a component of W_pos does the network need: that it is there ("zero"), its value
averaged over all positions ("mean"), over the positions of the same segment, that is a, b, the
answer or a separator ("conditional"), or its spread alone, under the wrong positions ("resample")?

Method: W_pos is edited and the network tabulated anew; the scale of the first norm may be kept.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.anatomy import Component, class_means, normed_sources, with_matrices
from interp.rank_ablation.config import Kind
from model.layouts import Layout
from model.network import Network
from model.tables import Tables, tabulate

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
    term, n = part.term, folded.layout.n_input
    if kind == "zero":
        new = torch.zeros_like(term)
    elif kind == "mean":
        new = term.mean(dim=0, keepdim=True).expand_as(term)
    elif kind == "conditional":
        segments = _segments(folded.layout)
        new = class_means(term[None], segments[:, None], int(segments.max()) + 1)[0][segments]
    else:
        new = term[torch.randint(n, (n,), generator=generator)]
    if part.basis == "unit":
        # A position is replaced as a whole, and only its own row: by the mean of the others'.
        new = _replace_rows(folded, part, kind, generator)
    edited = with_matrices(folded, {"W_pos": folded.W_pos[:n] - term + new})
    return tabulate(edited, normed_sources(edited, scale_of=folded) if frozen else None)


def _replace_rows(
    folded: Network, part: Component, kind: Kind, generator: torch.Generator
) -> Float[Tensor, "pos d"]:
    """What stands in for the rows of single positions: zero, or other positions' rows."""
    n = folded.layout.n_input
    W, new, segments = folded.W_pos[:n], torch.zeros_like(part.term), _segments(folded.layout)
    for row in part.index:
        others = torch.arange(n) != row
        if kind == "conditional":
            same = others & (segments == segments[row])
            others = same if same.any() else others
        if kind == "resample":
            new[row] = W[others][torch.randint(int(others.sum()), (), generator=generator)]
        elif kind != "zero":
            new[row] = W[others].mean(dim=0)
    return new


def _segments(layout: Layout) -> Int[Tensor, " pos"]:
    """Number the segment of each position: operands, separators, and last the answer."""
    lengths = [layout.width if isinstance(item, str) else 1 for item in layout.prompt]
    lengths.append(layout.n_input - layout.n_prompt)
    return torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
