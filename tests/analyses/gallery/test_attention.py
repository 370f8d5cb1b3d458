import numpy as np
import pytest

from analyses.gallery import attention as gallery_attention
from analyses.gallery import scores as gallery_scores
from interp.anatomy.hook_trace import specimen_of
from interp.carry_probe.attention import score_table
from model.config import PRESETS
from model.handbuilt import handbuilt_adder
from tests.analyses.gallery.support import make
from tests.support import random_adder


def test_the_handbuilt_adder_gives_a_quarter_to_each_of_four_digits(tmp_path) -> None:
    made = make(gallery_attention.FIGURES[0], handbuilt_adder(), tmp_path)
    mean = gallery_attention.average(made.tables)
    for role in ("a_i", "b_i", "a_{i-1}", "b_{i-1}"):
        assert mean.loc[role, "weight"] == pytest.approx(0.25, abs=1e-4)
        assert f"{role} 0.250 (0.250 to 0.250)" in made.caption
    assert mean["weight"].sum() == pytest.approx(1.0)
    assert "1.000, 1.000, " in made.caption  # live and position mean: the pattern never moves


def test_scores_come_back_from_csv_as_they_were(tmp_path) -> None:
    model = random_adder(PRESETS["262p"])
    made = make(gallery_scores.FIGURES[0], model, tmp_path)
    back = gallery_scores.spread_out(made.tables["scores"])
    scores = score_table(specimen_of(model))[0].numpy()
    seen = ~np.isnan(back)
    assert f"{seen.sum():,} numbers" in made.caption
    np.testing.assert_allclose(back[seen], scores[seen], atol=1e-6)
    assert np.isnan(scores[5, 3, 30, 2])
    assert np.isnan(back[5, 3, 30, 2])


def test_variance_goes_to_what_the_scores_vary_with() -> None:
    place, digit, query = np.arange(33), np.arange(14), np.arange(14)
    scores = np.zeros((12, 14, 33, 14))
    cases = {
        "position": scores + place[:, None],
        "source digit": scores + digit,
        "query digit": scores + query[:, None, None] * digit * (place[:, None] % 2),
    }
    for part, table in cases.items():
        shares = gallery_scores.variance_parts(table, 5)
        assert sum(shares.values()) == pytest.approx(1.0)
        if part != "query digit":
            assert shares[part] == pytest.approx(1.0)
    assert gallery_scores.variance_parts(cases["query digit"], 5)["query digit"] > 0.1
    assert sum(gallery_scores.variance_parts(scores, 5).values()) == 0
    alike = scores + query[:, None, None]  # what a query adds to all sources, no softmax sees
    assert sum(gallery_scores.variance_parts(alike, 5).values()) == 0


def test_the_handbuilt_scores_turn_on_positions(tmp_path) -> None:
    made = make(gallery_scores.FIGURES[0], handbuilt_adder(), tmp_path)
    table = made.tables["variance"].set_index(["part", "column"])["share"]
    assert table["position", 5] > 0.95
    assert "a_i scores 0.00 above a_{i-1}" in made.caption
