import pytest
import torch

from model.adder import Adder
from model.config import PRESETS, ModelConfig, Norm
from model.dense import compose, dense
from model.network import forward
from model.tables import column_logits, tabulate
from model.task import N_INPUT, N_TARGET, encode, query_position, uniform_pairs
from tests.reference import assert_same, nudged
from tests.support import FULL_OR_RANKED, random_adder, some_tokens

CONFIGS = {
    **PRESETS,
    **{
        f"{tie}-{rank}-{norm}": ModelConfig.from_dict(
            {"tie_qkv": tie, "qkv_rank": rank, "norm": norm, "d_model": 5}
        )
        for (tie, rank) in FULL_OR_RANKED
        for norm in ("rms", "layer")
    },
}


@pytest.mark.parametrize("name", CONFIGS)
def test_dense_weights_give_the_factored_logits(name: str) -> None:
    model = random_adder(CONFIGS[name])
    tokens = some_tokens()
    assert_same(forward(dense(model), tokens), model(tokens), nudged(model)(tokens))


def test_a_change_in_the_tenth_digit_is_no_rounding() -> None:
    model, tokens = random_adder(PRESETS["311p"]), some_tokens()
    params = {name: value.detach().clone() for name, value in model.params.items()}
    params["W_in_A"] *= 1 + 1e-10
    with pytest.raises(AssertionError, match="against"):
        assert_same(Adder(model.config, params)(tokens), model(tokens), nudged(model)(tokens))


@pytest.mark.parametrize("name", PRESETS)
def test_tables_give_the_factored_logits(name: str) -> None:
    model = random_adder(CONFIGS[name])
    tokens = some_tokens()
    logits, near = model(tokens), nudged(model)(tokens)
    tables = tabulate(dense(model))
    for column in range(N_TARGET):
        at = query_position(column)
        assert_same(column_logits(tables, tokens, column), logits[:, at], near[:, at])


def test_effective_weights_do_not_see_the_gauge() -> None:
    model = random_adder(PRESETS["311p"])
    params = {name: value.detach() for name, value in model.params.items()}
    G = torch.randn(3, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    moved = dict(params)
    moved["qkv_A"] = params["qkv_A"] @ G
    for name in ("qkv_B_Q", "qkv_B_KV"):
        moved[name] = torch.linalg.solve(G, params[name])
    moved["W_in_A"] = params["W_in_A"] @ G
    moved["W_in_B"] = torch.linalg.solve(G, params["W_in_B"])
    before, after = dense(model), dense(Adder(model.config, moved))
    for name, value in before.tensors().items():
        # Solving for B loses the condition of G, some 10, times 1e-16.
        assert torch.allclose(value, getattr(after, name), atol=1e-9), name
    assert not torch.allclose(params["W_in_A"], moved["W_in_A"])


@pytest.mark.parametrize("norm", ["rms", "layer"])
def test_folded_circuits_are_the_bilinear_forms_they_claim(norm: Norm) -> None:
    weights = dense(random_adder(ModelConfig(norm=norm)))
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    bare = x / (x.square().mean(-1, keepdim=True) + 1e-8).sqrt()
    h = bare * weights.ln1_w
    scores = (h @ weights.W_Q[0]) @ (h @ weights.W_K[0]).T
    assert torch.allclose(bare @ weights.W_QK() @ bare.T, scores)
    assert torch.allclose(bare @ weights.W_OV(), h @ weights.W_V[0] @ weights.W_O[0])


def test_edit_replaces_and_leaves_the_original() -> None:
    weights = dense(random_adder(PRESETS["262p"]))
    zero = torch.zeros_like(weights.W_O)
    edited = weights.edit(W_O=zero)
    assert not edited.W_O.any()
    assert weights.W_O.any()
    assert edited.W_in is weights.W_in
    assert weights.to(torch.float32).W_in.dtype == torch.float32


def test_composition_is_differentiable() -> None:
    model = random_adder(PRESETS["262p"])
    compose(model.params, model.config).W_QK().sum().backward()
    assert model.params["qkv_A"].grad is not None
    assert not dense(model).W_E.requires_grad


def test_per_column_biases_act_on_their_column_only() -> None:
    tables = tabulate(dense(random_adder(PRESETS["262p"])))
    tokens = encode(*uniform_pairs(4, torch.Generator().manual_seed(2)))[:, :N_INPUT]
    bias = tables.attn_bias.clone()
    bias[5] = 1.0
    edited = tables.edit(attn_bias=bias)
    for column in range(N_TARGET):
        same = torch.equal(
            column_logits(tables, tokens, column), column_logits(edited, tokens, column)
        )
        assert same == (column != 5)
