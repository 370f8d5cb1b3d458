import math

import pytest
import torch

from model.adder import Adder
from model.config import PRESETS, ModelConfig, param_shapes
from model.errors import InputError
from model.factored import init_params, product, rank_one_terms
from model.task import N_INPUT
from tests.support import FULL_OR_RANKED, random_adder, some_tokens


@pytest.mark.parametrize("name", PRESETS)
def test_module_holds_exactly_the_counted_parameters(name: str) -> None:
    model = Adder(PRESETS[name])
    assert sum(p.numel() for p in model.parameters()) == int(name.removesuffix("p"))
    assert list(model.params) == list(param_shapes(PRESETS[name]))


@pytest.mark.parametrize("name", ["311p", "512p", "777p"])
def test_logits_are_causal(name: str) -> None:
    model = random_adder(PRESETS[name])
    tokens = some_tokens(1)
    W_E = model.params["W_E"].detach()
    one_hot = torch.nn.functional.one_hot(tokens, 14).double().requires_grad_()
    W_pos = product({k: v.detach() for k, v in model.params.items()}, _pos_names(model))
    logits = _forward_from_residual(model, one_hot @ W_E + W_pos[:N_INPUT])
    assert torch.allclose(logits, model(tokens))
    for position in (0, 7, 21, 32):
        (gradient,) = torch.autograd.grad(logits[0, position].sum(), one_hot, retain_graph=True)
        size = gradient[0].abs().sum(dim=1)
        assert not size[position + 1 :].any()
        assert bool((size[: position + 1] > 0).all())


def _pos_names(model: Adder) -> tuple[str, ...]:
    return ("W_pos",) if model.config.pos_rank == 0 else ("W_pos_A", "W_pos_B")


def _forward_from_residual(model: Adder, x: torch.Tensor) -> torch.Tensor:
    """The forward pass again, one equation a line, from a residual stream that has a gradient."""
    config, p = model.config, model.params

    def matrix(name: str) -> torch.Tensor:
        return p[name] if name in p else p[f"{name}_A"] @ p[f"{name}_B"]

    def qkv(role: str) -> torch.Tensor:
        if config.tie_qkv == "shareA_tieKV":
            return p["qkv_A"] @ p["qkv_B_Q" if role == "Q" else "qkv_B_KV"]
        return p[f"W_{role}"] if config.qkv_rank == 0 else p["qkv_A"] @ p[f"qkv_B_{role}"]

    def norm(y: torch.Tensor, name: str) -> torch.Tensor:
        if config.norm == "layer":
            y = y - y.mean(-1, keepdim=True)
        y = y / (y.square().mean(-1, keepdim=True) + config.eps).sqrt() * p[f"{name}_w"]
        return y + p[f"{name}_b"] if config.norm == "layer" else y

    h = norm(x, "ln1")
    scores = (h @ qkv("Q")) @ (h @ qkv("K")).mT / math.sqrt(config.d_model)
    future = torch.ones(N_INPUT, N_INPUT, dtype=torch.bool).triu(1)
    pattern = torch.softmax(scores.masked_fill(future, -math.inf), -1)
    x = x + pattern @ (h @ qkv("V")) @ matrix("W_O")
    pre = norm(x, "ln2") @ matrix("W_in")
    post = pre * 0.5 * (1 + torch.erf(pre / math.sqrt(2)))
    x = x + post @ matrix("W_out")
    return norm(x, "ln_final") @ p["W_E"].T


def test_shorter_inputs_give_the_same_prefix() -> None:
    model = random_adder(PRESETS["262p"])
    tokens = some_tokens()
    assert torch.allclose(model(tokens)[:, :22], model(tokens[:, :22]))


@pytest.mark.parametrize(("tie_qkv", "rank"), FULL_OR_RANKED)
def test_tied_projections_are_the_same_tensor(tie_qkv: str, rank: int) -> None:
    model = random_adder(ModelConfig.from_dict({"tie_qkv": tie_qkv, "qkv_rank": rank}))
    assert model(some_tokens()).shape == (3, 33, 14)
    model(some_tokens()).sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in model.parameters())


def test_rank_one_terms_sum_to_the_matrix() -> None:
    params = {k: v.detach() for k, v in random_adder(PRESETS["311p"]).params.items()}
    for name in ("W_pos", "W_O", "W_in", "W_out"):
        A, B = params[f"{name}_A"], params[f"{name}_B"]
        terms = rank_one_terms(A, B)
        assert terms.shape[0] == 3
        assert torch.allclose(terms.sum(0), product(params, (f"{name}_A", f"{name}_B")))
        assert all(int(torch.linalg.matrix_rank(term)) == 1 for term in terms)


def test_initial_parameters_follow_the_seed_and_the_published_spread() -> None:
    config = PRESETS["973p"]
    first, again, other = (init_params(config, seed=s) for s in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["W_E"], other["W_E"])
    assert float(first["W_pos"].std()) == pytest.approx(0.02, rel=0.2)
    assert torch.equal(first["ln1_w"], torch.ones(7))
    assert not first["ln1_b"].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"W_E": None}, "tensor W_E is missing: expected shape (14, 4)"),
        ({"W_X": torch.zeros(2)}, "tensor W_X does not belong to this configuration"),
        ({"W_E": torch.zeros(13, 4)}, "tensor W_E has shape (13, 4), not (14, 4)"),
    ],
)
def test_wrong_parameters_are_refused(change: dict, message: str) -> None:
    params = init_params(PRESETS["262p"], seed=0) | change
    params = {name: value for name, value in params.items() if value is not None}
    with pytest.raises(InputError) as caught:
        Adder(PRESETS["262p"], params)
    assert str(caught.value) == message
