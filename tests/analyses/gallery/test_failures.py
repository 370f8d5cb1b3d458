import pytest
import torch

from analyses.gallery import carry as gallery_carry
from analyses.gallery import components as gallery_components
from analyses.gallery import failures as gallery_failures
from analyses.gallery import margins as gallery_margins
from interp.output import save_figure
from model.handbuilt import handbuilt_adder
from model.task import carries, chain_length, hard_pairs
from tests.analyses.gallery.support import make


def test_chains_without_a_carry_are_as_long_as_what_they_hang_on() -> None:
    a, b = hard_pairs()
    length, carry = gallery_margins.chain_below(a, b), carries(a, b)[0]
    carried = carry == 1
    assert bool((length[carried] == chain_length(a, b)[carried]).all())
    # 0 + 9999999999: nine columns below column 9 propagate, and the bottom brings nothing
    nines = gallery_margins.chain_below(torch.tensor([0]), torch.tensor([9999999999]))[0]
    assert nines.tolist() == list(range(11))


def test_margins_of_the_handbuilt_adder_are_alike_everywhere(tmp_path) -> None:
    made = make(gallery_margins.FIGURES[0], handbuilt_adder(), tmp_path)
    table = made.tables["margins"]
    assert table["least"].min() == pytest.approx(8.0, abs=0.5)
    assert (table["wrong"] == 0).all()
    assert (table["high"] > 0).all()  # none seen is not none
    assert f"The least margin is {table['least'].min():.2f}" in made.caption
    assert "(b) 0 digits are wrong" in made.caption
    ignored = make(gallery_margins.FIGURES[0], handbuilt_adder(carry="ignored"), tmp_path)
    rate = ignored.tables["margins"].groupby("carry_in")["rate"]
    assert rate.max()[0] == 0
    assert rate.min()[1] == 1


def test_masses_are_exact_where_they_are_known(tmp_path) -> None:
    made = make(gallery_failures.FIGURES[0], handbuilt_adder(carry="ignored"), tmp_path)
    wrong = 10**20 - 55**10  # right are the pairs in which no column carries
    for name in ("wrong_least", "wrong_most"):
        assert gallery_failures.exact(made.tables["model"][name]) == [wrong]
    assert f"exactly {wrong:,} of the 10^20" in made.caption
    failing = gallery_failures.heaviest(made.tables)
    assert (failing["share"] == 1).all()
    assert (failing["sum_below"] >= 10).all()
    column = failing[failing["column"] == 10]
    assert column["mass"].sum() == pytest.approx((10**10 - 1) / (2 * 10**10))


def test_a_model_that_never_fails_shows_its_thinnest_contexts(tmp_path) -> None:
    made = make(gallery_failures.FIGURES[0], handbuilt_adder(), tmp_path)
    assert "none of the 10^20 pairs is answered wrongly, which is proved" in made.caption
    assert "Nothing is proved to fail" in made.caption
    assert gallery_failures.heaviest(made.tables).empty
    thinnest = made.tables["thinnest"]
    assert (thinnest["attacked"] <= thinnest["sampled"] + 1e-9).all()
    assert f"{thinnest['attacked'].min():.3f}, {thinnest['context'][0]}" in made.caption

    undecided = dict(made.tables)  # what an untrained model gives, whose certification is long
    undecided["contexts"] = made.tables["contexts"].assign(
        undecided=made.tables["contexts"]["pairs"], least=-0.2
    )
    undecided["model"] = made.tables["model"].assign(wrong_most=str(10**20))
    drawing = gallery_failures.plot(undecided)
    (legend,) = [words for part in drawing.subfigs for words in part.legends]
    names = {text.get_text() for text in legend.get_texts()}
    assert {"partly undecided", "fails in the sample, undecided"} <= names
    save_figure(drawing, tmp_path / "undecided", ("svg",))
    assert "from 0.000e+00 to 1.000e+00 of the 10^20" in gallery_failures.caption(undecided)


@pytest.mark.parametrize(("carry", "word"), [("discrete", "right: "), ("ignored", "wrong: ")])
def test_the_diagram_comes_back_from_csv(carry, word, tmp_path) -> None:
    made = make(gallery_carry.FIGURES[0], handbuilt_adder(carry=carry), tmp_path)
    flow = gallery_carry.flow_of(made.tables, "chain")
    assert flow.title == f"{word}899999999 + 1"
    assert flow.columns["true"].tolist()[-1] == "<EOS>"
    assert all(isinstance(token, str) for token in flow.columns["greedy_predicted"])
    focus = gallery_carry.mark(flow, "chain")
    assert focus.column == (8 if carry == "discrete" else 1)
    assert flow.pattern[focus.column].sum() == pytest.approx(1.0)
    assert "two sources hold 0.50 of its attention" in made.caption


def test_components_stand_beside_a_null(tmp_path) -> None:
    made = make(gallery_components.FIGURES[0], handbuilt_adder(), tmp_path)
    table = made.tables["ablations"]
    assert set(table["matrix"]) == {"W_pos", "W_QK", "W_OV", "W_in", "W_out"}
    assert set(table["kind"]) == {"zero", "mean"}
    assert (table["null_low"] <= table["null_high"]).all()
    assert "intact: 1.0000" in made.caption
    zero = table[(table["metric"] == "exact") & (table["kind"] == "zero")]
    assert f"{int((zero['value'] == 0).sum())} of {len(zero)} leave no sum right" in made.caption
