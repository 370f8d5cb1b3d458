"""Networks made to fool the checker: what it accepts is true in the arithmetic that it names.

Truth is a forward pass of the model itself on random pairs of the cells, in float64, in float32,
and in float32 with results flushed to zero.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import pytest
import torch

from interp.certify.search import search_column
from interp.certify.verdicts import RIGHT
from interp.check_certificate.bounds import Box
from interp.check_certificate.cells import CARRY, LEFT, TOTAL, Sets, rebuild
from interp.check_certificate.cells import RIGHT as RIGHTS
from interp.check_certificate.command import main, read_certificate
from interp.check_certificate.content import Content
from interp.check_certificate.files import find, read_checkpoint
from interp.check_certificate.tables import Checker
from interp.check_certificate.verdicts import check_leaves, proves
from model.adder import Adder
from model.config import ModelConfig
from model.task import encode
from tests.conftest import PUBLISHED

FORGED = PUBLISHED.parents[1] / "forged"
TREE, COLUMN = 23, 3
"""The tree that is attacked: column 3, query 2."""
LEAVES, PAIRS = 24, 3
Tensors = dict[str, np.ndarray]
Judged = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

UNDERFLOWS = torch.set_flush_denormal(True)
torch.set_flush_denormal(False)


@contextmanager
def flushing(on: bool) -> Iterator[None]:
    torch.set_flush_denormal(on)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@cache
def network() -> tuple[Tensors, dict]:
    return read_checkpoint("262p")


@cache
def certificate() -> Content:
    return read_certificate(find("262p") / "certificate.json")


def built(tensors: Tensors) -> Adder:
    params = {name: torch.from_numpy(x.copy()) for name, x in tensors.items()}
    return Adder(ModelConfig(**network()[1]), params)


def checker_of(tensors: Tensors) -> Checker:
    return Checker({name: x.astype(np.float64) for name, x in tensors.items()}, network()[1])


@cache
def cells() -> tuple[Sets, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Some leaves of the tree, their tokens, and random pairs in each, (leaf, pair)."""
    found, sets, rng = certificate().trees[TREE], Sets(), np.random.default_rng(TREE)
    leaves, truth, codes = rebuild(sets, found.column, found.query, found.codes.tolist())
    claims = np.flatnonzero(np.array(codes) == 0)
    chosen = rng.permutation(claims)[:LEAVES]
    pairs = np.array([[_pair(sets, leaves[i], rng) for _ in range(PAIRS)] for i in chosen])
    return sets, np.array(leaves)[chosen], np.array(truth)[chosen], pairs[..., 0], pairs[..., 1]


def _pair(sets: Sets, cell: tuple[int, ...], rng: np.random.Generator) -> tuple[int, int]:
    """Draw a pair of a cell: from the top down, only what the groups below can still give."""
    possible, below = [{0}], [sets.rows[number] for number in cell]
    for row in below:
        options = [x for x in np.flatnonzero(row) if CARRY[x] in possible[-1]]
        possible.append({int(TOTAL[x] // 10) for x in options})
    a, b, out = 0, 0, int(rng.choice(sorted(possible[10])))
    for k in range(9, -1, -1):
        options = [
            x for x in np.flatnonzero(below[k]) if CARRY[x] in possible[k] and TOTAL[x] // 10 == out
        ]
        x = int(rng.choice(options))
        a, b, out = a + int(LEFT[x]) * 10**k, b + int(RIGHTS[x]) * 10**k, int(CARRY[x])
    return a, b


def answers(model: Adder, a: np.ndarray, b: np.ndarray, column: int) -> np.ndarray:
    """Logits of the answer of a column, (pair, token)."""
    tokens = encode(torch.from_numpy(a.ravel()), torch.from_numpy(b.ravel()))
    with torch.no_grad():
        return model(tokens[:, : 22 + column])[:, -1].double().numpy()


def right(tensors: Tensors, dtype: torch.dtype, flush: bool = False) -> np.ndarray:
    """Which leaves the network answers right on all their sampled pairs."""
    _, _, truth, a, b = cells()
    with flushing(flush):
        logits = answers(built(tensors).to(dtype), a, b, COLUMN).reshape(*a.shape, 14)
    other = np.where(np.arange(14) == truth[:, None, None], -np.inf, logits).max(axis=-1)
    own = np.take_along_axis(logits, truth[:, None, None], axis=-1)[..., 0]
    return (own > other).all(axis=1)  # NaN is not right


def judged(tensors: Tensors, hints: tuple[np.ndarray, np.ndarray]) -> Iterator[Judged]:
    """What the checker finds of the leaves: rows, value at the centre, reach real and float32.

    Nothing where it refuses the network.
    """
    sets, leaves, truth, _, _ = cells()
    try:
        with np.errstate(all="raise", under="ignore"):
            checker = checker_of(tensors)
            box = checker.hull(COLUMN, certificate().trees[TREE].query, *hints).boxes(sets, leaves)
            for token in np.unique(truth):
                margins = checker.head.margins(box, int(token))
                yield truth == token, margins.value, margins.real, margins.float32
    except (ValueError, FloatingPointError):
        return


def accepted(tensors: Tensors, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Which leaves it accepts as right, in real arithmetic and in float32."""
    tree = certificate().trees[TREE]
    real, float32 = np.zeros((2, len(cells()[1])), dtype=bool)
    for rows, value, *reach in judged(tensors, (tree.reference * shift, tree.axes)):
        real |= rows & proves(value, reach[0]).all(axis=1)
        float32 |= rows & proves(value, reach[1]).all(axis=1)
    return real, float32


def scaled(factors: dict[str, int]) -> Tensors:
    """The network with tensors times powers of two (rounded to float32 where that rounds)."""
    tensors, _ = network()
    with np.errstate(over="ignore"):
        return {
            name: (x.astype(np.float64) * 2.0 ** factors.get(name, 0)).astype("<f4")
            for name, x in tensors.items()
        }


STREAM = ("W_E", "W_pos_B", "W_O_B", "W_out_B")
GAUGES = {
    # Each leaves the function alone: the first group times 2^k, the second times 2^-k.
    "position": (("W_pos_A",), ("W_pos_B",)),
    "attention in": (("qkv_A",), ("qkv_B_Q", "qkv_B_KV")),
    "attention out": (("W_O_A",), ("W_O_B",)),
    "units in": (("W_in_A",), ("W_in_B",)),
    "units out": (("W_out_A",), ("W_out_B",)),
    "first norm": (("ln1_w",), ("qkv_A",)),
    "second norm": (("ln2_w",), ("W_in_A",)),
    "query and key": (("qkv_B_Q", "W_O_A"), ("qkv_B_KV",)),
    "logits": (("ln_final_w",), ()),
    # But for the norms' eps: only while the stream stays far above it.
    "stream": (STREAM, ("ln_final_w",)),
}
OTHERS = {
    "units unscaled": (("W_in_A",), ()),
    "tokens": (("W_E",), ()),
    "sharper attention": (("qkv_B_Q",), ()),
    "attention output": (("W_O_B",), ()),
    "first gain": (("ln1_w",), ()),
}
POWERS = (-126, -100, -66, -64, -20, 20, 64, 66, 100, 126)


@pytest.mark.parametrize("name", [*GAUGES, *OTHERS])
def test_what_is_accepted_of_a_scaled_network_is_true(name: str) -> None:
    up, down = (GAUGES | OTHERS)[name]
    kept = 0
    for k in POWERS:
        tensors = scaled(dict.fromkeys(up, k) | dict.fromkeys(down, -k))
        if not all(np.isfinite(x).all() for x in tensors.values()):
            continue  # the reader refuses it
        real, float32 = accepted(tensors, 2.0**k if "W_O_B" in up else 1.0)
        if real.any():
            assert right(tensors, torch.float64)[real].all()
        if float32.any():
            assert right(tensors, torch.float32)[float32].all()
            assert right(tensors, torch.float32, UNDERFLOWS)[float32].all()
        kept += bool(float32.all())
    assert kept >= 2 or name in (*OTHERS, "stream")  # 2^20 either way is still proved


def test_overflow_and_underflow_are_seen() -> None:
    """Attacks 3 and 4, with their controls: true in real arithmetic, false in float32."""
    overflow = scaled(dict.fromkeys(STREAM, 66) | {"ln_final_w": -66})
    underflow = scaled({"W_in_A": -126, "W_in_B": 126})
    assert not right(overflow, torch.float32).any()
    assert right(overflow, torch.float64).all()
    assert right(underflow, torch.float32).all()
    if UNDERFLOWS:
        assert not right(underflow, torch.float32, True).all()
    assert not accepted(overflow, 2.0**66)[1].any()
    assert not accepted(underflow, 1.0)[1].any()
    assert accepted(*(network()[0], 1.0))[1].all()


@pytest.mark.parametrize("k", [-126, -66, 20, 66, 126])
@pytest.mark.parametrize("name", ["units in", "stream", "attention in", "tokens"])
def test_the_certifier_claims_nothing_false_of_them(name: str, k: int) -> None:
    up, down = (GAUGES | OTHERS)[name]
    tensors = scaled(dict.fromkeys(up, k) | dict.fromkeys(down, -k))
    if not all(np.isfinite(x).all() for x in tensors.values()):
        return
    model = built(tensors)
    try:
        (tree,) = search_column(model, 0, budget=100)  # no cell is split
    except ValueError:  # outside of the theorem, which it says
        return
    rng = np.random.default_rng(k % 1000)
    a, b = rng.integers(0, 10**10, (2, 200))
    truth = (a + b) % 10
    for dtype, flush, verdicts in (
        (torch.float64, False, tree.real),
        (torch.float32, False, tree.float32),
        (torch.float32, UNDERFLOWS, tree.float32),
    ):
        claimed = verdicts[10 * (a % 10) + b % 10] == RIGHT
        with flushing(flush):
            logits = answers(model.to(dtype), a, b, 0)
        found = np.where(np.isnan(logits).any(axis=1), -1, logits.argmax(axis=1))
        assert (found == truth)[claimed].all()


def strain(tensors: Tensors, hints: tuple[np.ndarray, np.ndarray]) -> float:
    """How far a pair's margins lie from the centre of its cell, of what the checker allows.

    The largest over pairs, other tokens and both arithmetics; above 1 something false is provable.
    """
    _, _, truth, a, b = cells()
    tables = checker_of(tensors)
    tokens = encode(torch.from_numpy(a.ravel()), torch.from_numpy(b.ravel())).numpy()
    here = 21 + COLUMN
    place, seen = np.arange(here + 1), tokens[:, : here + 1]
    last = seen[:, -1]
    score = np.einsum(
        "njd,nd->nj", tables.tables.k.value[place, seen], tables.tables.q.value[here, last]
    )
    score = score / np.sqrt(tables.d)
    weight = np.exp(score - score.max(axis=1, keepdims=True))
    mixed = np.einsum("nj,njd->nd", weight, tables.tables.ov.value[place, seen])
    stream = tables.tables.x.value[here, last] + mixed / weight.sum(axis=1, keepdims=True)
    stream = stream.reshape(*a.shape, -1)
    model = built(tensors)
    single, double = (answers(model.to(t), a, b, COLUMN) for t in (torch.float32, torch.float64))
    worst = 0.0
    for rows, value, real, float32 in judged(tensors, hints):
        (token,) = np.unique(truth[rows])
        y = stream[rows].reshape(-1, tables.d)
        zero, sure = np.zeros_like(y), np.ones(len(y), dtype=bool)
        box = Box(y, zero, zero, zero, np.eye(tables.d), sure, sure)
        exact = tables.head.margins(box, int(token)).value
        of = np.repeat(rows, PAIRS)
        wide, narrow = (
            x[of][:, [token]] - np.delete(x[of], token, axis=1) for x in (double, single)
        )
        largest = np.arange(len(y)), np.abs(wide).argmax(axis=1)
        computed = narrow * (exact[largest] / wide[largest])[:, None]
        centre = np.repeat(value[rows], PAIRS, axis=0)
        for found, reach in ((exact, real), (computed, float32)):
            ratio = np.abs(found - centre) / np.repeat(reach[rows], PAIRS, axis=0)
            worst = max(worst, float(ratio[np.isfinite(found)].max(initial=0)))
    return worst


def test_a_search_for_false_proofs_finds_none() -> None:
    """Climb towards pairs whose margins leave what the checker allows for their cell."""
    tensors, tree = network()[0], certificate().trees[TREE]
    rng = np.random.default_rng(16)
    state = (tensors, tree.reference, tree.axes)
    best = strain(tensors, state[1:])
    for step in range(120):
        current, reference, axes = state
        size = 10.0 ** rng.uniform(-5, -0.5)
        changed = {
            n: (x * (1 + size * rng.normal(size=x.shape))).astype("<f4") for n, x in current.items()
        }
        if step % 5 == 0:
            up, down = list(GAUGES.values())[step // 5 % len(GAUGES)]
            k = int(rng.integers(-30, 31))
            powers = {n: np.float32(2.0 ** (k * (n in up) - k * (n in down))) for n in changed}
            changed = {n: x * powers[n] for n, x in changed.items()}
        moved = reference + (step % 3 == 0) * 10.0 ** rng.uniform(-2, 3) * rng.normal(size=4)
        turned = axes + (step % 3 == 1) * 10.0 ** rng.uniform(-15, -2) * rng.normal(size=(4, 4))
        try:
            found = strain(changed, (moved, turned))
        except ValueError:  # outside of the theorem
            continue
        if found >= best:
            best, state = found, (changed, moved, turned)
    assert best < 1
    assert best > 0.8  # bounds that were a fifth smaller would have been left


def test_far_references_and_axes_that_are_off_prove_nothing_false() -> None:
    """Attack 1: (Q Q^T - 1) r would move every box to where the answers are right."""
    tensors, found, (sets, leaves, truth, _, _) = network()[0], certificate().trees[TREE], cells()
    rng = np.random.default_rng(1)
    noisy = {
        name: x if name.startswith("W_E") else (x * (1 + rng.normal(size=x.shape))).astype("<f4")
        for name, x in tensors.items()
    }
    wrong = ~right(noisy, torch.float64)
    assert wrong.any()
    checker = checker_of(noisy)
    for far in 10.0 ** np.arange(0, 16, 3):
        for off in (1e-13, 1e-9, 1e-3):
            for _ in range(4):
                towards = rng.normal(size=4)
                axes = found.axes + off * np.outer(towards, towards) @ found.axes
                hints = far * towards, axes
                for i in np.flatnonzero(wrong)[:3]:
                    fault = check_leaves(
                        checker,
                        sets,
                        found.column,
                        found.query,
                        hints,
                        leaves[[i]],
                        truth[[i]],
                        np.array([2]),
                    )
                    assert fault is not None


@pytest.mark.parametrize("name", ["axes", "clip"])
def test_forged_certificates_are_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = FORGED / name
    if not folder.exists():
        pytest.skip("the forged certificates are not on this machine")
    code = main([str(folder / "forged.json"), str(folder / "bad")])
    printed = capsys.readouterr()
    assert code in (1, 2)
    assert (printed.out + printed.err).count("\n") == 1
