import pytest
import torch

from interp.anatomy.hook_trace import (
    HOOKS,
    SOURCE_HOOKS,
    after,
    at_query,
    network_of,
    trace_columns,
    trace_hooks,
    upstream,
)
from interp.hooked import to_hooked
from model.adder import Adder
from model.config import PRESETS
from model.task import N_INPUT, encode, query_position, uniform_pairs
from tests.reference import assert_same, nudged
from tests.support import lively_adder

NAMES = ("262p", "303p", "456p", "491p", "512p", "582p", "777p")


@pytest.fixture(scope="module")
def tokens():
    return encode(*uniform_pairs(20, torch.Generator().manual_seed(0)))[:, :N_INPUT]


def theirs_at(cache, site, column):
    value, query = cache[HOOKS[site]], query_position(column)
    if site in ("attn_scores", "pattern"):
        return value[:, 0, query, : query + 1]
    return value[:, query].reshape(len(value), -1)


@pytest.mark.parametrize("name", NAMES)
def test_every_site_is_the_wrappers_hook(name, tokens):
    model = lively_adder(name)
    network = network_of(model)
    hooked = to_hooked(model)
    _, cache = hooked.run_with_cache(tokens)
    assert {HOOKS[site] for site in network.sites()} <= set(cache)
    for column in (0, 5, 11):
        trace, near = (trace_hooks(network_of(x), tokens, column) for x in (model, nudged(model)))
        assert set(trace) == {*network.sites(), "mlp_in"}
        for site in network.sites():
            ours, about = (at_query(x, site) for x in (trace, near))
            assert_same(theirs_at(cache, site, column), ours, about, site)


@pytest.mark.parametrize("name", ["262p", "512p"])
def test_edits_at_every_site_agree_with_the_wrapper(name, tokens):
    model, column = lively_adder(name), 4
    network, query = network_of(model), query_position(4)
    hooked, near = to_hooked(model), network_of(nudged(model))
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
    network = network_of(lively_adder(name))
    columns = (5, 0, 11)
    together = list(trace_columns(network, tokens, columns))
    for column, trace in zip(columns, together, strict=True):
        alone = trace_hooks(network, tokens, column)
        assert list(trace) == list(alone)
        assert all(torch.equal(trace[site], alone[site]) for site in alone)


def test_upstream_keeps_the_site_and_nothing_below_it(tokens):
    trace = trace_hooks(network_of(lively_adder("262p")), tokens, 2)
    kept = upstream(trace, "resid_mid")
    assert "resid_mid" in kept
    assert not set(kept) & set(after("resid_mid"))


def test_full_matrices_have_no_bottleneck_site():
    sites = network_of(Adder(PRESETS["777p"])).sites()
    assert not [site for site in sites if site.endswith("_low")]
    assert "mlp_in" not in sites
