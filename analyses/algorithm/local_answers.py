"""What a network answers on local contexts: two digit pairs and s_{i-1}, true or not.

A context of answer column i is (a_i, b_i, a_{i-1}, b_{i-1}, s_{i-1}); column i = 0 has a_0 and b_0
alone, column 10 no digits of its own. All other digits are drawn at random, and the answer tokens
below s_{i-1} are the true ones. S = a_i + b_i, T = a_{i-1} + b_{i-1}, x = T - s_{i-1}.
"""

from dataclasses import dataclass, fields

import numpy as np
import torch

from interp.anatomy import set_digit
from model.decode import decode
from model.tables import Tables
from model.task import N_ANSWER, N_DIGITS, carries, digits, uniform_pairs

PREFIXES = ("true", "possible", "impossible")
"""Kinds of s_{i-1}: the true digit; one that another carry from below would make; neither."""

N_CONTEXTS = 100_000


@dataclass(frozen=True)
class Contexts:
    """Column examples, one entry each in every array.

    Attributes:
        column: Answer column.
        S: Digit sum of the column.
        T: Digit sum of the column below.
        s: The fed token s_{i-1}; 0 in column 0, where S alone counts.
        carry: The true carry into the column, by the operands.
        carry_below: The true carry into the column below.
        chain: How many columns the carry has travelled; 0 without one.
        answer: The network's token.
        margin: Logit of the true digit less the largest other one, on this prefix.
    """

    column: np.ndarray
    S: np.ndarray
    T: np.ndarray
    s: np.ndarray
    carry: np.ndarray
    carry_below: np.ndarray
    chain: np.ndarray
    answer: np.ndarray
    margin: np.ndarray

    @property
    def x(self) -> np.ndarray:
        """T - s_{i-1}: 10 c_i - c_{i-1} on a true prefix."""
        return self.T - self.s

    @property
    def u10(self) -> np.ndarray:
        """Ten times the place value: 10 S + T - s_{i-1}."""
        return 10 * self.S + self.x

    @property
    def prefix(self) -> np.ndarray:
        """Index into `PREFIXES`."""
        true = (self.T + self.carry_below) % 10
        possible = np.isin(self.x, (-1, 0, 9, 10))
        return np.where((self.s == true) | (self.column == 0), 0, np.where(possible, 1, 2))

    def take(self, rows: np.ndarray) -> "Contexts":
        """Select rows."""
        return Contexts(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def __len__(self) -> int:
        """Count the examples."""
        return len(self.column)


def join(parts: list[Contexts]) -> Contexts:
    """Put sets of examples behind each other."""
    return Contexts(
        **{
            f.name: np.concatenate([getattr(part, f.name) for part in parts])
            for f in fields(Contexts)
        }
    )


def enumerate_contexts(tables: Tables, per_column: int, seed: int) -> Contexts:
    """Let a network answer all local contexts, wrong prefixes included.

    Args:
        tables: The network.
        per_column: How many of the 100,000 contexts of a column (100 for column 0, 1,000 for
            column 10, always all of them), drawn without replacement.
        seed: For the subset and for the digits outside the context.
    """
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for column in range(N_ANSWER):
        total = {0: 100, N_DIGITS: 1_000}.get(column, N_CONTEXTS)
        n = total if column in (0, N_DIGITS) else min(per_column, total)
        code = torch.from_numpy(rng.permutation(total)[:n])
        a, b = uniform_pairs(n, generator)
        if column < N_DIGITS:
            a, b = set_digit(a, column, code % 10), set_digit(b, column, code // 10 % 10)
            code = code // 100
        if column:
            a, b = set_digit(a, column - 1, code % 10), set_digit(b, column - 1, code // 10 % 10)
            code = code // 100
        prefix = digits(a + b, N_ANSWER)
        if column:
            prefix[:, column - 1] = code
        parts.append(_answers(tables, a, b, prefix, [column]))
    return join(parts)


def sample_true(tables: Tables, n: int, seed: int) -> tuple[Contexts, torch.Tensor, torch.Tensor]:
    """Let a network answer columns 1 to 10 of uniform pairs on the true prefix.

    Returns:
        Ten times `n` examples, pair by pair, and the operands.
    """
    a, b = uniform_pairs(n, torch.Generator().manual_seed(seed))
    found = _answers(tables, a, b, digits(a + b, N_ANSWER), list(range(1, N_ANSWER)))
    return found, a, b


def _answers(
    tables: Tables, a: torch.Tensor, b: torch.Tensor, prefix: torch.Tensor, columns: list[int]
) -> Contexts:
    decoded = decode(tables, a, b, prefix=prefix)
    carry, _ = carries(a, b)
    total = digits(a, N_ANSWER) + digits(b, N_ANSWER)

    def gather(values: torch.Tensor, shift: int = 0) -> np.ndarray:
        picked = [
            values[:, c - shift] if c >= shift else torch.zeros_like(values[:, 0]) for c in columns
        ]
        return torch.stack(picked, dim=1).to(torch.int16).flatten().numpy()

    return Contexts(
        column=np.tile(np.array(columns, dtype=np.int16), len(a)),
        S=gather(total),
        T=gather(total, 1),
        s=gather(prefix, 1),
        carry=gather(carry),
        carry_below=gather(carry, 1),
        chain=gather(_chains(total, carry)),
        answer=gather(decoded.tokens),
        margin=decoded.margin[:, columns].flatten().numpy(),
    )


def _chains(total: torch.Tensor, carry: torch.Tensor) -> torch.Tensor:
    """Count how far each incoming carry has travelled, from sums and carries alone."""
    length = torch.zeros_like(carry)
    for column in range(1, N_ANSWER):
        travelled = torch.where(total[:, column - 1] == 9, length[:, column - 1] + 1, 1)
        length[:, column] = torch.where(carry[:, column] == 1, travelled, 0)
    return length
