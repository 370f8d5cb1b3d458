"""The second proof: a sample of the cells that the checker accepted, each proved again in balls.

Nothing of the checker's bounds is used, only its cells: the margins come from python-flint's balls
over everything that a cell can give, in `PRECISION` bits (docs/certification.md, "A second proof").
"""

import itertools
from typing import Any

import numpy as np
from flint import ctx

from interp.check_certificate.cells import Sets, rebuild
from interp.check_certificate.content import Content
from interp.check_certificate.exact_boxes import Network, Query
from interp.check_certificate.exact_margins import Head, proved

PRECISION = 128
NAMES = ("right", "wrong", "undecided")


def confirm(
    content: Content, tensors: dict[str, np.ndarray], config: dict[str, Any], sample: int, seed: int
) -> tuple[int, list[str]]:
    """Prove a sample of cells a second time.

    Args:
        content: A certificate whose trees are in order.
        tensors: Stored parameters, float32.
        config: The configuration.
        sample: How many cells of every column, of those that claim something; all where there are
            fewer.
        seed: Which.

    Returns:
        How many cells were confirmed, and one line for each that was not.
    """
    precision, ctx.prec = ctx.prec, PRECISION
    try:
        return _confirm(content, tensors, config, sample, seed)
    finally:
        ctx.prec = precision


def _confirm(
    content: Content, tensors: dict[str, np.ndarray], config: dict[str, Any], sample: int, seed: int
) -> tuple[int, list[str]]:
    network, sets, heads = Network(tensors, config), Sets(), {}
    confirmed, failed = 0, []
    drawn = _draw(content, sample, seed)
    for tree, chosen in zip(content.trees, drawn, strict=True):
        if not len(chosen):
            continue
        cells, truth, codes = rebuild(sets, tree.column, tree.query, tree.codes.tolist())
        place = f"column {tree.column}, query {tree.query}"
        try:
            query = Query(network, tree.column, tree.query, tree.reference, tree.axes)
        except ZeroDivisionError:
            failed.append(f"{place}: the axes cannot be inverted")
            continue
        for leaf in chosen.tolist():
            token, (real, float32) = truth[leaf], divmod(codes[leaf], 3)
            if token not in heads:
                heads[token] = Head(network, token)
            if proved(heads[token], query.box(sets, cells[leaf]), real, float32):
                confirmed += 1
            else:
                failed.append(
                    f"{place}: leaf {leaf} (real {NAMES[real]}, float32 {NAMES[float32]}) is not "
                    "confirmed"
                )
    return confirmed, failed


def _draw(content: Content, sample: int, seed: int) -> list[np.ndarray]:
    """Draw leaves of every column, as numbers of leaves within each tree."""
    generator = np.random.default_rng(seed)
    leaves = [tree.codes[tree.codes < 9] for tree in content.trees]
    drawn: list[np.ndarray] = []
    for column in range(12):
        trees = [x for x, tree in zip(leaves, content.trees, strict=True) if tree.column == column]
        edges = np.cumsum([0, *(len(x) for x in trees)])
        claims = np.flatnonzero(np.concatenate(trees) != 8)
        chosen = np.sort(generator.permutation(claims)[:sample])
        drawn += [
            chosen[(low <= chosen) & (chosen < high)] - low
            for low, high in itertools.pairwise(edges)
        ]
    return drawn
