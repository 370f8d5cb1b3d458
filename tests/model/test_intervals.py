import pytest
from scipy.stats import binom

from model.intervals import clopper_pearson


@pytest.mark.parametrize(("successes", "trials"), [(1, 10), (5, 10), (99_999, 100_000), (3, 7)])
def test_bounds_are_the_rates_at_which_the_tails_are_a_fortieth(
    successes: int, trials: int
) -> None:
    low, high = clopper_pearson(successes, trials)
    assert binom.sf(successes - 1, trials, low) == pytest.approx(0.025, rel=1e-6)
    assert binom.cdf(successes, trials, high) == pytest.approx(0.025, rel=1e-6)
    assert low < successes / trials < high


def test_all_or_nothing_is_one_sided() -> None:
    assert clopper_pearson(0, 10)[0] == 0.0
    assert clopper_pearson(10, 10)[1] == 1.0
    assert clopper_pearson(0, 0) == (0.0, 1.0)
    low, _ = clopper_pearson(10_000_000, 10_000_000)
    assert low == pytest.approx(1 - 3.689e-7, abs=1e-10)


def test_higher_coverage_is_wider() -> None:
    narrow, wide = (clopper_pearson(40, 100, level) for level in (0.9, 0.99))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
