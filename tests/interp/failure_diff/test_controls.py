import pytest
import torch

from interp.failure_diff.columns import column_table, find_focus, greedy_sum, is_carry_error
from interp.failure_diff.controls import (
    apply_edits,
    carry_reference_table,
    chain_table,
    chain_window,
    choose_controls,
    edit_table,
    neighbourhood,
    same_context_table,
    single_digit_edits,
    two_digit_edits,
)
from model.checkpoint import load
from model.dense import dense
from model.handbuilt import handbuilt_adder
from model.task import chain_length, column_state

PAIR = (9304630660, 8594408863)


def changed_digits(a: int, b: int) -> int:
    return sum(
        x // 10**j % 10 != y // 10**j % 10
        for x, y in zip((a, b), PAIR, strict=True)
        for j in range(10)
    )


def test_there_are_180_single_digit_edits_each_of_one_digit():
    a, b = apply_edits(*PAIR, single_digit_edits(*PAIR))
    pairs = set(zip(a.tolist(), b.tolist(), strict=True))
    assert len(a) == len(pairs) == 180
    assert PAIR not in pairs
    assert all(changed_digits(*pair) == 1 for pair in pairs)


@pytest.mark.parametrize(("column", "places"), [(0, 4), (8, 8), (9, 6), (10, 4)])
def test_two_digit_edits_enumerate_the_neighbourhood(column, places):
    edits = two_digit_edits(*PAIR, neighbourhood(column))
    assert len(edits) == 81 * places * (places - 1) // 2
    a, b = apply_edits(*PAIR, edits)
    assert len(set(zip(a.tolist(), b.tolist(), strict=True))) == len(edits)
    assert all(changed_digits(int(x), int(y)) == 2 for x, y in zip(a[:500], b[:500], strict=True))


def test_the_published_failing_case(published_311p):
    weights = dense(load(published_311p))
    table = column_table(weights, *PAIR)
    focus = find_focus(table)
    assert greedy_sum(table) == 17999039523
    assert (focus.column, focus.true, focus.rival, focus.wrong) == (8, 8, 9, True)
    assert focus.gap == pytest.approx(0.738, abs=6e-4)  # as published, three digits
    assert is_carry_error(focus, carry_in=0)
    assert not is_carry_error(focus, carry_in=1)
    row = table.iloc[8]
    assert (row["a"], row["b"], row["carry_in"], row["carry_out"]) == (3, 5, 0, 0)
    assert table["first_error"].tolist() == [i == 8 for i in range(12)]
    assert table["forced_margin"].iloc[2] == pytest.approx(4.89, abs=0.01)
    # Up to the first error both prefixes are the same; after it only the greedy one is changed.
    assert (table["forced_margin"] == table["greedy_margin"])[:9].all()
    assert table["forced_margin"].iloc[9] != table["greedy_margin"].iloc[9]


def test_controls_of_the_published_failing_case(published_311p):
    weights = dense(load(published_311p))
    focus = find_focus(column_table(weights, *PAIR))
    edits = edit_table(weights, *PAIR, focus, single_digit_edits(*PAIR))
    assert edits["passes"].sum() == 58
    context = same_context_table(weights, *PAIR, focus, 100, torch.Generator().manual_seed(0))
    assert not context["right_here"].any()
    controls = choose_controls(*PAIR, focus, edits, {"same local context": context}, 3)
    assert [c.name.split(" ")[0] for c in controls] == ["b_7", "a_9"]


def test_a_chain_keeps_its_states_and_length():
    weights = dense(handbuilt_adder())
    pair = (1234567890, 8765432110)
    focus = find_focus(column_table(weights, *pair))
    focus = type(focus)(column=4, true=0, rival=9, gap=-1.0, wrong=False)
    assert chain_window(*pair, 4) == range(1, 5)
    table = chain_table(weights, *pair, focus, 50, torch.Generator().manual_seed(0))
    assert len(table) == 50
    a, b = torch.tensor(table["a"].tolist()), torch.tensor(table["b"].tolist())
    expected = column_state(torch.tensor([pair[0]]), torch.tensor([pair[1]]))[0, 1:5]
    assert (column_state(a, b)[:, 1:5] == expected).all()
    assert (chain_length(a, b)[:, 4] == 3).all()
    assert table["passes"].all()


@pytest.mark.parametrize("column", [0, 1, 5, 10])
def test_references_have_the_columns_digits_and_each_carry(column):
    weights = dense(handbuilt_adder())
    focus = find_focus(column_table(weights, *PAIR))
    focus = type(focus)(column=column, true=0, rival=1, gap=-1.0, wrong=False)
    generator = torch.Generator().manual_seed(0)
    table = carry_reference_table(weights, *PAIR, focus, 20, generator)
    assert len(table) == (20 if column == 0 else 40)
    assert table["passes"].all()
    if column < 10:
        for name, value in zip("ab", PAIR, strict=True):
            assert (table[name] // 10**column % 10 == value // 10**column % 10).all()


def test_a_right_pair_shows_its_thinnest_column():
    table = column_table(dense(handbuilt_adder()), *PAIR)
    focus = find_focus(table)
    assert not focus.wrong
    assert greedy_sum(table) == sum(PAIR)
    assert focus.gap == -table["forced_margin"][:11].min()
