import math

import numpy as np
import pytest
import torch

from interp.rank_ablation.kinds import ablate, ablate_set
from interp.rank_ablation.metrics import answer, make_cases, measure, select, tabulate_measured
from interp.rank_ablation.world import Sizes, build_world, cut, smaller
from model.decode import decode, teacher_forced
from model.handbuilt import (
    ATTN_OUT_COMPONENTS,
    UNITS,
    W_IN_COMPONENTS,
    W_OUT_COMPONENTS,
    handbuilt_adder,
)
from model.task import carry_stratified_pairs, chain_length, column_state, uniform_pairs
from tests.reference import ALLOWED, margin_rounding

SIZES = Sizes(uniform=200, stratified=150, reference=200, probed=50)


@pytest.fixture(scope="module")
def hand():
    return build_world(handbuilt_adder(), SIZES, seed=0, tolerance=0.0)


def scores(world, parts, *, kind="zero", inputs="stratified"):
    ablations = (
        ablate(world.setting, parts[0], kind, "live") if parts else ablate_set(world.setting, [])
    )
    table = tabulate_measured(measure(world.cases, answer(world.setting, ablations, world.cases)))
    chosen = (table["inputs"] == inputs) & (table["stratum"] == "all") & (table["mode"] == "forced")
    return dict(zip(table[chosen]["metric"], table[chosen]["value"], strict=True))


def test_the_intact_hand_built_adder_makes_no_error(hand) -> None:
    assert scores(hand, []) == {"exact": 1.0, "spurious": 0.0, "missed": 0.0, "other": 0.0}


@pytest.mark.parametrize("kind", ["zero", "mean", "conditional", "resample"])
def test_the_known_dispensable_components_change_no_answer(hand, kind) -> None:
    for matrix, names in (
        ("W_O", ATTN_OUT_COMPONENTS),
        ("W_in", W_IN_COMPONENTS),
        ("W_out", W_OUT_COMPONENTS),
    ):
        scratch = cut(hand, matrix, "raw")[names.index("scratch")]
        assert float(scratch.term.abs().max()) > 0
        assert scores(hand, [scratch], kind=kind)["exact"] == 1.0
        assert scores(hand, [cut(hand, matrix, "raw")[0]], kind=kind)["exact"] < 0.8
    scratch = cut(hand, "W_out", "unit")[UNITS.index("scratch")]
    assert scores(hand, [scratch], kind=kind)["exact"] == 1.0


def test_without_the_unit_that_writes_the_carry_carries_are_missed(hand) -> None:
    carry = cut(hand, "W_out", "raw")[W_OUT_COMPONENTS.index("carry")]
    result = scores(hand, [carry], inputs="uniform")
    # Where the digits sum to 9 the wrap still comes, and -1 is read as 0, which is right.
    assert result["missed"] > 0.8
    assert (result["spurious"], result["other"]) == (0.0, 0.0)


def test_an_adder_that_ignores_carries_misses_every_one() -> None:
    world = build_world(handbuilt_adder(carry="ignored"), SIZES, seed=0, tolerance=0.0)
    result = scores(world, [])
    assert (result["missed"], result["spurious"], result["other"]) == (1.0, 0.0, 0.0)
    table = tabulate_measured(
        measure(world.cases, answer(world.setting, ablate_set(world.setting, []), world.cases))
    )
    chain = select(table, "chain_error", inputs="stratified")
    rates = dict(zip(chain["stratum"].astype(int), chain["value"], strict=True))
    assert rates[0] == 0.0
    assert all(rates[length] == 1.0 for length in range(1, 10))


def test_counts_equal_those_of_a_plain_loop(hand) -> None:
    part = cut(hand, "W_out", "raw")[0]
    (ablation,) = ablate(hand.setting, part, "zero", "live")
    a, b = hand.cases.pairs
    forced, greedy = teacher_forced(ablation.tables, a, b), decode(ablation.tables, a, b)
    answers = answer(hand.setting, [ablation], hand.cases)
    torch.testing.assert_close(answers.greedy, greedy.tokens)
    table = tabulate_measured(measure(hand.cases, answers))

    def value(metric, stratum, mode, inputs):
        row = table[
            (table["metric"] == metric)
            & (table["stratum"] == stratum)
            & (table["mode"] == mode)
            & (table["inputs"] == inputs)
        ]
        return float(row["events"].iloc[0]), float(row["trials"].iloc[0])

    n = hand.cases.n_uniform
    wrong = forced.wrong[:, :11]
    assert value("exact", "all", "greedy", "uniform") == (int(greedy.exact[:n].sum()), n)
    assert value("digit_accuracy", "3", "forced", "stratified") == (
        int((~wrong[n:, 3]).sum()),
        len(a) - n,
    )
    chain = chain_length(a, b)[n:]
    assert value("chain_error", "4", "forced", "stratified") == (
        int(wrong[n:][chain == 4].sum()),
        int((chain == 4).sum()),
    )
    state = column_state(a, b)[:n]
    assert value("state_error", "propagate", "forced", "uniform") == (
        int(wrong[:n, :10][state == 1].sum()),
        int((state == 1).sum()),
    )
    assert value("below_error", "generate", "forced", "uniform") == (
        int(wrong[:n, 1:][state == 2].sum()),
        int((state == 2).sum()),
    )
    first = [row.int().argmax().item() for row in greedy.wrong[:n, :11] if row.any()]
    assert value("first_error", "0", "greedy", "uniform")[0] == first.count(0)


def test_intervals_hold_the_value_and_are_those_of_clopper_and_pearson(hand) -> None:
    from model.intervals import clopper_pearson

    part = cut(hand, "W_O", "raw")[0]
    answers = answer(hand.setting, ablate(hand.setting, part, "mean", "live"), hand.cases)
    table = tabulate_measured(measure(hand.cases, answers))
    rates = table[table["trials"] > 0]
    assert (rates["low"] <= rates["value"]).all()
    assert (rates["value"] <= rates["high"]).all()
    for row in rates.sample(20, random_state=0).itertuples():
        low, high = clopper_pearson(int(row.events), int(row.trials))
        assert (row.low, row.high) == pytest.approx((low, high))


def test_divergence_is_zero_for_nothing_and_positive_for_something(hand) -> None:
    (identity,) = ablate_set(hand.setting, [])
    nothing = answer(hand.setting, [identity], hand.cases)
    probed = hand.cases.probed
    assert torch.equal(~nothing.divergence.isnan(), probed)
    # In each of 11 columns: the network doubts its answer by at most `doubt`, rounding moves the
    # odds of another by e^shift at most, and so the divergence is below doubt (e^shift + shift).
    run = hand.setting.run
    doubt = 1 - float(run.logits[:, :11].softmax(dim=-1).max(dim=-1).values.min())
    shift = ALLOWED * margin_rounding(identity.tables, *run.pairs)
    bound = 11 * doubt * (math.exp(shift) + shift)
    assert float(nothing.divergence[probed].abs().max()) <= bound < 0.1
    part = cut(hand, "W_O", "raw")[0]
    something = answer(hand.setting, ablate(hand.setting, part, "zero", "live"), hand.cases)
    assert float(something.divergence[probed].min()) > 0.1


def test_a_smaller_world_scores_the_first_sums(hand) -> None:
    few = smaller(hand, 40, 20, 50)
    assert torch.equal(few.cases.pairs[0][:40], hand.cases.pairs[0][:40])
    assert torch.equal(few.cases.pairs[0][40:], hand.cases.pairs[0][200:220])
    assert scores(few, [])["exact"] == 1.0
    part = cut(hand, "W_out", "unit")[0]
    assert scores(few, [part], kind="resample")["exact"] < 0.5


def test_cells_count_every_column_once() -> None:
    generator = torch.Generator().manual_seed(0)
    cases = make_cases(uniform_pairs(30, generator), carry_stratified_pairs(20, generator), 5)
    assert cases.trials.sum() == 50 * 11
    assert int(cases.probed.sum()) == 10
    assert np.all(cases.cell.numpy() >= 0)
