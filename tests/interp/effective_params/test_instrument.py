import json

import pytest
import torch

from interp.effective_params.__main__ import main
from interp.effective_params.instrument import Config, gauge_moves, numerical_rank, run
from model.adder import forward
from model.checkpoint import save
from model.config import PRESETS, ModelConfig
from tests.support import random_adder, some_tokens

CONFIG = Config(pairs=24)


@pytest.mark.parametrize("tie", ["shareA_tieKV", "none", "all", "qk", "shareB", "kv"])
@pytest.mark.parametrize("norm", ["rms", "layer"])
def test_gauge_moves_leave_the_logits_where_they_are(tie, norm) -> None:
    config = ModelConfig(tie_qkv=tie, norm=norm, d_model=3, d_ff=4, pos_rank=2, qkv_rank=2)
    params = {n: p.detach() for n, p in random_adder(config).params.items()}
    moves = gauge_moves(params, config)
    tokens = some_tokens()

    def slopes(seed):
        """Gradient of a random combination of the logits."""
        named = {n: p.clone().requires_grad_() for n, p in params.items()}
        out = forward(named, config, tokens)
        mix = torch.randn(out.shape, generator=torch.Generator().manual_seed(seed)).double()
        gradients = torch.autograd.grad((out * mix).sum(), list(named.values()))
        return torch.cat([g.flatten() for g in gradients])

    for seed in range(3):
        gradient = slopes(seed)
        change = (moves @ gradient).abs() / moves.norm(dim=1).clamp(min=1)
        assert float(change.max()) < 1e-8 * max(1.0, float(gradient.norm()))
        assert float(gradient.norm()) > 1e-3


def test_every_gauge_move_is_counted() -> None:
    # Products: 9 each for W_pos, QKV, W_O, W_in and W_out; head: 16; gains: 8; of these the turns
    # and gains that only move what no one sees are fewer.
    result = run(random_adder(PRESETS["311p"]), CONFIG)
    assert result.nominal == 311
    assert result.gauge == 5 * 9 + 16 + 8
    assert result.logits <= result.weights <= result.nominal - result.gauge
    assert result.log_probabilities <= result.logits
    assert result.gap > 1e3


def test_a_full_rank_network_has_only_the_head_and_the_gains_as_gauge() -> None:
    config = ModelConfig(
        pos_rank=0, qkv_rank=0, attn_out_rank=0, ffn_rank=0, tie_qkv="none", d_model=3, d_ff=4
    )
    result = run(random_adder(config), CONFIG)
    # Q and K turn against each other, V against W_O, and each gain is in the rows it multiplies.
    assert result.gauge == 9 + 9 + 6


def test_the_rank_is_found_at_the_gap() -> None:
    assert numerical_rank(torch.tensor([1.0, 0.5, 1e-3, 1e-15]).double()) == (
        3,
        pytest.approx(1e12, rel=1e-6),
    )
    assert numerical_rank(torch.tensor([1.0, 0.5]).double()) == (2, 1.0)


def test_the_command_prints_ranks_and_draws_the_spectrum(tmp_path, capsys) -> None:
    folder = str(save(tmp_path / "m", random_adder(PRESETS["262p"]), {}))
    assert main([folder, "--pairs", "8", "--out", str(tmp_path / "out")]) == 0
    screen = capsys.readouterr().out
    printed = " ".join(screen.split())
    content = json.loads((tmp_path / "out" / "ranks.json").read_text())
    assert len(content["spectrum"]) == 262
    gauge, logits = content["gauge"], content["logits"]
    assert f"Of 262 stored parameters {gauge} are a choice of coordinates." in printed
    assert f"The logits move in {logits} directions, where at most {262 - gauge}" in printed
    assert screen.count("\n") <= 36
    assert (tmp_path / "out" / "spectrum.pdf").exists()
    assert main([folder, "--pairs", "0"]) == 2
    assert "--pairs is 0" in capsys.readouterr().err
