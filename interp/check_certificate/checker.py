"""Every step of a certificate, made again: leaves, verdicts, witnesses, counts."""

import numpy as np

from interp.check_certificate.cells import Cell, Sets, holds_pair, rebuild
from interp.check_certificate.content import Content
from interp.check_certificate.count import count
from interp.check_certificate.files import hash_weights
from interp.check_certificate.tables import Checker
from interp.check_certificate.verdicts import check_leaves, forward_margins


class Refuted(Exception):
    """A claim of the certificate does not hold."""


# Underflow is part of the bounds (rounding.TINY); nothing else may go unnoticed.
@np.errstate(all="raise", under="ignore")
def check(
    content: Content, tensors: dict[str, np.ndarray], config: dict
) -> dict[str, tuple[int, int]]:
    """Verify a certificate.

    Returns:
        Lower and upper counts, as counted here; they equal those of the certificate.

    Raises:
        Refuted: Some claim does not hold.
        ValueError: A tree or a hint is impossible, or a weight is outside the theorem.
        FloatingPointError: A number of this program left its range.
    """
    _require(content.weights_sha256 == hash_weights(tensors), "it is of other weights")
    _require(content.config == config, "it is of another configuration")
    network = Checker({name: x.astype(np.float64) for name, x in tensors.items()}, config)
    sets = Sets()
    bad: dict[tuple[int, int, int], list[Cell]] = {}
    wrong: dict[tuple[int, int], Cell] = {}
    for index, tree in enumerate(content.trees):
        cells, truth, codes = rebuild(sets, tree.column, tree.query, tree.codes.tolist())
        hints = tree.reference, tree.axes
        leaves = np.array(cells), np.array(truth), np.array(codes)
        fault = check_leaves(network, sets, tree.column, tree.query, hints, *leaves)
        _require(fault is None, str(fault))
        for leaf, (cell, code) in enumerate(zip(cells, codes, strict=True)):
            for arithmetic, verdict in enumerate(divmod(code, 3)):
                if verdict:
                    bad.setdefault((arithmetic, tree.column, verdict), []).append(cell)
            if code >= 3 and code // 3 == 1 and tree.column < 11:
                wrong[index, leaf] = cell
    _check_witnesses(network, sets, content, wrong)
    counts = count(sets, bad, content.counting)
    for name, counted in counts.items():
        for end, claimed, number in zip(
            ("lower", "upper"), content.counts[name], counted, strict=True
        ):
            _require(claimed == number, f"{name} {end} is {claimed}, counted {number}")
    return counts


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Refuted(otherwise)


def _check_witnesses(
    network: Checker, sets: Sets, content: Content, wrong: dict[tuple[int, int], Cell]
) -> None:
    rows = content.witnesses
    columns = [tree.column for tree in content.trees]
    seen = {(int(tree), int(leaf)) for tree, leaf, _, _ in rows}
    holds_pairs = {key for key, cell in wrong.items() if holds_pair(sets, cell)}
    _require(seen == holds_pairs, "not every failing cell has its witness")
    a, b = rows[:, 2], rows[:, 3]
    _require(bool(((rows[:, 2:] >= 0) & (rows[:, 2:] < 10**10)).all()), "a witness is no pair")
    carry = np.zeros(len(rows), dtype=np.int64)
    found = [wrong[int(tree), int(leaf)] for tree, leaf, _, _ in rows]
    cells = np.array(found, dtype=np.int64).reshape(-1, 10)
    masks = np.array(sets.rows)
    for k in range(10):
        x, y = a // 10**k % 10, b // 10**k % 10
        inside = masks[cells[:, k], 100 * carry + 10 * x + y]
        _require(bool(inside.all()), "a witness is outside its cell")
        carry = (x + y + carry) // 10
    margin = forward_margins(network, a, b)
    column = np.array([columns[tree] for tree in rows[:, 0]], dtype=np.int64)
    failing = margin[np.arange(len(rows)), column] < 0 if len(rows) else np.ones(0, dtype=bool)
    _require(bool(failing.all()), "a witness is answered correctly in its column")
