import pytest
import torch

from interp.anatomy.hook_trace import specimen_of
from interp.carry_probe.criteria import present
from interp.carry_probe.data import FEATURES, probe_inputs
from interp.carry_probe.linear import Sweep, sweep_probes
from model.adder import Adder
from model.config import PRESETS
from model.factored import init_params
from model.handbuilt import handbuilt_adder
from model.layouts import WRITE_UPS
from model.task import uniform_pairs

COLUMN = 5
AFTER = ("resid_mid", "in_low", "post")


def sweep(model, sites, features=("carry_in",), columns=(COLUMN,)):
    inits = [Adder(model.config, init_params(model.config, seed)) for seed in (1, 2)]
    data = probe_inputs(uniform_pairs(2000, torch.Generator().manual_seed(0)), WRITE_UPS)
    return sweep_probes(
        specimen_of(model),
        [specimen_of(init) for init in inits],
        data,
        Sweep(columns=columns, sites=sites, features=features, seed=0),
    )


@pytest.fixture(scope="module")
def handbuilt():
    return sweep(handbuilt_adder(), ("embed", "resid_pre", "q", "v", "attn_out", *AFTER))


@pytest.mark.parametrize("kind", ["conditional", "shared", "global"])
def test_the_carry_is_found_where_it_was_built(handbuilt, kind):
    found = handbuilt[(handbuilt["kind"] == kind) & handbuilt["site"].isin(AFTER)]
    assert len(found) == len(AFTER)
    assert present(found).all().all()
    assert (found["accuracy"] > 0.99).all()
    assert (found["p_holm"] < 1e-6).all()
    assert (found["selectivity"] > 0.3).all()
    assert (found["low"] <= found["accuracy"]).all()
    assert (found["raw_digits"] > 0.95).all()


def test_the_carry_is_not_found_before_the_residual_stream(handbuilt):
    before = handbuilt[~handbuilt["site"].isin(AFTER)]
    assert (before["p_holm"] > 0.05).all()
    before = before[before["site"] != "attn_out"]
    assert (before["accuracy"] < before["bayes_query"] + 0.05).all()


def test_the_sum_below_is_not_taken_for_the_carry(handbuilt):
    # attn_out holds a_{i-1} + b_{i-1}, from which s_{i-1} is subtracted only at resid_mid.
    rows = handbuilt[(handbuilt["site"] == "attn_out") & (handbuilt["kind"] == "conditional")]
    assert (rows["accuracy"] > rows["bayes_query"] + 0.1).all()
    assert rows["bayes_below"].between(0.93, 0.97).all()
    assert not present(rows).any().any()


def test_the_sum_below_is_no_floor_where_it_decides_the_carry():
    table = sweep(handbuilt_adder(), ("resid_mid",), columns=(1,))
    assert table["bayes_below"].isna().all()
    assert present(table[table["kind"] == "conditional"]).all().all()


def test_shuffled_labels_find_no_carry(handbuilt):
    conditional = handbuilt[handbuilt["kind"] == "conditional"]
    assert (conditional["shuffled"] < 0.65).all()


def test_a_random_network_shows_no_carry():
    table = sweep(Adder(PRESETS["311p"]), ("resid_pre", "attn_out", "resid_mid", "resid_post"))
    assert (table["p_holm"] > 0.05).all()


def test_every_feature_of_every_site_is_scored_and_constant_ones_left_out():
    model = Adder(PRESETS["262p"])
    sites = ("pos_low", "attn_out", "o_low", "logits")
    table = sweep(model, sites, tuple(FEATURES), (0, 10))
    first = table[table["column"] == 0]
    assert set(first["feature"]) == {"carry_out", "state", "digit_sum", "answer"}
    last = table[table["column"] == 10]
    assert set(last["feature"]) == {"carry_in", "answer", "previous_carry"}
    assert set(table["site"]) == set(sites)
    # W_O has full rank in its bottleneck, so both sites span the same space.
    pairs = table.pivot_table("hits", ["column", "feature", "kind"], "site")
    assert (pairs["attn_out"] == pairs["o_low"]).all()


def test_a_column_without_any_carry_gives_an_empty_table():
    assert sweep(Adder(PRESETS["262p"]), ("resid_mid",), columns=(0,)).empty


def test_the_numbers_do_not_depend_on_the_number_of_processes():
    data = probe_inputs(uniform_pairs(400, torch.Generator().manual_seed(0)), WRITE_UPS)
    network = specimen_of(handbuilt_adder())
    one, two = (
        sweep_probes(
            network,
            [],
            data,
            Sweep(columns=(2, 5), sites=("resid_mid",), features=("carry_in",), seed=0, jobs=jobs),
        )
        for jobs in (1, 2)
    )
    assert one.equals(two)
