import pytest
import torch

from interp.anatomy.column_trace import SOURCE_SITES, trace_column
from interp.anatomy.roles import ROLES
from interp.failure_diff.columns import Focus, column_table, find_focus
from interp.failure_diff.patching import (
    DIRECTIONS,
    Patch,
    average_patching,
    minimal_sets,
    patch_table,
    run_patched,
)
from model.adder import Adder
from model.checkpoint import load
from model.config import PRESETS
from model.dense import dense
from model.factored import init_params
from model.handbuilt import handbuilt_adder
from model.task import encode
from tests.support import tokens_of

FOCUS = Focus(column=6, true=4, rival=5, gap=0.0, wrong=False)


def pair_tokens(a: int, b: int) -> torch.Tensor:
    return encode(torch.tensor([a]), torch.tensor([b]))


@pytest.mark.parametrize("name", ["262p", "512p", "973p"])
def test_patching_everything_gives_the_donors_run_and_nothing_the_receivers(name):
    config = PRESETS[name]
    weights = dense(Adder(config, init_params(config, 1, token_std=0.7, position_std=0.7)))
    own, control = tokens_of(2).split(1)
    source = trace_column(weights, control, 6)
    whole = ("resid_pre", "resid_mid", "resid_post")
    logits = run_patched(weights, own, source, 6, [[], *([Patch(site)] for site in whole)])
    assert torch.allclose(logits[0], trace_column(weights, own, 6)["logits"][0])
    assert torch.allclose(logits[1:], source["logits"].expand(3, -1), atol=1e-9)


def test_roles_together_are_the_whole_site():
    weights = dense(handbuilt_adder())
    own, control = tokens_of(2).split(1)
    source = trace_column(weights, control, 6)
    for site in SOURCE_SITES:
        logits = run_patched(
            weights, own, source, 6, [[Patch(site, role) for role in ROLES], [Patch(site)]]
        )
        assert torch.equal(logits[0], logits[1])


def test_all_units_together_are_the_layer():
    weights = dense(handbuilt_adder())
    own, control = tokens_of(2).split(1)
    source = trace_column(weights, control, 6)
    units = [Patch("post", f"unit {u}") for u in range(source["post"].shape[1])]
    logits = run_patched(weights, own, source, 6, [units, [Patch("mlp_out")]])
    assert torch.allclose(logits[0], logits[1], rtol=1e-9)


def test_whole_patches_cover_the_whole_gap_in_both_directions():
    weights = dense(handbuilt_adder())
    own, control = tokens_of(2).split(1)
    table = patch_table(weights, own, control, FOCUS)
    whole = table[(table["element"] == "all") & table["site"].isin(["resid_pre", "resid_post"])]
    assert set(whole["direction"]) == set(DIRECTIONS)
    assert whole["effect"].tolist() == pytest.approx([1.0] * 4)
    averaged = average_patching(weights, own, tokens_of(4)[1:], FOCUS)
    assert (averaged["controls"] == 3).all()
    assert len(averaged) == len(table)


def test_what_restores_the_published_failing_case(published_311p):
    weights = dense(load(published_311p))
    own = pair_tokens(9304630660, 8594408863)
    focus = find_focus(column_table(weights, 9304630660, 8594408863))
    above = pair_tokens(304630660, 8594408863)
    sets = minimal_sets(weights, own, above, focus)
    sources = sets[sets["kind"] == "sources"]
    assert sources["patches"].tolist() == ["v of a_{i+1}", "v of a_{i+1}"]
    assert sources["answer"].tolist() == ["8", "9"]
    below = minimal_sets(weights, own, pair_tokens(9304630660, 8504408863), focus)
    restoring = below[(below["kind"] == "sources") & (below["direction"] == DIRECTIONS[0])]
    assert restoring["patches"].tolist() == ["v of b_{i-1} + skip"]


def test_no_set_suffices_where_the_inputs_are_the_same():
    weights = dense(handbuilt_adder())
    own = tokens_of(1)
    focus = Focus(column=6, true=4, rival=5, gap=0.0, wrong=True)
    sets = minimal_sets(weights, own, own, focus)
    assert (sets[sets["kind"] == "sources"]["size"] == 0).all()
