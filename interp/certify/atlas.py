"""The atlas: every failing and every undecided context, its exact mass and a pair that shows it."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from interp.certify.cells import (
    ALL,
    ANSWER,
    CARRY,
    CARRY_IN,
    CARRY_OUT,
    CARRY_SUM,
    DIGIT_A,
    DIGIT_B,
    LEFT,
    N_OPTIONS,
    PAIR,
    SINGLE,
    SUM,
    members,
)
from interp.certify.certificate import Certificate
from interp.certify.count import TOTAL, cell_masses
from interp.certify.search import Tree
from interp.certify.verdicts import RIGHT, WRONG
from model.adder import Adder
from model.decode import decode_exactly
from model.task import N_ANSWER, N_DIGITS, encode

VERDICTS = ("right", "wrong", "undecided")


def build_atlas(
    certificate: Certificate, model: Adder, *, seed: int = 0, largest: int = 20_000
) -> pd.DataFrame:
    """List the contexts that are not proved right in both arithmetics, the largest first.

    Every context that is wrong in real arithmetic is listed; of the undecided ones, those with the
    largest mass. The witness of a context is a random pair in it: any pair in a failing context
    fails. Its answer and margin are those of the model itself in float64, and its answer in float32
    that of the plain PyTorch forward pass.

    Args:
        certificate: The certificate of `model`.
        model: The network.
        seed: Of the witnesses.
        largest: How many contexts that are not wrong in real arithmetic are listed at most.

    Returns:
        One row per context: column, verdicts, exact mass (Python integers), share of all pairs,
        digits (templates with ? where free, and words), witness and what the model answers to it.
    """
    parts = [_rows(tree, i) for i, tree in enumerate(certificate.trees) if tree.column < N_ANSWER]
    table = pd.concat([part for part in parts if len(part)] or [parts[0]], ignore_index=True)
    table = table.sort_values("mass", ascending=False, key=lambda x: x.astype(float), kind="stable")
    keep = (table["real"] == WRONG) | ((table["real"] != WRONG).cumsum() <= largest)
    table = table[keep & (table["mass"] > 0)].reset_index(drop=True)
    trees = certificate.trees
    cells = np.array(
        [trees[t].leaves[i] for t, i in zip(table["tree"], table["leaf"], strict=True)],
        dtype=np.int16,
    ).reshape(-1, N_DIGITS)
    a, b = sample_pairs(cells, np.random.default_rng(seed))
    table = table.assign(
        share=[float(mass / TOTAL) for mass in table["mass"]],
        a_digits=[template(cell)[0] for cell in cells],
        b_digits=[template(cell)[1] for cell in cells],
        context=[describe(cell) for cell in cells],
        a=a,
        b=b,
    )
    table["real"] = [VERDICTS[v] for v in table["real"]]
    table["float32"] = [VERDICTS[v] for v in table["float32"]]
    return pd.concat([table, _answers(model, a, b, table["column"].to_numpy(copy=True))], axis=1)


def _rows(tree: Tree, index: int) -> pd.DataFrame:
    rows = np.flatnonzero((tree.real != RIGHT) | (tree.float32 != RIGHT))
    return pd.DataFrame(
        {
            "tree": index,
            "leaf": rows,
            "column": tree.column,
            "real": tree.real[rows],
            "float32": tree.float32[rows],
            "mass": pd.Series(cell_masses(tree.leaves[rows]), dtype=object),
        }
    )


def _answers(model: Adder, a: np.ndarray, b: np.ndarray, column: np.ndarray) -> pd.DataFrame:
    """Ask the model: margin of the column on the true prefix, and the greedy answers."""
    x, y = torch.from_numpy(a), torch.from_numpy(b)
    forced = decode_exactly(model, x, y, prefix=encode(x, y)[:, -12:-1])
    return pd.DataFrame(
        {
            "margin": forced.margin[torch.arange(len(a)), torch.from_numpy(column)].numpy(),
            "true": a + b,
            "answer": decode_exactly(model, x, y).sums.numpy(),
            "answer_float32": greedy_float32(model, x, y).numpy(),
        }
    )


def greedy_float32(model: Adder, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Decode with the plain forward pass in the model's own float32, whole sequence by sequence."""
    tokens = encode(a, b)[:, : -N_ANSWER - 1]
    with torch.no_grad():
        for _ in range(N_ANSWER):
            following = [model(part)[:, -1].argmax(dim=1) for part in tokens.split(4096)]
            following = torch.cat(following) if following else tokens[:, 0]
            tokens = torch.cat([tokens, following[:, None]], dim=1)
    answer = tokens[:, -N_ANSWER:]
    powers = 10 ** torch.arange(N_ANSWER, dtype=torch.int64)
    return torch.where((answer < 10).all(dim=1), (answer * powers).sum(dim=1), -1)


def sample_pairs(cells: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw one pair uniformly from each cell (each must hold one).

    Args:
        cells: Classes, (cell, 10).
        rng: The generator.

    Returns:
        Operands a and b, int64.
    """
    n = len(cells)
    rest = [np.ones((n, 2))]  # pairs that complete a cell, by carry in, from the top down
    for k in reversed(range(N_DIGITS)):
        inside = members(k)[cells[:, k]]
        weight = inside * rest[0][:, CARRY_OUT]
        rest.insert(0, np.stack([weight[:, :100].sum(1), weight[:, 100:].sum(1)], axis=1))
    carry = np.zeros(n, dtype=np.int64)
    a, b = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    rows = np.arange(n)[:, None]
    for k in range(N_DIGITS):
        options = 100 * carry[:, None] + np.arange(100)
        weight = members(k)[cells[:, k]][rows, options] * rest[k + 1][rows, CARRY_OUT[options]]
        level = np.cumsum(weight, axis=1)
        aim = rng.random(n)[:, None] * level[:, -1:]
        option = options[rows[:, 0], np.minimum((level <= aim).sum(axis=1), 99)]
        a, b = a + DIGIT_A[option] * 10**k, b + DIGIT_B[option] * 10**k
        carry = CARRY_OUT[option]
    return a, b


def template_digits(cell: np.ndarray) -> np.ndarray:
    """Give the 20 digits of a cell: a then b, units first, -1 where a digit is free."""
    digits = np.full((2, N_DIGITS), -1)
    for k, label in enumerate(cell):
        if SINGLE <= label < SINGLE + N_OPTIONS:
            digits[:, k] = DIGIT_A[label - SINGLE], DIGIT_B[label - SINGLE]
        elif label >= PAIR:
            digits[:, k] = divmod(int(label) - PAIR, 10)
        elif label >= LEFT:
            digits[0, k] = label - LEFT
    return digits.ravel()


def template(cell: np.ndarray) -> tuple[str, str]:
    """Write the digits of a and b, most significant first, ? where free."""
    digits = template_digits(cell).reshape(2, N_DIGITS)[:, ::-1]
    a, b = ("".join("?" if x < 0 else str(x) for x in row) for row in digits)
    return a, b


def training_cases(cells: np.ndarray, rng: np.random.Generator, draws: int = 1) -> np.ndarray:
    """Turn cells into training cases of 20 digits, -1 where a digit is free to be drawn afresh.

    Digits that the cell fixes are fixed. Where it fixes only a carry or an answer digit, the digits
    of that group are those of a random pair in the cell.

    Args:
        cells: Classes, (cell, 10).
        rng: The generator.
        draws: Cases per cell.

    Returns:
        Digits of a then b, units first, (cell * draws, 20) int32.
    """
    cells = np.repeat(cells, draws, axis=0)
    a, b = sample_pairs(cells, rng)
    powers = 10 ** np.arange(N_DIGITS)
    drawn = np.concatenate([a[:, None] // powers % 10, b[:, None] // powers % 10], axis=1)
    cases = np.array([template_digits(cell) for cell in cells]).reshape(-1, 2 * N_DIGITS)
    partly = np.tile((cells >= CARRY) & (cells < SINGLE), (1, 2))
    return np.where(partly, drawn, cases).astype(np.int32)


def describe(cell: Sequence[int] | np.ndarray) -> str:
    """Say in words what a cell fixes, units first."""
    words = []
    for k, label in enumerate(int(x) for x in cell):
        if label == ALL:
            continue
        if label < SUM:
            words.append(f"column {k} carries {label - CARRY}")
        elif label < CARRY_SUM:
            words.append(f"s_{k} = {label - SUM}")
        elif label < SINGLE:
            carry, digit = divmod(label - CARRY_SUM, 10)
            words.append(f"s_{k} = {digit}, column {k} carries {carry}")
        elif label < LEFT:
            option = label - SINGLE
            carry = f"{DIGIT_A[option]}+{DIGIT_B[option]}"
            words.append(f"column {k}: {carry}, carry in {CARRY_IN[option]} (s = {ANSWER[option]})")
        elif label < PAIR:
            words.append(f"a_{k} = {label - LEFT}")
        else:
            words.append(f"column {k}: {(label - PAIR) // 10}+{(label - PAIR) % 10}")
    return "; ".join(words)
