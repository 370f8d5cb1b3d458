"""The network of the page is the network: its modules under node, against PyTorch in float64.

The bound is 1e-9 where both sides compute in float64 and logits are below 1e3: 1e4 roundings of
1e-16, relative, stay far below it.
"""

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from analyses.explorer.describe import describe_network
from interp.anatomy import decompose, fold, matrices, without
from model.anyone import read_network
from model.decode import decode_exactly
from model.dense import dense
from model.handbuilt import handbuilt_adder
from model.layouts import Layout
from model.network import Network
from model.tables import column_logits, tabulate
from model.task import uniform_pairs
from tests.network_support import OPTIONS, random_network

NODE = shutil.which("node")
SOURCES = Path(__file__).resolve().parents[3] / "analyses/explorer/page/src"
CLOSE = 1e-9
pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed: no page to run")


def run(jobs: list[dict[str, Any]]) -> list[Any]:
    argv = [str(NODE), str(Path(__file__).with_name("run.mjs")), str(SOURCES)]
    done = subprocess.run(argv, input=json.dumps(jobs), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def described(network: Network, name: str = "it") -> dict[str, Any]:
    return {"name": name, "title": "", **describe_network(network)}


@cache
def pairs_of(layout: Layout, n: int) -> tuple[Tensor, Tensor]:
    return uniform_pairs(n, torch.Generator().manual_seed(5), layout)


def job(network: Network, n: int = 3, **more: Any) -> dict[str, Any]:
    a, b = pairs_of(network.layout, n)
    texts = [[str(int(x)), str(int(y))] for x, y in zip(a, b, strict=True)]
    return {"network": described(network), "pairs": texts, **more}


def logits_of(network: Network, n: int = 3, prefix: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Tokens and logits of every step of a greedy decoding, from PyTorch."""
    layout, tables = network.layout, tabulate(network)
    a, b = pairs_of(layout, n)
    tokens = decode_exactly(network, a, b, prefix=prefix).tokens
    fed = layout.encode(a, b)
    fed[:, layout.n_prompt :] = tokens
    if prefix is not None:
        fed[:, layout.n_prompt : -1] = prefix
    steps = [column_logits(tables, fed, step) for step in range(layout.n_target)]
    return tokens, torch.stack(steps, dim=1)


def agree(found: list[Any], network: Network, n: int = 3) -> None:
    tokens, logits = logits_of(network, n)
    assert [row["tokens"] for row in found] == tokens.tolist()
    ours = torch.tensor([row["logits"] for row in found], dtype=torch.float64)
    assert float((ours - logits).abs().max()) < CLOSE * max(1.0, float(logits.abs().max()))


@cache
def small() -> Network:
    return read_network("262p").network


def test_every_kind_of_network_is_the_network_of_pytorch() -> None:
    networks = [random_network(seed=3, **options) for options in OPTIONS.values()]
    for found, network in zip(run([job(net) for net in networks]), networks, strict=True):
        agree(found, network)


def test_changes_are_those_that_they_claim_to_be() -> None:
    """Each change beside the same edit of the weights."""
    net, two = small(), random_network(seed=1, heads=4, kv_heads=2, qk=2, v=3)
    off, half, head = net.W_out.clone(), net.W_out.clone(), two.W_O.clone()
    off[2], half[5], head[1] = 0, half[5] / 2, 0
    folded = fold(net)
    edited = [
        ({"u.2": 0}, net, net.edit(W_out=off)),
        ({"u.5": 0.5}, net, net.edit(W_out=half)),
        ({"h.1": 0}, two, two.edit(W_O=head)),
        ({"h.0": 0}, net, net.edit(W_O=torch.zeros_like(net.W_O))),
        ({}, net, net),
    ]
    for matrix in ("W_pos", "W_QK", "W_OV", "W_in", "W_out"):
        whole = matrices(folded)[matrix]
        eyes = (torch.eye(n, dtype=whole.dtype) for n in whole.shape)
        parts = decompose(matrix, whole, "svd", *eyes, tolerance=0.0)
        key = f"c.{matrix}{'.0' if matrix in ('W_QK', 'W_OV') else ''}.2"
        edited.append(({key: 0}, net, without(folded, [parts[1]])))
    jobs = [job(network, changes=changes) for changes, network, _ in edited]
    for found, (_, _, expected) in zip(run(jobs), edited, strict=True):
        agree(found, expected)


def test_components_of_every_head_are_of_its_own() -> None:
    """All terms of a matrix taken out is the matrix gone; in one head of several, too."""
    net = random_network(seed=2, heads=4, kv_heads=2, qk=2, v=3, biases=False)
    keys = [term["key"] for term in describe_network(net)["components"]]
    gone_q, gone_o = net.W_Q.clone(), net.W_O.clone()
    gone_q[1], gone_o[3] = 0, 0
    cases = [("W_QK.1.", net.edit(W_Q=gone_q)), ("W_OV.3.", net.edit(W_O=gone_o))]
    changes = [{f"c.{key}": 0 for key in keys if key.startswith(start)} for start, _ in cases]
    assert all(changes)
    found = run([job(net, changes=change) for change in changes])
    for rows, (_, expected) in zip(found, cases, strict=True):
        agree(rows, expected)


def test_weights_that_are_set_and_digits_that_are_put_in() -> None:
    net = small()
    layout, tables = net.layout, tabulate(net)
    a, b = pairs_of(layout, 3)
    fed = layout.encode(a, b)
    fed[:, layout.n_prompt :] = logits_of(net)[0]
    step, source = 4, layout.a_position(4)
    length = layout.n_prompt + step
    query, place = fed[:, length - 1], torch.arange(length)
    keys, written = tables.k[place, fed[:, :length]], tables.ov[place, fed[:, :length]]
    pattern = torch.einsum("bd,bjd->bj", tables.q[step, query], keys).softmax(1)
    kept = pattern.clone()
    kept[:, source] = 0.25
    others = pattern.clone()
    others[:, source] = 0
    made_up = others * 0.75 / others.sum(1, keepdim=True)
    made_up[:, source] = 0.25

    def finish(weights: Tensor) -> Tensor:
        mid = tables.x[step, query] + torch.einsum("bj,bjd->bd", weights, written)
        resid = mid + net.feed_forward(mid)
        return net.normalise(resid, "ln_final") @ net.W_U

    here = {"w.s4.0.a4": 0.25}
    alike = {"w.all.0.a0": 0.25, "sum": 1}
    put = {"d.s2": 7}
    rows = run([job(net, changes=change) for change in (here, {**here, "sum": 1}, alike, put)])
    for found, weights in zip(rows[:2], (kept, made_up), strict=True):
        ours = torch.tensor([row["logits"][step] for row in found], dtype=torch.float64)
        assert float((ours - finish(weights)).abs().max()) < CLOSE
        before = [row["tokens"][:step] for row in found]
        assert before == fed[:, layout.n_prompt : layout.n_prompt + step].tolist()
    assert rows[2] != rows[1]
    prefix = fed[:, layout.n_prompt : -1].clone()
    prefix[:, 2] = 7
    for _ in range(layout.n_target):  # what follows is decoded again
        prefix[:, 3:] = decode_exactly(net, a, b, prefix=prefix).tokens[:, 3:-1]
    tokens, logits = logits_of(net, prefix=prefix)
    assert [row["tokens"] for row in rows[3]] == tokens.tolist()
    ours = torch.tensor([row["logits"] for row in rows[3]], dtype=torch.float64)
    assert float((ours - logits).abs().max()) < CLOSE * float(logits.abs().max())


def test_the_place_value_is_found_where_it_is_and_not_elsewhere() -> None:
    """Positive: a network that is known to carry it, and a written one. Negative: random ones."""
    written = dense(handbuilt_adder())
    random = [random_network(seed=seed) for seed in range(3)]
    found = run([job(net, values=[3, 7]) for net in (small(), written, *random)])
    values = [[value for row in rows for value in row["values"]] for rows in found]
    for measured in values[0]:
        assert measured["r2"] > 0.99
        assert abs(measured["value"] - measured["exact"]) < 0.5
        answered = {part["token"] for part in measured["segments"]}
        assert set(range(small().layout.base)) <= answered
    assert all(value["r2"] > 0.9 for value in values[1])
    for measured in values[2:]:
        assert all(value is None or value["r2"] < 0.9 for value in measured)
    for row in found[0]:
        for measured, step in zip(row["values"], (3, 7), strict=True):
            at = measured["value"]
            here = [s["token"] for s in measured["segments"] if s["from"] <= at <= s["to"]]
            assert row["tokens"][step] in here


def test_an_address_goes_around_and_a_foreign_one_does_no_harm() -> None:
    net = small()
    whole = "a=12&b=9999999999&at=s4&left=x&left.u.3=0&left.w.s3.0.a-1=0.5&left.d.s2=7&right=y"
    fragments = [
        whole,
        f"#{whole}&left.u.99=0&left.c.W_OV.0.1=NaN&left.q=1&left.d.s2.x=3",
        "a=1e5&b=-3&at=s99&left=<b>",
        f"a={10**30}&left=x&left.d.s3=12",
        "",
    ]
    (found,) = run(
        [{"networks": [described(net, "x"), described(net, "y")], "fragments": fragments}]
    )
    assert set(found[0].split("&")) == set(whole.split("&"))
    assert found[1] == found[0]
    assert "<" not in found[2]
    assert "at=s0" in found[2]
    assert found[3].startswith("a=9999999999&")
    assert "left.d" not in found[3]
    assert "left=x" in found[4]
