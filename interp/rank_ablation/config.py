"""What a run of the rank ablations sweeps."""

from dataclasses import dataclass
from typing import Literal, get_args

from model.errors import InputError
from model.shell import Few, Sample, Seed, Share, check_fields

Matrix = Literal[
    "W_pos",
    "W_QK",
    "W_OV",
    "W_Q",
    "W_KV",
    "W_K",
    "W_V",
    "W_O",
    "W_in",
    "W_gate",
    "W_out",
    "ln1",
    "ln2",
    "ln_final",
    "edges",
]
Cut = Literal["svd", "data", "raw", "unit"]
Kind = Literal["zero", "mean", "conditional", "resample"]
NormMode = Literal["live", "frozen"]
Metric = Literal[
    "exact",
    "digit_accuracy",
    "first_error",
    "chain_error",
    "state_error",
    "below_error",
    "spurious",
    "missed",
    "other",
    "margin",
    "kl",
]


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to sweep.

    Raises:
        InputError: A name that does not exist, or a number out of range.
    """

    matrix: tuple[Matrix, ...] = get_args(Matrix)
    """What is cut, in every head; norms and edges have the basis "unit" only, and what a network or
    a basis lacks is passed over."""
    basis: tuple[Cut, ...] = ("svd",)
    """How matrices are cut: svd, data (weighted), raw (factors as stored), unit (neurons,
    positions, gains, edges by role)."""
    kind: tuple[Kind, ...] = get_args(Kind)
    """What replaces a single component: zero, mean, conditional, resample."""
    norm: tuple[NormMode, ...] = ("live",)
    """Whether later norms are recomputed (live) or keep the intact network's scale (frozen)."""
    metric: tuple[Metric, ...] = ("exact",)
    """What is printed and drawn; the table on disk holds every metric."""
    pairwise: bool = False
    """Also remove pairs of components across matrices."""
    subsets: bool = False
    """Also remove every subset of a matrix's components (up to 8 of them)."""
    pairs: Sample = 100_000
    """Uniform sums per ablation; a fifth as many again are stratified by carry chain."""
    seed: Seed = 0
    """Seed of sums, donors and nulls."""
    draws: Few = 20
    """Random terms of equal Frobenius norm per ablation, on a hundredth of the sums."""
    gauges: Few = 100
    """Random gauges in the test that stands beside the basis "raw"."""
    block_tolerance: Share = 0.02
    """Singular values closer than this, relatively, are one block."""

    def __post_init__(self) -> None:
        """Check every field."""
        choices = {
            "matrix": get_args(Matrix),
            "basis": get_args(Cut),
            "kind": get_args(Kind),
            "norm": get_args(NormMode),
            "metric": get_args(Metric),
        }
        for field, known in choices.items():
            chosen = getattr(self, field)
            for name in chosen:
                if name not in known:
                    raise InputError(f"--{field} {name!r} is unknown: use {', '.join(known)}")
            if not chosen:
                raise InputError(f"--{field} is empty: use one or more of {', '.join(known)}")
        check_fields(self)
