import pytest
import torch

from interp.anatomy.local_context import context_of
from interp.failure_diff.contexts import column_margins
from interp.failure_diff.error_search import SearchConfig, attack, contexts_of, scan, search
from model.adder import Adder
from model.checkpoint import load
from model.config import PRESETS
from model.decode import decode, tables_of, teacher_forced
from model.factored import init_params
from model.handbuilt import handbuilt_adder
from model.task import carries, uniform_pairs
from tests.reference import ALLOWED, margin_rounding

QUICK = SearchConfig(completions=2, attacked=20, steps=2, listed=5, samples=40)


def test_contexts_of_a_column_are_all_of_them():
    assert [len(contexts_of(c)) for c in (0, 1, 2, 9, 10)] == [100, 10_000, 20_000, 20_000, 200]


@pytest.mark.parametrize("column", [0, 1, 4, 10])
def test_scanned_pairs_lie_in_their_contexts(column):
    contexts = contexts_of(column)[::37]
    tables = tables_of(handbuilt_adder())
    margins, a, b = scan(tables, column, contexts, 2, torch.Generator().manual_seed(0))
    assert (margins > 0).all()
    for row, expected in enumerate(contexts.tolist()[:200]):
        for x, y in zip(a[row].tolist(), b[row].tolist(), strict=True):
            own = context_of(x, y, column)
            found = [own.carry_below, *(own.below or (-1, -1)), *(own.here or (-1, -1))]
            assert found == expected


def test_margins_are_those_of_the_decoder():
    model = Adder(PRESETS["512p"], init_params(PRESETS["512p"], 2, token_std=0.7))
    a, b = uniform_pairs(50, torch.Generator().manual_seed(3))
    forced = teacher_forced(model, a, b)
    tables = tables_of(model)
    for column in (0, 5, 10):
        margins, predicted = column_margins(tables, a, b, column)
        off = (margins - forced.margin[:, column]).abs().max()
        assert off <= ALLOWED * margin_rounding(tables, a, b)
        assert ((predicted != forced.truth[:, column]) == (margins < 0)).all()


def test_an_attack_lowers_margins_and_keeps_the_context():
    tables = tables_of(Adder(PRESETS["311p"], init_params(PRESETS["311p"], 2, token_std=0.7)))
    a, b = uniform_pairs(10, torch.Generator().manual_seed(3))
    before, _ = column_margins(tables, a, b, 5)
    x, y, after, evaluations = attack(tables, a, b, 5, steps=3)
    assert (after <= before).all()
    assert (after < before).any()
    assert torch.allclose(column_margins(tables, x, y, 5)[0], after)
    assert evaluations > 10
    assert torch.equal(carries(a, b)[0][:, 4], carries(x, y)[0][:, 4])
    for column in (4, 5):
        assert torch.equal(a // 10**column % 10, x // 10**column % 10)
        assert torch.equal(b // 10**column % 10, y // 10**column % 10)


def test_the_failing_neighbourhood_of_column_8_is_found_without_being_told(published_311p):
    model = load(published_311p)
    config = SearchConfig(completions=4, attacked=60, steps=4, samples=500)
    result = search(model, config, columns=range(7, 9))
    rows = result.columns.set_index("column")["failing_contexts"]
    assert rows[7] == 0
    assert rows[8] >= 4
    assert result.contexts["verified"].all()
    assert ((result.contexts["here"] == "3+5") | (result.contexts["here"] == "5+3")).all()
    top = result.groups.iloc[0]
    assert (top["column"], top["previous_digit"], top["true"], top["answered"]) == (8, 9, 8, 9)
    assert 1e-5 < top["mass"] < 6e-5
    exact = decode(model, torch.tensor([int(top["a"])]), torch.tensor([int(top["b"])])).exact
    assert not exact[0]


def test_nothing_is_found_in_an_adder_that_is_right():
    result = search(handbuilt_adder(), QUICK, columns=range(3))
    assert (result.columns["failing_contexts"] == 0).all()
    assert (result.columns["thinnest_margin"] > 0).all()
    assert result.contexts.empty
    assert result.groups.empty


def test_a_model_that_knows_nothing_fails_nearly_everywhere():
    config = PRESETS["456p"]
    result = search(Adder(config, init_params(config, 0)), QUICK, columns=range(1, 2))
    row = result.columns.iloc[0]
    assert row["failing_contexts"] > 8_000
    assert row["error_rate"] > 0.8
    assert row["error_rate_low"] < row["error_rate"] < row["error_rate_high"]
    assert len(result.contexts) == QUICK.listed


def test_an_adder_without_carries_fails_where_a_carry_comes_in():
    result = search(handbuilt_adder(carry="ignored"), QUICK, columns=range(1, 2))
    assert len(result.contexts) == QUICK.listed
    assert (result.contexts["carry_in"] == 1).all()
    assert result.columns["error_rate"].iloc[0] == pytest.approx(0.45, abs=0.02)
