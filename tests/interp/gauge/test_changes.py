import dataclasses
from typing import get_args

import pytest
import torch

from interp.gauge.__main__ import main
from interp.gauge.changes import balance, factor_groups, random_gauge
from model.adder import Adder, forward
from model.checkpoint import load
from model.config import PRESETS, ModelConfig, TieQKV
from model.factored import init_params
from model.task import encode, uniform_pairs

CONFIGS = [ModelConfig(d_model=5, d_ff=6, tie_qkv=tie) for tie in get_args(TieQKV)] + [
    PRESETS["262p"],
    PRESETS["777p"],
    dataclasses.replace(PRESETS["311p"], tie_qkv="kv", qkv_rank=0),
    dataclasses.replace(PRESETS["311p"], ffn_rank=6),
]


def params_of(config: ModelConfig) -> dict:
    params = init_params(config, 1, token_std=0.7, position_std=0.7, dtype=torch.float64)
    generator = torch.Generator().manual_seed(3)
    return {
        name: value + 0.3 * torch.randn(value.shape, generator=generator, dtype=torch.float64)
        for name, value in params.items()
    }


def logits(params: dict, config: ModelConfig) -> torch.Tensor:
    tokens = encode(*uniform_pairs(20, torch.Generator().manual_seed(0)))[:, :-1]
    return forward(params, config, tokens)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.tie_qkv}-{c.d_model}-{c.ffn_rank}")
def test_every_gauge_leaves_the_function_and_moves_the_parameters(config: ModelConfig) -> None:
    params = params_of(config)
    generator = torch.Generator().manual_seed(5)
    for _ in range(5):
        other = random_gauge(params, config, generator)
        torch.testing.assert_close(logits(other, config), logits(params, config))
        moved = {name for name in params if not torch.allclose(params[name], other[name])}
        assert {n for lefts, rights in factor_groups(params, config) for n in lefts + rights} <= (
            moved
        )


def test_turning_one_factor_alone_changes_the_function() -> None:
    config = PRESETS["311p"]
    params = params_of(config)
    wrong = params | {
        "qkv_B_KV": params["qkv_B_KV"] @ torch.diag(torch.tensor([2.0, 1, 1, 1]).double())
    }
    assert (logits(wrong, config) - logits(params, config)).abs().max() > 1e-3


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.tie_qkv}-{c.d_model}-{c.ffn_rank}")
def test_balanced_factors_are_equal_in_weight_and_the_same_function(config: ModelConfig) -> None:
    params = params_of(config)
    balanced = balance(params, config)
    torch.testing.assert_close(logits(balanced, config), logits(params, config))
    for lefts, rights in factor_groups(params, config):
        left = sum(balanced[name].T @ balanced[name] for name in lefts)
        right = sum(balanced[name] @ balanced[name].T for name in rights)
        torch.testing.assert_close(left, right)


def test_balance_forgets_the_gauge_of_the_factors() -> None:
    config = PRESETS["311p"]
    params = params_of(config)
    turned = dict(params)
    generator = torch.Generator().manual_seed(1)
    for lefts, rights in factor_groups(params, config):
        G = torch.randn(3, 3, generator=generator, dtype=torch.float64)
        turned |= {name: turned[name] @ G for name in lefts}
        turned |= {name: torch.linalg.inv(G) @ turned[name] for name in rights}
    for name, value in balance(params, config).items():
        torch.testing.assert_close(balance(turned, config)[name], value)


def test_command_writes_a_balanced_checkpoint(published_311p, tmp_path, capsys) -> None:
    assert main([str(published_311p), "--out", str(tmp_path / "b"), "--pairs", "200"]) == 0
    assert "0 of 200 answers differ" in capsys.readouterr().out.replace("\n", " ")
    model = load(tmp_path / "b")
    assert isinstance(model, Adder)
    A, B = (model.params[name].detach().double() for name in ("W_O_A", "W_O_B"))
    # Each stored number is off by half a unit of float32, and each product by two.
    rounding = 2.1 * 2.0**-24 * (A.abs().T @ A.abs() + B.abs() @ B.abs().T)
    assert ((A.T @ A - B @ B.T).abs() <= rounding).all()


def test_command_says_what_is_wrong(tmp_path, capsys) -> None:
    assert main(["no_such_checkpoint", "--out", str(tmp_path)]) == 2
    assert "no checkpoint 'no_such_checkpoint'" in capsys.readouterr().err
