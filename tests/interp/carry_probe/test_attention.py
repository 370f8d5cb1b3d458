import pytest
import torch

from interp.anatomy.hook_trace import specimen_of, trace_hooks
from interp.anatomy.roles import ROLES
from interp.carry_probe.attention import (
    attention_by_role,
    by_role,
    pattern_baselines,
    score_table,
    with_random_init,
    written,
)
from interp.carry_probe.data import probe_inputs
from model.adder import Adder
from model.config import PRESETS
from model.handbuilt import handbuilt_adder
from model.layouts import WRITE_UPS
from model.task import query_position, uniform_pairs


@pytest.fixture(scope="module")
def data():
    return probe_inputs(uniform_pairs(400, torch.Generator().manual_seed(0)), WRITE_UPS)


def test_the_handbuilt_pattern_is_a_quarter_on_each_of_four_digits(data):
    network = specimen_of(handbuilt_adder())
    table = attention_by_role(network, {"uniform": data}, (3, 5))
    weight = table[table["carry_in"] == "all"].set_index(["column", "role"])["weight"]
    for role in ("a_i", "b_i", "a_{i-1}", "b_{i-1}"):
        assert weight[5, role] == pytest.approx(0.25, abs=1e-4)
    for (_, split), rows in table.groupby(["column", "carry_in"]):
        assert split in ("all", "0", "1")
        for name in ("weight", "share", "uniform"):
            assert rows[name].sum() == pytest.approx(1.0)
    inits = [attention_by_role(specimen_of(Adder(PRESETS["311p"])), {"uniform": data}, (3, 5))]
    joined = with_random_init(table, inits * 2)
    assert joined["random_init"].notna().all()
    assert (joined["random_init"] == joined["random_init_max"]).all()


def test_what_the_sources_write_adds_up_to_the_attention_output(data):
    for name in ("262p", "512p"):
        network = specimen_of(Adder(PRESETS[name]))
        trace = trace_hooks(network, data.tokens, 6)
        assert torch.allclose(written(network, trace).sum(dim=(1, 2)), trace["attn_out"])
        assert by_role(trace["pattern"][:, 0], 6, WRITE_UPS).shape == (400, len(ROLES))


@pytest.mark.parametrize("name", ["262p", "512p", "777p"])
def test_the_score_table_holds_the_scores_of_every_input(data, name):
    network = specimen_of(Adder(PRESETS[name]))
    table = score_table(network)
    assert table.shape == (1, 12, 14, 33, 14)
    for column in (0, 7, 11):
        length = query_position(column) + 1
        scores = trace_hooks(network, data.tokens, column)["attn_scores"][:, 0]
        query = data.tokens[:, length - 1]
        looked_up = table[0, column, query[:, None], torch.arange(length), data.tokens[:, :length]]
        assert torch.allclose(looked_up, scores, atol=1e-12)
        assert table[0, column, :, length:].isnan().all()


def test_a_fixed_pattern_suffices_where_the_pattern_never_moves(data):
    table = pattern_baselines(specimen_of(handbuilt_adder()), data, (4,)).set_index("pattern")
    assert table["accuracy"]["live"] == table["accuracy"]["position mean"] == 1.0
    assert table["accuracy"]["uniform causal"] < 0.3
    assert table["distance"]["live"] == 0
    assert (table["low"] <= table["accuracy"]).all()
