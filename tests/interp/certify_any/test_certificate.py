"""Counts of any network: against brute force, members of boxes, samples and bad networks."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from interp.certify.__main__ import main
from interp.certify_any.boxes import Hulls
from interp.certify_any.cells import questions
from interp.certify_any.certificate import Proof, certify_network
from interp.certify_any.count import (
    Steps,
    TooManySteps,
    build_automaton,
    count_avoiding,
    draw,
    masses,
)
from interp.certify_any.groups import Pool
from interp.certify_any.margins import Head
from interp.certify_any.search import RIGHT, UNDECIDED, WRONG
from interp.certify_any.tables import tabulate
from model.anyone import read_network
from model.decode import decode_exactly
from model.layouts import Layout
from model.network import Network
from model.stored import save_network
from model.tables import column_logits
from model.tables import tabulate as plain_tables
from tests.network_support import OPTIONS, random_network

SMALL = (
    Layout(name="a", prompt=("a", 5, "b", 6), vocab_size=8, end=7, width=2, base=4),
    Layout(
        name="b",
        prompt=(5, "b", 1, "a"),
        vocab_size=7,
        end=None,
        width=3,
        base=3,
        first_digit=1,
        answer="units last",
    ),
    Layout(
        name="c", prompt=("a", 0, "b", 0), vocab_size=4, end=0, width=2, base=4,
        operands="units last",
    ),
    Layout(
        name="d", prompt=(0, "a", 0, 0, "b", 0), vocab_size=6, end=4, width=2, base=3,
        operands="units last", answer="units last",
    ),
)  # fmt: skip


def small_network(index: int, scale: float) -> Network:
    options = dict(list(OPTIONS.values())[index])
    options |= {"layout": SMALL[index % len(SMALL)], "scale": scale}
    return random_network(seed=index, **options)


def every_pair(layout: Layout) -> tuple[torch.Tensor, torch.Tensor]:
    one = torch.arange(layout.capacity)
    a, b = torch.meshgrid(one, one, indexing="ij")
    return a.flatten(), b.flatten()


def agree(proof: Proof) -> None:
    """Hold counts, and the exact masses of each column, to all pairs."""
    network = proof.network
    layout = network.layout
    a, b = every_pair(layout)
    greedy = decode_exactly(network, a, b)
    prefix = layout.encode(a, b)[:, layout.n_prompt : -1]
    wrong = decode_exactly(network, a, b, prefix=prefix).wrong
    right = int(greedy.exact.sum())
    assert proof.digits.lower <= right <= proof.digits.upper
    if proof.with_end is not None:
        right = int((~greedy.wrong).all(dim=1).sum())
        assert proof.with_end.lower <= right <= proof.with_end.upper
    for column in range(layout.n_target):
        sums = [sum(masses(proof.pool, proof.column(column, v))) for v in range(3)]
        assert sum(sums) == proof.digits.total
        bad = int(wrong[:, layout.step(column)].sum())
        assert sums[WRONG] <= bad <= sums[WRONG] + sums[UNDECIDED]


@pytest.mark.parametrize("index", range(len(OPTIONS)), ids=list(OPTIONS))
def test_counts_equal_brute_force(index: int) -> None:
    proof = certify_network(small_network(index, 0.25))
    assert proof.digits.exact
    agree(proof)


@pytest.mark.parametrize("budget", [100, 300])
def test_a_short_budget_leaves_a_gap_that_holds_the_truth(budget: int) -> None:
    proof = certify_network(small_network(len(OPTIONS) - 1, 0.8), budget=budget, end_budget=20)
    agree(proof)


def test_too_many_steps_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interp.certify_any.certificate.Steps", lambda: Steps(10))
    proof = certify_network(small_network(1, 0.25))
    assert proof.digits.counting == "columns"
    assert not proof.digits.exact
    agree(proof)


@pytest.mark.parametrize("index", [1, 7, 8, 14, 23])
def test_boxes_and_margins_hold_random_members(index: int) -> None:
    """Pairs of random cells lie in the box, and their margins within the reach."""
    network = small_network(index, 0.4)
    layout = network.layout
    tables, pool = plain_tables(network), Pool(layout.base)
    sources, head = tabulate(network), Head(network)
    rng = np.random.default_rng(index)
    step = 2
    with np.errstate(all="ignore"):
        for question in questions(layout, pool, step)[:2]:
            hulls = Hulls(sources, layout, pool, step, question.token)
            for cell, target in zip(question.cells, question.target.tolist(), strict=True):
                box = hulls.boxes(cell[None])
                margins = head.margins(box, hulls.axes, target)
                held = np.repeat(cell[None], 200, axis=0)
                a, b = (torch.from_numpy(x) for x in draw(pool, held, rng))
                tokens = layout.encode(a, b)
                assert (tokens[:, layout.n_prompt + step] == target).all()
                logits = column_logits(tables, tokens, step).numpy()
                gaps = logits[:, target, None] - logits
                sign = np.sign(gaps)
                low = margins.middle - margins.reach
                high = margins.middle + margins.reach
                assert not ((low > 0) & (sign < 0)).any()
                finite = np.isfinite(high)
                assert not ((high < 0) & finite & (sign > 0)).any()


def test_automata_count_unions() -> None:
    """Counting pairs outside random cells equals listing all pairs."""
    pool, rng = Pool(3), np.random.default_rng(0)
    width, n = 3, pool.options.count
    a, b = (x.ravel() for x in np.indices((27, 27)))
    group, carry = [], np.zeros(len(a), dtype=np.int64)
    for k in range(width):
        x, y = a // 3**k % 3, b // 3**k % 3
        group.append(9 * carry + 3 * x + y)
        carry = (x + y + carry) // 3
    for _ in range(20):
        automata, inside = [], np.zeros(len(a), dtype=bool)
        for _ in range(3):
            rows = rng.random((4, width, n)) < 0.6
            cells = np.array([[pool.number(row) for row in cell] for cell in rows])
            cells[rng.random(cells.shape) < 0.3] = pool.everything
            hits = np.array(
                [[pool.row(x)[g] for x, g in zip(c, group, strict=True)] for c in cells.tolist()]
            )
            assert masses(pool, cells) == hits.all(axis=1).sum(axis=1).tolist()
            inside |= hits.all(axis=1).any(axis=0)
            automata.append(build_automaton(pool, cells, Steps()))
        assert count_avoiding(pool, width, automata, Steps()) == (~inside).sum()
    some = pool.number(np.arange(n) < 5)
    with pytest.raises(TooManySteps):
        build_automaton(pool, np.array([[some, pool.everything, some]]), Steps(1))


def test_command_writes_witnesses_that_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = small_network(0, 0.25)
    save_network(tmp_path / "net", network, {})
    assert main([str(tmp_path / "net"), "--out", str(tmp_path / "out")]) == 0
    screen = capsys.readouterr().out
    assert "exact count" in screen
    assert "files: " in screen
    atlas = pd.read_csv(tmp_path / "out/atlas.csv")
    failing = atlas[atlas["verdict"] == "wrong"]
    assert len(failing)
    assert (failing["margin"] < 0).all()
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    a, b = every_pair(network.layout)
    right = int(decode_exactly(network, a, b).exact.sum())
    assert summary["counts"]["real"]["lower"] == str(right)
    a, b = (torch.tensor(failing[x].to_numpy("int64")) for x in "ab")
    assert not bool(decode_exactly(network, a, b).exact.any())
    again = read_network(tmp_path / "out").network
    assert torch.equal(again.W_Q, network.W_Q)


def test_verdicts_are_distinct() -> None:
    assert len({RIGHT, WRONG, UNDECIDED}) == 3
