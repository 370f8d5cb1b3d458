import pytest
import torch

from interp.anatomy.hook_trace import (
    HOOKS,
    SOURCE_HOOKS,
    after,
    at_query,
    specimen_of,
    trace_columns,
    trace_hooks,
    upstream,
)
from interp.hooked import to_hooked
from model.adder import Adder
from model.config import PRESETS
from model.task import N_INPUT, encode, query_position, uniform_pairs
from tests.network_support import OPTIONS, random_network
from tests.reference import assert_same, nudged
from tests.support import lively_adder

NAMES = ("262p", "303p", "456p", "491p", "512p", "582p", "777p")


@pytest.fixture(scope="module")
def tokens():
    return encode(*uniform_pairs(20, torch.Generator().manual_seed(0)))[:, :N_INPUT]


def theirs_at(cache, site, column):
    return theirs(cache, site, query_position(column))


def theirs(cache, site, query):
    value = cache[HOOKS[site]]
    if site in ("attn_scores", "pattern"):
        return value[:, :, query, : query + 1].flatten(1)
    return value[:, query].reshape(len(value), -1)


@pytest.mark.parametrize("name", NAMES)
def test_every_site_is_the_wrappers_hook(name, tokens):
    model = lively_adder(name)
    network = specimen_of(model)
    hooked = to_hooked(model)
    _, cache = hooked.run_with_cache(tokens)
    assert {HOOKS[site] for site in network.sites()} <= set(cache)
    for column in (0, 5, 11):
        trace, near = (trace_hooks(specimen_of(x), tokens, column) for x in (model, nudged(model)))
        assert set(trace) == {*network.sites(), "mlp_in"}
        for site in network.sites():
            ours, about = (at_query(x, site) for x in (trace, near))
            assert_same(theirs_at(cache, site, column), ours, about, site)


@pytest.mark.parametrize("name", ["262p", "512p"])
def test_edits_at_every_site_agree_with_the_wrapper(name, tokens):
    model, column = lively_adder(name), 4
    network, query = specimen_of(model), query_position(4)
    hooked, near = to_hooked(model), specimen_of(nudged(model))
    clean = trace_hooks(network, tokens, column)
    for site in network.sites():
        if site in SOURCE_HOOKS:

            def at_all(activation, hook):
                return activation * 0.7 + 0.1

            expected = hooked.run_with_hooks(tokens, fwd_hooks=[(HOOKS[site], at_all)])
        else:
            scores = site in ("attn_scores", "pattern")

            def at_one(activation, hook, scores=scores):
                edited = activation.clone()
                place = (
                    (slice(None), 0, query, slice(query + 1)) if scores else (slice(None), query)
                )
                edited[place] = edited[place] * 0.7 + 0.1
                return edited

            expected = hooked.run_with_hooks(tokens, fwd_hooks=[(HOOKS[site], at_one)])
        # ln1's hooks fire for queries, keys and values alike; here they are one site.
        edits = {site: lambda value: value * 0.7 + 0.1}
        full, about = (trace_hooks(x, tokens, column, edits=edits) for x in (network, near))
        resumed = trace_hooks(network, tokens, column, known=upstream(clean, site), edits=edits)
        assert_same(expected[:, query], full["logits"], about["logits"], site)
        assert_same(resumed["logits"], full["logits"], about["logits"], site)


@pytest.mark.parametrize("name", NAMES)
def test_columns_traced_together_are_those_traced_alone(name, tokens):
    network = specimen_of(lively_adder(name))
    columns = (5, 0, 11)
    together = list(trace_columns(network, tokens, columns))
    for column, trace in zip(columns, together, strict=True):
        alone = trace_hooks(network, tokens, column)
        assert list(trace) == list(alone)
        assert all(torch.equal(trace[site], alone[site]) for site in alone)


def test_upstream_keeps_the_site_and_nothing_below_it(tokens):
    trace = trace_hooks(specimen_of(lively_adder("262p")), tokens, 2)
    kept = upstream(trace, "resid_mid")
    assert "resid_mid" in kept
    assert not set(kept) & set(after("resid_mid"))


def test_full_matrices_have_no_bottleneck_site():
    sites = specimen_of(Adder(PRESETS["777p"])).sites()
    assert not [site for site in sites if site.endswith("_low")]
    assert "mlp_in" not in sites


# Hooks of the wrapper that repeat others, stay at zero, or stand inside of one site of ours.
UNTRACED = ("hook_pos_embed", "blocks.0.hook_mlp_in", "unembed.hook_in")


@pytest.mark.parametrize("name", OPTIONS)
def test_every_site_of_any_network_is_the_wrappers_hook(name):
    network = random_network(**OPTIONS[name])
    layout, specimen = network.layout, specimen_of(network)
    pairs = uniform_pairs(5, torch.Generator().manual_seed(0), layout)
    tokens = layout.encode(*pairs)[:, : layout.n_input]
    with torch.no_grad():
        _, cache = to_hooked(network).run_with_cache(tokens)
    hooks = {HOOKS[site] for site in specimen.sites()}
    assert hooks <= set(cache)
    assert {hook for hook in cache if "_norm." not in hook} <= hooks | set(UNTRACED)
    for column in (0, layout.width // 2, layout.n_target - 1):
        trace = trace_hooks(specimen, tokens, column)
        assert set(trace) - {"mlp_in"} == set(specimen.sites())
        for site in specimen.sites():
            expected = theirs(cache, site, layout.query_position(column))
            scale = max(1.0, float(expected.abs().max()))
            assert torch.allclose(at_query(trace, site), expected, rtol=0, atol=1e-10 * scale), site


@pytest.mark.parametrize("name", ["everything", "gated gelu", "no feed-forward", "any stream"])
def test_edits_of_any_network_agree_with_the_wrapper(name):
    network = random_network(**OPTIONS[name])
    layout, specimen, column = network.layout, specimen_of(network), 2
    pairs = uniform_pairs(5, torch.Generator().manual_seed(0), layout)
    tokens, query = layout.encode(*pairs)[:, : layout.n_input], layout.query_position(column)
    hooked, clean = to_hooked(network), trace_hooks(specimen, tokens, column)
    for site in specimen.sites():

        def edit(activation, hook):
            # What lies behind the query is not read; -inf masks it in the scores.
            return activation * 0.7 + 0.1

        with torch.no_grad():
            expected = hooked.run_with_hooks(tokens, fwd_hooks=[(HOOKS[site], edit)])[:, query]
        edits = {site: lambda value: value * 0.7 + 0.1}
        found = trace_hooks(specimen, tokens, column, known=upstream(clean, site), edits=edits)
        if site == "pattern":  # there the wrapper has zeros to edit
            continue
        scale = max(1.0, float(expected.abs().max()))
        assert torch.allclose(found["logits"], expected, rtol=0, atol=1e-9 * scale), site
