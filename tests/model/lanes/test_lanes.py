import numpy as np
import pytest
from scipy.special import ndtr

from model.lanes.code import Code
from model.lanes.kernel import compile_kernel, find_vectors
from model.lanes.values import F32, HALF, INTS, LANES, Lane, Vectors


def run_on(x: np.ndarray, write, n_outputs: int, vectors: Vectors | None = None) -> np.ndarray:
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


def test_functions_match_float64() -> None:
    x = np.random.default_rng(0).uniform(-12, 12, 16_000).astype(np.float32)
    wide = x.astype(np.float64)

    def write(code, v):
        gelu, slope = code.gelu(v)
        return [code.exp(v), code.log(code.exp(v)), gelu, slope]

    exp, log, gelu, slope = run_on(x, write, 4)
    bell = np.exp(-(wide**2) / 2) / np.sqrt(2 * np.pi)
    assert np.abs(exp / np.exp(wide) - 1).max() < 5e-7
    assert np.abs(log - wide).max() < 2e-6
    assert np.abs(gelu - wide * ndtr(wide)).max() < 2e-6
    assert np.abs(slope - (ndtr(wide) + wide * bell)).max() < 2e-6


def test_exp_is_finite_far_below() -> None:
    x = np.full(LANES, -1e30, np.float32)
    (y,) = run_on(x, lambda code, v: [code.exp(v)], 1)
    assert (y > 0).all()
    assert (y < 1e-37).all()


def lacks(vectors: Vectors) -> bool:
    order = ("other", "avx2", "avx512")
    return order.index(vectors) > order.index(find_vectors())


EVERY_VECTORS = [
    pytest.param(v, marks=pytest.mark.skipif(lacks(v), reason=f"this processor lacks {v}"))
    for v in ("other", "avx2", "avx512")
]


@pytest.mark.parametrize("vectors", EVERY_VECTORS)
def test_lookup_reads_the_table(vectors: Vectors) -> None:
    x = np.random.default_rng(1).uniform(0, 15.9, 4 * LANES).astype(np.float32)

    def write(code, v):
        token = Lane(code, code.build.fptoui(v.value, INTS))
        return [code.lookup(code.memory("x_ptr"), token)]

    (y,) = run_on(x, write, 1, vectors)
    assert np.array_equal(y, x[x.astype(int)].astype(np.float64))


@pytest.mark.parametrize("vectors", EVERY_VECTORS)
def test_parts_cover_all_lanes_with_the_same_results(vectors: Vectors) -> None:
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
    assert np.abs(y[0] / np.exp2(x.astype(np.float64)) - 1).max() < 5e-7
    assert np.array_equal(y[1], x[x.astype(int)])
    assert np.array_equal(y[2], y[1])
    assert np.array_equal(y[3], x * x[3])


@pytest.mark.parametrize("n", [2, 8, 16])
def test_interleave_transposes_and_back(n: int) -> None:
    x = np.arange(n * LANES, dtype=np.float32)

    def body(code: Code) -> None:
        rows = [code.memory("x_ptr").load(i * LANES) for i in range(n)]
        across = code.interleave(rows)
        for i, value in enumerate(across):
            code.memory("y_ptr").store(value, i * LANES)
        for i, value in enumerate(code.deinterleave(across)):
            code.memory("y_ptr").store(value, (n + i) * LANES)

    y = np.zeros((2, n * LANES), np.float32)
    compile_kernel("transpose", ("x_ptr", "y_ptr"), body)(x, y)
    assert np.array_equal(y[0].reshape(LANES, n), x.reshape(n, LANES).T)
    assert np.array_equal(y[1], x)


def test_transpose_in_parts() -> None:
    x = np.arange(HALF * LANES, dtype=np.float32)
    y = np.zeros((LANES, HALF), np.float32)

    def body(code: Code) -> None:
        with code.in_parts() as lane:
            rows = [code.memory("x_ptr").at(i * LANES).load(lane) for i in range(HALF)]
            target = code.memory("y_ptr").at(code.times(lane, HALF))
            for i, value in enumerate(code.transpose(rows)):
                target.store(value, i * HALF)

    compile_kernel("transpose", ("x_ptr", "y_ptr"), body, vectors="other")(x, y)
    assert np.array_equal(y, x.reshape(HALF, LANES).T)
