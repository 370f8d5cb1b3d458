import pytest
import torch

from model.errors import InputError
from model.task import (
    EOS,
    GENERATE,
    HARD_CASES,
    KILL,
    N_DIGITS,
    OFFICIAL_SEEDS,
    PROPAGATE,
    TOKENS,
    a_position,
    b_position,
    carries,
    carry_stratified_pairs,
    chain_length,
    check_operands,
    column_state,
    decode_sum,
    describe_difference,
    digits,
    encode,
    hard_pairs,
    official_split,
    query_position,
    uniform_pairs,
)


@pytest.fixture
def pairs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(11)
    sets = [
        hard_pairs(),
        uniform_pairs(500, generator),
        carry_stratified_pairs(500, generator),
    ]
    return torch.cat([a for a, _ in sets]), torch.cat([b for _, b in sets])


def python_carries(a: int, b: int) -> list[int]:
    """Carry into columns 0 to 10 by Python's integers: what the lower columns overflow by."""
    return [(a % 10**i + b % 10**i) // 10**i for i in range(11)]


def test_encoding_spells_the_addition() -> None:
    tokens = encode(torch.tensor([123]), torch.tensor([45]))[0].tolist()
    spelled = "".join(TOKENS[t] for t in tokens)
    assert spelled == "0000000123+0000000045=86100000000<EOS>"
    assert len(tokens) == 34
    assert tokens[-1] == EOS


def test_positions_point_at_their_digits(pairs: tuple[torch.Tensor, torch.Tensor]) -> None:
    a, b = pairs
    tokens = encode(a, b)
    for column in range(N_DIGITS):
        assert torch.equal(tokens[:, a_position(column)], digits(a)[:, column])
        assert torch.equal(tokens[:, b_position(column)], digits(b)[:, column])
    for column in range(11):
        assert torch.equal(tokens[:, query_position(column) + 1], digits(a + b, 11)[:, column])


def test_decoding_inverts_encoding(pairs: tuple[torch.Tensor, torch.Tensor]) -> None:
    a, b = pairs
    assert torch.equal(decode_sum(encode(a, b)[:, 22:33]), a + b)


def test_an_answer_with_a_symbol_is_no_number() -> None:
    answer = torch.zeros(2, 11, dtype=torch.int64)
    answer[1, 4] = EOS
    assert decode_sum(answer).tolist() == [0, -1]


def test_carries_equal_pythons_integers(pairs: tuple[torch.Tensor, torch.Tensor]) -> None:
    a, b = pairs
    carry_in, carry_out = carries(a, b)
    expected = [python_carries(x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    assert carry_in.tolist() == expected
    assert torch.equal(carry_out[:, :10], carry_in[:, 1:])
    assert not carry_out[:, 10].any()


def test_state_and_chain_length_equal_a_walk_down_the_digits(
    pairs: tuple[torch.Tensor, torch.Tensor],
) -> None:
    a, b = pairs
    state, length = column_state(a, b), chain_length(a, b)
    for row, (x, y) in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
        totals = [x // 10**i % 10 + y // 10**i % 10 for i in range(10)]
        states = [KILL if t < 9 else PROPAGATE if t == 9 else GENERATE for t in totals]
        assert state[row].tolist() == states
        for column, carry in enumerate(python_carries(x, y)):
            travelled = 0
            if carry:
                below = column - 1
                while states[below] == PROPAGATE:
                    below -= 1
                assert states[below] == GENERATE
                travelled = column - below
            assert int(length[row, column]) == travelled


def test_stratified_pairs_have_long_chains_and_stay_in_range() -> None:
    a, b = carry_stratified_pairs(5000, torch.Generator().manual_seed(2))
    assert int(torch.stack([a, b]).min()) >= 0
    assert int(torch.stack([a, b]).max()) <= 9999999999
    longest = chain_length(a, b).max(dim=1).values
    share = torch.bincount(longest, minlength=11) / len(longest)
    assert float(share[7:].sum()) > 0.1
    uniform = chain_length(*uniform_pairs(5000, torch.Generator().manual_seed(2))).max(1).values
    assert float((uniform >= 7).double().mean()) < 0.01


def test_random_pairs_follow_their_generator() -> None:
    for draw in (uniform_pairs, carry_stratified_pairs):
        first, again = (draw(50, torch.Generator().manual_seed(3)) for _ in range(2))
        assert torch.equal(torch.stack(first), torch.stack(again))


def test_hard_pairs_contain_every_named_case_and_every_chain() -> None:
    a, b = hard_pairs()
    listed = list(zip(a.tolist(), b.tolist(), strict=True))
    assert set(HARD_CASES.values()) <= set(listed)
    assert (9999999999, 1) in listed
    assert (990, 10) in listed
    longest = chain_length(a, b).max(dim=1).values
    assert set(longest.tolist()) == set(range(11))


def test_official_split_is_the_published_draw() -> None:
    assert OFFICIAL_SEEDS == (41, 100, 200, 300, 400, 500, 999, 1234, 7777, 31415)
    validation, test = official_split(100)
    assert (len(validation[0]), len(test[0])) == (5000, 10000)
    generator = torch.Generator().manual_seed(100)
    a = torch.randint(0, 10**10, (30000,), generator=generator, dtype=torch.int64)
    b = torch.randint(0, 10**10, (30000,), generator=generator, dtype=torch.int64)
    assert torch.equal(torch.cat([validation[0], test[0]]), a[:15000])
    assert torch.equal(torch.cat([validation[1], test[1]]), b[:15000])


@pytest.mark.parametrize(("a", "b"), [(-1, 0), (0, -1), (10**10, 0), (0, 10**10)])
def test_operands_out_of_range_are_refused(a: int, b: int) -> None:
    with pytest.raises(InputError, match="outside 0 to 9999999999"):
        check_operands(a, b)
    with pytest.raises(InputError, match="outside 0 to 9999999999"):
        encode(torch.tensor([0, a]), torch.tensor([0, b]))


def test_difference_is_described_in_columns() -> None:
    text = describe_difference(17899039523, 17999039523)
    assert text == "column 8: 9 for 8 (+100000000)"
    assert describe_difference(5, 5) == "none"
    assert describe_difference(5, -1) == "the answer is no number"
    assert describe_difference(10, 1) == "column 0: 1 for 0; column 1: 0 for 1 (-9)"
