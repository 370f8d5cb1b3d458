import numpy as np
import pytest
import torch

from analyses.gallery import logits as gallery_logits
from analyses.gallery import units as gallery_units
from model.handbuilt import UNITS, handbuilt_adder
from model.task import carries, digits
from tests.analyses.gallery.support import make


@pytest.fixture(scope="module")
def units(tmp_path_factory):
    return make(gallery_units.FIGURES[0], handbuilt_adder(), tmp_path_factory.mktemp("units"))


def test_units_of_the_handbuilt_adder_compute_what_they_were_built_for(units) -> None:
    explained = units.tables["explained"].pivot(index="unit", columns="feature", values="eta2")
    carrying = [i for i, name in enumerate(UNITS) if name.startswith("wrap")]
    # S + c - 10 >= 0 decides, in the units of the column's parity alone
    assert (explained.loc[carrying, "soft_value_column"] > 0.95).all()
    assert (explained.loc[carrying, "soft_value"] < 0.6).all()
    assert (explained["shuffled"] < 0.05).all()
    low, high = sorted(units.tables["maps"]["column"].unique())
    assert (high - low) % 2 == 1  # the two columns that differ most are of different parity


def test_the_map_of_a_unit_is_its_mean_in_each_cell(units) -> None:
    sum_even = UNITS.index("sum_even") if "sum_even" in UNITS else 0
    maps = units.tables["maps"]
    part = maps[maps["unit"] == sum_even]
    assert len(part) == 2 * 19 * 10
    even = part[part["column"] % 2 == 0]
    grid = even.pivot(index="before", columns="sum", values="activation").to_numpy()
    # this unit is a ramp in S - s_{i-1}: equal steps along the sum, and against the digit before
    steps = np.diff(grid, axis=1)
    assert np.nanstd(steps) < 0.02 * abs(np.nanmean(steps))
    assert np.nanmean(np.diff(grid, axis=0)) == pytest.approx(-np.nanmean(steps), rel=0.05)


def test_the_caption_weighs_units_by_their_effect(units) -> None:
    weight = units.tables["units"].set_index("unit")["reach"]
    assert weight.sum() == pytest.approx(1.0)
    explained = units.tables["explained"]
    chosen = explained[explained["feature"] == "value"].set_index("unit")["eta2"]
    assert f"S + c_i {float((chosen * weight).sum()):.3f}" in units.caption


def test_classes_are_sums_digits_and_carries() -> None:
    a, b = torch.tensor([9304630660]), torch.tensor([8594408863])
    found = gallery_units.column_classes(a, b)
    columns = list(gallery_units.COLUMNS)
    total, carry = (digits(a) + digits(b))[0], carries(a, b)[0][0]
    for place, i in enumerate(columns):
        value = int(total[i] + carry[i])
        assert int(found["value"][place]) == value
        assert int(found["soft_value"][place]) == 10 * value - int(carry[i - 1]) + 1


def test_logits_of_the_handbuilt_adder_are_a_function_of_the_value(tmp_path) -> None:
    made = make(gallery_logits.FIGURES[0], handbuilt_adder(), tmp_path)
    left = made.tables["accounts"].set_index("account")["unexplained"]
    assert left["value"] < 1e-4
    assert left["sum"] > 0.1
    assert left["shuffled"] > 0.9
    assert f"by S {left['sum']:.3g}" in made.caption
    curves = gallery_logits.along_value(made.tables["logits"])
    best = curves.loc[curves.groupby("u")["mean"].idxmax()]
    assert (best["token"] == best["u"] % 10).all()
    assert "0 of 3,600 digits wrong" in made.caption


def test_a_soft_adder_sets_the_soft_value_apart(tmp_path) -> None:
    made = make(gallery_logits.FIGURES[0], handbuilt_adder(carry="soft"), tmp_path)
    left = made.tables["accounts"].set_index("account")["unexplained"]
    assert left["soft_value"] < 0.1 * left["value"]
    assert left["value_chance"] == pytest.approx(left["value"], rel=0.1)
