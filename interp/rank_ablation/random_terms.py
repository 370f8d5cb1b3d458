"""The control of an ablation: a random term of the same Frobenius norm is removed instead.

Question: would anything of this size have done the same damage?
"""

import dataclasses

import torch
from torch import Tensor

from interp.anatomy import Component, causal_edges
from model.layouts import WRITE_UPS, Layout


def random_term(
    component: Component, generator: torch.Generator, layout: Layout = WRITE_UPS
) -> Component:
    """Draw a term of the same shape, rank and Frobenius norm with random directions.

    For a gain the random direction is the same on both sides (one direction of the normed stream is
    removed); for a position or a neuron the row stays and what it writes is random; for edges, as
    many random sources are cut off from every column.
    """
    if component.stem == "edges":
        order = torch.rand(component.term.shape, generator=generator) * causal_edges(layout)
        places = order.argsort(dim=1, descending=True).argsort(dim=1)
        mask = (places < component.term.sum(dim=1, keepdim=True)).to(component.term.dtype)
        return dataclasses.replace(component, basis="random", term=mask)
    m, n = component.term.shape
    unit = component.basis == "unit"
    rank = 1 if unit else component.rank

    def draw(size: int) -> Tensor:
        return torch.randn(size, rank, generator=generator, dtype=component.term.dtype)

    u = draw(m)
    if component.matrix.startswith("ln"):
        v = u
    elif unit:
        u, v = component.term.norm(dim=1, keepdim=True), draw(n)
    else:
        v = draw(n)
    term = u @ v.T
    term = term * (component.term.norm() / term.norm())
    return dataclasses.replace(component, basis="random", term=term)
