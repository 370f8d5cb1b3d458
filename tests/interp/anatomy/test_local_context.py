from fractions import Fraction

import pytest
import torch

from interp.anatomy.local_context import (
    Context,
    carry_share,
    context_of,
    context_pairs,
    context_share,
    set_digit,
)
from model.task import carries, digits

PAIR = (9304630660, 8594408863)


def test_the_context_of_the_published_failing_case():
    context = context_of(*PAIR, 8)
    assert context == Context(8, 0, (0, 9), (3, 5), (9, 8))
    assert (context.carry_in, context.previous_digit, context.true_digit) == (0, 9, 8)


def test_its_share_is_exact():
    assert context_share(context_of(*PAIR, 8)) == Fraction(10**7 + 1, 2 * 10**7) / 10**6


@pytest.mark.parametrize("column", range(4))
def test_carry_shares_equal_enumeration(column):
    n = 10 ** min(column, 2)
    if column > 2:
        assert carry_share(column, 0) + carry_share(column, 1) == 1
        return
    carrying = sum(a + b >= n for a in range(n) for b in range(n))
    assert carry_share(column, 1) == Fraction(carrying, n * n)


@pytest.mark.parametrize("column", range(11))
def test_shares_of_all_contexts_of_a_column_sum_to_one(column):
    fixed = context_of(*PAIR, column).fixed
    total = sum(carry_share(max(column - 1, 0), carry) for carry in (0, 1))
    assert total == 1
    one = context_of(*PAIR, column)
    expected = carry_share(max(column - 1, 0), one.carry_below) / 100 ** len(fixed)
    assert context_share(one) == expected


@pytest.mark.parametrize("column", range(11))
def test_drawn_pairs_have_the_context(column):
    context = context_of(*PAIR, column)
    a, b = context_pairs(context, 40, torch.Generator().manual_seed(1))
    assert len(a) == 40
    assert all(context_of(int(x), int(y), column) == context for x, y in zip(a, b, strict=True))
    assert len(set(a.tolist())) > 30
    carry_in, _ = carries(a, b)
    assert (carry_in[:, column] == context.carry_in).all()


def test_an_impossible_context_has_no_pairs_and_no_share():
    impossible = Context(0, 1, None, (1, 1), None)
    a, b = context_pairs(impossible, 10, torch.Generator().manual_seed(0))
    assert len(a) == len(b) == 0
    assert context_share(impossible) == 0


def test_set_digit_changes_one_digit_only():
    x = set_digit(torch.tensor([1234567890]), 3, 0)
    assert x.tolist() == [1234560890]
    assert digits(set_digit(x, 9, 9))[0, 9] == 9
