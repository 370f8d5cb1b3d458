"""Directions that may carry the carry: from means, from a probe, by search, and at random.

Each is an orthonormal basis U of a subspace of one site, and an interchange replaces x by
x + U U^T (x_source - x). DAS (Geiger et al. 2024) searches the subspace whose interchange makes the
network give the source's digit. A probe has two directions, what it reads and what moves its
reading with the least change as the data's covariance measures it, so that its interchange, like
its score, is the same in every gauge. The random control moves x as far as the mean-difference
interchange does, in a random direction.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.carry_probe.fit import fit_logistic, whiten

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


def probe_projection(
    without: Float[Tensor, "batch width"],
    with_carry: Float[Tensor, "batch width"],
    total: Int[Tensor, " batch"],
) -> Float[Tensor, "width width"]:
    """Return the projection P of a logistic probe with an intercept for each digit sum.

    With the probe's normal w and the covariance C of the site, d P = (d . w) C w / (w . C w): in
    whitened coordinates, the orthogonal projection on what the probe reads.
    """
    x = torch.cat([without, with_carry]).numpy()
    y = np.repeat([0, 1], len(without))
    train = np.ones(len(x), dtype=bool)
    white = whiten(x, train)
    rank = white.shape[1]
    given = torch.cat([total, total]).numpy()
    offsets = (given[:, None] == np.unique(given)).astype(float)
    fitted = fit_logistic(np.concatenate([white, offsets], axis=1), y)
    if rank == 0 or isinstance(fitted, int):
        return torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64)
    centred = x - x.mean(axis=0)
    into, back = np.linalg.pinv(centred) @ white, np.linalg.pinv(white) @ centred
    w = fitted.coef_[0, :rank]
    return torch.as_tensor(np.outer(into @ w, w @ back) / (w @ w))


def widen(
    basis: Basis, rank: int, difference: Float[Tensor, "batch width"]
) -> Float[Tensor, "width wide"]:
    """Add directions to a basis in which a difference is small and hardly swaps more."""
    rest = difference - project(difference, basis)
    least_first = torch.linalg.svd(rest, full_matrices=True).Vh.flip(0)
    for direction in least_first:
        left = direction - project(direction[None], basis)[0]
        if basis.shape[1] < rank and float(left.norm()) > 1e-6:
            basis = torch.cat([basis, (left / left.norm())[:, None]], dim=1)
    return basis


def das(
    loss_of: Callable[[Basis], Tensor],
    start: Float[Tensor, "width rank"],
    steps: int = 60,
    rate: float = 0.1,
) -> Basis:
    """Search the subspace with the least loss by gradient descent (Adam, the rate falling to 0).

    Args:
        loss_of: Loss of an interchange with a basis, differentiable in it.
        start: Columns to begin with, as many as the subspace has dimensions.
        steps: Gradient steps.
        rate: Learning rate of the first step.

    Returns:
        The best basis seen, that of the start included.
    """
    free = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([free], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best, best_loss = orthonormal(start), float("inf")
    for _ in range(steps):
        basis = orthonormal(free)
        loss = loss_of(basis)
        value = float(loss.detach())
        if value < best_loss:
            best, best_loss = basis.detach(), value
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
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
