import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from interp.carry_probe.fit import (
    INVERSE_PENALTY,
    Score,
    best_guess,
    fit_logistic,
    holm,
    same_span,
    score_conditional,
    score_global,
    score_shared,
    whiten,
)

RNG = np.random.default_rng(0)
N = 1200
TRAIN = np.arange(N) % 2 == 0
X = RNG.normal(size=(N, 3))
GIVEN = RNG.integers(0, 6, N)


def test_whitened_activations_have_unit_covariance_and_lose_empty_directions():
    mixed = X @ RNG.normal(size=(3, 5)) + 7
    white = whiten(mixed, TRAIN)
    assert white.shape == (N, 3)
    assert np.allclose(white[TRAIN].T @ white[TRAIN] / TRAIN.sum(), np.eye(3))
    assert whiten(np.full((N, 4), 2.5), TRAIN).shape == (N, 0)


def test_scores_do_not_depend_on_the_gauge():
    y = (X[:, 0] + 0.5 * RNG.normal(size=N) > 0).astype(int)
    mixed = X @ (RNG.normal(size=(3, 3)) * [1, 1e-3, 1e3])
    plain, other = whiten(X, TRAIN), whiten(mixed, TRAIN)
    assert same_span(plain, other, TRAIN)
    assert not same_span(plain, whiten(X**2, TRAIN), TRAIN)
    assert not same_span(plain, plain[:, :2], TRAIN)
    assert abs(score_global(plain, y, TRAIN).hits - score_global(other, y, TRAIN).hits) <= 1


def test_a_linear_label_is_found_and_a_shuffled_one_is_not():
    y = (X @ [1, -2, 0.5] > 0).astype(int)
    assert score_global(X, y, TRAIN).accuracy > 0.98
    scores = []
    for _ in range(30):
        # One shuffle picks one direction of three, which may lie near the true one by chance.
        shuffled = y.copy()
        shuffled[TRAIN] = RNG.permutation(y[TRAIN])
        scores.append(score_global(X, shuffled, TRAIN).accuracy)
    assert abs(np.mean(scores) - 0.5) < 0.1


def test_only_conditional_probes_see_what_the_context_turns_round():
    turned = np.where(GIVEN % 2 == 0, X[:, 0], -X[:, 0])
    y = (turned > 0).astype(int)
    assert score_global(X, y, TRAIN).accuracy < 0.65
    assert score_shared(X, y, TRAIN, GIVEN).accuracy < 0.65
    assert score_conditional(X, y, TRAIN, GIVEN).accuracy > 0.97


@pytest.mark.parametrize("width", [1, 3, 40])
def test_probes_fitted_together_are_those_fitted_apart(width):
    x = RNG.normal(size=(N, width))
    y = (x[:, 0] * np.where(GIVEN % 2 == 0, 1, -1) + 0.5 * RNG.normal(size=N) > 0).astype(int)
    hits = 0
    for value in np.unique(GIVEN):
        cell = value == GIVEN
        apart = LogisticRegression(C=INVERSE_PENALTY, tol=1e-6, max_iter=1000)
        apart.fit(x[cell & TRAIN], y[cell & TRAIN])
        hits += int((apart.predict(x[cell & ~TRAIN]) == y[cell & ~TRAIN]).sum())
    together = score_conditional(x, y, TRAIN, GIVEN)
    assert together.trials == (~TRAIN).sum()
    assert abs(together.hits - hits) <= 2


def test_a_value_without_training_rows_is_not_asked():
    y = (X[:, 0] > 0).astype(int)
    train = TRAIN & (GIVEN != 0)
    score = score_conditional(X, y, train, GIVEN)
    assert score.trials == (~train & (GIVEN != 0)).sum()


def test_a_shared_direction_needs_only_offsets():
    y = (X[:, 0] + GIVEN - 2.5 > 0).astype(int)
    hidden = X + np.outer(GIVEN, [3.0, 0, 0])
    assert score_shared(hidden, y, TRAIN, GIVEN).accuracy > 0.97
    assert score_conditional(hidden, y, TRAIN, GIVEN).accuracy > 0.95


def test_best_guess_is_the_majority_of_each_value():
    y = np.array([0, 0, 1, 1, 1, 0])
    given = np.array([0, 0, 0, 1, 1, 1])
    test = np.array([False, True, True, True, True, True])
    assert best_guess(y, test, given) == Score(3, 5)
    assert best_guess(y, test, np.zeros(6, int)).trials == 5


@pytest.mark.parametrize("classes", [2, 4])
def test_predictions_are_those_of_scikit_learn(classes):
    y = np.digitize(X[:, 0] + 0.3 * RNG.normal(size=N), np.linspace(-1, 1, classes + 1)[1:-1])
    fitted = fit_logistic(X[TRAIN], y[TRAIN])
    assert not isinstance(fitted, int)
    hits = int((fitted.predict(X[~TRAIN]) == y[~TRAIN]).sum())
    assert score_global(X, y, TRAIN).hits == hits


def test_holm_on_a_worked_example():
    adjusted = holm(np.array([0.01, 0.04, 0.03, 0.005]))
    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_p_value_is_the_binomial_tail():
    assert Score(10, 10).p_value(0.5) == pytest.approx(0.5**10)
    assert Score(0, 10).p_value(0.5) == pytest.approx(1.0)
    low, high = Score(10, 10).interval()
    assert low == pytest.approx(0.6915, abs=1e-4)
    assert high == 1.0
