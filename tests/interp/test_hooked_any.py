import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from interp.hooked import from_hooked, to_hooked
from interp.hooked.either import HAS_HOOKED_TRANSFORMER
from model.config import PRESETS
from model.decode import tables_of
from model.dense import dense
from model.errors import InputError
from model.layouts import MICRO_14, QWEN3, Layout
from model.network import Network, forward
from model.parts import OPTIONS as FIELDS
from model.tables import column_logits
from model.task import uniform_pairs
from tests.network_support import OPTIONS, random_network
from tests.support import random_adder

if not HAS_HOOKED_TRANSFORMER:
    pytest.skip("TransformerLens 4: test_bridge takes its place", allow_module_level=True)

from transformer_lens import HookedTransformer, HookedTransformerConfig

NETWORKS = {name: random_network(**options) for name, options in OPTIONS.items()}
CASES = pytest.mark.parametrize("name", NETWORKS)


def tokens_of(layout: Layout, n: int = 6) -> torch.Tensor:
    pairs = uniform_pairs(n, torch.Generator().manual_seed(1), layout)
    return layout.encode(*pairs)[:, : layout.n_input]


def assert_same(found: Network, expected: Network) -> None:
    assert found.layout == expected.layout
    for name in FIELDS:
        if name == "qk_eps" and expected.q_norm_w is None:
            continue  # nothing to be normed
        assert getattr(found, name) == getattr(expected, name), name
    assert found.tensors().keys() == expected.tensors().keys()
    for name, value in expected.tensors().items():
        assert torch.equal(found.tensors()[name], value), name


@CASES
def test_logits_equal_forward_pass_and_tables(name: str) -> None:
    network = NETWORKS[name]
    layout, tokens = network.layout, tokens_of(network.layout)
    hooked = to_hooked(network)
    with torch.no_grad():
        logits = hooked(tokens)
    scale = float(logits.abs().max())
    assert torch.allclose(logits, forward(network, tokens), rtol=0, atol=1e-10 * scale)
    tables = tables_of(network)
    for step in range(layout.n_target):
        at = logits[:, layout.n_prompt - 1 + step]
        assert torch.allclose(column_logits(tables, tokens, step), at, rtol=0, atol=1e-10 * scale)


@CASES
def test_there_and_back_is_the_same_network(name: str) -> None:
    network = NETWORKS[name]
    assert_same(from_hooked(to_hooked(network), network.layout), network)


@pytest.mark.parametrize("preset", ["262p", "512p", "777p"])
def test_a_wrapped_member_of_the_family_comes_back(preset: str) -> None:
    model = random_adder(PRESETS[preset])
    expected = dense(model)
    assert_same(from_hooked(to_hooked(model), expected.layout), expected)


def test_hooks_see_each_head_in_its_own_width() -> None:
    network = random_network(heads=4, kv_heads=2, qk=2, v=3, layout=QWEN3)
    _, cache = to_hooked(network).run_with_cache(tokens_of(QWEN3))
    n = QWEN3.n_input
    assert cache["blocks.0.attn.hook_q"].shape == (6, n, 4, 2)
    assert cache["blocks.0.attn.hook_k"].shape == (6, n, 2, 2)
    assert cache["blocks.0.attn.hook_v"].shape == (6, n, 2, 3)
    assert cache["blocks.0.attn.hook_z"].shape == (6, n, 4, 3)
    assert cache["blocks.0.attn.hook_pattern"].shape == (6, 4, n, n)


@pytest.mark.parametrize(
    "name", ["everything", "any stream", "gated gelu", "shared keys and values"]
)
def test_every_hook_that_fires_changes_the_logits(name: str) -> None:
    network = NETWORKS[name]
    hooked, tokens = to_hooked(network), tokens_of(network.layout)
    with torch.no_grad():
        plain, cache = hooked.run_with_cache(tokens)
        for point in cache:
            value = cache[point].masked_fill(cache[point].isinf(), 0.0)
            noise = torch.randn(value.shape, generator=torch.Generator().manual_seed(2))

            def edit(activation, hook, noise=noise):
                return activation + 0.3 * noise.double()

            changed = hooked.run_with_hooks(tokens, fwd_hooks=[(point, edit)])
            if point == "hook_pos_embed" and network.W_X is not None:
                assert bool((value == 0).all())  # the table holds the positions
            assert float((changed - plain).abs().max()) > 1e-6, point


def fresh(**options) -> HookedTransformer:
    """A HookedTransformer as a user makes it, with random weights and biases."""
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
        "device": "cpu",
        "dtype": torch.float64,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hooked = HookedTransformer(HookedTransformerConfig(**{**given, **options}))
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in hooked.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter += 0.4 * noise.to(parameter.dtype)
    return hooked


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"normalization_type": "LNPre"},
        {"normalization_type": "RMS", "eps": 1e-3},
        {"normalization_type": "RMSPre"},
        {"normalization_type": None},
        {"attn_only": True, "d_mlp": None, "act_fn": None},
        {"act_fn": "relu"},
        {"act_fn": "silu", "gated_mlp": True},
        {"act_fn": "gelu_pytorch_tanh"},
        {"n_key_value_heads": 1},
        {"positional_embedding_type": "rotary"},
        {"positional_embedding_type": "rotary", "rotary_dim": 2, "rotary_base": 7},
        {"positional_embedding_type": "rotary", "rotary_adjacent_pairs": True},
        {"use_qk_norm": True, "normalization_type": "RMS"},
        {"use_attn_scale": False},
        {"attn_scale": 3.0},
        {"d_head": 3},
        {"n_ctx": 40, "use_attn_result": True, "use_split_qkv_input": True},
    ],
    ids=str,
)
def test_a_model_that_somebody_trained_is_the_network_it_becomes(options: dict) -> None:
    hooked = fresh(**options)
    tokens = tokens_of(MICRO_14)
    network = from_hooked(hooked, MICRO_14)
    with torch.no_grad():
        logits = hooked(tokens)
    scale = float(logits.abs().max())
    assert torch.allclose(forward(network, tokens), logits, rtol=0, atol=1e-10 * scale)
    before = network.W_E.clone()
    with torch.no_grad():
        hooked.embed.W_E.zero_()
    assert torch.equal(network.W_E, before)


def test_a_float32_model_stays_float32() -> None:
    assert from_hooked(fresh(dtype=torch.float32), MICRO_14).W_E.dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_layers": 2}, "2 layers"),
        ({"act_fn": "solu_ln"}, "act_fn is 'solu_ln'"),
        ({"act_fn": "gelu_new"}, "act_fn is 'gelu_new'"),
        ({"positional_embedding_type": "shortformer"}, "positional_embedding_type"),
        ({"attention_dir": "bidirectional"}, "attention_dir"),
        ({"parallel_attn_mlp": True}, "parallel_attn_mlp"),
        ({"attn_scores_soft_cap": 5.0}, "attn_scores_soft_cap"),
        ({"output_logits_soft_cap": 5.0}, "output_logits_soft_cap"),
        ({"post_embedding_ln": True}, "post_embedding_ln"),
        ({"final_rms": True}, "final_rms"),
        ({"d_vocab_out": 10}, "d_vocab_out"),
        ({"d_vocab": 12}, "has shape"),
        ({"n_ctx": 30}, "30 positions"),
        ({"clip_qkv": 1.0}, "clip_qkv"),
    ],
    ids=str,
)
def test_what_a_network_cannot_say_is_refused_by_name(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_hooked(fresh(**options), MICRO_14)


def test_the_examples_of_the_docs_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Path(__file__).resolve().parents[2] / "docs/adders.md"
    first, second = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    code = first.replace("range(1500)", "range(3)").replace("100_000", "100")
    assert code != first
    names: dict[str, Any] = {}
    exec(compile(code, "docs/adders.md", "exec"), names)
    assert "wrong of 100,000" in capsys.readouterr().out
    tokens = tokens_of(names["layout"])
    with torch.no_grad():
        expected = names["hooked"](tokens)
    assert torch.allclose(forward(names["network"], tokens), expected, atol=1e-5)
    monkeypatch.chdir(tmp_path)
    assert len([line for line in second.splitlines() if line]) <= 15
    small = "Config(columns=(2,), n_probe=300, n_attention=50, n_pairs=20, n_edges=5, n_prefix=40)"
    shorter = second.replace("Config.quick(layout)", small)
    assert shorter != second
    exec(compile(shorter, "docs/adders.md", "exec"), names)
    assert "columns right" in capsys.readouterr().out
    assert (tmp_path / "attention_and_probes.png").exists()
