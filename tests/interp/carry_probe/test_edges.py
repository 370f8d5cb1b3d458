import pytest
import torch

from interp.anatomy.hook_trace import specimen_of, trace_hooks
from interp.anatomy.roles import ROLES, role_index
from interp.carry_probe.data import carry_pairs, probe_inputs
from interp.carry_probe.edges import cut_edges, cut_edits, hold, margin, swap_routes
from model.adder import Adder
from model.config import PRESETS
from model.handbuilt import handbuilt_adder
from model.layouts import WRITE_UPS
from model.task import uniform_pairs

COLUMN = 5


@pytest.fixture(scope="module")
def data():
    return probe_inputs(uniform_pairs(200, torch.Generator().manual_seed(0)), WRITE_UPS)


def test_margin_is_the_true_logit_less_the_best_other():
    logits = torch.tensor([[1.0, 5.0, 2.0], [1.0, 5.0, 2.0]])
    assert margin(logits, torch.tensor([1, 2])).tolist() == [3.0, -3.0]


def test_cutting_all_edges_to_zero_leaves_no_attention_output(data):
    network = specimen_of(Adder(PRESETS["303p"]))
    clean = trace_hooks(network, data.tokens, COLUMN)
    everything = torch.ones(clean["pattern"].shape[-1], dtype=torch.bool)
    donor = torch.arange(200).flip(0)
    edits = cut_edits(network, clean, everything, "zero", donor)
    edited = trace_hooks(network, data.tokens, COLUMN, edits=edits)
    assert edited["attn_out"].abs().max() < 1e-15
    edits = cut_edits(network, clean, everything, "k+v", donor)
    edited = trace_hooks(network, data.tokens, COLUMN, edits=edits)
    assert torch.allclose(edited["k"], clean["k"][donor])
    unchanged = cut_edits(network, clean, ~everything, "mean", donor)
    same = trace_hooks(network, data.tokens, COLUMN, edits=unchanged)
    assert torch.allclose(same["logits"], clean["logits"])


def test_keys_and_values_are_cut_apart_although_their_weights_are_one(data):
    network = specimen_of(Adder(PRESETS["262p"]))
    clean = trace_hooks(network, data.tokens, COLUMN)
    sources = role_index()[COLUMN, : clean["pattern"].shape[-1]] == ROLES.index("a_i")
    donor = torch.arange(200).flip(0)
    values = trace_hooks(
        network, data.tokens, COLUMN, edits=cut_edits(network, clean, sources, "v", donor)
    )
    assert torch.equal(values["pattern"], clean["pattern"])
    assert not torch.equal(values["z"], clean["z"])
    keys = trace_hooks(
        network, data.tokens, COLUMN, edits=cut_edits(network, clean, sources, "k", donor)
    )
    assert torch.equal(keys["v"], clean["v"])
    assert not torch.equal(keys["pattern"], clean["pattern"])


def test_only_the_edges_that_the_handbuilt_adder_uses_matter(data):
    network = specimen_of(handbuilt_adder())
    table = cut_edges(network, data, (COLUMN,), torch.Generator().manual_seed(0))
    total = table[(table["path"] == "total") & (table["norm"] == "live")]
    accuracy = total.pivot(index="role", columns="cut", values="accuracy")
    used = ["a_i", "b_i", "a_{i-1}", "b_{i-1}"]
    assert (accuracy.loc[["a_i", "b_i"], ["zero", "mean", "v", "k+v"]] < 0.4).all().all()
    # Half of the columns below keep their carry when one of the two digits is exchanged.
    assert (accuracy.loc[["a_{i-1}", "b_{i-1}"], "k+v"] < 0.9).all()
    assert (accuracy.loc[used, "k"] == 1.0).all()  # its keys depend on the position alone
    assert (accuracy.drop(index=used) == 1.0).all().all()
    direct = table[(table["path"] == "direct") & (table["norm"] == "frozen")]
    assert (direct["drop"].abs() < 1e-6).all()  # it has no path past the feed-forward layer


def test_frozen_scales_stay_as_they_were(data):
    network = specimen_of(Adder(PRESETS["512p"]))
    clean = trace_hooks(network, data.tokens, COLUMN)
    edits = {"attn_out": lambda value: 0 * value, **hold(clean, "ln2_scale", "final_scale")}
    edited = trace_hooks(network, data.tokens, COLUMN, edits=edits)
    assert torch.equal(edited["ln2_scale"], clean["ln2_scale"])
    assert not torch.equal(edited["resid_mid"], clean["resid_mid"])


def test_the_handbuilt_carry_travels_by_values():
    network = specimen_of(handbuilt_adder())
    pairs = carry_pairs(WRITE_UPS, COLUMN, 50, torch.Generator().manual_seed(0))
    base, source = (
        trace_hooks(network, tokens, COLUMN) for tokens in (pairs.without, pairs.with_carry)
    )
    logits = swap_routes(network, base, source, pairs.without, COLUMN)
    assert torch.equal(logits["keys"].argmax(dim=1), pairs.digit)
    assert torch.equal(logits["values"].argmax(dim=1), (pairs.digit + 1) % 10)
    assert torch.equal(logits["keys and values"].argmax(dim=1), (pairs.digit + 1) % 10)
