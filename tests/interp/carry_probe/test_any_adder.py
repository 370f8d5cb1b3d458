"""The carry probe on adders of other kinds: what was built is found there too, and no more."""

import dataclasses
from pathlib import Path

import pytest
import torch

from interp.anatomy import random_like, specimen_of, trace_hooks
from interp.carry_probe.attention import attention_by_role, score_table, token_effect
from interp.carry_probe.config import Config
from interp.carry_probe.criteria import FIXED, head_attention, present
from interp.carry_probe.data import carry_pairs, probe_inputs
from interp.carry_probe.instrument import plot, run
from interp.carry_probe.plots import stems
from interp.carry_probe.prefix import fed_digits, lowest_shift, shift_of
from interp.carry_probe.result import load, save
from interp.carry_probe.summary import summarise
from model.anyone import read_network
from model.dense import dense
from model.errors import InputError
from model.handbuilt import handbuilt_adder
from model.layouts import MICRO_14, PAIRS, WRITE_UPS, Layout
from model.network import Network, forward
from model.task import uniform_pairs
from tests.network_support import OPTIONS, SHIFTED, SHORT, random_network

PUBLISHED = Path(__file__).resolve().parents[3] / "../shared/published"
FOREIGN = Layout(name="foreign", prompt=("b", 0, "a", 0), vocab_size=11, end=None, first_digit=1)
"""Operands units first and exchanged, separators alike, no end token, digits from 1 on."""
SMALL = Config(
    columns=(5,),
    sites=("resid_pre", "attn_out", "resid_mid", "resid_post"),
    n_attention=200,
    n_probe=3000,
    n_pairs=200,
    n_edges=60,
    n_prefix=200,
    n_wrapper=5,
)


def transplanted(network: Network, layout: Layout) -> Network:
    """The same two-separator adder in another layout, its stream looked up role by role, its head
    halved into two that share keys and values."""
    old, W_X = network.layout, torch.zeros(layout.n_input, layout.vocab_size, network.d_model)
    places = {layout.n_prompt - 1: (old.n_prompt - 1, [11])}
    places |= {at: (10, [10]) for at in layout.separators if at < layout.n_prompt - 1}
    digits = list(range(10))
    for column in range(10):
        places[layout.a_position(column)] = (old.a_position(column), digits)
        places[layout.b_position(column)] = (old.b_position(column), digits)
    for column in range(layout.n_input - layout.n_prompt):
        places[layout.sum_position(column)] = (old.sum_position(column), digits)
    W_X, stream = W_X.double(), network.stream()
    for at, (source, tokens) in places.items():
        first = layout.separators.get(at, layout.first_digit)
        W_X[at, first : first + len(tokens)] = stream[source, tokens]
    W_U = network.W_U[:, [10, *digits]]  # token 0 is a separator here
    zero = torch.zeros_like(W_X[0])
    return network.edit(
        layout=layout,
        W_E=zero,
        W_pos=torch.zeros_like(W_X[:, 0]),
        W_X=W_X,
        W_Q=network.W_Q.repeat(2, 1, 1),
        b_Q=network.b_Q.repeat(2, 1),
        W_O=network.W_O.repeat(2, 1, 1) / 2,
        W_U=W_U,
        b_U=torch.zeros(11, dtype=torch.float64),
    )


@pytest.fixture(scope="module")
def foreign() -> Network:
    return transplanted(dense(handbuilt_adder()), FOREIGN)


@pytest.fixture(scope="module")
def found(foreign):
    return run(foreign, SMALL, "foreign")


def test_a_transplanted_adder_still_adds(foreign):
    a, b = uniform_pairs(20, torch.Generator().manual_seed(0))
    tokens = FOREIGN.encode(a, b)
    answer = forward(foreign, tokens[:, : FOREIGN.n_input])[:, FOREIGN.n_prompt - 1 :].argmax(-1)
    assert torch.equal(answer, tokens[:, FOREIGN.n_prompt :])


def test_the_verdict_in_a_foreign_layout_is_what_was_built(found):
    said = {statement.topic: statement for statement in found.statements}
    for topic in ("answers", "attention", "used", "route of attention", "path", "dose", "summary"):
        assert said[topic].holds, said[topic].text
    assert not said["before attention"].holds
    assert "best at resid_mid" in said["present, conditional"].text
    assert found.wrapper_difference < 1e-8
    verdicts = {row.question: row.verdict for row in summarise(found).rows}
    assert verdicts["carry used?"] == "column 5"
    assert verdicts["acts like"] == "a carry bit"


def test_position_only_attention_is_said_once_and_heads_one_by_one(found):
    assert found.by_position_alone
    assert sum("position alone" in note for note in found.notes) == 1
    (sentence,) = [s for s in summarise(found).sentences if "head" in s]
    assert "by position alone" in sentence
    heads = head_attention(found.tables["attention"], FOREIGN)
    assert list(heads.index) == ["0", "1"]
    assert heads["a_{i-1}"].tolist() == pytest.approx([0.25, 0.25], abs=1e-4)
    assert set(found.tables["edges"]["head"]) == {"all", "0", "1"}


def test_shuffled_labels_and_a_random_network_of_its_scales_show_no_carry(found, foreign):
    probes = found.tables["probes"]
    floor = probes[["majority", "bayes_query"]].max(axis=1)
    assert (probes["shuffled"] < floor + 0.05).all()
    random = run(random_like(foreign, 3), dataclasses.replace(SMALL, n_wrapper=0))
    assert not any(statement.holds for statement in random.statements)
    assert not present(random.tables["probes"].query("kind == 'conditional'")).any().any()


def test_figures_of_two_heads_redraw_from_a_saved_result(found, tmp_path):
    save(found, tmp_path)
    again = load(tmp_path)
    assert (again.layout, again.notes) == (FOREIGN, found.notes)
    assert again.by_position_alone
    assert set(plot(again)) == set(plot(found))


@pytest.mark.parametrize("name", ["short operands", "twelve digits, units last"])
def test_a_run_goes_on_where_something_cannot_apply(name):
    options = dict(OPTIONS[name])
    if name == "twelve digits, units last":
        options |= {"act": "none", "ff": 0, "norm": "none", "scale": 0.3}
    network = random_network(**options)
    config = dataclasses.replace(
        Config.quick(network.layout), n_attention=100, n_probe=400, n_pairs=40, n_edges=20
    )
    config = dataclasses.replace(config, columns=(0, 2), n_prefix=60, n_wrapper=4)
    result = run(network, config)
    assert result.wrapper_difference < 1e-8
    assert not any(s.holds for s in result.statements if s.topic in ("answers", "used", "summary"))
    verdicts = {row.question: row for row in summarise(result).rows}
    units_last = network.layout.answer == "units last"
    assert ("wrong_prefixes" in stems(result)) != units_last
    assert set(plot(result)) == set(stems(result))
    assert any("units last" in note for note in result.notes) == units_last
    assert verdicts["acts like"].verdict == "not asked" or not units_last
    if network.act == "none":
        assert verdicts["through the MLP alone?"].number == "no feed-forward layer"
        assert set(result.tables["steering"]["site"]) == {"attn_out", "resid_post"}
        assert set(result.tables["edges"]["path"]) == {"total"}
        assert set(result.tables["edges"]["norm"]) == {"live"}


def test_columns_are_those_of_the_task():
    with pytest.raises(InputError, match="column 4 is no answer column: give 0 to 3"):
        run(random_network(layout=SHORT), dataclasses.replace(SMALL, columns=(4,)))
    assert Config().fit_to(SHORT).columns == (0, 1, 2, 3)
    assert Config.quick(WRITE_UPS).columns == (1, 5, 10)
    assert Config.quick(PAIRS).columns == (1, 2, 5)
    assert Config().fit_to(PAIRS).n_probe == 30_000
    assert Config().fit_to(MICRO_14).n_probe == Config().n_probe


@pytest.mark.parametrize("layout", [FOREIGN, SHORT, SHIFTED, PAIRS], ids=lambda x: x.name)
def test_minimal_pairs_differ_in_nothing_but_the_carry_in_any_layout(layout):
    for column in (1, layout.width // 2 + 1, layout.width):
        pairs = carry_pairs(layout, column, 200, torch.Generator().manual_seed(column))
        below = {layout.a_position(column - 1), layout.b_position(column - 1)}
        read = layout.query_position(column) + 1
        for low, high in ((pairs.without, pairs.with_carry), (pairs.without_again,) * 2):
            differs = (low[:, :read] != high[:, :read]).nonzero()[:, 1]
            assert set(differs.tolist()) <= below
        if read < layout.n_input:
            first = layout.first_digit
            assert torch.equal(pairs.without[:, read] - first, pairs.digit)
            carried = (pairs.digit + 1) % layout.base
            assert torch.equal(pairs.with_carry[:, read] - first, carried)


@pytest.mark.parametrize("layout", [SHORT, SHIFTED], ids=lambda x: x.name)
def test_features_equal_integer_arithmetic_in_any_layout(layout):
    a, b = uniform_pairs(20, torch.Generator().manual_seed(0), layout)
    data, base = probe_inputs((a, b), layout), layout.base
    for row, (x, y) in enumerate(zip(a.tolist(), b.tolist(), strict=True)):
        for column in range(layout.n_answer):
            low = base**column
            assert int(data.labels("carry_in", column)[row]) == (x % low + y % low) // low
            assert int(data.answer(column)[row]) - layout.first_digit == (x + y) // low % base


@pytest.mark.parametrize("name", ["everything", "shared keys and values"])
def test_each_head_attends_and_scores_are_looked_up(name):
    network = random_network(**OPTIONS[name])
    specimen, layout, column = specimen_of(network), network.layout, 2
    data = probe_inputs(uniform_pairs(50, torch.Generator().manual_seed(0), layout), layout)
    table = attention_by_role(specimen, {"uniform": data}, (column,))
    sums = table[table["carry_in"] == "all"].groupby("head")[["weight", "share", "uniform"]].sum()
    assert len(sums) == 1 + network.n_heads
    assert sums.to_numpy() == pytest.approx(1.0)
    scores, query = score_table(specimen), layout.query_position(column)
    places, tokens = torch.arange(query + 1), data.tokens[:, : query + 1]
    expected = trace_hooks(specimen, data.tokens, column)["attn_scores"]
    found = scores[:, column, tokens[:, -1:], places, tokens].transpose(0, 1)
    assert torch.allclose(found, expected, rtol=0, atol=1e-10 * float(expected.abs().max()))
    assert token_effect(scores, layout) > FIXED


@pytest.mark.parametrize("base", [2, 3, 4, 5, 10, 100])
def test_shifts_tell_one_more_and_two_more_apart_where_the_base_does(base):
    sizes = {"vocab_size": base + 1, "base": base, "width": 3, "first_digit": 1}
    layout = Layout(name="any", prompt=("a", "b", 0), end=None, **sizes)
    digit = torch.arange(base).numpy()
    for shift in range(lowest_shift(base), lowest_shift(base) + base):
        answer = (digit + shift) % base + 1
        assert (shift_of(answer, digit, layout) == shift).all()
    assert lowest_shift(base) + base > min(2, base - 1)
    assert fed_digits(base)[0] == 0
    assert fed_digits(base)[-1] == base - 1
    assert shift_of(torch.tensor([0]).numpy(), digit[:1], layout) != 0  # a separator is no digit


def published(name: str) -> Network:
    path = PUBLISHED / name
    if not path.exists():
        pytest.skip(f"{path.name} is not here")
    return read_network(str(path)).network


@pytest.mark.parametrize(
    ("name", "own", "below", "alone"),
    [("microadder/checkpoint_57p.pt", 0.43, 0.044, True)],
)
def test_published_attention_is_as_first_seen(name, own, below, alone):
    network = published(name)
    specimen, layout = specimen_of(network), network.layout
    data = probe_inputs(uniform_pairs(100, torch.Generator().manual_seed(0), layout), layout)
    table = attention_by_role(specimen, {"uniform": data}, range(1, 10))
    mean = table[table["carry_in"] == "all"].groupby("role")["weight"].mean()
    assert mean[["a_i", "b_i"]].tolist() == pytest.approx([own] * 2, abs=0.01)
    assert mean[["a_{i-1}", "b_{i-1}"]].tolist() == pytest.approx([below] * 2, abs=0.005)
    assert (token_effect(score_table(specimen), layout) < FIXED) == alone
