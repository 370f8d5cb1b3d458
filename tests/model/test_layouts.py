import pytest
import torch

from model.columns import carries, chain_length, digits
from model.decode import decode_exactly
from model.errors import InputError
from model.evaluation import evaluate, official_chunks, stratified_chunks, uniform_chunks
from model.layouts import LAYOUTS, MICRO_14, PAIRS, QWEN3, WRITE_UPS, Layout
from model.task import hard_pairs, uniform_pairs
from tests.network_support import SHIFTED, SHORT, random_network

EVERY = {**LAYOUTS, "short": SHORT, "shifted": SHIFTED}
LAYOUT = pytest.mark.parametrize("name", EVERY)


def spelled(layout: Layout, a: int, b: int) -> str:
    """The sequence as Python writes it, digit by digit."""

    def write(x: int, n: int, order: str) -> list[int]:
        places = [x // layout.base**i % layout.base + layout.first_digit for i in range(n)]
        return places if order == "units first" else places[::-1]

    tokens: list[int] = []
    for item in layout.prompt:
        if isinstance(item, str):
            tokens += write({"a": a, "b": b}[item], layout.width, layout.operands)
        else:
            tokens.append(item)
    tokens += write(a + b, layout.width + 1, layout.answer)
    return " ".join(map(str, [*tokens, *([] if layout.end is None else [layout.end])]))


@LAYOUT
def test_sums_are_spelled_and_read_back(name: str) -> None:
    layout = EVERY[name]
    a, b = uniform_pairs(50, torch.Generator().manual_seed(0), layout)
    tokens = layout.encode(a, b)
    for row, x, y in zip(tokens.tolist(), a.tolist(), b.tolist(), strict=True):
        assert " ".join(map(str, row)) == spelled(layout, x, y)
    assert tokens.shape[1] == layout.n_input + 1 == layout.n_prompt + layout.n_target
    assert torch.equal(layout.decode(tokens[:, layout.n_prompt :]), a + b)


@LAYOUT
def test_positions_point_at_their_digits(name: str) -> None:
    layout = EVERY[name]
    a, b = uniform_pairs(30, torch.Generator().manual_seed(1), layout)
    tokens = layout.encode(a, b) - layout.first_digit
    n, base = layout.width, layout.base
    for column in range(n):
        assert torch.equal(tokens[:, layout.a_position(column)], digits(a, n, base)[:, column])
        assert torch.equal(tokens[:, layout.b_position(column)], digits(b, n, base)[:, column])
    for column in range(n + 1):
        at = layout.sum_position(column)
        assert torch.equal(tokens[:, at], digits(a + b, n + 1, base)[:, column])
        assert layout.query_position(column) == at - 1
        assert layout.step(layout.step(column)) == column
    for position, token in layout.separators.items():
        assert bool((tokens[:, position] + layout.first_digit == token).all())
    roles = layout.roles()
    assert len(roles) == layout.n_input
    assert roles[layout.a_position(0)] == "a0"
    assert roles.count("b1") == 1


@LAYOUT
def test_a_layout_survives_json(name: str) -> None:
    layout = EVERY[name]
    assert Layout.from_dict(layout.to_dict()) == layout


def test_known_layouts_have_the_lengths_of_their_authors() -> None:
    assert (WRITE_UPS.n_prompt, WRITE_UPS.n_target, WRITE_UPS.n_input) == (22, 12, 33)
    assert (MICRO_14.n_prompt, MICRO_14.n_target, MICRO_14.n_input) == (22, 12, 33)
    assert (QWEN3.n_prompt, QWEN3.n_target, QWEN3.n_input) == (24, 11, 34)
    assert (PAIRS.n_prompt, PAIRS.n_target, PAIRS.n_input) == (12, 7, 18)
    assert PAIRS.capacity == WRITE_UPS.capacity
    assert LAYOUTS["qwen3"] is QWEN3


def test_an_answer_with_a_token_that_is_no_digit_is_no_number() -> None:
    answer = WRITE_UPS.encode(torch.tensor([3]), torch.tensor([4]))[:, 22:]
    answer[0, 5] = 11
    assert int(WRITE_UPS.decode(answer)) == -1
    assert int(SHIFTED.decode(torch.ones(1, 13, dtype=torch.int64))) == -1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, "width is 0"),
        ({"width": 13}, "width is 13"),
        ({"width": True}, "width is True"),
        ({"base": 1}, "base is 1"),
        ({"base": 100, "width": 10, "vocab_size": 200}, "over 10"),
        ({"vocab_size": 9}, "no room for the digits"),
        ({"first_digit": 5}, "no room for the digits"),
        ({"prompt": ("a", 10)}, 'name "a" and "b"'),
        ({"prompt": ("a", "b", "c")}, 'name "a" and "b"'),
        ({"prompt": ("a", 14, "b")}, "token 14"),
        ({"prompt": (*[1] * 17, "a", "b")}, "separators"),
        ({"end": -1}, "token -1"),
        ({"answer": "backwards"}, "answer is 'backwards'"),
        ({"token_names": ("x",)}, "token_names"),
        ({"name": ""}, "name"),
        ({"colour": "red"}, "unknown layout key 'colour'"),
        ({"prompt": "ab"}, "must be a list"),
    ],
)
def test_a_layout_that_makes_no_sense_is_refused(changes: dict, message: str) -> None:
    fields = {**WRITE_UPS.to_dict(), **changes}
    with pytest.raises(InputError, match=message):
        Layout.from_dict(fields)


def test_a_layout_without_its_prompt_is_refused() -> None:
    fields = {k: v for k, v in WRITE_UPS.to_dict().items() if k != "prompt"}
    with pytest.raises(InputError, match="lacks 'prompt'"):
        Layout.from_dict(fields)


def test_operands_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="operand 64 is outside 0 to 63"):
        SHORT.encode(torch.tensor([64]), torch.tensor([0]))


@LAYOUT
def test_hard_and_stratified_pairs_fit_and_carry(name: str) -> None:
    layout = EVERY[name]
    a, b = hard_pairs(layout)
    layout.encode(a, b)
    chains = chain_length(a, b, layout.width, layout.base)
    assert int(chains.max()) == layout.width
    a, b = next(iter(stratified_chunks(500, 2, layout)))
    layout.encode(a, b)
    for x, y, carry in zip(
        a.tolist(), b.tolist(), carries(a, b, layout.width, layout.base)[0].tolist(), strict=True
    ):
        powers = [layout.base**i for i in range(layout.width + 1)]
        assert carry == [(x % p + y % p) // p for p in powers]
    long = chain_length(a, b, layout.width, layout.base).amax(1) >= layout.width - 1
    assert float(long.float().mean()) > 0.02


def test_errors_are_counted_by_column_whatever_the_order_of_the_answer() -> None:
    network = random_network(layout=SHIFTED)
    pairs = uniform_pairs(300, torch.Generator().manual_seed(3), SHIFTED)
    result = evaluate(network, [pairs], name="x")
    decoded = decode_exactly(network, *pairs)
    by_column = decoded.wrong[:, : SHIFTED.n_answer].flip(1).sum(0)
    assert result.column_errors == tuple(by_column.tolist())
    assert result.eos_errors == int(decoded.wrong[:, -1].sum())
    assert sum(result.first_errors) == result.errors
    assert result.first_errors[SHIFTED.width] == int(decoded.wrong[:, 0].sum())
    least = decoded.margin[:, : SHIFTED.n_answer].min()
    assert result.smallest_margin == pytest.approx(float(least), rel=1e-3)
    assert result.smallest_at is not None
    column = result.smallest_at[2]
    assert column == SHIFTED.step(int(decoded.margin[:, :13].amin(0).argmin()))


def test_a_layout_without_end_token_has_no_end_errors() -> None:
    result = evaluate(random_network(layout=QWEN3), uniform_chunks(200, 0, QWEN3), name="x")
    assert result.errors > 0
    assert result.eos_errors == 0


def test_the_official_protocol_needs_ten_digits() -> None:
    with pytest.raises(InputError, match="official protocol adds ten-digit numbers"):
        official_chunks(SHORT)
    assert len(next(iter(official_chunks(PAIRS)))[0]) == 10_000
