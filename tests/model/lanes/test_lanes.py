import dataclasses

import numpy as np
import pytest
from scipy.special import ndtr

from model.lanes import code as lane_code
from model.lanes.code import EXP2, Code
from model.lanes.kernel import compile_kernel
from model.lanes.values import F32, HALF, INTS, LANES, Lane
from model.lanes.vectors import VectorSet
from tests.support import EVERY_SET

U = 2.0**-24
"""Half a unit in the last place: the relative error of one float32 operation."""
ERF = 1.5e-7
"""Absolute error of Abramowitz & Stegun 7.1.26."""


def run_on(x: np.ndarray, write, n_outputs: int, vectors: VectorSet | None = None) -> np.ndarray:
    def body(code: Code) -> None:
        source, target = code.memory("x_ptr"), code.memory("y_ptr")
        with code.loop(0, code.arguments["n"]) as i:
            at = code.times(i, LANES)
            for k, value in enumerate(write(code, source.load(at))):
                target.store(value, code.plus(at, k * x.size))

    y = np.zeros((n_outputs, x.size), np.float32)
    kernel = compile_kernel("probe", ("x_ptr", "y_ptr", "n"), body, vectors=vectors)
    kernel(x, y, x.size // LANES)
    return y.astype(np.float64)


def exp2_bound() -> float:
    """Relative error of `Code.exp2`: the polynomial's own, and that of evaluating it.

    Of Horner's steps the last rounds a product of at most 0.42 and a sum of at most 1.42, the one
    before a quarter as much, to a result of at least 0.70: 2.5 units, fewer where they are fused.
    """
    r = np.linspace(-0.5, 0.5, 100_001)
    polynomial = np.polyval(np.array(EXP2, np.float32).astype(np.float64), r)
    return float(np.abs(polynomial / np.exp2(r) - 1).max()) + 2.5 * U


def exp_bound() -> float:
    """Relative error of `Code.exp`: as `exp2`, of an argument that was rounded four times.

    Both differences and the product with log2(e) round a number of at most 1/2, and so does
    log2(e) itself; the slope of 2**r is ln 2 times 2**r.
    """
    return exp2_bound() + 1.4 * U


def phi_bound(x: np.ndarray) -> np.ndarray:
    """Absolute error of the normal distribution function in `Code.gelu`.

    Half of erf's, the rounding of 1 - tail, and the tail's relative error: exp's of an argument
    x^2 / 2 that was rounded, and of the polynomial, whose coefficients are up to 1.45 and whose
    value may be 1: 9 units, and 14 from its argument t.
    """
    tail = ndtr(-np.abs(x))
    return ERF / 2 + U + tail * (exp_bound() + (x**2 / 2 + 9 + 14 + 3) * U)


@pytest.mark.parametrize("vectors", EVERY_SET)
def test_functions_keep_their_bounds(vectors: VectorSet) -> None:
    x = np.random.default_rng(0).uniform(-12, 12, 16_000).astype(np.float32)
    wide = x.astype(np.float64)

    def write(code, v):
        gelu, slope = code.gelu(v)
        return [code.exp2(v), code.exp(v), gelu, slope]

    exp2, exp, gelu, slope = run_on(x, write, 4, vectors)
    bell = np.exp(-(wide**2) / 2) / np.sqrt(2 * np.pi)
    assert np.abs(exp2 / np.exp2(wide) - 1).max() < exp2_bound()
    assert np.abs(exp / np.exp(wide) - 1).max() < exp_bound()
    phi, off = ndtr(wide), phi_bound(wide)
    assert (np.abs(gelu - wide * phi) <= np.abs(wide) * (off + phi * U)).all()
    of_bell = np.abs(wide) * bell * (exp_bound() + (wide**2 / 2 + 3) * U)
    assert (np.abs(slope - (phi + wide * bell)) <= off + of_bell + 1.2 * U).all()


@pytest.mark.parametrize("vectors", EVERY_SET)
def test_log_keeps_its_bound(vectors: VectorSet) -> None:
    """Two units, for z and its series, and of the result: the sum, the product and ln 2 itself."""
    x = np.exp(np.random.default_rng(1).uniform(-80, 80, 16_000)).astype(np.float32)
    x[: x.size // 2] = np.random.default_rng(2).uniform(1, 14, x.size // 2)
    (log,) = run_on(x, lambda code, v: [code.log(v)], 1, vectors)
    exact = np.log(x.astype(np.float64))
    assert (np.abs(log - exact) <= (2 + 2.5 * np.abs(exact)) * U).all()


def test_a_shorter_polynomial_breaks_the_bound(monkeypatch) -> None:
    x = np.linspace(-1, 1, 160).astype(np.float32)
    bound = exp2_bound()
    monkeypatch.setattr(lane_code, "EXP2", (0.0, *EXP2[1:]))
    (y,) = run_on(x, lambda code, v: [code.exp2(v)], 1)
    assert np.abs(y / np.exp2(x.astype(np.float64)) - 1).max() > bound


@pytest.mark.parametrize("vectors", EVERY_SET)
def test_exp_is_finite_far_below(vectors: VectorSet) -> None:
    x = np.full(LANES, -1e30, np.float32)
    (y,) = run_on(x, lambda code, v: [code.exp(v)], 1, vectors)
    assert (y > 0).all()
    assert (y < 1e-37).all()


@pytest.mark.parametrize("vectors", EVERY_SET)
def test_lookup_reads_the_table(vectors: VectorSet) -> None:
    x = np.random.default_rng(1).uniform(0, 15.9, 4 * LANES).astype(np.float32)

    def write(code, v):
        token = Lane(code, code.build.fptoui(v.value, INTS))
        return [code.lookup(code.memory("x_ptr"), token)]

    (y,) = run_on(x, write, 1, vectors)
    assert np.array_equal(y, x[x.astype(int)].astype(np.float64))


@pytest.mark.parametrize("vectors", EVERY_SET)
def test_parts_cover_all_lanes_with_the_same_results(vectors: VectorSet) -> None:
    x = np.random.default_rng(2).uniform(0, 15.9, LANES).astype(np.float32)
    y = np.zeros((4, LANES), np.float32)

    def body(code: Code) -> None:
        source, target = code.memory("x_ptr"), code.memory("y_ptr")
        with code.in_parts() as lane:
            value = source.load(lane)
            token = Lane(code, code.build.fptoui(value.value, code.kind(INTS.element)))
            results = code.exp2(value), code.lookup(source, token), code.gather(source, token, F32)
            for i, result in enumerate([*results, value * source.splat(3)]):
                target.at(i * LANES).store(result, lane)

    compile_kernel("parts", ("x_ptr", "y_ptr"), body, vectors=vectors)(x, y)
    assert np.abs(y[0] / np.exp2(x.astype(np.float64)) - 1).max() < exp2_bound()
    assert np.array_equal(y[1], x[x.astype(int)])
    assert np.array_equal(y[2], y[1])
    assert np.array_equal(y[3], x * x[3])


@pytest.mark.parametrize("vectors", EVERY_SET)
@pytest.mark.parametrize("n", [2, 8, 16])
def test_interleave_transposes_and_back(n: int, vectors: VectorSet) -> None:
    x = np.arange(n * LANES, dtype=np.float32)

    def body(code: Code) -> None:
        rows = [code.memory("x_ptr").load(i * LANES) for i in range(n)]
        across = code.interleave(rows)
        for i, value in enumerate(across):
            code.memory("y_ptr").store(value, i * LANES)
        for i, value in enumerate(code.deinterleave(across)):
            code.memory("y_ptr").store(value, (n + i) * LANES)

    y = np.zeros((2, n * LANES), np.float32)
    compile_kernel("transpose", ("x_ptr", "y_ptr"), body, vectors=vectors)(x, y)
    assert np.array_equal(y[0].reshape(LANES, n), x.reshape(n, LANES).T)
    assert np.array_equal(y[1], x)


@pytest.mark.parametrize("vectors", EVERY_SET)
def test_transpose_in_halves(vectors: VectorSet) -> None:
    x = np.arange(HALF * LANES, dtype=np.float32)
    y = np.zeros((LANES, HALF), np.float32)

    def body(code: Code) -> None:
        with code.in_parts() as lane:
            rows = [code.memory("x_ptr").at(i * LANES).load(lane) for i in range(HALF)]
            target = code.memory("y_ptr").at(code.times(lane, HALF))
            for i, value in enumerate(code.transpose(rows)):
                target.store(value, i * HALF)

    in_halves = dataclasses.replace(vectors, part=HALF)
    compile_kernel("transpose", ("x_ptr", "y_ptr"), body, vectors=in_halves)(x, y)
    assert np.array_equal(y, x.reshape(HALF, LANES).T)
