"""The task: vocabulary, encoding, carries and the inputs that are known to be hard.

A sum is 34 tokens: 10 digits of a (most significant first), `+`, 10 digits of b, `=`, then the 11
digits of a + b (least significant first) and `<EOS>`. Answer column i (0 = units, 10 = the last
carry, 11 = EOS) is predicted at position 21 + i, whose token is `=` for i = 0 and s_{i-1} after.
"""

import torch
from jaxtyping import Int
from torch import Tensor

from model.errors import InputError
from model.sums import HARD_CASES, MAX_OPERAND, N_ANSWER, N_DIGITS

N_TARGET = 12
N_PROMPT = 22
N_INPUT = 33
PLUS, EQUALS, PAD, EOS = 10, 11, 12, 13
TOKENS = (*"0123456789", "+", "=", "<PAD>", "<EOS>")

KILL, PROPAGATE, GENERATE = 0, 1, 2
STATE_NAMES = ("kill", "propagate", "generate")

Pairs = tuple[Int[Tensor, " _"], Int[Tensor, " _"]]
"""Operands a and b, int64, equally many."""


def a_position(column: int) -> int:
    """Position of digit a_i of column i."""
    return N_DIGITS - 1 - column


def b_position(column: int) -> int:
    """Position of digit b_i of column i."""
    return 2 * N_DIGITS - column


def query_position(column: int) -> int:
    """Position whose logits predict answer column i."""
    return N_PROMPT - 1 + column


def check_operands(a: int, b: int) -> None:
    """Check that both operands have at most ten digits.

    Raises:
        InputError: An operand is negative or over 9999999999.
    """
    for value in (a, b):
        if not 0 <= value <= MAX_OPERAND:
            raise InputError(f"operand {value} is outside 0 to {MAX_OPERAND}")


def digits(x: Int[Tensor, " batch"], n: int = N_DIGITS) -> Int[Tensor, "batch n"]:
    """Split numbers into `n` decimal digits, units first."""
    powers = 10 ** torch.arange(n, dtype=torch.int64, device=x.device)
    return x[:, None] // powers % 10


def encode(a: Int[Tensor, " batch"], b: Int[Tensor, " batch"]) -> Int[Tensor, "batch 34"]:
    """Write prompts and true targets as tokens; the network reads the first 33.

    Raises:
        InputError: An operand is negative or over 9999999999.
    """
    for x in (a, b):
        if x.numel():
            check_operands(int(x.min()), int(x.max()))
    return lay_out(a, b)


def lay_out(a: Int[Tensor, " batch"], b: Int[Tensor, " batch"]) -> Int[Tensor, "batch 34"]:
    """Write tokens as `encode` does, of operands that are known to be in range."""
    column = torch.full((a.shape[0], 1), PLUS, dtype=torch.int64, device=a.device)
    return torch.cat(
        [
            digits(a).flip(1),
            column,
            digits(b).flip(1),
            column + (EQUALS - PLUS),
            digits(a + b, N_ANSWER),
            column + (EOS - PLUS),
        ],
        dim=1,
    )


def decode_sum(answer: Int[Tensor, "batch 11"]) -> Int[Tensor, " batch"]:
    """Read 11 answer tokens (units first) as a number; -1 where one of them is no digit."""
    powers = 10 ** torch.arange(N_ANSWER, dtype=torch.int64, device=answer.device)
    return torch.where((answer < 10).all(dim=1), (answer * powers).sum(dim=1), -1)


def carries(
    a: Int[Tensor, " batch"], b: Int[Tensor, " batch"]
) -> tuple[Int[Tensor, "batch 11"], Int[Tensor, "batch 11"]]:
    """Compute carry_in and carry_out of columns 0 to 10, each 0 or 1.

    Column i's carry_in is carry_out of column i - 1; column 0 has none, column 10 has no carry_out.
    """
    total = digits(a) + digits(b)
    carry_in = [torch.zeros_like(a)]
    for column in range(N_DIGITS):
        carry_in.append((total[:, column] + carry_in[-1] >= 10).long())
    stacked = torch.stack(carry_in, dim=1)
    return stacked, torch.cat([stacked[:, 1:], torch.zeros_like(stacked[:, :1])], dim=1)


def column_state(a: Int[Tensor, " batch"], b: Int[Tensor, " batch"]) -> Int[Tensor, "batch 10"]:
    """Classify each column by a_i + b_i: KILL (< 9), PROPAGATE (= 9) or GENERATE (> 9)."""
    total = digits(a) + digits(b)
    return (total >= 9).long() + (total > 9).long()


def chain_length(a: Int[Tensor, " batch"], b: Int[Tensor, " batch"]) -> Int[Tensor, "batch 11"]:
    """Count, per column, how many columns the incoming carry has travelled.

    0: no carry comes in; 1: the column below generated it; k: it was generated k columns below and
    passed through k - 1 propagating columns.
    """
    state = column_state(a, b)
    carry_in, _ = carries(a, b)
    length = [torch.zeros_like(a)]
    for column in range(N_DIGITS):
        travelled = torch.where(state[:, column] == PROPAGATE, length[-1] + 1, 1)
        length.append(torch.where(carry_in[:, column + 1] == 1, travelled, 0))
    return torch.stack(length, dim=1)


def uniform_pairs(n: int, generator: torch.Generator) -> Pairs:
    """Draw operands uniformly from 0 to 9999999999: n times a, then n times b."""
    a = torch.randint(0, MAX_OPERAND + 1, (n,), generator=generator, dtype=torch.int64)
    b = torch.randint(0, MAX_OPERAND + 1, (n,), generator=generator, dtype=torch.int64)
    return a, b


def carry_stratified_pairs(n: int, generator: torch.Generator) -> Pairs:
    """Draw pairs whose longest chain is spread evenly, instead of thinning out tenfold a column.

    Each pair has a run of L propagating columns (L uniform on 0 to 9) at a uniform place, whose
    bottom neighbour generates a carry in half of the pairs; other digits are uniform.
    """
    a, b = uniform_pairs(n, generator)
    da, db = digits(a), digits(b)

    def draw(high: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        return (torch.rand(n, generator=generator, dtype=torch.float64) * high).long()

    run = draw(torch.full_like(a, N_DIGITS))
    start = 1 + draw(N_DIGITS - run)
    column = torch.arange(N_DIGITS)
    inside = (column >= start[:, None]) & (column < (start + run)[:, None])
    db = torch.where(inside, 9 - da, db)
    seed = torch.rand(n, generator=generator, dtype=torch.float64) < 0.5
    below = (column == start[:, None] - 1) & seed[:, None]
    complement = torch.where(da == 0, 0, db.clamp(min=10 - da.clamp(min=1)))
    da_below = torch.where(below & (da == 0), 1 + db % 9, da)
    db = torch.where(below, torch.where(da == 0, 9, complement), db)
    powers = 10 ** torch.arange(N_DIGITS, dtype=torch.int64)
    return (da_below * powers).sum(1), (db * powers).sum(1)


def hard_pairs() -> Pairs:
    """Return the named hard cases and every single-carry chain from column i to column j."""
    pairs = list(HARD_CASES.values())
    for low in range(N_DIGITS):
        for high in range(low, N_DIGITS):
            nines = 10 ** (high + 1) - 10**low
            pairs += [(nines, 10**low), (10**low, nines)]
    a, b = zip(*pairs, strict=True)
    return torch.tensor(a, dtype=torch.int64), torch.tensor(b, dtype=torch.int64)


OFFICIAL_SEEDS = (41, 100, 200, 300, 400, 500, 999, 1234, 7777, 31415)


def official_split(
    seed: int, n_validation: int = 5_000, n_test: int = 10_000
) -> tuple[Pairs, Pairs]:
    """Rebuild the write-ups' validation and test pairs of one seed.

    A torch generator draws twice as many a's as pairs are needed, then as many b's; distinct pairs
    are kept in order, the first `n_validation` for validation, the next `n_test` for the test.

    Returns:
        The validation pairs and the test pairs.
    """
    generator = torch.Generator().manual_seed(seed)
    total = n_validation + n_test
    a, b = uniform_pairs(2 * total, generator)
    pairs = torch.tensor(list(dict.fromkeys(zip(a.tolist(), b.tolist(), strict=True)))[:total])
    validation, test = pairs[:n_validation], pairs[n_validation:]
    return (validation[:, 0], validation[:, 1]), (test[:, 0], test[:, 1])


def describe_difference(true: int, predicted: int) -> str:
    """Say where two sums part, in the column order of the model (0 = units)."""
    if predicted < 0:
        return "the answer is no number"
    wrong = [
        f"column {i}: {predicted // 10**i % 10} for {true // 10**i % 10}"
        for i in range(N_ANSWER)
        if predicted // 10**i % 10 != true // 10**i % 10
    ]
    return "; ".join(wrong) + f" ({predicted - true:+d})" if wrong else "none"
