"""Directions that may carry the carry: from means, from a probe, by search, and at random.

Each is an orthonormal basis U of a subspace of one site, and an interchange replaces x by
x + U U^T (x_source - x). DAS (Geiger et al. 2024) searches the subspace whose interchange makes the
network give the source's digit. The random control moves x as far as the mean-difference
interchange does, in a random direction.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.probe_fit import fit_logistic, whiten

Basis = Float[Tensor, "width rank"]


def orthonormal(columns: Float[Tensor, "width rank"]) -> Basis:
    """Orthonormalise columns; a zero column stays zero."""
    norms = columns.norm(dim=0)
    if columns.shape[1] == 1:
        return columns / norms.clamp(min=1e-300)
    return torch.linalg.qr(columns).Q


def mean_difference(
    without: Float[Tensor, "batch width"], with_carry: Float[Tensor, "batch width"]
) -> Basis:
    """Return the direction between the two class means."""
    return orthonormal((with_carry - without).mean(dim=0)[:, None])


def probe_direction(
    without: Float[Tensor, "batch width"],
    with_carry: Float[Tensor, "batch width"],
    total: Int[Tensor, " batch"],
) -> Basis:
    """Return the normal of a logistic probe for the carry with an intercept for each digit sum."""
    x = torch.cat([without, with_carry]).numpy()
    y = np.repeat([0, 1], len(without))
    train = np.ones(len(x), dtype=bool)
    white = whiten(x, train)
    rank = white.shape[1]
    given = torch.cat([total, total]).numpy()
    offsets = (given[:, None] == np.unique(given)).astype(float)
    fitted = fit_logistic(np.concatenate([white, offsets], axis=1), y)
    if rank == 0 or isinstance(fitted, int):
        return torch.zeros(x.shape[1], 1, dtype=torch.float64)
    # white = centred @ M, so a probe w on white is M w on the site.
    M = np.linalg.pinv(x - x.mean(axis=0)) @ white
    return orthonormal(torch.as_tensor(M @ fitted.coef_[0, :rank])[:, None])


def das(
    loss_of: Callable[[Basis], Tensor],
    start: Float[Tensor, "width 1"],
    rank: int,
    generator: torch.Generator,
    steps: int = 60,
    rate: float = 0.1,
) -> Basis:
    """Search the subspace of given rank with the least loss by gradient descent (Adam).

    Args:
        loss_of: Loss of an interchange with a basis, differentiable in it.
        start: Direction to begin with; the other columns begin at random.
        rank: Dimension of the subspace.
        generator: Draws the random columns.
        steps: Gradient steps.
        rate: Learning rate.

    Returns:
        The best basis seen.
    """
    width = start.shape[0]
    noise = torch.randn(width, rank, generator=generator, dtype=torch.float64) / width**0.5
    free = noise.index_copy(1, torch.tensor([0]), start).requires_grad_()
    optimizer = torch.optim.Adam([free], lr=rate)
    best, best_loss = orthonormal(free.detach()), float("inf")
    for _ in range(steps):
        basis = orthonormal(free)
        loss = loss_of(basis)
        value = float(loss.detach())
        if value < best_loss:
            best, best_loss = basis.detach(), value
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return best


def project(difference: Float[Tensor, "batch width"], basis: Basis) -> Float[Tensor, "batch width"]:
    """Keep the part of a difference that lies in the subspace, U U^T d."""
    return difference @ basis @ basis.T


def norm_matched(
    move: Float[Tensor, "batch width"], generator: torch.Generator
) -> Float[Tensor, "batch width"]:
    """Turn every row into a random direction of the same length."""
    noise = torch.randn(move.shape, generator=generator, dtype=torch.float64)
    return noise * (move.norm(dim=1) / noise.norm(dim=1))[:, None]


def column_space(matrix: Float[Tensor, "width out"]) -> Basis:
    """Return an orthonormal basis of what a reading matrix sees of its input."""
    U, S, _ = torch.linalg.svd(matrix, full_matrices=False)
    return U[:, 1e-9 * S.max().clamp(min=1e-300) < S]
