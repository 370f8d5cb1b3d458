"""The write-ups' statements that our checkpoints and runs can test, as data.

Each names its source, the measure that tests it (`analyses.claims`) and what that measure
needs to know: the numbers here are the write-ups' own.
"""

from dataclasses import dataclass, field
from typing import Any

REPORT, README = "311p report", "262p README"


@dataclass(frozen=True)
class Claim:
    """One statement.

    Attributes:
        source: Which write-up.
        place: Section or table.
        statement: The statement, in our words.
        measure: Name of the measure.
        arguments: What the measure is given.
    """

    source: str
    place: str
    statement: str
    measure: str
    arguments: dict[str, Any] = field(default_factory=dict)


def _count(source: str, place: str, preset: str, stated: int) -> Claim:
    text = f"The {preset} network has {stated} parameters."
    return Claim(source, place, text, "parameter_count", {"preset": preset, "stated": stated})


def _accuracy(source: str, place: str, preset: str, errors: int, text: str) -> Claim:
    arguments = {"preset": preset, "errors": errors}
    return Claim(source, place, text, "official_errors", arguments)


def _rate(source: str, place: str, preset: str, stated: tuple[int, int], steps: int) -> Claim:
    text = f"{stated[0]} of {stated[1]} seeds of {preset} grok within {steps} steps."
    arguments = {"preset": preset, "stated": stated, "steps": steps}
    return Claim(source, place, text, "grok_rate", arguments)


FAILING = {"a": 9304630660, "b": 8594408863}
TABLE_6 = (1.0000, 0.9994, 0.9954, 0.9950, 0.9798, 0.9644, 0.7208, 0.6842)

CLAIMS: tuple[Claim, ...] = (
    # Sizes
    _count(REPORT, "Table 1", "973p", 973),
    _count(REPORT, "Table 1", "777p", 777),
    _count(REPORT, "Table 1", "512p", 512),
    _count(REPORT, "Table 1", "491p", 491),
    _count(REPORT, "Table 1", "456p", 456),
    _count(REPORT, "Table 2", "311p", 311),
    _count(REPORT, "Table 7", "303p", 303),
    _count(REPORT, "Table 7", "295p", 295),
    _count(REPORT, "Table 7", "271p", 271),
    _count(README, "Results", "262p", 262),
    _count(README, "Results", "274p", 274),
    Claim(
        REPORT,
        "Table 3, 456p",
        "The 456p column: 98, 120, 21, (QKV empty), 28, 42, 42, in all 456.",
        "component_table",
        {
            "preset": "456p",
            "parts": {"W_E": 98, "W_pos": 120, "ln": 21, "W_O": 28, "W_in": 42, "W_out": 42},
            "total": 456,
        },
    ),
    Claim(
        REPORT,
        "Table 3, 311p",
        "The 311p column: 56, 111, 12, 36, 24, 36, 36, in all 311.",
        "component_table",
        {
            "preset": "311p",
            "parts": {
                "W_E": 56,
                "W_pos": 111,
                "ln": 12,
                "QKV": 36,
                "W_O": 24,
                "W_in": 36,
                "W_out": 36,
            },
            "total": 311,
        },
    ),
    Claim(
        README,
        "Architecture",
        "The 262p table: 56, 74, 12, 36, 24, 30, 30, in all 262.",
        "component_table",
        {
            "preset": "262p",
            "parts": {
                "W_E": 56,
                "W_pos": 74,
                "ln": 12,
                "QKV": 36,
                "W_O": 24,
                "W_in": 30,
                "W_out": 30,
            },
            "total": 262,
        },
    ),
    Claim(
        REPORT,
        "Section 2.2.2",
        "Sharing A and tying K = V cuts the QKV projections' parameters by 50 %.",
        "qkv_saving",
        {"before": "491p", "after": "456p", "stated": 0.5},
    ),
    Claim(
        REPORT,
        "Section 1",
        "From 777 to 311 parameters is a 60 % reduction.",
        "arithmetic",
        {"stated": 60, "found": 100 * (777 - 311) / 777, "tolerance": 0.5, "unit": "%"},
    ),
    Claim(
        REPORT,
        "Table 8",
        "The training path is 342,000 steps: 162K + 100K + 50K + 30K.",
        "arithmetic",
        {"stated": 342_000, "found": 162_000 + 100_000 + 50_000 + 30_000, "unit": "steps"},
    ),
    # Format
    Claim(
        REPORT,
        "Section 3.3",
        "All sequences are exactly 33 tokens.",
        "sequence_length",
        {"stated": 33},
    ),
    Claim(
        REPORT,
        "Section 3.1, 3.2",
        "123 + 45 is written 0000000123+0000000045=86100000000<EOS>.",
        "written_as",
        {"a": 123, "b": 45, "stated": "0000000123+0000000045=86100000000<EOS>"},
    ),
    Claim(
        REPORT,
        "Section 3.4",
        "Each output digit depends only on its own operand digits and the carry from the column "
        "below.",
        "looks_ahead",
        {"preset": "311p", **FAILING},
    ),
    # Accuracy
    _accuracy(REPORT, "Table 8", "311p", 1, "311p makes 1 error in the official 100,000."),
    Claim(
        REPORT,
        "Table 9",
        "All official test seeds are free of errors but seed 100, which has one.",
        "errors_by_seed",
        {"preset": "311p", "stated": {100: 1}},
    ),
    Claim(
        REPORT,
        "Title",
        "311p adds uniform pairs with 99.999 % exact match.",
        "true_accuracy",
        {"preset": "311p", "stated": 0.99999},
    ),
    _accuracy(REPORT, "Table 1", "456p", 0, "456p makes no error in the official 100,000."),
    Claim(
        REPORT,
        "Table 1",
        "491p has at least 99.97 % exact match.",
        "official_at_least",
        {"preset": "491p", "accuracy": 0.9997},
    ),
    Claim(
        REPORT,
        "Table 1",
        "512p has at least 99.97 % exact match.",
        "official_at_least",
        {"preset": "512p", "accuracy": 0.9997},
    ),
    Claim(
        README,
        "Results",
        "262p has 100 % exact match on 10,000 test pairs.",
        "perfect",
        {"preset": "262p", "sample": 10_000},
    ),
    _accuracy(README, "Results", "274p", 10, "274p makes 10 errors in the official 100,000."),
    # The failing case
    Claim(
        REPORT,
        "Section 7",
        "The one error is 9304630660 + 8594408863, on test seed 100.",
        "failing_pair",
        {"preset": "311p", "seed": 100, **FAILING},
    ),
    Claim(
        REPORT,
        "Section 7",
        "The model answers 17899039423 to it.",
        "failing_answer",
        {"preset": "311p", "stated": 17899039423, **FAILING},
    ),
    Claim(
        REPORT,
        "Section 7",
        "It is off by 100: digit 2 is 4 instead of 5.",
        "failing_column",
        {"preset": "311p", "column": 2, "said": 4, "true": 5, "off": -100, **FAILING},
    ),
    Claim(
        REPORT,
        "Section 7",
        "Position 1 of it is 6 + 6 = 12, with carry 1.",
        "column_digits",
        {"column": 1, "digits": (6, 6), "carry_in": 0, "total": 12, **FAILING},
    ),
    Claim(
        REPORT,
        "Section 7",
        "Position 2 of it is 0 + 8 + 1 = 9, with no carry.",
        "column_digits",
        {"column": 2, "digits": (0, 8), "carry_in": 1, "total": 9, **FAILING},
    ),
    Claim(
        REPORT,
        "Section 7",
        "Position 2 is the hundred-millions place.",
        "arithmetic",
        {"stated": 100_000_000, "found": 10**2, "unit": "(place value)"},
    ),
    Claim(
        REPORT,
        "Section 7",
        "It is a carry-chain propagation error.",
        "chain_error",
        {"preset": "311p", **FAILING},
    ),
    Claim(
        REPORT,
        "Section 7, 11.2",
        "The remaining error is a fundamental limit of representation at 311 parameters.",
        "fundamental_limit",
        {"n_params": 311, "d_model": 4},
    ),
    # Training
    _rate(REPORT, "Table 7", "311p", (6, 56), 162_000),
    _rate(REPORT, "Table 7", "303p", (2, 56), 162_000),
    _rate(REPORT, "Table 7", "295p", (0, 14), 162_000),
    _rate(REPORT, "Table 7", "271p", (0, 14), 162_000),
    _rate(README, "Grokking", "262p", (1, 10), 500_000),
    _rate(README, "Grokking", "274p", (1, 1), 200_000),
    Claim(
        REPORT,
        "Section 6.1.1",
        "Attention output rank 2 instead of 3 cuts the grok rate (6 of 56 to 2 of 56).",
        "rates_differ",
        {"first": (6, 56), "second": (2, 56)},
    ),
    Claim(
        REPORT,
        "Section 6.1.1",
        "Attention output rank 1 eliminates grokking (6 of 56 to 0 of 14).",
        "rates_differ",
        {"first": (6, 56), "second": (0, 14)},
    ),
    Claim(
        REPORT,
        "Section 6.1.1",
        "Rank 3 is the minimum viable rank of the attention output at d_model 4.",
        "minimum_rank",
        {"field": "attn_out_rank", "rank": 3, "d_model": 4},
    ),
    Claim(
        REPORT,
        "Section 6.1.1",
        "Rank 3 is the minimum viable rank (read of the position embedding).",
        "minimum_rank",
        {"field": "pos_rank", "rank": 3, "d_model": 4},
    ),
    Claim(
        REPORT,
        "Section 11.2",
        "311 parameters are near the least that can learn the task in one layer.",
        "smaller_learns",
        {"n_params": 311},
    ),
    Claim(
        REPORT,
        "Section 4.3",
        "Seeds 0-55 and 100, 200 were tested, 56 in all.",
        "arithmetic",
        {"stated": 56, "found": 56 + 2, "unit": "seeds"},
    ),
    Claim(
        REPORT,
        "Section 4.3, Table 6",
        "6 of the seeds exceed 90 %.",
        "counted",
        {"values": TABLE_6, "above": 0.9, "stated": 6},
    ),
    Claim(
        REPORT,
        "Section 4.3, Table 6",
        "Only 1 of the seeds exceeds 99 %.",
        "counted",
        {"values": TABLE_6, "above": 0.99, "stated": 1},
    ),
    Claim(
        REPORT,
        "Section 6.1.2, Table 6",
        "At d_model 4 the best seed peaks at about 97 % on validation.",
        "arithmetic",
        {"stated": 97, "found": 100 * max(TABLE_6), "tolerance": 1.0, "unit": "%"},
    ),
    Claim(
        REPORT,
        "Section 5.1",
        "311p leaves zero after about 35,000 steps.",
        "transition_step",
        {"preset": "311p", "above": 0.01, "stated": 35_000},
    ),
    Claim(
        README,
        "Grokking",
        "262p stays near zero for about 400,000 steps.",
        "transition_step",
        {"preset": "262p", "above": 0.01, "stated": 400_000},
    ),
    Claim(
        README,
        "Grokking",
        "262p reaches 100 % at step 480,000.",
        "transition_step",
        {"preset": "262p", "above": 0.999, "stated": 480_000},
    ),
)
