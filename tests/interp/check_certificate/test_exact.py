"""The second proof confirms what is true, and only that."""

import dataclasses
import json
from collections.abc import Container
from pathlib import Path

import numpy as np
import pytest
import torch
from flint import arb, ctx

from interp.certify.search import search_column
from interp.check_certificate.cells import CARRY, LEFT, RIGHT, TOTAL, Sets, rebuild
from interp.check_certificate.command import main, read_certificate
from interp.check_certificate.content import Content, TreeContent
from interp.check_certificate.exact import PRECISION, confirm
from interp.check_certificate.exact_boxes import Network, Query
from interp.check_certificate.exact_margins import Head, proved
from interp.check_certificate.files import SHIPPED, find, read_checkpoint
from model.adder import Adder
from model.checkpoint import load
from model.task import encode

CERTIFIED = sorted(
    path.parent.name
    for path in SHIPPED.glob("*/certificate.json")
    if json.loads(path.read_text())["format"] == "carrylens certificate 2"
)
"""The write-ups' family; nothing checks the general certificates (format 3) yet."""


@pytest.fixture(autouse=True)
def _bits() -> None:
    ctx.prec = PRECISION


def only(content: Content, columns: Container[int]) -> Content:
    """Leave the claims of some columns; the trees of others claim nothing."""
    nothing = np.full(1, 8)
    trees = [
        x if x.column in columns else dataclasses.replace(x, codes=nothing) for x in content.trees
    ]
    return dataclasses.replace(content, trees=tuple(trees))


@pytest.mark.parametrize("name", CERTIFIED)
def test_every_shipped_certificate_is_confirmed_on_a_sample(name: str) -> None:
    tensors, config = read_checkpoint(name)
    content = only(read_certificate(find(name) / "certificate.json"), (1, 11))
    confirmed, failed = confirm(content, tensors, config, sample=1, seed=0)
    assert failed == []
    assert confirmed >= 2


def test_the_command_says_which_cells_are_not_confirmed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("interp.check_certificate.command.check", lambda *_: {})
    content = only(read_certificate(find("262p") / "certificate.json"), (0, 1))
    monkeypatch.setattr("interp.check_certificate.command.read_certificate", lambda _: content)
    assert main(["262p", "--exact", "1", "--seed", "3"]) == 0
    assert "proved a second time: 2 of 2 cells" in capsys.readouterr().out
    # Claimed wrong in float32 where it is right: all of it in column 0.
    first, *rest = content.trees
    lying = dataclasses.replace(first, codes=np.where(first.codes == 0, 1, first.codes))
    content = dataclasses.replace(content, trees=(lying, *rest))
    monkeypatch.setattr("interp.check_certificate.command.read_certificate", lambda _: content)
    assert main(["262p", "--exact", "1"]) == 1
    printed = capsys.readouterr().out
    assert "column 0, query 11" in printed
    assert "(real right, float32 wrong) is not confirmed" in printed
    assert "proved a second time: 1 of 2 cells" in printed


def test_another_networks_cells_are_not_confirmed() -> None:
    """Weights with 30 % noise answer few columns right: claiming right must fail there."""
    tensors, config = read_checkpoint("262p")
    rng = np.random.default_rng(0)
    noisy = {
        name: (x * (1 + 0.3 * rng.normal(size=x.shape))).astype("<f4")
        for name, x in tensors.items()
    }
    content = read_certificate(find("262p") / "certificate.json")
    confirmed, failed = confirm(only(content, (0, 2)), noisy, config, sample=2, seed=0)
    assert len(failed) > confirmed


def pairs_in(sets: Sets, cell: tuple[int, ...], rng: np.random.Generator, n: int) -> np.ndarray:
    """Draw pairs in a cell, by rejection of chains of carries."""
    rows = []
    while len(rows) < n:
        carry, a, b = 0, 0, 0
        for k, number in enumerate(cell):
            options = np.flatnonzero(sets.rows[number] & (carry == CARRY))
            if not len(options):
                break
            x = int(rng.choice(options))
            a, b, carry = a + int(LEFT[x]) * 10**k, b + int(RIGHT[x]) * 10**k, int(TOTAL[x] // 10)
        else:
            rows.append((a, b))
    return np.array(rows)


def margins(model: Adder, a: np.ndarray, b: np.ndarray, column: int, truth: int) -> np.ndarray:
    tokens = encode(torch.from_numpy(a), torch.from_numpy(b))[:, : 22 + column]
    logits = model(tokens)[:, -1].detach().double().numpy()
    return logits[:, [truth]] - np.delete(logits, truth, axis=1)


@pytest.mark.parametrize("name", ["262p", "456p"])
def test_balls_contain_the_pairs_of_a_cell(name: str) -> None:
    """Signs of margins of random pairs, in float64 and float32, against the balls of their cell."""
    tensors, config = read_checkpoint(name)
    content = read_certificate(find(name) / "certificate.json")
    network, sets, rng = Network(tensors, config), Sets(), np.random.default_rng(1)
    model = load(name)
    for index in (0, 57):
        tree = content.trees[index]
        cells, truth, _ = rebuild(sets, tree.column, tree.query, tree.codes.tolist())
        leaf = int(rng.integers(len(cells)))
        query = Query(network, tree.column, tree.query, tree.reference, tree.axes)
        box = query.box(sets, cells[leaf])
        head = Head(network, truth[leaf])
        found = head.margins(box, box.ratio)
        if not all(v.is_finite() for v in (*found.value, *found.float32)):
            assert tree.column == 11  # diffuse attention: only parts of the cell are bounded
            continue
        a, b = pairs_in(sets, cells[leaf], rng, 50).T
        for dtype, slack in ((torch.float64, 1e-9), (torch.float32, 0.0)):
            measured = margins(model.to(dtype), a, b, tree.column, truth[leaf])
            rounds = found.float32 if dtype == torch.float32 else [arb(0)] * 13
            low = np.array(
                [float((v - e).lower()) for v, e in zip(found.value, rounds, strict=True)]
            )
            high = np.array(
                [float((v + e).upper()) for v, e in zip(found.value, rounds, strict=True)]
            )
            # The balls are times the scale of the last norm, one positive factor for a pair.
            for row in measured:
                least = np.where(row > 0, low, high) / row
                most = np.where(row > 0, high, low) / row
                assert least.max() <= most.min() * (1 + slack)
        model.to(torch.float32)


def test_published_311p_is_confirmed_before_its_end_token(published_311p: Path) -> None:
    """There attention is diffuse, and boxes have to be cut into pieces."""
    model = load(published_311p)
    tensors = {name: p.detach().numpy() for name, p in model.params.items()}
    sound = read_certificate(find("262p") / "certificate.json")
    trees = [
        TreeContent(11, x.query, x.codes, x.reference, x.axes)
        for x in search_column(model, 11, budget=1500)
    ]
    content = dataclasses.replace(sound, trees=(*only(sound, ()).trees[:-2], *trees))
    confirmed, failed = confirm(content, tensors, model.config.to_dict(), sample=6, seed=0)
    assert (confirmed, failed) == (6, [])


def test_hints_do_not_matter() -> None:
    """Far references and skew axes make boxes wide, never wrong: a false claim stays unproved."""
    tensors, config = read_checkpoint("262p")
    content = read_certificate(find("262p") / "certificate.json")
    tree, sets, rng = content.trees[30], Sets(), np.random.default_rng(0)
    cells, truth, _ = rebuild(sets, tree.column, tree.query, tree.codes.tolist())
    network = Network(tensors, config)
    head, false = Head(network, truth[5]), Head(network, (truth[5] + 1) % 10)
    for size in (0.0, 1e3, 1e300):
        reference = tree.reference + size * rng.normal(size=4)
        axes = tree.axes + min(size, 1e-12) * rng.normal(size=(4, 4))
        box = Query(network, tree.column, tree.query, reference, axes).box(sets, cells[5])
        assert proved(head, box, 0, 0, pieces=64) or size > 1
        assert not proved(false, box, 0, 0, pieces=8)
    with pytest.raises(ZeroDivisionError):
        Query(network, tree.column, tree.query, tree.reference, np.zeros((4, 4)))
