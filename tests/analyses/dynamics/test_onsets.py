import math

import numpy as np
import pandas as pd
import pytest

from analyses.dynamics.onsets import (
    MEASURES,
    Measure,
    compare_order,
    declared_level,
    find_onset,
    half_gain,
    median_interval,
    summarise_onsets,
)

STEPS = list(range(0, 2_000, 100))
NEVER = math.inf


def sigmoid(middle: float, height: float = 1.0) -> list[float]:
    return [height / (1 + math.exp(-(step - middle) / 40)) for step in STEPS]


@pytest.mark.parametrize("middle", [450, 950, 1_350])
def test_half_gain_finds_where_a_curve_turns(middle: int) -> None:
    found = half_gain(STEPS, sigmoid(middle), MEASURES["exact"])
    assert found.after < middle <= found.step
    assert found.step - found.after == 100


def test_a_falling_measure_and_a_ratio_are_judged_in_their_own_way() -> None:
    loss = [2.3 - 2 * x for x in sigmoid(950)]
    assert half_gain(STEPS, loss, MEASURES["loss"]).step == 1_000
    ratio = [10**x for x in sigmoid(950)]
    found = half_gain(STEPS, ratio, MEASURES["attention_ratio"])
    assert found.step == 1_000
    assert found.level == pytest.approx(10**0.5, rel=1e-3)
    shrinking = [1 / x for x in ratio]
    assert math.isnan(half_gain(STEPS, shrinking, MEASURES["attention_ratio"]).step)
    assert half_gain(STEPS, shrinking, MEASURES["norm W_QK"]).step == 1_000


def test_noise_and_small_gains_have_no_onset() -> None:
    rng = np.random.default_rng(0)
    for values in (
        [0.0] * len(STEPS),
        sigmoid(950, height=0.04),
        (0.5 + 0.02 * rng.standard_normal(len(STEPS))).tolist(),
        [1 - x for x in sigmoid(950)],
    ):
        assert math.isnan(half_gain(STEPS, values, MEASURES["exact"]).step)
    # Up to the floor, what s_{i-1} alone gives, a probe has gained nothing.
    probe = [0.5 + 0.25 * x for x in sigmoid(450)]
    assert math.isnan(half_gain(STEPS, probe, MEASURES["probe"], floor=0.75).step)
    assert half_gain(STEPS, probe, MEASURES["probe"]).step == 500


def test_what_does_not_stay_is_no_onset() -> None:
    blip = [0.0] * 20
    blip[3] = 1.0
    assert math.isnan(find_onset(STEPS, blip, 0.5, rises=True, stays=0.9).step)
    late = sigmoid(950)
    late[3] = 1.0
    assert find_onset(STEPS, late, 0.5, rises=True, stays=0.9).step == 1_000
    late[15] = 0.0  # one of the ten snapshots from 1,000 on
    wandering = find_onset(STEPS, late, 0.5, rises=True, stays=0.85)
    assert (wandering.first, wandering.step, wandering.settled) == (300, 1_000, 1_600)
    assert find_onset(STEPS, late, 0.5, rises=True, stays=0.9).step == 1_600
    at_once = find_onset(STEPS, [1.0] * 20, 0.5, rises=True, stays=0.9)
    assert at_once.step == 0
    assert math.isnan(at_once.after)


def test_a_snapshot_counts_for_the_steps_around_it() -> None:
    """The same curve, with many snapshots while it is still down for a moment, or with few."""
    values = {0: 0.0, 100: 1.0, 200: 0.0, 300: 1.0, 5_000: 1.0, 10_000: 1.0}
    dense = values | {200 + i: 0.0 for i in range(1, 50)}
    for curve in (values, dense):
        steps = sorted(curve)
        found = find_onset(steps, [curve[s] for s in steps], 0.5, rises=True, stays=0.9)
        assert (found.step, found.settled) == (100, 300)


def test_levels_are_declared_or_come_from_the_floor() -> None:
    assert declared_level(MEASURES["exact"], None) == 0.5
    assert declared_level(MEASURES["loss"], 0.42) == 0.42
    assert declared_level(MEASURES["probe"], 0.75) == 0.875
    assert declared_level(MEASURES["probe"], None) is None
    assert declared_level(Measure(title="x", least=1.0), 0.5) is None


def test_median_interval_covers_as_it_says() -> None:
    low, high, coverage = median_interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert (low, high) == (1, 6)
    assert coverage == pytest.approx(1 - 2 / 64)
    assert median_interval([1.0, 2.0, 3.0])[2] == pytest.approx(0.75)
    assert np.isnan(median_interval([7.0])[:2]).all()
    assert median_interval([1.0, NEVER, 2.0, 3.0, 4.0, 5.0])[1] == NEVER
    rng = np.random.default_rng(1)
    draws = [median_interval(rng.standard_normal(15).tolist()) for _ in range(1_000)]
    covered = np.mean([low <= 0 <= high for low, high, _ in draws])
    assert 0.95 <= draws[0][2] < 0.99
    assert covered == pytest.approx(draws[0][2], abs=0.03)


def table(onsets: dict[str, list[float]]) -> pd.DataFrame:
    rows = [
        [f"s{i}", "grokked", measure, "half", step]
        for measure, steps in onsets.items()
        for i, step in enumerate(steps)
    ]
    return pd.DataFrame(rows, columns=["run", "group", "measure", "rule", "onset"])


def test_order_counts_runs_that_have_both_onsets() -> None:
    onsets = table({"loss": [10, 20, 30, 40], "exact": [50, 20, np.nan, 30]})
    row = compare_order(onsets).iloc[0]
    assert (row["first"], row["second"]) == ("loss", "exact")
    assert (row["before"], row["same"], row["after"]) == (1, 1, 1)
    assert (row["first_only"], row["second_only"], row["neither"]) == (1, 0, 0)
    assert row["share_before"] == 0.5
    assert row["low"] < 0.5 < row["high"]
    summary = summarise_onsets(onsets).set_index("measure")
    assert summary.loc["loss", "median"] == 25
    assert summary.loc["exact", "median"] == 40
    assert summary.loc["exact", "reached"] == 3
    assert summary.loc["exact", "high"] == NEVER
    row = compare_order(table({"loss": [np.nan], "exact": [np.nan]})).iloc[0]
    assert (row["before"], row["neither"]) == (0, 1)
    assert (row["low"], row["high"]) == (0.0, 1.0)
