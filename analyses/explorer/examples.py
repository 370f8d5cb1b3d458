"""Pairs worth looking at: hard ones, and those that a network gets wrong, or nearly."""

from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from model.decode import decode
from model.layouts import Layout
from model.network import Network
from model.sums import HARD_CASES
from model.task import carry_stratified_pairs, uniform_pairs

PUBLISHED = "published failing case"
MOST_FAILURES = 4


def choose_examples(network: Network, pairs: int) -> list[dict[str, Any]]:
    """Choose named pairs; operands are texts, since they may be too long for a browser's numbers.

    Args:
        network: Any network.
        pairs: Pairs of either kind, uniform and with long carry chains, that are decoded (seed 0).

    Returns:
        Entries with `label`, `a`, `b` and, for those that were searched, `about`.
    """
    layout = network.layout
    return [*_named(layout), *(_searched(network, pairs) if pairs else [])]


def _named(layout: Layout) -> list[dict[str, Any]]:
    largest = layout.max_operand
    found = [
        _entry("all nines" if layout.base == 10 else "largest", largest, largest),
        _entry("longest chain", largest, 1),
        _entry("no carry at all", *_no_carry(layout)),
    ]
    if layout.base**layout.width == 10**10:
        found.append(_entry("the write-ups' error", *HARD_CASES[PUBLISHED]))
    return found


def _no_carry(layout: Layout) -> tuple[int, int]:
    """Digits that sum to the base less one in every column: one carry would go through all."""
    a = sum((i + 1) % layout.base * layout.base**i for i in range(layout.width))
    return a, layout.max_operand - a


def _searched(network: Network, pairs: int) -> list[dict[str, Any]]:
    layout, generator = network.layout, torch.Generator().manual_seed(0)
    uniform = uniform_pairs(pairs, generator, layout)
    chains = carry_stratified_pairs(pairs, generator, layout)
    a, b = (torch.cat(side) for side in zip(uniform, chains, strict=True))
    decoded = decode(network, a, b)
    wrong = decoded.wrong[:, : layout.n_answer]
    failures = _first_of_each(wrong)
    if failures:
        about = f"one of {int(wrong.any(dim=1).sum()):,} wrong of {2 * pairs:,} pairs"
        return [
            _entry(f"wrong in s{layout.step(step)}", int(a[row]), int(b[row]), about)
            for step, row in failures
        ]
    margin = decoded.margin[:, : layout.n_answer].min(dim=1).values
    row = int(margin.argmin())
    about = f"the smallest margin of {2 * pairs:,} pairs, all right"
    return [_entry("smallest margin", int(a[row]), int(b[row]), about)]


def _first_of_each(wrong: Bool[Tensor, "batch steps"]) -> list[tuple[int, int]]:
    """Take the first row whose first wrong step is k, for each k, at most four: (k, row)."""
    rows = wrong.any(dim=1).nonzero()[:, 0]
    first = wrong[rows].int().argmax(dim=1)
    found = [(step, rows[first == step]) for step in range(wrong.shape[1])]
    return [(step, int(hits[0])) for step, hits in found if len(hits)][:MOST_FAILURES]


def _entry(label: str, a: int, b: int, about: str = "") -> dict[str, Any]:
    return {"label": label, "a": str(a), "b": str(b), "about": about}
