"""Linear probes, and the floors without which an accuracy means nothing.

Global: one logistic regression for all inputs. Conditional: one for each value of a_i + b_i, the
hits pooled. Shared: one direction for all values, with an intercept for each. Every score comes
from contexts that the fit has not seen (`ProbeInputs.context`), with its exact binomial interval.
The interval is over held-out inputs; contexts recur among them, so it is narrower than one over
contexts would be.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import sklearn
from scipy.linalg import LinAlgWarning
from scipy.stats import binom
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from model.intervals import clopper_pearson

INVERSE_PENALTY = 1e3
"""Inverse L2 strength on whitened activations: weak, for there are few features and many rows."""
PARAMETERS_A_FIT = 60
"""Parameters of the conditional probes that are fitted together."""


@dataclass(frozen=True)
class Score:
    """Hits of a probe on held-out inputs.

    Attributes:
        hits: Right answers.
        trials: Inputs asked.
    """

    hits: int
    trials: int

    @property
    def accuracy(self) -> float:
        """Share of right answers; NaN without trials."""
        return self.hits / self.trials if self.trials else float("nan")

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Exact binomial interval over the held-out inputs."""
        return clopper_pearson(self.hits, self.trials, level)

    def p_value(self, floor: float) -> float:
        """Probability of as many hits or more if the true rate were `floor`."""
        return float(binom.sf(self.hits - 1, self.trials, floor))


def whiten(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Rotate and scale activations to unit covariance on the training rows.

    A penalised probe on whitened activations is the same for every invertible affine image of a
    site, so the gauge of a factorisation (A G, G^-1 B) cannot change a score.

    Returns:
        (rows, rank): directions without variance are dropped; a constant site has rank 0.
    """
    centred = x - x[train].mean(axis=0)
    _, singular, V_T = np.linalg.svd(centred[train], full_matrices=False)
    floor = 1e-9 * np.linalg.norm(x[train]) + 1e-300
    keep = singular > max(floor, 1e-7 * float(singular.max(initial=0.0)))
    return centred @ (V_T[keep].T / singular[keep] * np.sqrt(train.sum()))


def same_span(x: np.ndarray, y: np.ndarray, train: np.ndarray) -> bool:
    """Tell whether two whitened sites are affine images of each other (on the training rows)."""
    if x.shape != y.shape:
        return False
    overlap = np.linalg.norm(x[train].T @ y[train] / train.sum()) ** 2
    return bool(abs(overlap - x.shape[1]) < 1e-6)


def fit_logistic(x: np.ndarray, y: np.ndarray) -> LogisticRegression | int:
    """Fit a logistic regression, or return the commonest label where nothing can be fitted."""
    values, counts = np.unique(y, return_counts=True)
    if len(values) == 1 or x.shape[1] == 0:
        return int(values[counts.argmax()])
    # Newton's method needs few steps, each cheap as long as there are few parameters.
    solver, tol = ("newton-cholesky", 1e-5) if len(values) == 2 else ("lbfgs", 1e-3)
    with (
        warnings.catch_warnings(),
        sklearn.config_context(assume_finite=True, skip_parameter_validation=True),
    ):
        # A separable cell is fitted better and better without end; its answers are settled before.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", LinAlgWarning)
        model = LogisticRegression(C=INVERSE_PENALTY, solver=solver, max_iter=300, tol=tol)
        return model.fit(x, y)


def _predict(fitted: LogisticRegression | int, x: np.ndarray) -> np.ndarray:
    """Predict as scikit-learn does, without the checks that thousands of calls repeat."""
    if isinstance(fitted, int):
        return np.full(len(x), fitted)
    decision = x @ fitted.coef_.T + fitted.intercept_
    if decision.shape[1] == 1:
        return fitted.classes_[(decision[:, 0] > 0).astype(np.int64)]
    return fitted.classes_[decision.argmax(axis=1)]


def score_global(x: np.ndarray, y: np.ndarray, train: np.ndarray) -> Score:
    """Fit one probe on the training rows and score it on the others."""
    predicted = _predict(fit_logistic(x[train], y[train]), x[~train])
    return Score(int((predicted == y[~train]).sum()), int((~train).sum()))


def score_conditional(x: np.ndarray, y: np.ndarray, train: np.ndarray, given: np.ndarray) -> Score:
    """Fit one probe per value of `given` and pool the hits of all that had training rows.

    Probes that share no parameter can be fitted together, each on columns of its own: the optimum
    is that of separate fits, and a few large fits are faster than many small ones.
    """
    values = [v for v in np.unique(given) if len(np.unique(train[given == v])) == 2]
    together = max(1, PARAMETERS_A_FIT // (x.shape[1] + 1))
    hits = trials = 0
    for start in range(0, len(values), together):
        chosen = np.array(values[start : start + together])
        rows = np.isin(given, chosen)
        own = (given[rows, None] == chosen).astype(float)
        parts = [own, *(own * feature[:, None] for feature in x[rows].T)]
        score = score_global(np.concatenate(parts, axis=1), y[rows], train[rows])
        hits, trials = hits + score.hits, trials + score.trials
    return Score(hits, trials)


def score_shared(x: np.ndarray, y: np.ndarray, train: np.ndarray, given: np.ndarray) -> Score:
    """Fit one direction with an intercept for each value of `given`."""
    offsets = (given[:, None] == np.unique(given)).astype(float)
    return score_global(np.concatenate([x, offsets], axis=1), y, train)


def best_guess(y: np.ndarray, test: np.ndarray, given: np.ndarray) -> Score:
    """Score the best guess from one discrete variable alone, known from all rows.

    Counting the test rows too makes this floor, if anything, too high.
    """
    classes, label = np.unique(y, return_inverse=True)
    values, key = np.unique(given, return_inverse=True)
    counts = np.zeros((len(values), len(classes)))
    np.add.at(counts, (key, label), 1.0)
    return Score(int((counts.argmax(axis=1)[key] == label)[test].sum()), int(test.sum()))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Adjust p-values for the size of their family (Holm 1979)."""
    order = np.argsort(p_values)
    scaled = p_values[order] * (len(p_values) - np.arange(len(p_values)))
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return adjusted
