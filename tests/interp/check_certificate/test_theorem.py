"""What is accepted is true: range of weights, overflow, underflow, hints; in both programs."""

import base64
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from interp.certify.cells import base_cells, members, query_tokens
from interp.certify.certificate import certify, count_cells
from interp.certify.count import Steps
from interp.certify.file import CLAIMS
from interp.certify.search import Tree, search_column
from interp.check_certificate.bounds import Margins
from interp.check_certificate.cells import Sets, first_cells, rebuild
from interp.check_certificate.command import main
from interp.check_certificate.count import Steps as CheckerSteps
from interp.check_certificate.count import Unending, count
from interp.check_certificate.rounding import OWN, U32, Approx, Norm, gamma
from interp.check_certificate.tables import Checker
from interp.check_certificate.verdicts import check_leaves, proves
from model.adder import Adder
from model.checkpoint import load
from model.decode import count_errors
from model.errors import InputError
from model.task import uniform_pairs
from tests.interp.certify.test_cells import random_leaves

FORGED = Path(__file__).resolve().parents[4] / "shared/forged"
STREAM = ("W_E", "W_pos_B", "W_O_B", "W_out_B")
"""Scaling these scales the residual stream, and a gain of ln_final as small undoes it."""


def scaled(powers: dict[str, int], name: str = "262p") -> Adder:
    """Multiply stored tensors by powers of two."""
    model = load(name)
    params = {
        key: value.detach() * 2.0 ** powers.get(key, 0) for key, value in model.params.items()
    }
    return Adder(model.config, params)


def checker(model: Adder) -> Checker:
    tensors = {key: value.detach().double().numpy() for key, value in model.params.items()}
    with np.errstate(all="raise", under="ignore"):
        return Checker(tensors, model.config.to_dict())


def fault(network: Checker, tree: Tree, code: int | None = None) -> str | None:
    """Let the checker prove a tree's leaves, all of them with `code` if one is given."""
    sets = Sets()
    cells, truth, codes = rebuild(sets, tree.column, tree.query, tree.codes.tolist())
    claimed = np.array(codes) if code is None else np.full(len(codes), code)
    hints = tree.reference, tree.axes
    with np.errstate(all="raise", under="ignore"):
        return check_leaves(
            network, sets, tree.column, tree.query, hints, np.array(cells), np.array(truth), claimed
        )


def right(tree: Tree, arithmetic: str) -> bool:
    return bool((getattr(tree, arithmetic) == 0).all())


@pytest.mark.parametrize(
    "powers",
    [
        {},
        dict.fromkeys(STREAM, 20) | {"ln_final_w": -20},
        {"W_in_A": -40, "W_in_B": 40, "W_out_A": 20, "W_out_B": -20},
        {"qkv_A": 30, "qkv_B_Q": -30, "qkv_B_KV": -30, "W_pos_A": -50, "W_pos_B": 50},
        {"ln2_w": 30, "W_in_B": -30, "ln1_w": -30, "qkv_A": 30},
    ],
)
def test_a_gauge_within_range_keeps_the_proof(powers: dict[str, int]):
    model = scaled(powers)
    network = checker(model)
    for tree in search_column(model, 1, budget=20_000)[:3]:
        assert right(tree, "real")
        assert right(tree, "float32")
        assert fault(network, tree) is None


def test_overflow_leaves_float32_undecided():
    model = scaled(dict.fromkeys(STREAM, 62) | {"ln_final_w": -62})
    a, b = uniform_pairs(200, torch.Generator().manual_seed(0))
    assert count_errors(model, a, b) == 200  # the mean square is infinite
    network = checker(model)
    for tree in search_column(model, 1, budget=20_000)[:3]:
        assert right(tree, "real")
        assert (tree.float32 == 2).all()
        assert fault(network, tree) is None
        assert "float32 cannot be proved" in str(fault(network, tree, code=0))


def test_underflow_leaves_float32_undecided():
    powers = {"ln2_w": -116, "W_in_A": 58, "W_in_B": 58}
    model = scaled(powers)
    a, b = uniform_pairs(200, torch.Generator().manual_seed(0))
    assert count_errors(model, a, b) == 0
    # Results below 2^-100 flushed, the units get nothing and write nothing.
    assert count_errors(scaled(powers | {"W_out_B": -80}), a, b) > 100
    network = checker(model)
    for tree in search_column(model, 1, budget=20_000)[:3]:
        assert right(tree, "real")
        assert (tree.float32 == 2).all()
        assert fault(network, tree) is None
        assert "float32 cannot be proved" in str(fault(network, tree, code=0))


@pytest.mark.parametrize(
    ("powers", "bound"),
    [
        (dict.fromkeys(STREAM, 66) | {"ln_final_w": -66}, "2^64"),
        ({"W_in_A": -126, "W_in_B": 126}, "2^"),
        ({"W_in_A": -130}, "2^-126"),
    ],
)
def test_weights_out_of_range_are_refused(powers: dict[str, int], bound: str):
    model = scaled(powers)
    with pytest.raises(InputError) as refused:
        certify(model)
    with pytest.raises(ValueError, match="nothing is proved there") as also:
        checker(model)
    for message in (str(refused.value), str(also.value)):
        assert bound in message
        assert "\n" not in message


def test_ranks_and_shapes_are_those_of_the_weights():
    model = load("311p-base")
    tensors = {key: value.detach().double().numpy() for key, value in model.params.items()}
    card = model.config.to_dict()
    true, false = Checker(tensors, card), Checker(tensors, card | {"pos_rank": -300, "d_ff": 10**9})
    assert np.array_equal(true.tables.x.error, false.tables.x.error)
    assert (true.tables.x.error > 0).all()


def residuals(network: Checker, column: int, tokens: np.ndarray) -> np.ndarray:
    """Run attention in float64 for rows of tokens up to the query."""
    tables, here = network.tables, 21 + column
    place = np.arange(here + 1)
    query = tables.q.value[here, tokens[:, -1]]
    score = np.einsum("nd,njd->nj", query, tables.k.value[place, tokens]) / np.sqrt(network.d)
    weight = np.exp(score - score.max(axis=1, keepdims=True))
    mixed = np.einsum("nj,njd->nd", weight, tables.ov.value[place, tokens])
    return tables.x.value[here, tokens[:, -1]] + mixed / weight.sum(axis=1, keepdims=True)


def pairs_in(sets: Sets, cell: np.ndarray, column: int, rng: np.random.Generator) -> np.ndarray:
    """Draw tokens up to the query from the options of a cell, carries that fit."""
    rows = []
    while len(rows) < 20:
        carry, digits = 0, []
        for k in range(10):
            options = np.flatnonzero(sets.rows[cell[k]])
            options = options[options // 100 == carry]
            if not len(options):
                break
            x = int(rng.choice(options))
            digits.append((x % 100 // 10, x % 10, (x // 100 + x % 100 // 10 + x % 10) % 10))
            carry = (x // 100 + x % 100 // 10 + x % 10) // 10
        else:
            left, both, answer = zip(*digits, strict=True)
            prompt = [*left[::-1], 10, *both[::-1], 11]
            rows.append([*prompt, *answer[:column]])
    return np.array(rows)


def hostile_hints(d: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    hints = []
    for far in (1.0, 1e3, 1e6, 1e9, 1e12):
        for off in (0.0, 1e-12, 1e-6, 1e-2):
            hints.append((far * rng.normal(size=d), turn + off * rng.normal(size=(d, d)) / 3))
    hints += [(rng.normal(size=d), np.zeros((d, d))), (rng.normal(size=d), np.ones((d, d)))]
    return hints


def test_boxes_hold_what_they_must_whatever_the_hints():
    network, sets, rng = checker(load("262p")), Sets(), np.random.default_rng(1)
    column, query, missed = 4, 3, 0
    cells = np.array(first_cells(sets, column, query)[0])[rng.choice(2000, 8)]
    draws = [pairs_in(sets, cell, column, rng) for cell in cells]
    for seed in range(3):
        for reference, axes in hostile_hints(network.d, seed):
            with np.errstate(all="raise", under="ignore"):
                box = network.hull(column, query, reference, axes).boxes(sets, cells)
            reach = box.width @ np.abs(axes).T
            for i, tokens in enumerate(draws):
                if box.usable[i]:
                    away = np.abs(residuals(network, column, tokens) - box.centre[i])
                    assert (away <= reach[i] + box.slack[i] + 1e-13).all()
                    missed += int((away > reach[i] + 1e-13).any())
    assert missed > 100  # without the term for the hints, boxes do not hold what they must


def test_hostile_hints_prove_nothing_false():
    model = load("311p-base")
    network, column = checker(model), 8
    failing = [tree for tree in search_column(model, column, budget=40_000) if 1 in tree.real]
    assert failing
    proved = {0: 0, 1: 0}
    for tree in failing[:2]:
        sets = Sets()
        # All leaves that fail, and a sample of the others.
        some = (tree.real == 1) | (np.random.default_rng(1).random(len(tree.real)) < 0.2)
        cells = np.array(rebuild(sets, column, tree.query, tree.codes.tolist())[0])[some]
        real, target = tree.real[some], tree.target[some]
        noise = np.random.default_rng(0).normal(size=(5, 4))
        hints = hostile_hints(network.d, tree.query)
        for far in (0.0, 1e-6, 1e-3, 1e-2):
            for off in (0.0, 1e-12, 1e-6, 1e-3):
                hints.append((tree.reference + far * noise[4], tree.axes + off * noise[:4]))
        for reference, axes in hints:
            boxes = network.hull(column, tree.query, reference, axes).boxes(sets, cells)
            for token in np.unique(target):
                margins: Margins = network.head.margins(boxes, int(token))
                rows = target == token
                for name in ("real", "float32"):
                    reach = getattr(margins, name)
                    right = proves(margins.value, reach).all(axis=1)[rows]
                    wrong = proves(-margins.value, reach).any(axis=1)[rows]
                    assert (real[rows][right] != 1).all()
                    assert (real[rows][wrong] != 0).all()
                    proved[0] += int(right.sum())
                    proved[1] += int(wrong.sum())
    assert min(proved.values()) > 0


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, 1e200])
def test_hints_that_are_no_numbers_are_refused(odd: float):
    network = checker(load("262p"))
    hints = [(np.full(4, odd), np.eye(4)), (np.zeros(4), np.full((4, 4), odd))]
    for reference, axes in hints:
        with pytest.raises(ValueError, match="no box can be measured by"):
            network.hull(5, 0, reference, axes)


def test_only_strict_comparisons_of_numbers_prove():
    inf, nan = np.inf, np.nan
    value = np.array([1.0, 1.0, inf, inf, nan, 1.0, 0.0, 2.0])
    reach = np.array([1.0, inf, inf, 1.0, 1.0, nan, 0.0, 1.0])
    assert proves(value, reach).tolist() == [False] * 7 + [True]


def test_norm_marks_what_it_cannot_bound():
    norm = Norm(np.ones(4), np.zeros(4), layer=True, eps=1e-5)
    x = Approx(np.full((2, 4), 2.0**60), np.full((2, 4), U32 * 2.0**60))
    x.value[1] *= np.arange(4)
    with np.errstate(all="raise", under="ignore"):
        result, sound, peak = norm.apply(x)
    assert sound.tolist() == [False, True]
    assert np.isfinite(result.error).all()
    assert (peak > 2.0**120).all()
    assert OWN * gamma(10) > 10 * 2.0**-53


def convert(path: Path) -> dict:
    """Turn a certificate of format 1 into format 2, which says the same."""
    content = json.loads(path.read_text())
    del content["seconds"]
    names = ("real", "float32", "real_with_end", "float32_with_end")
    return content | {
        "format": "carrylens certificate 2",
        "claims": CLAIMS,
        "counting": dict.fromkeys(names, "joint"),
    }


@pytest.mark.parametrize(
    ("name", "reason"), [("axes", "cannot be proved so"), ("clip", "nothing is proved there")]
)
def test_forged_certificates_are_refused(
    name: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    if not (FORGED / name).exists():
        pytest.skip("the forged certificates are not on this machine")
    path = tmp_path / "certificate.json"
    path.write_text(json.dumps(convert(FORGED / name / "forged.json")))
    assert main([str(path), str(FORGED / name / "bad")]) == 1
    printed = capsys.readouterr().out
    assert reason in printed
    assert printed.count("\n") == 1


def test_many_undecided_leaves_are_counted():
    if not (FORGED / "axes").exists():
        pytest.skip("the forged certificates are not on this machine")
    content, sets, bad = convert(FORGED / "axes/forged.json"), Sets(), {}
    for tree in content["trees"]:
        codes = np.frombuffer(zlib.decompress(base64.b64decode(tree["codes"])), dtype="u1")
        cells, _, codes = rebuild(sets, tree["column"], tree["query"], codes.tolist())
        for cell, code in zip(cells, codes, strict=True):
            for arithmetic, verdict in enumerate(divmod(code, 3)):
                if verdict:
                    bad.setdefault((arithmetic, tree["column"], verdict), []).append(cell)
    counts = count(sets, bad, content["counting"])
    assert counts["real"] == (10**20, 10**20)
    assert counts["float32"] == (0, 10**20)


def random_trees(rounds: int, share: float) -> list[Tree]:
    """Leaves of random splits in every column, some of them wrong or undecided."""
    rng, trees = np.random.default_rng(2), []
    for column in range(12):
        for query in query_tokens(column):
            leaves = random_leaves(column, query, seed=query, rounds=rounds)
            if not rounds:
                leaves = base_cells(column, query)[0]
            verdict = rng.choice(3, len(leaves), p=[1 - share, share / 2, share / 2])
            nothing = np.zeros(len(leaves))
            hints = np.zeros(4), np.eye(4)
            codes = verdict.astype(np.uint8)
            trees.append(
                Tree(column, query, codes, leaves, nothing, verdict, verdict, nothing, *hints)
            )
    return trees


def bad_cells(trees: list[Tree], sets: Sets) -> dict:
    """The failing cells of trees as the checker knows them."""
    bad: dict[tuple[int, int, int], list[tuple[int, ...]]] = {}
    for tree in trees:
        for leaf in np.flatnonzero(tree.real):
            cell = tuple(
                sets.number(members(k)[label]) for k, label in enumerate(tree.leaves[leaf])
            )
            if min(cell) >= 0:
                bad.setdefault((0, tree.column, int(tree.real[leaf])), []).append(cell)
    return bad


@pytest.mark.parametrize(("rounds", "share"), [(0, 0.005), (2, 0.0002)])
def test_both_programs_count_alike(rounds: int, share: float, monkeypatch: pytest.MonkeyPatch):
    trees, sets = random_trees(rounds, share), Sets()
    sets.start(0)
    sets.start(1)
    bad = bad_cells(trees, sets)
    names = ("real", "real_with_end", "float32", "float32_with_end")
    joint = count_cells(trees, "real")
    other = count(sets, bad, dict.fromkeys(names, "joint"))
    monkeypatch.setattr("interp.certify.certificate.Steps", lambda: Steps(0))
    columns = count_cells(trees, "real")
    weaker = count(sets, bad, dict.fromkeys(names, "columns"))
    for i, name in enumerate(names[:2]):
        assert (joint[i].counting, columns[i].counting) == ("joint", "columns")
        assert (joint[i].lower, joint[i].upper) == other[name]
        assert (columns[i].lower, columns[i].upper) == weaker[name]
        assert weaker[name][0] <= other[name][0] <= other[name][1] <= weaker[name][1] < 10**20
    with pytest.raises(ValueError, match="in no known way"):
        count(sets, bad, dict.fromkeys(names, "somehow"))


def test_a_count_that_would_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch):
    trees, sets = random_trees(2, 0.05), Sets()
    sets.start(0)
    sets.start(1)
    monkeypatch.setattr("interp.certify.certificate.Steps", lambda: Steps(10**5))
    monkeypatch.setattr("interp.check_certificate.count.Steps", lambda: CheckerSteps(10**5))
    assert [bound.counting for bound in count_cells(trees, "real")] == ["columns"] * 2
    names = ("real", "real_with_end", "float32", "float32_with_end")
    with pytest.raises(Unending, match="counted jointly"):
        count(sets, bad_cells(trees, sets), dict.fromkeys(names, "joint"))
