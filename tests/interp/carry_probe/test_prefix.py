import pytest
import torch

from interp.anatomy.hook_trace import specimen_of
from interp.carry_probe.criteria import ACCOUNTS, account
from interp.carry_probe.data import probe_inputs
from interp.carry_probe.prefix import compare_rivals, response_curve, wrong_prefixes
from model.adder import Adder
from model.config import PRESETS
from model.handbuilt import handbuilt_adder
from model.layouts import WRITE_UPS
from model.task import uniform_pairs


def prefixes(model, n=400):
    data = probe_inputs(uniform_pairs(n, torch.Generator().manual_seed(0)), WRITE_UPS)
    return wrong_prefixes(specimen_of(model), data, (5,))


@pytest.fixture(scope="module")
def discrete():
    return prefixes(handbuilt_adder())


@pytest.fixture(scope="module")
def soft():
    return prefixes(handbuilt_adder(carry="soft"))


def test_a_carry_bit_is_a_step(discrete):
    rivals = compare_rivals(discrete, 10)
    score = rivals.set_index("rival")["r_squared"]
    assert score["step"] > 0.999
    assert score["fed"] < 0.6
    assert score["linear"] < 0.8
    assert account(rivals) == ACCOUNTS[1]


def test_a_place_value_is_graded(soft):
    rivals = compare_rivals(soft, 10)
    score = rivals.set_index("rival")["r_squared"]
    assert score["linear"] > score["step"] + 0.1
    assert account(rivals) == ACCOUNTS[0]


def test_a_random_network_has_no_account():
    assert account(compare_rivals(prefixes(Adder(PRESETS["311p"]), 200), 10)) == ACCOUNTS[3]


def test_the_previous_digit_alone_is_no_account(discrete):
    # A network that sees only s_{i-1} falls along t - s_{i-1} too.
    fed = discrete.assign(response=9.0 - discrete["fed"])
    rivals = compare_rivals(fed, 10)
    score = rivals.set_index("rival")["r_squared"]
    assert score["fed"] == pytest.approx(1.0)
    assert account(rivals) == ACCOUNTS[3]


def test_looking_ahead_is_flat_in_the_fed_digit(discrete):
    ahead = discrete.assign(response=(discrete["t"] > 9).astype(float))
    assert account(compare_rivals(ahead, 10)) == ACCOUNTS[2]


def test_true_prefixes_are_the_four_consistent_values(discrete):
    true = discrete[discrete["true"]]
    assert set(true["t"] - true["fed"]) <= {-1, 0, 9, 10}
    assert len(discrete) == 4000
    assert true.groupby("input").size().eq(1).all()


def test_shifts_stop_at_one_for_a_bit_and_go_on_for_a_place_value(discrete, soft):
    bit, value = (response_curve(table, 10).set_index("x") for table in (discrete, soft))
    assert bit.loc[16:, "shift 1"].eq(1).all()
    assert bit.loc[:4, "shift 0"].eq(1).all()
    assert value.loc[17:, "shift 2"].gt(0.9).all()
    assert value.loc[[9, 10], "shift 1"].eq(1).all()
    assert bit["consistent"].sum() == 4
    assert bit["n"].sum() == 4000
