"""What the two write-ups print about training: their tables, as data."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedRun:
    """One seed of a published sweep.

    Attributes:
        seed: Its seed; ours of the same number draws other pairs, so only rates compare.
        exact: Best validation exact match.
        step: Step of it, None where not stated.
    """

    seed: int
    exact: float
    step: int | None = None


@dataclass(frozen=True)
class PublishedRate:
    """How many seeds of one configuration exceeded 90 %.

    Attributes:
        preset: The shape.
        grokked: Seeds above.
        runs: Seeds in all.
        best: Best validation exact match of all, None where not stated.
    """

    preset: str
    grokked: int
    runs: int
    best: float | None = None


@dataclass(frozen=True)
class PublishedRecord:
    """One row of a table of records.

    Attributes:
        preset: The shape.
        exact: Exact match as printed.
        trained_by: Whose model it is; those of "prior art" are not ours to train.
    """

    preset: str
    exact: str
    trained_by: str


@dataclass(frozen=True)
class PublishedRound:
    """One line of the fine-tuning table.

    Attributes:
        name: Its name.
        errors: Errors on the official 100,000 pairs.
    """

    name: str
    errors: int


TABLE_1 = (
    PublishedRecord("973p", "100.00%", "prior art"),
    PublishedRecord("777p", "99.69%", "prior art"),
    PublishedRecord("512p", ">= 99.97%", "report"),
    PublishedRecord("491p", ">= 99.97%", "report"),
    PublishedRecord("456p", "100.00%", "report"),
    PublishedRecord("311p", "99.999%", "report"),
    PublishedRecord("274p", "99.99%", "262p README"),
    PublishedRecord("262p", "100%", "262p README"),
)
"""Table 1 of the report, and the results table of the 262p README."""

TABLE_5 = (
    PublishedRound("base", 2_780),
    PublishedRound("round 1", 28),
    PublishedRound("round 2", 9),
    PublishedRound("round 3", 1),
)

TABLE_6 = (
    PublishedRun(34, 1.0, 152_000),
    PublishedRun(48, 0.9994, 159_000),
    PublishedRun(18, 0.9954, 156_000),
    PublishedRun(50, 0.9950, 153_000),
    PublishedRun(39, 0.9798, 158_000),
    PublishedRun(46, 0.9644, 158_000),
    PublishedRun(9, 0.7208, 161_000),
    PublishedRun(11, 0.6842, 157_000),
)
"""The seeds that Table 6 names."""
TABLE_6_RUNS, UNNAMED_BELOW = 56, 0.11
"""All its seeds, and what it says of those that it does not name."""

TABLE_7 = (
    PublishedRate("311p", 6, 56, 1.0),
    PublishedRate("303p", 2, 56, 0.993),
    PublishedRate("295p", 0, 14, 0.078),
    PublishedRate("271p", 0, 14, 0.008),
)

SEEDS_262 = (
    PublishedRun(1, 0.0996),
    *(PublishedRun(seed, 0.0) for seed in (7, 13, 23, 37, 51, 77, 99, 123)),
    PublishedRun(256, 1.0, 480_000),
)
RATE_262 = PublishedRate("262p", 1, 10, 1.0)

STEPS = {
    "512p": 27_000,
    "491p": 27_000,
    "456p": 27_000,
    "311p": 162_000,
    "303p": 162_000,
    "295p": 162_000,
    "271p": 162_000,
    "274p": 200_000,
    "262p": 500_000,
}
"""Length of the published runs from scratch, by shape."""
