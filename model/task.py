"""The write-ups' task (a layout of `model.layouts`), and inputs, random ones and hard ones.

A sum is 34 tokens: 10 digits of a (most significant first), `+`, 10 digits of b, `=`, then the 11
digits of a + b (least significant first) and `<EOS>`. Answer column i (0 = units, 10 = the last
carry, 11 = EOS) is predicted at position 21 + i, whose token is `=` for i = 0 and s_{i-1} after.
"""

import torch
from jaxtyping import Int
from torch import Tensor

from model.columns import GENERATE as GENERATE
from model.columns import KILL as KILL
from model.columns import PROPAGATE as PROPAGATE
from model.columns import STATE_NAMES as STATE_NAMES
from model.columns import carries as carries
from model.columns import chain_length as chain_length
from model.columns import column_state as column_state
from model.columns import describe_difference as describe_difference
from model.columns import digits
from model.layouts import WRITE_UPS, Layout
from model.sums import HARD_CASES
from model.sums import MAX_OPERAND as MAX_OPERAND
from model.sums import N_ANSWER as N_ANSWER
from model.sums import N_DIGITS as N_DIGITS

N_TARGET = WRITE_UPS.n_target
N_PROMPT = WRITE_UPS.n_prompt
N_INPUT = WRITE_UPS.n_input
PLUS, EQUALS, PAD, EOS = 10, 11, 12, 13
TOKENS = WRITE_UPS.token_names

Pairs = tuple[Int[Tensor, " _"], Int[Tensor, " _"]]
"""Operands a and b, int64, equally many."""


a_position = WRITE_UPS.a_position
b_position = WRITE_UPS.b_position
query_position = WRITE_UPS.query_position
check_operands = WRITE_UPS.check_operands
encode = WRITE_UPS.encode
lay_out = WRITE_UPS.lay_out
decode_sum = WRITE_UPS.decode


def uniform_pairs(n: int, generator: torch.Generator, layout: Layout = WRITE_UPS) -> Pairs:
    """Draw operands uniformly from all that the layout has: n times a, then n times b."""
    a = torch.randint(0, layout.capacity, (n,), generator=generator, dtype=torch.int64)
    b = torch.randint(0, layout.capacity, (n,), generator=generator, dtype=torch.int64)
    return a, b


def carry_stratified_pairs(n: int, generator: torch.Generator, layout: Layout = WRITE_UPS) -> Pairs:
    """Draw pairs whose longest chain is spread evenly, instead of thinning out column by column.

    Each pair has a run of L propagating columns (L uniform, less than the operands' width) at a
    uniform place, whose bottom neighbour generates a carry in half of the pairs; other digits are
    uniform.
    """
    width, base = layout.width, layout.base
    a, b = uniform_pairs(n, generator, layout)
    da, db = digits(a, width, base), digits(b, width, base)

    def draw(high: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        return (torch.rand(n, generator=generator, dtype=torch.float64) * high).long()

    run = draw(torch.full_like(a, width))
    start = 1 + draw(width - run)
    column = torch.arange(width)
    inside = (column >= start[:, None]) & (column < (start + run)[:, None])
    db = torch.where(inside, base - 1 - da, db)
    seed = torch.rand(n, generator=generator, dtype=torch.float64) < 0.5
    below = (column == start[:, None] - 1) & seed[:, None]
    complement = torch.where(da == 0, 0, db.clamp(min=base - da.clamp(min=1)))
    da_below = torch.where(below & (da == 0), 1 + db % (base - 1), da)
    db = torch.where(below, torch.where(da == 0, base - 1, complement), db)
    powers = base ** torch.arange(width, dtype=torch.int64)
    return (da_below * powers).sum(1), (db * powers).sum(1)


def hard_pairs(layout: Layout = WRITE_UPS) -> Pairs:
    """Return the named hard cases and every single-carry chain from column i to column j.

    Where operands have not ten decimal digits, the named cases are the extremes of the layout and
    sums that propagate everywhere.
    """
    width, base, top = layout.width, layout.base, layout.max_operand
    if layout.capacity == WRITE_UPS.capacity:
        width, base = WRITE_UPS.width, WRITE_UPS.base
        pairs = list(HARD_CASES.values())
    else:
        up = sum(column % base * base**column for column in range(width))
        extremes = [(0, 0), (top, top), (top, 1), (1, top), (top, 0), (0, top)]
        pairs = [*extremes, (up, top - up), (top - up, up), (up, min(top, top - up + 1))]
    for low in range(width):
        for high in range(low, width):
            nines = base ** (high + 1) - base**low
            pairs += [(nines, base**low), (base**low, nines)]
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
