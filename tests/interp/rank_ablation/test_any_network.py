"""Every kind of ablation on networks of other options, against a forward pass written out here."""

import dataclasses
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from interp import component_portrait, effective_params, rank_ablation
from interp.anatomy import (
    Component,
    clean_run,
    decompose,
    fold,
    matrices,
    missing,
    stem_of,
    unit_components,
)
from interp.anatomy.clean_run import CleanRun
from interp.component_portrait import instrument as portrait
from interp.component_portrait.__main__ import main as portrait_main
from interp.effective_params.__main__ import main as params_main
from interp.effective_params.instrument import run as count_params
from interp.gauge.__main__ import main as gauge_main
from interp.rank_ablation import instrument
from interp.rank_ablation.__main__ import main
from interp.rank_ablation.instrument import Config, run
from interp.rank_ablation.kernel import decode_keyed, no_change
from interp.rank_ablation.kinds import Setting, ablate, ablate_set
from interp.rank_ablation.metrics import answer, measure
from interp.rank_ablation.world import Sizes, build_world
from interp.truncation.__main__ import main as truncation_main
from model.anyone import read_network
from model.dense import dense
from model.errors import InputError
from model.handbuilt import handbuilt_adder
from model.layouts import Layout
from model.network import Network, apply_activation
from model.stored import save_network
from model.task import uniform_pairs
from tests.model.test_published_adders import FILES, find
from tests.network_support import OPTIONS, SHORT, random_network

N, N_REFERENCE = 16, 25
SOME = (
    "two heads of their own widths",
    "norms of q and k",
    "no norm",
    "gated gelu",
    "everything",
)


def make_setting(network: Network) -> Setting:
    generator = torch.Generator().manual_seed(0)
    folded = fold(network)
    reference = clean_run(folded, uniform_pairs(N_REFERENCE, generator, network.layout))
    run = clean_run(folded, uniform_pairs(N, generator, network.layout))
    donor = torch.randint(N_REFERENCE, (N,), generator=generator)
    return Setting(folded, reference, run, donor, seed=7)


def first_part(setting: Setting, matrix: str) -> Component:
    if matrix.startswith("ln") or stem_of(matrix) == "edges":
        return unit_components(setting.folded, matrix)[1]
    W = matrices(setting.folded)[matrix]
    left, right = (torch.eye(n, dtype=W.dtype) for n in W.shape)
    return decompose(matrix, W, "svd", left, right, tolerance=0.0)[0]


def replaced(
    net: Network, tokens: Tensor, part: Component, new: dict[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Run with what a part gives replaced, and say what it gave, at every position."""
    T, stem, head, given = part.term, part.stem, part.head, {}
    places = torch.arange(tokens.shape[1])
    x = net.W_E[tokens] + net.W_pos[places]
    x = x if net.W_X is None else x + net.W_X[places, tokens]
    h = net.normalise(x, "ln1")

    def change(site: str, value: Tensor, gives: Tensor, at: int | None = None) -> Tensor:
        """Take what the part gives away, and put `new` there, perhaps in one head only."""
        given[site] = gives
        moved = new.get(site, gives) - gives
        if at is None:
            return value + moved
        value = value.clone()
        value[:, :, at] += moved
        return value

    h_q = change("q", h, h @ T) if stem == "ln1" else h
    h_k = change("k", h, h @ T) if stem == "ln1" else h
    q = torch.einsum("bid,hdq->bihq", h_q, net.W_Q) + net.b_Q
    k = torch.einsum("bid,hdq->bihq", h_k, net.W_K) + net.b_K
    v = torch.einsum("bid,hdq->bihq", h_k, net.W_V) + net.b_V
    q = change("q", q, h @ T, head) if stem == "W_Q" else q
    k = change("k", k, h @ T, head) if stem in ("W_K", "W_KV") else k
    v = change("k", v, h @ T, head) if stem in ("W_V", "W_KV") else v
    q, k = net.finish_queries(q, places), net.finish_keys(k, places)
    mid = x + net.b_O
    for i in range(net.n_heads):
        group = net.kv_head(i)
        scores = q[:, :, i] @ k[:, :, group].mT
        if stem == "W_QK" and i == head:
            scores = change("q", scores, h @ T @ h.mT / net.attn_scale)
        causal = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        pattern = scores.masked_fill(~causal, float("-inf")).softmax(dim=-1)
        z = pattern @ v[:, :, group]
        out = z @ net.W_O[i]
        if i == head and stem == "W_OV":
            out = change("q", out, pattern @ h @ T)
        if i == head and stem == "W_O":
            out = change("q", out, z @ T)
        if i == head and stem == "edges":
            mask = torch.zeros_like(pattern[0])
            mask[net.layout.n_prompt - 1 :] = T
            out = change("q", out, (pattern * mask) @ v[:, :, group] @ net.W_O[i])
        mid = mid + out
    post = mid
    if net.act != "none":
        g = net.normalise(mid, "ln2")
        g = change("q", g, g @ T) if stem == "ln2" else g
        pre = g @ net.W_in + net.b_in
        pre = change("q", pre, g @ T) if stem == "W_in" else pre
        if net.W_gate is None or net.b_gate is None:
            units = apply_activation(pre, net.act)
        else:
            gate = g @ net.W_gate + net.b_gate
            gate = change("q", gate, g @ T) if stem == "W_gate" else gate
            units = apply_activation(gate, net.act) * pre
        out = units @ net.W_out + net.b_out
        post = mid + (change("q", out, units @ T) if stem == "W_out" else out)
    final = net.normalise(post, "ln_final")
    final = change("q", final, final @ T) if stem == "ln_final" else final
    return (final @ net.W_U + net.b_U)[:, net.layout.n_prompt - 1 :], given


def sums_at(run: CleanRun, layout: Layout, site: str) -> Tensor:
    """Digit sum at each position: of the column that it predicts, or of its own digit."""
    a, b = run.pairs
    out = torch.zeros(len(a), layout.n_input, dtype=torch.int64)
    for position, role in enumerate(layout.roles()):
        column = None
        if site == "q" and position >= layout.n_prompt - 1:
            column = layout.step(position - layout.n_prompt + 1)
        elif site == "k" and position not in layout.separators:
            column = int(role[1:])
        if column is not None and column < layout.width:
            power = layout.base**column
            out[:, position] = a // power % layout.base + b // power % layout.base
    return out


def stand_in(values: Tensor, kind: str, setting: Setting, site: str) -> Tensor:
    """What replaces the reference's values (batch, position, ...) in each evaluated sum."""
    mean = values.mean(dim=0)
    if kind == "mean":
        return mean.expand(N, *values.shape[1:]).clone()
    if kind == "resample":
        return values[setting.donor]
    out = mean.expand(N, *values.shape[1:]).clone()
    layout = setting.folded.layout
    seen, here = (sums_at(run, layout, site) for run in (setting.reference, setting.run))
    for n in range(N):
        for position in range(layout.n_input):
            same = seen[:, position] == here[n, position]
            if same.any():
                out[n, position] = values[same, position].mean(dim=0)
    return out


@pytest.mark.parametrize("kind", ["mean", "conditional", "resample"])
@pytest.mark.parametrize("name", SOME)
def test_every_kind_agrees_with_a_forward_pass_that_is_edited_where_the_part_arises(
    name, kind
) -> None:
    setting = make_setting(random_network(**OPTIONS[name]))
    n_input = setting.folded.layout.n_input
    for matrix in matrices(setting.folded):
        if matrix == "W_pos" or (kind != "conditional" and matrix.endswith((".2", ".3"))):
            continue
        part = first_part(setting, matrix)
        tokens = setting.reference.tokens[:, :n_input]
        _, given = replaced(setting.folded, tokens, part, {})
        new = {site: stand_in(x, kind, setting, site) for site, x in given.items()}
        expected, _ = replaced(setting.folded, setting.run.tokens[:, :n_input], part, new)
        (ablation,) = ablate(setting, part, kind, "live")
        keyed = ablation.keyed or no_change(ablation.tables, N)
        found = decode_keyed(
            ablation.tables, keyed, setting.run.tokens, greedy=False, dtype=torch.float64
        )[1]
        torch.testing.assert_close(found, expected, atol=1e-8, rtol=1e-8, msg=f"{matrix}: {kind}")


@pytest.mark.parametrize("name", SOME)
def test_frozen_norms_keep_the_scales_and_positions_are_replaced(name) -> None:
    setting = make_setting(random_network(**OPTIONS[name]))
    nothing = Component("W_pos", "svd", (0,), 0 * matrices(setting.folded)["W_pos"], 0.0)
    for kind in ("zero", "mean", "conditional", "resample"):
        for ablation in ablate(setting, nothing, kind, "frozen"):
            assert ablation.keyed is not None
            tokens = setting.run.tokens[ablation.rows]
            logits = decode_keyed(
                ablation.tables, ablation.keyed, tokens, greedy=False, dtype=torch.float64
            )[1]
            torch.testing.assert_close(logits, setting.run.logits[ablation.rows])


def test_the_hand_built_adder_as_a_network_gives_the_numbers_of_its_factors() -> None:
    config = Config(matrix=("W_OV", "W_out"), kind=("mean",), pairs=100, draws=1)
    model = handbuilt_adder()
    ours, theirs = (run(x, config).ablations for x in (dense(model), model))
    pd.testing.assert_frame_equal(ours, theirs)
    worst = ours[(ours["scope"] == "single") & (ours["metric"] == "exact")]["value"].min()
    assert worst < 0.1


def test_columns_are_counted_in_any_order_and_base() -> None:
    layout = dataclasses.replace(SHORT, answer="units last", name="turned")
    network = random_network(layout=layout)
    world = build_world(network, Sizes(50, 20, 40, 5), seed=0, tolerance=0.0)
    found = answer(world.setting, ablate_set(world.setting, []), world.cases)
    table = rank_ablation.tabulate_measured(measure(world.cases, found))
    wrong = found.forced.wrong[:50]
    for column in range(layout.n_answer):
        row = table[
            (table["metric"] == "digit_accuracy")
            & (table["stratum"] == str(column))
            & (table["mode"] == "forced")
            & (table["inputs"] == "uniform")
        ]
        step = layout.n_answer - 1 - column
        assert row["events"].item() == int((~wrong[:, step]).sum())


@pytest.mark.parametrize("name", FILES)
def test_published_adders_are_cut_whole(name) -> None:
    adder = read_network(find(name))
    world = build_world(adder.trained, Sizes(100, 20, 50, 5), seed=0, tolerance=0.02)
    found = answer(world.setting, ablate_set(world.setting, []), world.cases)
    assert found.forced.exact.double().mean() > 0.95
    has_scores = any(stem_of(matrix) == "W_QK" for matrix in world.names)
    assert has_scores == (not name.startswith("qwen3"))
    assert bool(missing(adder.network)) == (name.startswith("qwen3") or "260" in name)
    values = next(matrix for matrix in world.names if stem_of(matrix) == "W_V" or "KV" in matrix)
    gone = [
        ablate(world.setting, p, "zero", "live") for p in rank_ablation.cut(world, values, "svd")
    ]
    rates = [
        float(answer(world.setting, x, world.cases).forced.exact.double().mean()) for x in gone
    ]
    assert min(rates) < 0.5


@pytest.fixture
def folder(tmp_path):
    network = random_network(
        layout=SHORT, heads=2, kv_heads=1, qk_norm=True, act="silu", gated=True
    )
    return str(save_network(tmp_path / "anyone", network, {"n_params": 99}))


def test_commands_take_any_network(folder, tmp_path, capsys, monkeypatch) -> None:
    png = partial(instrument.save_figure, formats=("png",))
    monkeypatch.setattr(instrument, "save_figure", png)
    monkeypatch.setattr(portrait, "save_figure", png)
    out = tmp_path / "out"
    few = ["--pairs", "100"]
    argv = [folder, *few, "--matrix", "W_OV", "W_gate", "--basis", "svd", "raw"]
    argv += ["--draws", "1", "--kind", "conditional", "--out", str(out / "ranks")]
    assert main(argv) == 0
    screen = capsys.readouterr().out
    assert "scores have no static W_QK" in " ".join(screen.split())
    assert screen.count("\n") <= 36
    assert "Norms of q and k" in (out / "ranks/details.txt").read_text()
    table = pd.read_parquet(out / "ranks/ablations.parquet")
    assert {"W_OV.0", "W_OV.1", "W_gate"} <= set(table["matrix"])
    assert main([folder, *few, "--basis", "raw", "--out", str(out / "raw")]) == 2
    assert "trained factors are not known" in capsys.readouterr().err

    place = ["--out", str(out / "portrait")]
    assert portrait_main([folder, *few, "--matrix", "W_OV", "--head", "1", *place]) == 0
    for ending in ("json", "csv", "png"):
        assert (out / f"portrait/W_OV.1-svd-1.{ending}").exists()
    assert portrait_main([folder, *few, "--matrix", "W_QK", *place]) == 2
    assert "scores have no static W_QK" in capsys.readouterr().err
    assert portrait_main([folder, *few, "--matrix", "W_OV", "--head", "2", *place]) == 2
    assert "--head 2: W_OV has 2" in capsys.readouterr().err

    assert truncation_main([folder]) == 2
    assert "trained factors of anyone are not known" in capsys.readouterr().err
    assert gauge_main([folder, "--pairs", "100", "--out", str(out / "balanced")]) == 0
    assert "99 parameters; 0 of 100 answers differ" in capsys.readouterr().out
    assert read_network(out / "balanced").n_params == 99
    assert params_main([folder, "--pairs", "4", "--out", str(out / "params")]) == 0
    assert "99 were trained" in capsys.readouterr().out


def test_effective_weights_that_one_product_holds_move_in_fewer_directions() -> None:
    config = effective_params.Config(pairs=12)
    network = random_network(layout=SHORT, d=3, qk=2, v=2, ff=2, biases=False)
    result = count_params(network, config)
    sizes = [x.numel() for name, x in network.tensors().items() if not name.startswith("b_")]
    used = sum(sizes) - 3 * 3 - 3  # biases of norms; the position that is never read
    assert result.nominal == used
    # The gauges of W_Q W_K, of W_V W_O, of three gains, of the stream's turns and of its shift.
    assert result.logits <= used - (4 + 4 + 9 + 3 + 3)
    assert result.gauge is None
    with pytest.raises(InputError, match="use at most --pairs"):
        count_params(random_network(d=60, ff=60), effective_params.Config(pairs=10_000))


def test_a_portrait_of_every_matrix_of_a_gated_network() -> None:
    network = random_network(layout=SHORT, heads=2, kv_heads=1, act="silu", gated=True)
    for matrix in ("W_pos", "W_QK", "W_K", "W_V", "W_O", "W_in", "W_gate", "W_out"):
        result = portrait.run(network, component_portrait.Config(matrix=matrix, pairs=100))
        assert np.isfinite(list(result.shares.values())).all()
        assert bool(result.roles) == (matrix in ("W_QK", "W_V"))
        assert len(result.by_column) == SHORT.n_answer
