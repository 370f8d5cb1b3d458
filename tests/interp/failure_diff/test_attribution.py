import pytest
import torch

from interp.anatomy.column_trace import logit_gap, trace_column
from interp.failure_diff.attribution import attribute_gap, attribute_units, lens_table
from interp.failure_diff.columns import Focus, column_table, find_focus
from interp.failure_diff.controls import carry_reference_table
from interp.failure_diff.differences import bottleneck_coordinates, difference_table
from interp.failure_diff.evidence import PLAYERS, carry_scale, column_shapley, player_masks
from model.config import PRESETS
from model.dense import dense
from model.handbuilt import handbuilt_adder
from model.task import encode
from tests.support import lively_adder, tokens_of

FOCUS = Focus(column=4, true=3, rival=7, gap=0.0, wrong=False)


@pytest.mark.parametrize("name", PRESETS)
def test_contributions_sum_to_the_logit_difference(name):
    weights, tokens = dense(lively_adder(name)), tokens_of(3)
    gap = logit_gap(trace_column(weights, tokens, 4)["logits"], 7, 3)
    for row, table in enumerate(attribute_gap(weights, tokens, FOCUS)):
        assert table["contribution"].sum() == pytest.approx(float(gap[row]), abs=1e-9)
        assert (table["component"] == "attention").sum() == 26
        assert (table["component"] == "feed-forward unit").sum() == PRESETS[name].d_ff


@pytest.mark.parametrize("name", ["262p", "512p"])
def test_parts_of_a_unit_sum_to_its_pre_activation(name):
    weights, tokens = dense(lively_adder(name)), tokens_of(2)
    pre = trace_column(weights, tokens, 4)["pre"]
    for row, table in enumerate(attribute_units(weights, tokens, FOCUS)):
        sums = table.groupby("unit")["pre"].sum()
        assert sums.tolist() == pytest.approx(pre[row].tolist(), abs=1e-9)


def test_unit_terms_of_both_tables_agree():
    weights, tokens = dense(lively_adder("512p")), tokens_of(1)
    whole = attribute_gap(weights, tokens, FOCUS)[0]
    direct = whole[whole["component"] == "feed-forward unit"]["contribution"].tolist()
    units = attribute_units(weights, tokens, FOCUS)[0].groupby("unit").first()
    assert (units["post"] * units["weight"]).tolist() == pytest.approx(direct, abs=1e-9)


def test_the_last_stage_of_the_lens_is_the_output():
    weights, tokens = dense(lively_adder("512p")), tokens_of(2)
    lens = lens_table(weights, tokens, FOCUS)
    gap = logit_gap(trace_column(weights, tokens, 4)["logits"], 7, 3)
    last = lens[lens["stage"] == "+ feed-forward"]["gap"].tolist()
    assert last == pytest.approx(gap.tolist(), abs=1e-9)


@pytest.mark.parametrize("column", [0, 1, 4, 10])
def test_shapley_values_sum_to_the_distance_from_the_references(column):
    weights = dense(lively_adder("262p"))
    a, b = 9304630660, 8594408863
    true = (a + b) // 10**column % 10
    focus = Focus(column=column, true=true, rival=(true + 1) % 10, gap=0.0, wrong=False)
    references = carry_reference_table(weights, a, b, focus, 20, torch.Generator().manual_seed(0))
    table = column_shapley(weights, a, b, focus, references)
    own = trace_column(weights, encode(torch.tensor([a]), torch.tensor([b])), column)["logits"]
    assert table["gap"].iloc[0] == pytest.approx(float(logit_gap(own, focus.rival, true)[0]))
    moved = table["gap"].iloc[0] - table["baseline"].iloc[0]
    assert table["contribution"].sum() == pytest.approx(moved, abs=1e-9)


def test_only_the_column_below_carries_in_the_handbuilt_adder():
    weights = dense(handbuilt_adder())
    a, b = 9304630660, 8594408863
    focus = Focus(column=6, true=9, rival=8, gap=0.0, wrong=False)
    references = carry_reference_table(weights, a, b, focus, 30, torch.Generator().manual_seed(0))
    scale = carry_scale(references, focus.gap)
    assert scale is not None
    assert scale.without > 0 > scale.with_carry
    shares = column_shapley(weights, a, b, focus, references).set_index("player")["contribution"]
    outside = shares.drop("column below").abs().max()
    assert outside < 1e-6 * abs(scale.without)


def test_players_share_out_all_positions_but_the_columns_own():
    masks = player_masks(5)
    assert masks.shape[0] == len(PLAYERS)
    assert (masks.sum(dim=0) <= 1).all()
    assert int(masks.sum()) == 18 + 5


def test_no_scale_without_a_difference():
    weights = dense(handbuilt_adder())
    focus = find_focus(column_table(weights, 0, 0))
    focus = Focus(column=0, true=focus.true, rival=focus.rival, gap=focus.gap, wrong=False)
    references = carry_reference_table(weights, 0, 0, focus, 5, torch.Generator().manual_seed(0))
    assert carry_scale(references, focus.gap) is None


def test_bottleneck_coordinates_do_not_depend_on_the_gauge():
    generator = torch.Generator().manual_seed(0)
    x, A, B, G = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((5, 4), (4, 3), (3, 8), (3, 3))
    )
    one = bottleneck_coordinates(x, A @ B)
    other = bottleneck_coordinates(x, (A @ G) @ (torch.linalg.inv(G) @ B))
    assert one.shape == (5, 3)
    assert torch.allclose(one, other, atol=1e-9)
    assert torch.allclose(one.norm(dim=1), (x @ A @ B).norm(dim=1))


def test_an_input_does_not_differ_from_itself():
    weights, tokens = dense(lively_adder("512p")), tokens_of(2)
    table = difference_table(weights, tokens[:1], {"self": tokens[:1], "other": tokens[1:]}, 4)
    assert (table[table["control"] == "self"]["difference"] == 0).all()
    assert (table[table["control"] == "other"]["difference"] != 0).any()
    attention = table[(table["control"] == "self") & (table["site"] == "attention")]
    assert attention["input"].sum() == pytest.approx(1)
