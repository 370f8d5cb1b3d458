import numpy as np
import pytest
import torch

from interp.anatomy.components import (
    CANONICAL,
    Component,
    blocks,
    decompose,
    fold,
    join,
    matrices,
    sum_terms,
    unit_components,
    with_matrices,
    without,
)
from interp.gauge.changes import random_gauge
from interp.rank_ablation.gauge_spread import gauge_spread
from interp.rank_ablation.kinds import ablate
from interp.rank_ablation.metrics import answer, measure
from interp.rank_ablation.world import Sizes, build_world, cut
from model.adder import Adder
from model.config import PRESETS, ModelConfig
from model.dense import dense
from model.errors import InputError
from model.factored import init_params
from model.tables import column_logits, tabulate
from model.task import encode, uniform_pairs
from tests.reference import ALLOWED, margin_rounding

SIZES = Sizes(uniform=60, stratified=30, reference=80, probed=10)


def make_model(config: ModelConfig = PRESETS["311p"], seed: int = 3) -> Adder:
    params = init_params(config, seed, token_std=1.0, position_std=0.8, dtype=torch.float64)
    for name in params:
        if name.startswith("ln"):
            params[name] = params[name] + 0.2 * torch.sin(torch.arange(config.d_model) + 1.0)
    return Adder(config, params)


@pytest.fixture(scope="module")
def world():
    return build_world(make_model(), SIZES, seed=0, tolerance=0.02)


@pytest.mark.parametrize("basis", ["svd", "data", "raw", "unit"])
@pytest.mark.parametrize("config", [PRESETS["311p"], PRESETS["512p"], PRESETS["777p"]])
def test_components_sum_to_the_matrix(config, basis) -> None:
    world = build_world(make_model(config), SIZES, seed=0, tolerance=0.02)
    cut_any = 0
    for matrix in world.names:
        parts = cut(world, matrix, basis)
        if parts:
            cut_any += 1
            whole = matrices(world.setting.folded)[matrix]
            torch.testing.assert_close(sum_terms(parts), whole, atol=1e-9, rtol=1e-9)
            torch.testing.assert_close(join(parts).term, whole, atol=1e-9, rtol=1e-9)
    assert cut_any or (basis == "raw" and config == PRESETS["777p"])


def test_folding_gains_keeps_the_function() -> None:
    for name in ("311p", "512p"):
        weights = dense(make_model(PRESETS[name]))
        tokens = encode(*uniform_pairs(20, torch.Generator().manual_seed(0)))
        for column in range(12):
            torch.testing.assert_close(
                column_logits(tabulate(fold(weights)), tokens, column),
                column_logits(tabulate(weights), tokens, column),
            )


def test_a_gain_of_zero_beside_a_bias_is_refused() -> None:
    weights = dense(make_model(PRESETS["512p"]))
    dead = weights.edit(ln1_w=torch.zeros(7).double(), ln1_b=torch.ones(7).double())
    with pytest.raises(InputError, match="ln1 has a gain of exactly 0"):
        fold(dead)


def test_putting_every_matrix_back_is_the_identity(world) -> None:
    folded = world.setting.folded
    tokens = world.setting.run.tokens
    for matrix, value in matrices(folded).items():
        if matrix != "edges":
            same = tabulate(with_matrices(folded, {matrix: value}))
            torch.testing.assert_close(
                column_logits(same, tokens, 5), column_logits(tabulate(folded), tokens, 5)
            )


def test_removing_from_two_matrices_that_share_parameters_is_refused(world) -> None:
    parts = [cut(world, matrix, "svd")[0] for matrix in ("W_OV", "W_O")]
    with pytest.raises(InputError, match="W_OV and W_O share parameters"):
        without(world.setting.folded, parts)


def test_singular_directions_have_fixed_signs_and_near_equal_ones_are_one_block() -> None:
    generator = torch.Generator().manual_seed(0)
    U, V = (torch.linalg.qr(torch.randn(4, 4, generator=generator).double())[0] for _ in "ab")
    eye = torch.eye(4, dtype=torch.float64)
    values = torch.tensor([5.0, 3.0, 2.99, 0.5]).double()
    parts = decompose("W_O", U @ torch.diag(values) @ V.T, "svd", eye, eye, tolerance=0.02)
    assert [part.index for part in parts] == [(0,), (1, 2), (3,)]
    assert [part.label for part in parts] == ["1", "2+3", "4"]
    assert parts[1].weight == pytest.approx((3.0**2 + 2.99**2) ** 0.5)
    flipped = decompose("W_O", U @ torch.diag(values) @ V.T, "svd", eye, eye, tolerance=0.0)
    assert [part.index for part in flipped] == [(0,), (1,), (2,), (3,)]


def test_directions_that_are_zero_are_left_out() -> None:
    assert blocks(torch.tensor([2.0, 1.0, 1e-12]), 0.02) == [(0,), (1,)]


def test_data_weighting_orders_by_what_is_passed_on() -> None:
    W = torch.diag(torch.tensor([10.0, 1.0]).double())
    quiet_first = torch.diag(torch.tensor([1e-4, 1.0]).double())
    eye = torch.eye(2, dtype=torch.float64)
    plain = decompose("W_O", W, "svd", eye, eye, 0.02)
    weighted = decompose("W_O", W, "data", quiet_first, eye, 0.02)
    assert plain[0].term[0, 0] == pytest.approx(10.0)
    assert weighted[0].term[1, 1] == pytest.approx(1.0)


def test_canonical_components_and_results_are_the_same_in_100_gauges() -> None:
    model, small = make_model(), Sizes(uniform=12, stratified=6, reference=30, probed=6)
    world = build_world(model, small, seed=0, tolerance=0.02)
    generator = torch.Generator().manual_seed(11)
    stored = {
        (matrix, basis): cut(world, matrix, basis)
        for matrix in CANONICAL
        for basis in ("svd", "data")
    }
    kinds = ("zero", "mean", "conditional", "resample", "zero")
    moved_parameters = 0
    for gauge in range(100):
        params = random_gauge(model.params, model.config, generator)
        moved_parameters += not torch.allclose(params["W_O_A"], model.params["W_O_A"])
        moved = build_world(Adder(model.config, params), small, seed=0, tolerance=0.02)
        for (matrix, basis), parts in stored.items():
            others = cut(moved, matrix, basis)
            assert [p.index for p in others] == [p.index for p in parts]
            for part, other in zip(parts, others, strict=True):
                scale = float(part.term.abs().max())
                torch.testing.assert_close(part.term, other.term, atol=1e-7 * scale, rtol=1e-6)
        if gauge < 3:
            for matrix, kind in zip(CANONICAL, kinds, strict=True):
                cuts = [
                    ablate(w.setting, cut(w, matrix, "svd")[0], kind, "live")
                    for w in (world, moved)
                ]
                ours, theirs = (
                    measure(w.cases, answer(w.setting, ablations, w.cases)).value
                    for w, ablations in zip((world, moved), cuts, strict=True)
                )
                # In float32; at most a divergence, which sums over 11 columns what two logits lose.
                pairs = world.setting.run.pairs
                rounding = max(margin_rounding(x.tables, *pairs) for x in cuts[0])
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=22 * ALLOWED * rounding)
    assert moved_parameters == 100


def test_raw_components_move_with_the_gauge_and_canonical_ones_do_not(published_311p) -> None:
    from model.checkpoint import load

    world = build_world(load(published_311p), SIZES, seed=0, tolerance=0.02)
    table = gauge_spread(world, ("W_O", "W_OV", "W_QK"), gauges=12, n=60)
    canonical = table[table["basis"] == "svd"]
    assert (canonical["low"] == canonical["high"]).all()
    assert (canonical["as_stored"] == canonical["high"]).all()
    assert set(canonical["matrix"]) == {"W_OV", "W_QK"}
    assert canonical["high"].max() > 0.9
    raw = table[table["basis"] == "raw"]
    assert set(raw["matrix"]) == {"W_O"}


def test_a_raw_component_is_another_matrix_in_another_gauge(world) -> None:
    params = random_gauge(world.model.params, world.model.config, torch.Generator().manual_seed(0))
    moved = build_world(Adder(world.model.config, params), SIZES, seed=0, tolerance=0.02)
    here, there = (cut(w, "W_in", "raw") for w in (world, moved))
    assert (here[0].term - there[0].term).norm() > 0.1 * here[0].term.norm()
    torch.testing.assert_close(sum_terms(here), sum_terms(there))


def test_labels_name_what_is_removed(world) -> None:
    assert unit_components(world.setting.folded, "W_out")[3].label == "neuron 3"
    assert unit_components(world.setting.folded, "W_pos")[21].label == "position 21"
    assert unit_components(world.setting.folded, "ln2")[0].label == "gain 0"
    assert unit_components(world.setting.folded, "edges")[0].label == "a_i"
    part = Component("W_O", "svd", (0, 2), torch.eye(4).double(), 1.0)
    assert (part.label, part.rank) == ("1+3", 2)
