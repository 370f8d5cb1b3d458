import pytest
import torch

from interp.anatomy.column_trace import QUERY_SITES, SOURCE_SITES, trace_column
from interp.hooked import to_hooked
from model.dense import dense
from model.task import N_INPUT, N_TARGET, query_position
from tests.reference import assert_same, nudged
from tests.support import lively_adder, tokens_of

HOOKS = {
    "resid_pre": "blocks.0.hook_resid_pre",
    "q": "blocks.0.attn.hook_q",
    "k": "blocks.0.attn.hook_k",
    "v": "blocks.0.attn.hook_v",
    "attn_scores": "blocks.0.attn.hook_attn_scores",
    "pattern": "blocks.0.attn.hook_pattern",
    "z": "blocks.0.attn.hook_z",
    "attn_out": "blocks.0.hook_attn_out",
    "resid_mid": "blocks.0.hook_resid_mid",
    "pre": "blocks.0.mlp.hook_pre",
    "post": "blocks.0.mlp.hook_post",
    "mlp_out": "blocks.0.hook_mlp_out",
    "resid_post": "blocks.0.hook_resid_post",
}


@pytest.mark.parametrize("name", ["262p", "311p", "456p", "512p", "777p"])
def test_every_site_equals_the_hooked_model(name):
    model, tokens = lively_adder(name), tokens_of(6)
    hooked, weights, near = to_hooked(model), dense(model), dense(nudged(model))
    logits, cache = hooked.run_with_cache(tokens[:, :N_INPUT])
    for column in range(N_TARGET):
        at = query_position(column)
        trace, nearly = (trace_column(x, tokens, column) for x in (weights, near))
        assert_same(logits[:, at], trace["logits"], nearly["logits"])
        for site, hook in HOOKS.items():
            value = cache[hook]
            if site in ("attn_scores", "pattern"):
                value = value[:, 0, at, : at + 1]
            elif value.ndim == 4:
                value = value[:, :, 0]
            if site in ("resid_pre", "k", "v"):
                value = value[:, : at + 1]
            elif site not in ("attn_scores", "pattern"):
                value = value[:, at]
            assert_same(value, trace[site], nearly[site], (column, site))


@pytest.mark.parametrize("site", [*SOURCE_SITES, *QUERY_SITES])
def test_an_edit_reaches_the_logits_and_the_identity_changes_nothing(site):
    weights, tokens = dense(lively_adder("512p")), tokens_of(2)
    plain = trace_column(weights, tokens, 4)
    same = trace_column(weights, tokens, 4, {site: lambda x: x})
    # Not one amount for every coordinate: LayerNorm would take that away again.
    moved = trace_column(
        weights, tokens, 4, {site: lambda x: x + torch.arange(x.numel()).reshape(x.shape).sin()}
    )
    assert torch.equal(same["logits"], plain["logits"])
    assert not torch.allclose(moved["logits"], plain["logits"])


def test_the_path_around_a_layer_is_apart_from_the_path_into_it():
    weights, tokens = dense(lively_adder("311p")), tokens_of(2)
    plain = trace_column(weights, tokens, 4)
    moved = trace_column(weights, tokens, 4, {"skip": lambda x: x + 1})
    assert torch.equal(moved["attn_out"], plain["attn_out"])
    moved = trace_column(weights, tokens, 4, {"skip_mid": lambda x: x + 1})
    assert torch.equal(moved["mlp_out"], plain["mlp_out"])
