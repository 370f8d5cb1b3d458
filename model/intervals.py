"""Intervals that belong beside every rate."""

from scipy.special import betaincinv


def clopper_pearson(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Compute the exact two-sided interval of a binomial rate (Clopper & Pearson 1934).

    Args:
        successes: Number of events, 0 to `trials`.
        trials: Number of independent trials; 0 gives the whole range (0, 1).
        level: Coverage.

    Returns:
        Lower and upper bound of the rate.
    """
    tail = (1.0 - level) / 2
    low = 0.0 if successes == 0 else float(betaincinv(successes, trials - successes + 1, tail))
    if successes >= trials:
        return (low if trials else 0.0), 1.0
    return low, float(betaincinv(successes + 1, trials - successes, 1 - tail))
