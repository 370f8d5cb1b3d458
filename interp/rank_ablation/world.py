"""One network with everything that its ablations are made from and scored on."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.anatomy import (
    RANK_MATRICES,
    UNIT_MATRICES,
    Basis,
    CleanRun,
    Component,
    clean_run,
    covariance,
    decompose,
    fold,
    matrices,
    query_covariance,
    raw_components,
    source_covariance,
    unit_components,
)
from interp.rank_ablation.kinds import Setting
from interp.rank_ablation.metrics import Cases, make_cases
from model.adder import Adder
from model.dense import dense
from model.network import Network
from model.task import N_INPUT, Pairs, carry_stratified_pairs, uniform_pairs


@dataclass(frozen=True)
class Sizes:
    """How many sums everything is measured on.

    Attributes:
        uniform: Uniform sums.
        stratified: Sums stratified by carry chain.
        reference: Sums that means, classes and donors come from.
        probed: Sums of either sort whose divergence is computed.
    """

    uniform: int
    stratified: int
    reference: int
    probed: int


@dataclass(frozen=True)
class World:
    """A network, its clean runs and its cases.

    Attributes:
        model: The network.
        setting: What ablations are made against.
        cases: What they are scored on.
        tolerance: Relative gap below which singular values form one block.
    """

    model: Adder
    setting: Setting
    cases: Cases
    tolerance: float

    @property
    def names(self) -> list[str]:
        """Everything that can be cut in this network."""
        return list(matrices(self.setting.folded))


def build_world(model: Adder, sizes: Sizes, seed: int, tolerance: float) -> World:
    """Draw the sums and run the intact network on them.

    Args:
        model: Any network of the family.
        sizes: How many sums.
        seed: Of every draw; the reference sums are drawn apart from the evaluated ones.
        tolerance: Relative gap below which singular values form one block.
    """
    generator = torch.Generator().manual_seed(seed)
    uniform = uniform_pairs(sizes.uniform, generator)
    stratified = carry_stratified_pairs(sizes.stratified, generator)
    cases = make_cases(uniform, stratified, sizes.probed)
    folded = fold(dense(model))
    reference = clean_run(folded, uniform_pairs(sizes.reference, generator))
    n = sizes.uniform + sizes.stratified
    donor = torch.randint(sizes.reference, (n,), generator=generator)
    setting = Setting(folded, reference, clean_run(folded, cases.pairs), donor, seed)
    return World(model, setting, cases, tolerance)


def smaller(world: World, n_uniform: int, n_stratified: int, n_reference: int) -> World:
    """Keep the first sums of every sort, for the many draws of a null."""
    first = world.cases.n_uniform
    a, b = world.cases.pairs

    def some(start: int, n: int) -> Pairs:
        return a[start : start + n], b[start : start + n]

    uniform = some(0, min(n_uniform, first))
    stratified = some(first, n_stratified)
    cases = make_cases(uniform, stratified, n_uniform)
    old = world.setting
    rows = torch.cat(
        [torch.arange(len(uniform[0])), torch.arange(first, first + len(stratified[0]))]
    )
    run = clean_run(old.folded, cases.pairs)
    a_ref, b_ref = (side[:n_reference] for side in old.reference.pairs)
    reference = clean_run(old.folded, (a_ref, b_ref))
    setting = Setting(old.folded, reference, run, old.donor[rows] % len(a_ref), old.seed)
    return World(world.model, setting, cases, world.tolerance)


def cut(world: World, matrix: str, basis: Basis) -> list[Component]:
    """Cut one matrix in one basis; no components where the basis does not exist for it."""
    setting = world.setting
    if matrix not in world.names:
        return []
    if basis == "unit":
        return unit_components(setting.folded, matrix) if matrix in UNIT_MATRICES else []
    if matrix not in RANK_MATRICES:
        return []
    if basis == "raw":
        return raw_components(world.model, matrix)
    W = matrices(setting.folded)[matrix]
    left, right = (torch.eye(n, dtype=W.dtype) for n in W.shape)
    if basis == "data":
        left = _read_covariance(setting.folded, setting.reference, matrix)
        if matrix == "W_QK":
            right = source_covariance(setting.folded, setting.reference)
    return decompose(matrix, W, basis, left, right, world.tolerance)


def _read_covariance(folded: Network, run: CleanRun, matrix: str) -> Float[Tensor, "m m"]:
    """Covariance of what a matrix reads; every position counts once."""
    if matrix == "W_pos":
        return covariance(torch.eye(N_INPUT, dtype=folded.W_E.dtype))
    if matrix in ("W_Q", "W_QK"):
        return query_covariance(folded, run)
    if matrix in ("W_K", "W_V", "W_KV"):
        return source_covariance(folded, run)
    reads = {
        "W_OV": run.attended,
        "W_O": run.attended @ folded.W_V[0],
        "W_in": run.h_mid,
        "W_out": run.post,
    }
    return covariance(reads[matrix])
