import re

import pytest
import torch

from analyses.gallery import positions as gallery_positions
from analyses.gallery import tokens as gallery_tokens
from interp.anatomy.hook_trace import specimen_of
from interp.carry_probe.attention import score_table
from model.adder import Adder
from model.config import PRESETS, ModelConfig
from model.handbuilt import handbuilt_adder
from tests.analyses.gallery.support import make
from tests.support import random_adder

FULL = ModelConfig(pos_rank=0, qkv_rank=0, attn_out_rank=0, ffn_rank=0, tie_qkv="none")


def moved(model: Adder) -> Adder:
    """Rotate W_E and W_pos, scale them, and move a vector from all tokens to all positions."""
    generator = torch.Generator().manual_seed(3)
    params = {name: value.detach().clone() for name, value in model.params.items()}
    Q, _ = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64))
    shift = torch.randn(4, generator=generator, dtype=torch.float64)
    params["W_E"] = 2 * (params["W_E"] + shift) @ Q
    params["W_pos"] = 2 * (params["W_pos"] - shift) @ Q
    return Adder(model.config, params)


def test_what_is_drawn_of_tokens_and_positions_does_not_move_with_the_coordinates(tmp_path) -> None:
    model = random_adder(FULL)
    other = moved(model)
    first = make(gallery_tokens.FIGURES[0], model, tmp_path / "1").tables
    second = make(gallery_tokens.FIGURES[0], other, tmp_path / "2").tables
    for name in ("share", "line", "parabola"):
        assert first["fits"][name].to_numpy() == pytest.approx(second["fits"][name].to_numpy())
    ratio = second["distances"]["distance"] / first["distances"]["distance"]
    assert ratio.dropna().to_numpy() == pytest.approx(2.0, rel=1e-5)
    axes = [name for name in first["places"] if name.startswith("axis")]
    assert (2 * first["places"][axes].abs()).to_numpy() == pytest.approx(
        second["places"][axes].abs().to_numpy(), abs=1e-4
    )
    first = make(gallery_positions.FIGURES[0], model, tmp_path / "3").tables
    second = make(gallery_positions.FIGURES[0], other, tmp_path / "4").tables
    assert first["shares"]["share"].to_numpy() == pytest.approx(
        second["shares"]["share"].to_numpy()
    )
    assert first["model"]["pairing"][0] == pytest.approx(second["model"]["pairing"][0], rel=1e-5)


def test_digits_of_the_handbuilt_adder_lie_on_a_parabola(tmp_path) -> None:
    made = make(gallery_tokens.FIGURES[0], handbuilt_adder(), tmp_path)
    fits = made.tables["fits"].set_index("axis")
    assert fits.loc[1, "line"] == pytest.approx(1.0, abs=1e-3)
    assert fits.loc[2, "line"] < 0.01
    assert fits.loc[2, "parabola"] == pytest.approx(1.0, abs=1e-3)
    assert f"axis 1 holds {fits.loc[1, 'share']:.1%}" in made.caption
    assert fits.loc[1, "random_line_95"] < 0.7  # ten random points follow no line


def test_fits_are_exact_where_the_points_are() -> None:
    x = torch.arange(10).double()
    assert gallery_tokens.polynomial_fit(x, 3 - 2 * x, 1) == pytest.approx(1.0)
    assert gallery_tokens.polynomial_fit(x, (x - 4.5) ** 2, 1) == pytest.approx(0.0, abs=1e-9)
    assert gallery_tokens.polynomial_fit(x, (x - 4.5) ** 2, 2) == pytest.approx(1.0)
    assert gallery_tokens.polynomial_fit(x, torch.ones(10).double(), 2) == 0.0


def test_scores_find_the_digits_of_the_column_where_they_are_looked_at(tmp_path) -> None:
    made = make(gallery_positions.FIGURES[0], Adder(PRESETS["262p"]), tmp_path)
    found = gallery_positions.best_sources(made.tables["scores"])
    assert f"in {found} of 10 columns" in made.caption
    assert found < 10  # an untrained model does not look at them
    table = gallery_positions.score_means(score_table(specimen_of(handbuilt_adder()))[0])
    wide = table.pivot(index="column", columns="position", values="score")
    for column in range(1, 10):
        best = set(wide.loc[column, [*range(10), *range(11, 21)]].nlargest(4).index)
        assert best == {9 - column, 10 - column, 20 - column, 21 - column}


def test_a_pair_of_equal_embeddings_is_at_no_distance() -> None:
    W_pos = torch.randn(33, 4, generator=torch.Generator().manual_seed(0)).double()
    assert gallery_positions.pairing(W_pos) > 0.5
    W_pos[11:21] = W_pos[:10]
    assert gallery_positions.pairing(W_pos) == pytest.approx(0.0)
    assert not re.search("nan", str(gallery_positions.pairing(W_pos)))
