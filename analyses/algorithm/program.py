"""The winning account as a readable Python program, and how far it is the network.

The program is complete: `add(a, b)` forms the sum digit by digit from its own answers, as the
network does. Its numbers are read off the network's answers on local contexts.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch

from analyses.algorithm.hypotheses import Fit
from model.decode import decode
from model.intervals import clopper_pearson
from model.tables import Tables
from model.task import N_DIGITS, carry_stratified_pairs, uniform_pairs

_HEAD = '''\
"""{title}

{statement}
Fitted to {name}; written by python -m analyses.algorithm.
"""

{constants}

def answer(i, S, T, s, carry):
    """Digit of column i, from its digit sum S, the one below T, and the answer s below."""
{body}

def add(a, b):
    """Answer column by column, units first, each from the answer before."""
    total = [(a // 10**i % 10) + (b // 10**i % 10) for i in range(11)]
    result, T, s, carry = 0, 0, 0, 0
    for i, S in enumerate(total):
        digit = answer(i, S, T, s, carry)
        if digit > 9:  # a token that is no digit
            return -1
        result += digit * 10**i
        T, s, carry = S, digit, int(S + carry >= 10)
    return result
'''


def write_program(winner: str, name: str, fits: dict[str, Fit]) -> str:
    """Write an account, fitted to a network, as Python source.

    Args:
        winner: The account.
        name: The network's name.
        fits: What was fitted.
    """
    title, statement, constants, body = _PARTS[winner](fits)
    return _HEAD.format(title=title, statement=statement, name=name, constants=constants, body=body)


def compile_program(source: str) -> Callable[[int, int], int]:
    """Turn the source into its `add`."""
    space: dict = {}
    exec(compile(source, "program", "exec"), space)
    return space["add"]


def _place_value(fits: dict[str, Fit]) -> tuple[str, str, str, str]:
    lines = ["DIGIT = {  # for each column: from which 10 u on, which digit"]
    for column, table in fits["any f(u)"].items():
        highest = 18 if column == N_DIGITS else 198
        runs = [
            (u, int(table[u + 9]))
            for u in range(-9, highest + 1)
            if u == -9 or table[u + 9] != table[u + 8]
        ]
        lines.append(f"    {column}: [")
        for start in range(0, len(runs), 8):
            lines.append("        " + ", ".join(map(str, runs[start : start + 8])) + ",")
        lines.append("    ],")
    body = (
        "    u10 = 10 * S + T - s  # ten times S + (T - s) / 10\n"
        "    return [digit for start, digit in DIGIT[i] if start <= u10][-1]\n"
    )
    statement = (
        "u = S + (T - s) / 10 is read as a number, with no carry anywhere; which digit it is\n"
        "depends on the thresholds between which it falls."
    )
    return "Soft base-10 place value.", statement, "\n".join([*lines, "}\n"]), body


def _carry_bit(fits: dict[str, Fit]) -> tuple[str, str, str, str]:
    thresholds = {column: int(value[0]) for column, value in fits["carry bit"].items()}
    body = "    return (S + (T - s >= THRESHOLD[i])) % 10\n"
    constants = f"THRESHOLD = {thresholds}\n"
    return "A carry bit.", "T - s is compared with a threshold.", constants, body


def _look_ahead(fits: dict[str, Fit]) -> tuple[str, str, str, str]:
    body = "    return (S + carry) % 10\n"
    return "Look-ahead.", "The carry comes from the operands; s is not used.", "", body


def _lookup(fits: dict[str, Fit]) -> tuple[str, str, str, str]:
    lines = ["TABLE = {  # for each column: S, then s"]
    for column, table in fits["lookup"].items():
        lines.append(f"    {column}: [")
        lines += [f"        {table[10 * S : 10 * S + 10].tolist()}," for S in range(19)]
        lines.append("    ],")
    body = "    return TABLE[i][S][s]\n"
    return "A table of S and s.", "T is not used.", "\n".join([*lines, "}\n"]), body


def _no_carry(fits: dict[str, Fit]) -> tuple[str, str, str, str]:
    body = "    return S % 10\n"
    return "No carry.", "Every column is added alone.", "", body


def _query_only(fits: dict[str, Fit]) -> tuple[str, str, str, str]:
    table = {column: value[:10].tolist() for column, value in fits["query only"].items()}
    lines = ["TABLE = {", *(f"    {column}: {row}," for column, row in table.items()), "}\n"]
    body = "    return TABLE[i][s]\n"
    return "A table of s alone.", "The operands are not used.", "\n".join(lines), body


_PARTS = {
    "place value": _place_value,
    "carry bit": _carry_bit,
    "look-ahead": _look_ahead,
    "lookup": _lookup,
    "no carry": _no_carry,
    "query only": _query_only,
}


def compare_program(
    source: str, tables: Tables, wrong: tuple[torch.Tensor, torch.Tensor], n: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Run the program beside the network, both from their own answers.

    Args:
        source: The program.
        tables: The network.
        wrong: Pairs that the network answers wrongly.
        n: Uniform pairs, and carry-stratified ones.
        seed: For the pairs.

    Returns:
        One row per set of pairs: size, share of equal answers with its 95 % interval, and how often
        each of the two is wrong; and the first fifty pairs on which they differ.
    """
    generator = torch.Generator().manual_seed(seed)
    sets = {
        "uniform": uniform_pairs(n, generator),
        "carry chains": carry_stratified_pairs(n, generator),
        "the network's failures": wrong,
    }
    add = compile_program(source)
    rows, different = [], []
    for name, (a, b) in sets.items():
        if not len(a):
            continue
        model = decode(tables, a, b).sums.numpy()
        ours = np.array([add(int(x), int(y)) for x, y in zip(a, b, strict=True)])
        true = (a + b).numpy()
        same = int((model == ours).sum())
        low, high = clopper_pearson(same, len(a))
        rows.append([name, len(a), same / len(a), low, high])
        rows[-1] += [int((model != true).sum()), int((ours != true).sum())]
        for k in np.flatnonzero(model != ours)[:50]:
            different.append(
                [name, int(a[k]), int(b[k]), int(true[k]), int(model[k]), int(ours[k])]
            )
    columns = ["pairs", "n", "same", "low", "high", "network_wrong", "program_wrong"]
    return (
        pd.DataFrame(rows, columns=columns),
        pd.DataFrame(different, columns=["pairs", "a", "b", "true", "network", "program"]),
    )
