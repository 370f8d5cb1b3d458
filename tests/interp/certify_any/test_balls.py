"""Balls hold what they must, and activations stay within their bounds."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from interp.certify_any.activations import BEYOND, SLOPE, activate, bend, curvature, slope
from interp.certify_any.balls import LIBRARY, Ball
from model.network import apply_activation
from model.parts import Activation

SMOOTH: tuple[Activation, ...] = ("gelu", "gelu_tanh", "silu")


def some_balls(rng: np.random.Generator, *shape: int) -> Ball:
    size = 10.0 ** rng.uniform(-3, 1, shape)
    return Ball(rng.normal(size=shape) * size, 10.0 ** rng.uniform(-18, -2, shape))


def ends(x: Ball) -> list[np.ndarray]:
    middle, radius = x.middle.astype(np.longdouble), x.radius.astype(np.longdouble)
    return [middle - radius, middle + radius, middle]


def exact_ends(x: Ball) -> list[np.ndarray]:
    middle, radius = (np.vectorize(Fraction, otypes=[object])(y) for y in (x.middle, x.radius))
    return [middle - radius, middle + radius, middle]


def test_operations_hold_exact_results() -> None:
    # with ends of the arguments as fractions, so that the reference rounds nothing
    rng = np.random.default_rng(0)
    x, y = some_balls(rng, 40), some_balls(rng, 40)
    A, B = some_balls(rng, 8, 5), some_balls(rng, 5, 3)
    product = A @ B
    for p, q in zip(exact_ends(x), exact_ends(y), strict=True):
        for found, true in ((x + y, p + q), (x - y, p - q), (x * y, p * q)):
            assert (abs(true - exact_ends(found)[2]) <= found.radius).all()
    for left, right in zip(exact_ends(A), exact_ends(B), strict=True):
        assert (abs(left @ right - exact_ends(product)[2]) <= product.radius).all()


def test_functions_hold_their_values() -> None:
    rng = np.random.default_rng(1)
    x = some_balls(rng, 500)
    positive = Ball(np.abs(x.middle) + 2 * x.radius, x.radius)
    for u in ends(x):
        e = x.exponential()
        assert (np.abs(np.exp(u) - e.middle) <= e.radius).all()
    for u in ends(positive):
        root, inverse = positive.root(), positive.inverse()
        assert (np.abs(np.sqrt(u) - root.middle) <= root.radius).all()
        assert (np.abs(1 / u - inverse.middle) <= inverse.radius).all()


def test_what_is_unbounded_is_never_decided() -> None:
    with np.errstate(all="ignore"):
        bad = Ball(np.array([1.0, 0.0, -1.0, np.inf]), np.array([2.0, 1.0, 0.5, 0.0]))
        assert not np.isfinite(bad.inverse().radius[:2]).any()
        assert not np.isfinite(bad.root().radius[:3]).any()
        out = (bad.inverse() * bad - bad).size
        assert not (out[[0, 1, 3]] < 1e300).any()


@pytest.mark.parametrize("act", SMOOTH)
def test_bounds_of_activations(act: Activation) -> None:
    z = np.linspace(-20, 20, 80_001)
    t = torch.from_numpy(z).requires_grad_()
    y = apply_activation(t, act)
    (first,) = torch.autograd.grad(y.sum(), t, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), t)
    exact = Ball.exact(z)
    # PyTorch's own rounding: a few units of what it adds up
    own = 20 * LIBRARY * (1 + np.abs(z))
    at, steep = activate(exact, act), slope(exact, act)
    assert (np.abs(at.middle - y.detach().numpy()) <= at.radius + own).all()
    assert (np.abs(steep.middle - first.detach().numpy()) <= steep.radius + own).all()
    assert np.abs(first.detach().numpy()).max() < SLOPE[act]
    size = np.abs(second.numpy())
    bound = curvature(np.abs(z), act)
    assert (size <= bound + own).all()
    assert (bound[np.abs(z) < 1] < 1.2 * size.max()).all(), "the bound is not far above"
    assert size[np.abs(z) >= 16].max() < BEYOND[act] + 1e-12
    with np.errstate(all="ignore"):
        assert (np.abs(bend(exact, act).middle - second.numpy())[np.abs(z) < 8] < 1e-9).all()


@pytest.mark.parametrize("act", ["relu", *SMOOTH])
def test_ranges_of_activations(act: Activation) -> None:
    rng = np.random.default_rng(2)
    z = Ball(rng.normal(size=300) * 2, 10.0 ** rng.uniform(-4, 0.5, 300))
    at, steep = activate(z, act), slope(z, act)
    for share in rng.uniform(-1, 1, (50, 1)):
        t = torch.from_numpy(z.middle + share * z.radius).requires_grad_()
        y = apply_activation(t, act)
        (first,) = torch.autograd.grad(y.sum(), t)
        assert (np.abs(y.detach().numpy() - at.middle) <= at.radius).all()
        assert (np.abs(first.numpy() - steep.middle) <= steep.radius).all()
