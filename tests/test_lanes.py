import numpy as np
import pytest
from scipy.special import ndtr

from model.kernel import compile_kernel, has_avx512
from model.lanes import INTS, LANES, Code, Lane


def run_on(x: np.ndarray, write, n_outputs: int, permute: bool | None = None) -> np.ndarray:
    def body(code: Code) -> None:
        source, target = code.memory("x_ptr"), code.memory("y_ptr")
        with code.loop(0, code.arguments["n"]) as i:
            at = code.times(i, LANES)
            for k, value in enumerate(write(code, source.load(at))):
                target.store(value, code.plus(at, k * x.size))

    y = np.zeros((n_outputs, x.size), np.float32)
    kernel = compile_kernel("probe", ("x_ptr", "y_ptr", "n"), body, permute=permute)
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


@pytest.mark.parametrize(
    "permute",
    [
        False,
        pytest.param(
            True,
            marks=pytest.mark.skipif(
                not has_avx512(), reason="this processor has no 16-lane lookup"
            ),
        ),
    ],
)
def test_lookup_reads_the_table(permute: bool) -> None:
    x = np.random.default_rng(1).uniform(0, 15.9, 4 * LANES).astype(np.float32)

    def write(code, v):
        token = Lane(code, code.build.fptoui(v.value, INTS))
        return [code.lookup(code.memory("x_ptr"), token)]

    (y,) = run_on(x, write, 1, permute)
    assert np.array_equal(y, x[x.astype(int)].astype(np.float64))


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
