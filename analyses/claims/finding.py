"""What measuring a statement yields."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from model.intervals import clopper_pearson

Verdict = Literal["holds", "does not", "not testable here"]


@dataclass(frozen=True)
class Finding:
    """What was measured for a statement.

    Attributes:
        verdict: Whether it holds.
        measured: What was found, in words.
        interval: 95 % interval of the measured rate; empty where the measurement is exact.
        how: What it was measured on.
    """

    verdict: Verdict
    measured: str
    interval: str = ""
    how: str = ""


Measure = Callable[..., Finding]
"""Takes the world and a claim's arguments."""


def verdict_of(holds: bool) -> Verdict:
    """Name the verdict on a statement that was tested."""
    return "holds" if holds else "does not"


def missing(what: str) -> Finding:
    """Say what a statement could not be tested for."""
    return Finding("not testable here", what)


def percent(low: float, high: float) -> str:
    """Write an interval of a rate."""
    return f"{100 * low:.4g} to {100 * high:.4g} %"


def error_range(errors: int, n: int) -> str:
    """Write the interval of an error rate."""
    low, high = clopper_pearson(errors, n)
    return f"error rate {low:.2g} to {high:.2g}"


def count_of(n: int, what: str = "error") -> str:
    """Write a count with its noun: "1 error", "2 errors", "no error"."""
    return f"{n:,} {what}{'' if n == 1 else 's'}" if n else f"no {what}"


def pair_of(a: int, b: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Write one pair as a batch of one."""
    return torch.tensor([a]), torch.tensor([b])
