import numpy as np
import torch

from interp.carry_probe.data import FEATURES, carry_pairs, probe_inputs, split_by_context
from model.layouts import WRITE_UPS
from model.task import N_DIGITS, N_PROMPT, uniform_pairs


def test_features_equal_integer_arithmetic():
    a, b = uniform_pairs(50, torch.Generator().manual_seed(0))
    data = probe_inputs((a, b), WRITE_UPS)
    assert set(data.features) == set(FEATURES)
    for row, (x, y) in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
        for column in range(11):
            low = 10**column
            carry = (x % low + y % low) // low
            total = x // low % 10 + y // low % 10
            previous = (x % (low // 10) + y % (low // 10)) // (low // 10) if column > 1 else 0
            expected = {
                "carry_in": carry,
                "carry_out": (total + carry) // 10,
                "state": int(total >= 9) + int(total > 9),
                "digit_sum": total % 10,
                "answer": (total + carry) % 10,
                "previous_carry": previous,
            }
            found = {name: int(data.labels(name, column)[row]) for name in FEATURES}
            assert found == expected
            assert data.sums(column)[row] == total


def test_minimal_pairs_differ_in_nothing_but_the_carry():
    for column in (1, 5, 10):
        pairs = carry_pairs(WRITE_UPS, column, 300, torch.Generator().manual_seed(column))
        low, high = pairs.without, pairs.with_carry
        differs = low != high
        below = [N_DIGITS - column, 2 * N_DIGITS + 1 - column]
        read = differs[:, : N_PROMPT + column]
        assert set(read.nonzero()[:, 1].tolist()) <= set(below)
        answer = N_PROMPT + column
        if answer < low.shape[1]:
            assert torch.equal(low[:, answer], pairs.digit)
            assert torch.equal(high[:, answer], (pairs.digit + 1) % 10)
        sums = low[:, below].sum(dim=1), high[:, below].sum(dim=1)
        assert torch.equal(sums[0] + 10, sums[1])
        assert set(sums[0].tolist()) == set(range(9))
        for tokens, again in ((low, pairs.without_again), (high, pairs.with_again)):
            assert torch.equal(tokens[:, below].sum(dim=1), again[:, below].sum(dim=1))
            apart = (tokens != again)[:, : N_PROMPT + column].nonzero()[:, 1]
            assert set(apart.tolist()) == set(below)


def test_splits_share_no_context_and_balance_the_strata():
    data = probe_inputs(uniform_pairs(4000, torch.Generator().manual_seed(0)), WRITE_UPS)
    context, stratum = data.context("carry_in", 4), data.stratum("carry_in", 4)
    train = split_by_context(context, stratum, np.random.default_rng(0))
    assert not set(context[train]) & set(context[~train])
    assert 0.4 < train.mean() < 0.6
    for value in range(3, 16):
        share = train[stratum == value].mean()
        assert 0.2 < share < 0.8


def test_a_single_context_is_split_by_rows():
    train = split_by_context(np.zeros(100, int), np.zeros(100, int), np.random.default_rng(0))
    assert train.sum() == 50
