"""Networks as TransformerBridges, with TransformerLens 3 and 4 alike."""

import pytest
import torch
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge import TransformerBridge

from interp.hooked import BOTTLENECKS, from_hooked, to_bridge
from interp.lowrank_twin import LowRankTwin
from model.config import PRESETS
from model.dense import dense
from model.errors import InputError
from model.layouts import MICRO_14, QWEN3, Layout
from model.network import Network, forward
from model.parts import OPTIONS as FIELDS
from model.task import N_INPUT, encode, uniform_pairs
from tests.network_support import OPTIONS, random_network
from tests.reference import assert_same as assert_close
from tests.reference import nudged
from tests.support import random_adder

NETWORKS = {name: random_network(**options) for name, options in OPTIONS.items()}


def tokens_of(layout: Layout, n: int = 6) -> torch.Tensor:
    pairs = uniform_pairs(n, torch.Generator().manual_seed(1), layout)
    return layout.encode(*pairs)[:, : layout.n_input]


def assert_same(found: Network, expected: Network) -> None:
    assert found.layout == expected.layout
    for name in FIELDS:
        assert getattr(found, name) == getattr(expected, name), name
    assert found.tensors().keys() == expected.tensors().keys()
    for name, value in expected.tensors().items():
        assert torch.equal(found.tensors()[name], value), name


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_equal_the_forward_pass_and_the_network_comes_back(name: str) -> None:
    network = NETWORKS[name]
    tokens = tokens_of(network.layout)
    bridge = to_bridge(network)
    with torch.no_grad():
        logits, expected = bridge(tokens), forward(network, tokens)
    scale = float(expected.abs().max())
    assert torch.allclose(logits, expected, rtol=0, atol=1e-10 * scale)
    assert_same(from_hooked(bridge, network.layout), network)


def test_hooks_see_each_head_in_its_own_width_under_old_and_new_names() -> None:
    network = random_network(heads=4, kv_heads=2, qk=2, v=3, layout=QWEN3)
    bridge = to_bridge(network)
    _, cache = bridge.run_with_cache(tokens_of(QWEN3))
    n, attn = QWEN3.n_input, "blocks.0.attn."
    assert cache[f"{attn}hook_q"].shape == cache[f"{attn}q.hook_out"].shape == (6, n, 4, 2)
    assert cache[f"{attn}hook_k"].shape == cache[f"{attn}k.hook_out"].shape == (6, n, 2, 2)
    assert cache[f"{attn}hook_v"].shape == cache[f"{attn}v.hook_out"].shape == (6, n, 2, 3)
    assert cache[f"{attn}hook_z"].shape == cache[f"{attn}o.hook_in"].shape == (6, n, 4, 3)
    pattern, scores = cache[f"{attn}hook_pattern"], cache[f"{attn}hook_attn_scores"]
    assert torch.allclose(scores.softmax(dim=-1), pattern)
    assert bridge.blocks[0].attn.W_Q.shape == network.W_Q.shape
    assert bridge.blocks[0].attn.W_O.shape == network.W_O.shape


def test_the_result_of_each_head_sums_to_what_attention_writes() -> None:
    network = random_network(heads=4, kv_heads=2, qk=2, v=3, layout=QWEN3)
    bridge, tokens = to_bridge(network), tokens_of(QWEN3)
    plain = bridge(tokens)
    bridge.set_use_attn_result(True)
    logits, cache = bridge.run_with_cache(tokens)
    result = cache["blocks.0.attn.hook_result"]
    assert torch.allclose(logits, plain, rtol=0, atol=1e-12)
    written = result.sum(dim=-2) + network.b_O
    assert torch.allclose(written, cache["blocks.0.hook_attn_out"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["everything", "any stream", "no norm"])
def test_every_hook_that_fires_changes_the_logits(name: str) -> None:
    network = NETWORKS[name]
    bridge, tokens = to_bridge(network), tokens_of(network.layout)
    with torch.no_grad():
        plain, cache = bridge.run_with_cache(tokens)
        for point in cache:
            if point in ("embed.hook_in", "pos_embed.hook_in"):
                continue  # tokens and positions
            value = cache[point].masked_fill(cache[point].isinf(), 0.0)
            noise = torch.randn(value.shape, generator=torch.Generator().manual_seed(2))

            def edit(activation, hook, noise=noise):
                return activation + 0.3 * noise.double()

            changed = bridge.run_with_hooks(tokens, fwd_hooks=[(point, edit)])
            assert float((changed - plain).detach().abs().max()) > 1e-6, point


@pytest.mark.parametrize("preset", ["262p", "512p"])
def test_edits_of_the_family_agree_with_the_twin(preset: str) -> None:
    model = random_adder(PRESETS[preset])
    bridge, twin, near = to_bridge(model), LowRankTwin(model), LowRankTwin(nudged(model))
    tokens = encode(*uniform_pairs(4, torch.Generator().manual_seed(0)))[:, :N_INPUT]
    assert_same(from_hooked(bridge, dense(model).layout), dense(model))
    with torch.no_grad():
        _, ours = bridge.run_with_cache(tokens)
        _, theirs = twin.run_with_cache(tokens)
        _, nearly = near.run_with_cache(tokens)
        for point in twin.hook_dict:
            assert_close(ours[point], theirs[point], nearly[point], point)
            noise = torch.randn(theirs[point].shape, generator=torch.Generator().manual_seed(1))

            def edit(activation, hook, noise=noise):
                return activation + 0.2 * noise.double()

            changed, expected, about = (
                x.run_with_hooks(tokens, fwd_hooks=[(point, edit)]) for x in (bridge, twin, near)
            )
            assert_close(changed, expected, about, point)
        low = BOTTLENECKS["W_in"][0]
        bridge.add_hook(low, lambda activation, hook: activation * 0)
        bridge.reset_hooks()
        assert_close(bridge(tokens), twin(tokens), near(tokens))
        assert (low in bridge.run_with_cache(tokens)[1]) == (low in twin.hook_dict)


def booted(**options) -> TransformerBridge:
    """A bridge as a user makes it, with random weights and biases."""
    given = {
        "n_layers": 1,
        "d_model": 8,
        "d_head": 4,
        "n_heads": 2,
        "d_mlp": 6,
        "act_fn": "gelu",
        "n_ctx": 33,
        "d_vocab": 14,
        "seed": 0,
    }
    config = TransformerBridgeConfig(**{**given, **options})
    bridge = TransformerBridge.boot_native(config, dtype=torch.float64)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in bridge.original_model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter += 0.4 * noise
    return bridge


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"normalization_type": "RMS", "eps": 1e-3},
        {"normalization_type": None},
        {"attn_only": True},
        {"act_fn": "silu", "gated_mlp": True},
        {"act_fn": "gelu_new"},
        {"n_key_value_heads": 1, "attn_scale": 3.0},
        {"positional_embedding_type": "rotary", "rotary_dim": 2, "rotary_base": 7},
    ],
    ids=str,
)
def test_a_native_bridge_is_the_network_it_becomes(options: dict) -> None:
    bridge, tokens = booted(**options), tokens_of(MICRO_14)
    network = from_hooked(bridge, MICRO_14)
    with torch.no_grad():
        logits = bridge(tokens)
    scale = float(logits.abs().max())
    # Parts of TransformerLens' native model (RMSNorm, the angles of rotary positions) are float32.
    exact = not options.keys() & {"eps", "rotary_dim"}
    tolerance = 1e-10 if exact else 64 * torch.finfo(torch.float32).eps
    assert torch.allclose(forward(network, tokens), logits, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_layers": 2}, "2 layers"),
        ({"attn_scores_soft_cap": 5.0}, "attn_scores_soft_cap"),
        ({"d_vocab_out": 10}, "d_vocab_out"),
        ({"n_ctx": 30}, "30 positions"),
    ],
    ids=str,
)
def test_what_a_network_cannot_say_is_refused_by_name(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_hooked(booted(**options), MICRO_14)


def test_other_things_are_refused_in_one_line() -> None:
    bridge = booted()
    bridge.cfg.act_fn = "solu"
    with pytest.raises(InputError, match="act_fn is 'solu'"):
        from_hooked(bridge, MICRO_14)
    with pytest.raises(InputError, match="Linear is no model of TransformerLens"):
        from_hooked(torch.nn.Linear(2, 2), MICRO_14)
