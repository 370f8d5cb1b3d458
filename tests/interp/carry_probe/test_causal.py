import pandas as pd
import pytest
import torch

from interp.anatomy.hook_trace import at_query, specimen_of
from interp.carry_probe.causal import (
    both_ways,
    interchange,
    sites_after_attention,
    split_by_reader,
    steer,
)
from interp.carry_probe.criteria import NEITHER_PATH, NOT_MOVED, dose, path
from interp.carry_probe.data import carry_pairs
from interp.carry_probe.directions import mean_difference
from model.adder import Adder
from model.config import PRESETS
from model.handbuilt import carry_locations, handbuilt_adder
from model.layouts import WRITE_UPS

COLUMN = 4
DOSES = torch.tensor([-1.0, 0.0, 1.0, 2.0], dtype=torch.float64)


def generator():
    return torch.Generator().manual_seed(0)


SITES = ("embed", "q", "attn_scores", "pattern", "resid_mid", "in_low", "pre", "post", "resid_post")


def swaps(model, das_ranks=()):
    network = specimen_of(model)
    sites = sites_after_attention(network, SITES)
    rows = interchange(
        network,
        carry_pairs(WRITE_UPS, COLUMN, 200, generator()),
        sites,
        das_ranks=das_ranks,
        random_draws=3,
        generator=generator(),
    )
    return pd.DataFrame(rows).set_index(["site", "method"])["moved"]


@pytest.mark.parametrize("carry", ["discrete", "soft"])
def test_the_carry_moves_the_handbuilt_digit_by_exactly_one(carry):
    moved = swaps(handbuilt_adder(carry=carry), das_ranks=(1, 2, 3))
    for site in ("resid_mid", "in_low", "pre"):
        for method in ("full", "mean difference", "probe", "DAS 1", "DAS 2", "DAS 3"):
            assert moved[site, method] == 1.0, (site, method)
        assert moved[site, "random"] < 0.5
    # At post the wrap differs too, and its mean is ten times a tenth: one direction is not enough.
    for site in ("post", "resid_post", "values", "keys and values"):
        assert moved[site, "full"] == 1.0
    for (site, method), rate in moved.items():
        if site in ("keys", "attn_scores", "pattern") or method == "same carry":
            assert rate == 0.0, (site, method)
    assert not {"embed", "q"} & set(moved.index.get_level_values("site"))


def test_a_site_that_sees_one_token_is_the_same_in_both_runs():
    network = specimen_of(handbuilt_adder())
    both = both_ways(network, carry_pairs(WRITE_UPS, COLUMN, 20, generator()), slice(0, 20))
    for site in ("embed", "resid_pre", "q"):
        assert torch.equal(at_query(both.base, site), at_query(both.source, site))


def test_the_mean_difference_is_the_carry_that_was_built():
    model = handbuilt_adder(dispensable=False)
    network, pairs = specimen_of(model), carry_pairs(WRITE_UPS, COLUMN, 200, generator())
    both = both_ways(network, pairs, slice(0, 200))
    location = carry_locations(dispensable=False)["blocks.0.hook_resid_mid"]
    site = both.base["resid_mid"]
    reading = site @ location.read[COLUMN].double() + location.offset
    assert float(reading[:200].max()) < 0.5 < float(reading[200:].min())
    found = mean_difference(site[:200], site[200:])[:, 0]
    built = location.write[COLUMN].double()
    cosine = float(found @ built / built.norm())
    assert cosine == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(
    "model", [handbuilt_adder(carry="ignored"), Adder(PRESETS["311p"]), Adder(PRESETS["777p"])]
)
def test_no_carry_is_moved_where_none_is_used(model):
    moved = swaps(model, das_ranks=(1, 2))
    carried = moved[[method not in ("random", "DAS 1", "DAS 2") for _, method in moved.index]]
    assert (carried < 0.2).all()
    # A search may open a path that the whole activation does not use; it stays short of a carry.
    assert (moved < 0.5).all()


@pytest.mark.parametrize("model", [handbuilt_adder(carry="ignored"), Adder(PRESETS["512p"])])
def test_no_dose_and_no_part_moves_a_carry_where_none_is_used(model):
    network, pairs = specimen_of(model), carry_pairs(WRITE_UPS, COLUMN, 100, generator())
    rows = pd.DataFrame(steer(network, pairs, ("resid_mid",), DOSES, generator()))
    once = rows[(rows["direction"] == "carry") & (rows["dose"] == 1.0)].set_index("shift")["rate"]
    assert once[1] < 0.2
    assert (dose(rows) == NOT_MOVED).all()
    table = pd.DataFrame(split_by_reader(network, pairs, generator()))
    assert (table.loc[table["part"] != "random", "moved"] < 0.2).all()
    assert (path(table) == NEITHER_PATH).all()


def test_a_carry_bit_saturates_and_a_place_value_goes_on():
    rates = {}
    for carry in ("discrete", "soft"):
        network = specimen_of(handbuilt_adder(carry=carry))
        pairs = carry_pairs(WRITE_UPS, COLUMN, 200, generator())
        rows = pd.DataFrame(steer(network, pairs, ("resid_mid",), DOSES, generator()))
        table = rows.set_index(["direction", "dose", "shift"])["rate"]
        assert table["carry", 0.0, 0] == 1.0
        assert table["carry", 1.0, 1] == 1.0
        assert table["random", 1.0, 1] < 0.5
        rates[carry] = (table["carry", 2.0, 1], table["carry", 2.0, 2])
    assert rates["discrete"] == (1.0, 0.0)
    assert rates["soft"][1] > 0.9


def test_the_handbuilt_carry_is_read_by_the_feed_forward_layer_alone():
    network = specimen_of(handbuilt_adder())
    pairs = carry_pairs(WRITE_UPS, COLUMN, 200, generator())
    table = pd.DataFrame(split_by_reader(network, pairs, generator()))
    moved = table.set_index(["part", "path", "norm"])["moved"]
    for norm in ("live", "frozen"):
        assert moved["whole", "both", norm] == moved["read", "both", norm] == 1.0
        assert moved["whole", "feed-forward", norm] == 1.0
        assert moved["whole", "skip", norm] == moved["unread", "both", norm] == 0.0
    dimension = table.groupby("part")["dimension"].first()
    assert dimension["read"] + dimension["unread"] == dimension["whole"] == 16
    assert dimension["read"] == 6


def test_the_split_leaves_no_null_space_where_the_reader_has_full_rank():
    network = specimen_of(Adder(PRESETS["582p"]))
    table = split_by_reader(network, carry_pairs(WRITE_UPS, COLUMN, 20, generator()), generator())
    # LayerNorm centres its input, which takes one direction away from every reader.
    assert {row["part"]: row["dimension"] for row in table}["unread"] == 1
