import pandas as pd
import pytest

from interp.carry_probe.criteria import (
    best_site,
    dormant,
    grouped,
    listed,
    present,
    route,
    share,
    used,
)


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ([], "no column"),
        ([10], "column 10"),
        ([3, 2], "columns 2 and 3"),
        ([1, 2, 3, 7], "columns 1 to 3 and 7"),
        ([1, 3, 5, 6, 7, 9], "columns 1, 3, 5 to 7 and 9"),
    ],
)
def test_columns_are_named_in_runs(columns, text):
    assert listed(columns) == text


def test_shares_say_all_and_none():
    assert share([1, 2, 3], [1, 2, 3]) == "all of columns 1 to 3"
    assert share([], [1, 2, 3]) == "none of columns 1 to 3"
    assert share([2], [1, 2, 3]) == "column 2 of columns 1 to 3"
    assert (share([5], [5]), share([], [5])) == (
        "column 5",
        "no column (only column 5 was looked at)",
    )
    by_column = pd.Series({1: "a bit", 2: "a bit", 3: "none"})
    assert grouped(by_column) == "a bit in columns 1 and 2; none in column 3"


def swaps(rows):
    names = ["site", "column", "method", "moved", "low"]
    return pd.DataFrame(rows, columns=names)


def test_used_asks_for_a_large_share_and_more_than_at_random():
    table = swaps(
        [
            ("resid_mid", 1, "mean difference", 0.95, 0.92),
            ("resid_mid", 1, "random", 0.2, 0.1),
            ("resid_mid", 2, "mean difference", 0.95, 0.92),
            ("resid_mid", 2, "random", 0.94, 0.9),
            ("resid_mid", 3, "mean difference", 0.5, 0.4),
            ("resid_mid", 3, "DAS 1", 0.1, 0.0),
            ("resid_mid", 3, "random", 0.2, 0.1),
            ("resid_mid", 4, "mean difference", 0.2, 0.1),
            ("resid_mid", 4, "DAS 1", 0.99, 0.95),
            ("resid_mid", 4, "random", 0.2, 0.1),
        ]
    )
    whole = swaps([("resid_mid", c, "full", 1.0, 0.9) for c in (1, 2, 3, 4)])
    assert used(pd.concat([table, whole])).loc["resid_mid"].tolist() == [1.0, 0.0, 0.5, 1.0]
    assert dormant(pd.concat([table, whole])) == []


def test_a_part_that_moves_more_than_the_whole_is_not_used():
    table = swaps(
        [
            ("resid_mid", 1, "DAS 1", 1.0, 0.98),
            ("resid_mid", 1, "random", 0.1, 0.05),
            ("resid_mid", 1, "full", 0.1, 0.05),
        ]
    )
    assert used(table).loc["resid_mid"].tolist() == [0.0]
    assert dormant(table) == ["DAS 1 at resid_mid"]


def test_routes_by_what_suffices():
    rates = {1: (1.0, 0.0, 1.0), 2: (0.0, 1.0, 1.0), 3: (0.5, 0.5, 1.0), 4: (0.0, 0.0, 0.5)}
    rows = [
        (site, column, "full", rate, 0.0)
        for column, triple in rates.items()
        for site, rate in zip(("values", "keys", "keys and values"), triple, strict=True)
    ]
    assert route(swaps(rows)).tolist() == [
        "by the values",
        "by the keys",
        "by keys and values only together",
        "by neither keys nor values",
    ]


def test_present_asks_for_significance_and_for_part_of_the_way_to_the_digits():
    rows = pd.DataFrame(
        {
            "site": ["pattern", "resid_mid", "resid_mid", "resid_mid"],
            "column": [1, 1, 2, 3],
            "accuracy": [1.0, 0.99, 0.78, 0.99],
            "best_floor": [0.75, 0.75, 0.75, 0.75],
            "raw_digits": [1.0, 1.0, 1.0, 1.0],
            "p_holm": [0.0, 0.0, 0.0, 0.2],
        }
    )
    found = present(rows)
    assert found.loc["resid_mid"].tolist() == [True, False, False]
    assert "pattern" not in found.index  # it has a number for each source, as the digits do
    assert present(rows[rows["site"] == "pattern"]).loc["pattern"].tolist() == [True]


def test_the_best_site_passes_in_most_columns():
    judged = pd.DataFrame({1: [1, 1, 0], 2: [0, 1, 1]}, index=["a", "b", "c"])
    scores = pd.DataFrame({1: [1.0, 0.9, 0.9], 2: [1.0, 0.9, 0.9]}, index=["a", "b", "c"])
    assert best_site(judged, scores) == "b"
