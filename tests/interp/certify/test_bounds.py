"""Every bound against random and adversarial members of what it claims to contain."""

import numpy as np
import pytest
import torch
from scipy.special import erf as erf64

from interp.certify.atlas import sample_pairs
from interp.certify.bounds import GELU_SLOPE, Box, Head, curvature
from interp.certify.cells import PAIR, SINGLE, base_cells
from interp.certify.rounding import LIBRARY_ULPS, Roundoff, score_errors, source_errors
from interp.certify.search import residual_box
from interp.certify.sources import build_hull
from interp.certify.verdicts import FLOAT32, OWN_SHARE, REAL
from model.adder import Adder
from model.config import PRESETS
from model.decode import tables_of
from model.factored import init_params
from model.task import encode, query_position

CASES = [("311p", 1.0), ("456p", 0.6), ("512p", 0.6)]


def random_model(name: str, scale: float, seed: int = 0) -> Adder:
    params = init_params(PRESETS[name], seed=seed)
    generator = torch.Generator().manual_seed(seed + 100)
    for key, value in params.items():
        params[key] = value + scale * 0.5 * torch.randn(value.shape, generator=generator)
    return Adder(PRESETS[name], params)


def residual(model: Adder, a: np.ndarray, b: np.ndarray, column: int) -> np.ndarray:
    tables = tables_of(model)
    tokens = encode(torch.from_numpy(a), torch.from_numpy(b))[:, : query_position(column) + 1]
    place = torch.arange(tokens.shape[1])
    score = torch.einsum("nd,njd->nj", tables.q[column, tokens[:, -1]], tables.k[place, tokens])
    mixed = torch.einsum("nj,njd->nd", score.softmax(1), tables.ov[place, tokens])
    return (tables.x[column, tokens[:, -1]] + mixed).numpy()


def test_gelu_constants():
    z = np.linspace(-12, 12, 40_001)
    phi = np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    slope = 0.5 * (1 + erf64(z / np.sqrt(2))) + z * phi
    assert np.abs(slope).max() < GELU_SLOPE
    assert np.abs(slope).max() > GELU_SLOPE - 0.01
    bend = phi * np.abs(2 - z * z)
    closest = np.abs(z)
    order = np.argsort(-closest)
    worst = np.maximum.accumulate(bend[order])
    bound = curvature(closest[order])
    assert (bound * (1 + 1e-12) >= worst).all()
    assert (np.diff(bound) >= -1e-12).all()


@pytest.mark.parametrize(("name", "scale"), CASES)
def test_hull_contains_random_and_extreme_pairs(name: str, scale: float):
    model = random_model(name, scale)
    sources = source_errors(model, FLOAT32)
    rng = np.random.default_rng(0)
    for column, query in ((0, 11), (3, 4), (9, 0), (10, 1)):
        hull = build_hull(sources, column, query, FLOAT32)
        cells, _ = base_cells(column, query)
        cells = cells[rng.choice(len(cells), 30)]
        box = residual_box(hull, cells)
        draws = [sample_pairs(cells, rng) for _ in range(6)]
        # Adversarial: in every free group the option that goes farthest along each axis.
        for axis in range(model.config.d_model):
            for sign in (-1, 1):
                extreme = cells.copy()
                for k in (k for k in range(10) if k < column - 2 or k > column):
                    push = sign * hull.centre[k, SINGLE : SINGLE + 100, axis]
                    extreme[:, k] = PAIR + int(np.argmax(push))
                draws.append(sample_pairs(extreme, rng))
        for a, b in draws:
            moved = np.abs((residual(model, a, b, column) - box.centre) @ box.axes)
            assert (moved <= box.width * (1 + 1e-9) + 1e-9).all()
        assert (box.width > 0).any()


@pytest.mark.parametrize(("name", "scale"), CASES)
def test_margins_stay_within_their_reach(name: str, scale: float):
    model = random_model(name, scale, seed=1)
    head = Head(model, FLOAT32, OWN_SHARE)
    tables = tables_of(model)
    rng = np.random.default_rng(1)
    d, n = model.config.d_model, 40
    for size in (0.3, 0.03, 0.003):
        centre = rng.normal(size=(n, d))
        width = size * rng.random((n, d))
        axes = np.linalg.qr(rng.normal(size=(d, d)))[0]
        target = rng.integers(0, 14, n)
        sure = np.ones(n, dtype=bool)
        box = Box(centre, width, np.zeros((n, d)), np.zeros((n, d)), axes, sure, sure)
        margins = head.margins(box, target)
        corner = np.sign(margins.gradient[:, (0, 5, 9)]).transpose(1, 0, 2)
        points = [width * s * sign for s in corner for sign in (-1, 1)]
        points += [width * rng.uniform(-1, 1, (n, d)) for _ in range(20)]
        loosest = 0.0
        for u in points:
            value = _scaled_margins(tables, centre + u @ axes.T, target)
            inside = np.isfinite(margins.value) & np.isfinite(margins.real)
            moved = np.abs(value - margins.value)[inside]
            assert (moved <= margins.real[inside] * (1 + 1e-9) + 1e-10).all()
            loosest = max(loosest, float((moved / margins.real[inside]).max(initial=0)))
        if size < 0.01:
            assert loosest > 0.5  # the bound is not idle


def _scaled_margins(tables, y: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Margins times the scale of the last norm, straight from the tables."""

    def norm(x, gain, bias):
        x = x - x.mean(-1, keepdim=True) if tables.centre else x
        scale = torch.sqrt(x.pow(2).mean(-1, keepdim=True) + tables.eps)
        return x / scale * gain + bias, scale

    resid = torch.from_numpy(y)
    pre = norm(resid, tables.ln2_w, tables.ln2_b)[0] @ tables.W_in
    resid = resid + torch.nn.functional.gelu(pre) @ tables.W_out
    out, scale = norm(resid, tables.ln_final_w, tables.ln_final_b)
    logits = (out @ tables.W_U * scale).numpy()
    return logits[np.arange(len(y)), target][:, None] - logits


@pytest.mark.parametrize(("name", "scale"), CASES)
def test_float32_stays_within_the_rounding_bound(name: str, scale: float):
    model = random_model(name, scale, seed=2)
    sources = source_errors(model, FLOAT32)
    head = Head(model, FLOAT32, OWN_SHARE)
    rng = np.random.default_rng(2)
    a, b = rng.integers(0, 10**10, (2, 300))
    tokens = encode(torch.from_numpy(a), torch.from_numpy(b))
    with torch.no_grad():
        single = model(tokens[:, :33]).double().numpy()
        double = Adder(model.config, {k: v.double() for k, v in model.params.items()})(
            tokens[:, :33]
        ).numpy()
    for column in (1, 6):
        query = int(tokens[0, query_position(column)])
        rows = np.flatnonzero(tokens[:, query_position(column)].numpy() == query)
        hull = build_hull(sources, column, query, FLOAT32)
        options = _option_cells(a[rows], b[rows])
        target = tokens[rows, query_position(column) + 1].numpy()
        box = residual_box(hull, options)
        margins = head.margins(box, target)
        here = query_position(column)
        for logits, reach in ((single, margins.float32), (double, margins.real + 1e-9)):
            part = logits[rows, here]
            value = part[np.arange(len(rows)), target][:, None] - part
            y = residual(model, a[rows], b[rows], column)
            scale_of_norm = _last_scale(model, y)
            other = np.isfinite(margins.value)
            moved = np.abs(value * scale_of_norm[:, None] - margins.value)[other]
            # The comparison multiplies float32 logits by the real scale: 8 u of the logits more.
            slack = 8 * FLOAT32.u * np.abs(part).max() * scale_of_norm.max() * (logits is single)
            assert (moved <= reach[other] + slack).all()


def _option_cells(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    carry, columns = np.zeros_like(a), []
    for k in range(10):
        x, y = a // 10**k % 10, b // 10**k % 10
        columns.append(33 + 100 * carry + 10 * x + y)
        carry = (x + y + carry) // 10
    return np.stack(columns, axis=1).astype(np.int16)


def _last_scale(model: Adder, y: np.ndarray) -> np.ndarray:
    tables = tables_of(model)
    x = torch.from_numpy(y)
    c = x - x.mean(-1, keepdim=True) if tables.centre else x
    pre = c / torch.sqrt(c.pow(2).mean(-1, keepdim=True) + tables.eps) * tables.ln2_w
    x = x + torch.nn.functional.gelu((pre + tables.ln2_b) @ tables.W_in) @ tables.W_out
    c = x - x.mean(-1, keepdim=True) if tables.centre else x
    return torch.sqrt(c.pow(2).mean(-1) + tables.eps).numpy()


def test_scores_in_float32_stay_within_their_error():
    model = random_model("311p", 1.0, seed=3)
    sources = source_errors(model, FLOAT32)
    single = tables_of(model, torch.float32)
    for column in (0, 5, 10):
        here = query_position(column)
        value, error = score_errors(
            sources.q[here, 3], sources.q_error[here, 3], sources.k, sources.k_error, FLOAT32
        )
        computed = (single.k @ single.q[column, 3]).double().numpy()
        assert (np.abs(computed - value) <= error).all()
        assert (np.abs(computed - value) > 0.001 * error).any()


def test_library_functions_are_within_the_assumed_error():
    x = torch.linspace(-80, 0, 30_001)
    exact = np.exp(x.double().numpy())
    normal = exact > 2.0**-120
    assert (np.abs(x.exp().double().numpy() / exact - 1)[normal] <= LIBRARY_ULPS * FLOAT32.u).all()
    z = torch.linspace(-4, 4, 30_001)
    exact = erf64(z.double().numpy())
    far = np.abs(exact) > 1e-30
    error = np.abs(torch.erf(z).double().numpy() / np.where(far, exact, 1) - 1)[far]
    assert (error <= LIBRARY_ULPS * FLOAT32.u).all()


def test_rounding_bounds_shrink_at_least_in_proportion():
    model = random_model("512p", 0.6, seed=4)
    coarse, fine = source_errors(model, FLOAT32), source_errors(model, REAL)
    for name in ("resid_error", "q_error", "k_error", "ov_error"):
        assert (getattr(fine, name) <= OWN_SHARE * getattr(coarse, name) * (1 + 1e-12)).all()
    assert Roundoff(2.0**-24, 0.0).gamma(10) > 10 * 2.0**-24
