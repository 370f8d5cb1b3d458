import pytest
import torch

from interp.hooked import BOTTLENECKS, to_hooked
from interp.hooked.either import HAS_HOOKED_TRANSFORMER
from interp.lowrank_twin import LowRankTwin
from model.adder import Adder
from model.checkpoint import load
from model.config import PRESETS, QKV_FACTORS, ModelConfig
from model.decode import decode
from model.factored import init_params
from model.task import N_INPUT, N_PROMPT, N_TARGET, encode, uniform_pairs
from tests.reference import assert_same, nudged

if not HAS_HOOKED_TRANSFORMER:
    pytest.skip("TransformerLens 4: test_bridge takes its place", allow_module_level=True)

MODES = {
    f"{mode}-{norm}-{rank}": ModelConfig(
        tie_qkv=mode, norm=norm, qkv_rank=rank, attn_out_rank=rank, pos_rank=rank, ffn_rank=rank
    )
    for mode in QKV_FACTORS
    for norm, rank in (("rms", 2), ("layer", 3), ("rms", 0))
    if rank or not mode.startswith("share")
}
CONFIGS = {**PRESETS, **MODES}


def lively(config: ModelConfig, seed: int = 3) -> Adder:
    """Weights large enough for attention and GELU to matter, with biases that are not zero."""
    params = init_params(config, seed, token_std=0.7, position_std=0.7, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    for name, value in params.items():
        if name.startswith("ln"):
            noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
            params[name] = value + 0.3 * noise
    return Adder(config, params)


def tokens_of(n: int, seed: int = 0) -> torch.Tensor:
    return encode(*uniform_pairs(n, torch.Generator().manual_seed(seed)))[:, :N_INPUT]


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_equal_the_native_model(name):
    model = lively(CONFIGS[name])
    tokens = tokens_of(50)
    native = model(tokens)
    near = nudged(model)(tokens)
    assert_same(to_hooked(model)(tokens), native, near)
    assert_same(LowRankTwin(model)(tokens), native, near)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_bottleneck_has_a_hook_and_a_full_matrix_has_none(name):
    config = CONFIGS[name]
    hooked = to_hooked(lively(config))
    ranks = {
        "W_pos": config.pos_rank,
        **dict.fromkeys(("W_Q", "W_K", "W_V"), config.qkv_rank),
        "W_O": config.attn_out_rank,
        **dict.fromkeys(("W_in", "W_out"), config.ffn_rank),
    }
    _, cache = hooked.run_with_cache(tokens_of(2))
    for matrix, rank in ranks.items():
        low, _ = BOTTLENECKS[matrix]
        assert (low in hooked.hook_dict) == bool(rank)
        if rank:
            assert cache[low].shape[-1] == rank


@pytest.mark.parametrize("name", ["262p", "456p", "491p", "512p", "777p", "qk-layer-3"])
def test_every_hook_is_live_and_edits_agree_with_the_twin(name):
    model = lively(CONFIGS[name])
    hooked, twin, near = to_hooked(model), LowRankTwin(model), LowRankTwin(nudged(model))
    tokens = tokens_of(8)
    plain = twin(tokens)
    generator = torch.Generator().manual_seed(1)
    _, ours = hooked.run_with_cache(tokens)
    _, theirs = twin.run_with_cache(tokens)
    _, nearly = near.run_with_cache(tokens)
    shared = [point for point in twin.hook_dict if point in hooked.hook_dict]
    assert set(twin.hook_dict) == set(shared)
    # What the twin lacks are TransformerLens hooks that this architecture never calls.
    assert not set(ours) - set(theirs)
    for point in shared:
        value = theirs[point]
        assert_same(ours[point], value, nearly[point], point)
        scale = 0.2 * torch.randn(value.shape, generator=generator, dtype=torch.float64)

        def edit(activation, hook, scale=scale):
            finite = activation.masked_fill(activation.isinf(), 0)
            return activation + scale * (1 + finite.abs())

        changed = hooked.run_with_hooks(tokens, fwd_hooks=[(point, edit)])
        assert (changed - plain).abs().max() > 1e-4, f"{point} is dead"
        expected, about = (
            x.run_with_hooks(tokens, fwd_hooks=[(point, edit)]) for x in (twin, near)
        )
        assert_same(changed, expected, about, point)


@pytest.mark.parametrize("name", ["262p", "512p"])
def test_a_bottleneck_edit_sees_edits_made_upstream(name):
    """Zeroing a coordinate of the bottleneck after an upstream edit must zero the edited value."""
    model = lively(CONFIGS[name])
    hooked, twin, near = to_hooked(model), LowRankTwin(model), LowRankTwin(nudged(model))
    tokens = tokens_of(8)

    def shift(activation, hook):
        return activation * 1.3 + 0.2

    def drop(activation, hook):
        return torch.cat([torch.zeros_like(activation[..., :1]), activation[..., 1:]], dim=-1)

    upstream = {
        "W_Q": "blocks.0.hook_resid_pre",
        "W_O": "blocks.0.attn.hook_z",
        "W_in": "blocks.0.hook_resid_mid",
        "W_out": "blocks.0.mlp.hook_post",
    }
    for matrix, point in upstream.items():
        low, high = BOTTLENECKS[matrix]
        hooks = [(point, shift), (low, drop), (high, shift)]
        actual = hooked.run_with_hooks(tokens, fwd_hooks=hooks)
        expected, about = (x.run_with_hooks(tokens, fwd_hooks=hooks) for x in (twin, near))
        assert_same(actual, expected, about, matrix)


def test_reset_hooks_keeps_the_bottlenecks_and_leaves_no_edit():
    model = lively(PRESETS["262p"])
    hooked = to_hooked(model)
    tokens = tokens_of(4)
    low = BOTTLENECKS["W_V"][0]
    hooked.add_hook(low, lambda activation, hook: activation * 0)
    assert not torch.allclose(hooked(tokens), model(tokens), atol=1e-3)
    hooked.reset_hooks()
    assert_same(hooked(tokens), model(tokens), nudged(model)(tokens))
    assert low in hooked.run_with_cache(tokens)[1]


def test_keys_and_values_are_hooked_apart_although_their_weights_are_one():
    model = lively(PRESETS["262p"])
    hooked = to_hooked(model)
    tokens = tokens_of(4)
    _, cache = hooked.run_with_cache(tokens)
    assert torch.allclose(cache["blocks.0.attn.hook_k"], cache["blocks.0.attn.hook_v"])

    def zero(activation, hook):
        return activation * 0

    edited = {}
    for role in "kv":
        with hooked.hooks(fwd_hooks=[(f"blocks.0.attn.hook_{role}_low", zero)]):
            _, edited[role] = hooked.run_with_cache(tokens)
    uniform = edited["k"]["blocks.0.attn.hook_pattern"][0, 0, -1]
    assert torch.allclose(uniform, torch.full_like(uniform, 1 / N_INPUT))
    assert edited["v"]["blocks.0.attn.hook_z"].abs().max() < 1e-12
    assert torch.equal(
        edited["v"]["blocks.0.attn.hook_pattern"], cache["blocks.0.attn.hook_pattern"]
    )


def test_gradients_reach_a_bottleneck():
    hooked = to_hooked(lively(PRESETS["262p"]))
    low = BOTTLENECKS["W_in"][0]
    seen = []
    hooked.add_hook(low, lambda gradient, hook: seen.append(gradient.detach()), dir="bwd")
    hooked(tokens_of(3)).sum().backward()
    assert seen[0].shape == (3, N_INPUT, 3)
    assert seen[0].abs().max() > 0


def test_published_checkpoint_logits_and_greedy_decoding(published_311p):
    model = load(published_311p)
    hooked = to_hooked(model)
    reference = Adder(model.config, {k: v.double() for k, v in model.params.items()})
    with torch.no_grad():
        tokens = tokens_of(1000)
        assert_same(hooked(tokens), reference(tokens), nudged(model)(tokens))
        a, b = uniform_pairs(10_000, torch.Generator().manual_seed(5))
        fed = encode(a, b)[:, :N_PROMPT]
        for _ in range(N_TARGET):
            fed = torch.cat([fed, hooked(fed)[:, -1:].argmax(dim=-1)], dim=1)
    assert torch.equal(fed[:, N_PROMPT:], decode(model, a, b).tokens)
