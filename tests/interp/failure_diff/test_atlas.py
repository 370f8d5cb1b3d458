import pandas as pd

from interp.failure_diff.atlas import describe_atlas


def tables(lower: int, upper: int, masses: list[tuple[int, int]]) -> dict[str, pd.DataFrame]:
    counts = {"right_at_least": [lower], "right_at_most": [upper]}
    return {
        "atlas": pd.DataFrame(masses, columns=["column", "mass"], dtype=object),
        "certified": pd.DataFrame(counts, dtype=object),
    }


def test_exact_counts_keep_every_digit():
    total = 10**20
    text = describe_atlas(tables(total - 7, total - 7, [(8, 4), (8, 1), (4, 2)]))
    assert "exactly 7 of the 10^20 pairs are added wrongly (a share of 7e-20)" in text
    assert "2e-20 in column 4, 5e-20 in column 8" in text


def test_a_gap_is_said():
    text = describe_atlas(tables(10**20 - 10, 10**20, []))
    assert "between 0 and 10 of the 10^20 pairs" in text
    assert "by column" not in text
