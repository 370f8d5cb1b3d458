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
    head_of,
    matrices,
    mixed_values,
    query_covariance,
    raw_components,
    source_covariance,
    stem_of,
    unit_components,
)
from interp.rank_ablation.kinds import Setting
from interp.rank_ablation.metrics import Cases, make_cases
from model.adder import Adder
from model.dense import dense
from model.network import Network
from model.task import Pairs, carry_stratified_pairs, uniform_pairs


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
        model: Its trained parameters; None where only the effective weights are known.
        setting: What ablations are made against.
        cases: What they are scored on.
        tolerance: Relative gap below which singular values form one block.
    """

    model: Adder | None
    setting: Setting
    cases: Cases
    tolerance: float

    @property
    def names(self) -> list[str]:
        """Everything that can be cut in this network."""
        return list(matrices(self.setting.folded))


def build_world(model: Adder | Network, sizes: Sizes, seed: int, tolerance: float) -> World:
    """Draw the sums and run the intact network on them.

    Args:
        model: Any network, or the trained parameters of one.
        sizes: How many sums.
        seed: Of every draw; the reference sums are drawn apart from the evaluated ones.
        tolerance: Relative gap below which singular values form one block.
    """
    generator = torch.Generator().manual_seed(seed)
    trained = model if isinstance(model, Adder) else None
    folded = fold(dense(model) if isinstance(model, Adder) else model.to(torch.float64))
    layout = folded.layout
    uniform = uniform_pairs(sizes.uniform, generator, layout)
    stratified = carry_stratified_pairs(sizes.stratified, generator, layout)
    cases = make_cases(uniform, stratified, sizes.probed, layout)
    reference = clean_run(folded, uniform_pairs(sizes.reference, generator, layout))
    n = sizes.uniform + sizes.stratified
    donor = torch.randint(sizes.reference, (n,), generator=generator)
    setting = Setting(folded, reference, clean_run(folded, cases.pairs), donor, seed)
    return World(trained, setting, cases, tolerance)


def smaller(world: World, n_uniform: int, n_stratified: int, n_reference: int) -> World:
    """Keep the first sums of every sort, for the many draws of a null."""
    first = world.cases.n_uniform
    a, b = world.cases.pairs

    def some(start: int, n: int) -> Pairs:
        return a[start : start + n], b[start : start + n]

    uniform = some(0, min(n_uniform, first))
    stratified = some(first, n_stratified)
    cases = make_cases(uniform, stratified, n_uniform, world.cases.layout)
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
        return unit_components(setting.folded, matrix) if stem_of(matrix) in UNIT_MATRICES else []
    if stem_of(matrix) not in RANK_MATRICES:
        return []
    if basis == "raw":
        return [] if world.model is None else raw_components(world.model, matrix)
    W = matrices(setting.folded)[matrix]
    left, right = (torch.eye(n, dtype=W.dtype) for n in W.shape)
    if basis == "data":
        left = _read_covariance(setting.folded, setting.reference, matrix)
        if stem_of(matrix) == "W_QK":
            right = source_covariance(setting.folded, setting.reference)
    return decompose(matrix, W, basis, left, right, world.tolerance)


def _read_covariance(folded: Network, run: CleanRun, matrix: str) -> Float[Tensor, "m m"]:
    """Covariance of what a matrix reads; every position counts once."""
    stem, head = stem_of(matrix), head_of(matrix)
    if stem == "W_pos":
        return covariance(torch.eye(folded.layout.n_input, dtype=folded.W_E.dtype))
    if stem in ("W_Q", "W_QK"):
        return query_covariance(folded, run)
    if stem in ("W_K", "W_V", "W_KV"):
        return source_covariance(folded, run)
    if stem == "W_O":
        return covariance(mixed_values(folded, run, head))
    if stem == "W_OV":
        return covariance(run.attended[:, :, head])
    return covariance(run.post if stem == "W_out" else run.h_mid)
