import json

import pytest
import torch

from interp.anatomy.components import decompose
from interp.component_portrait.__main__ import main
from interp.component_portrait.instrument import Config, run
from interp.component_portrait.portrait import (
    class_fit,
    directions,
    linear_fit,
    variance_shares,
)
from interp.component_portrait.summary import summarise
from model.checkpoint import save
from model.config import PRESETS
from model.handbuilt import handbuilt_adder
from tests.support import random_adder

FEW = {"pairs": 150, "block_tolerance": 0.0}


def test_a_table_of_positions_or_of_tokens_is_seen_as_that() -> None:
    digits = torch.zeros(33, 14, dtype=torch.float64)
    digits[:, :10] = torch.arange(10).double()
    shares = variance_shares(digits)
    assert shares["token"] == pytest.approx(1.0)
    assert shares["digit line"] == pytest.approx(1.0)
    places = torch.arange(33).double()[:, None].expand(33, 14)
    assert variance_shares(places)["position"] == pytest.approx(1.0)
    assert variance_shares(torch.ones(33, 14).double()) == {
        "position": 0.0,
        "token": 0.0,
        "interaction": 0.0,
        "digit line": 0.0,
    }


def test_fits_are_one_for_what_explains_and_zero_for_what_does_not() -> None:
    x = torch.arange(20).double()
    assert linear_fit(x, 3 * x + 1) == pytest.approx(1.0)
    assert linear_fit(x, torch.ones(20).double()) == 0.0
    classes = torch.arange(20) % 4
    assert class_fit(classes, classes.double() ** 2) == pytest.approx(1.0)
    assert class_fit(torch.zeros(20, dtype=torch.int64), x) == pytest.approx(0.0)


def test_directions_multiply_to_a_rank_one_component() -> None:
    W = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)).double()
    eye4, eye5 = torch.eye(4).double(), torch.eye(5).double()
    part = decompose("W_in", W, "svd", eye4, eye5, 0.0)[1]
    u, v = directions(part)
    torch.testing.assert_close(torch.outer(u, v), part.term)
    assert float(v[v.abs().argmax()]) > 0


@pytest.mark.parametrize("matrix", ["W_pos", "W_QK", "W_OV", "W_Q", "W_V", "W_O", "W_in", "W_out"])
def test_every_matrix_has_a_portrait(matrix) -> None:
    result = run(handbuilt_adder(), Config(matrix=matrix, pairs=150))
    assert sum(result.shares.values()) > 0.5
    assert bool(result.roles) == (matrix in ("W_QK", "W_OV", "W_V"))
    assert len(result.writes) == (
        0 if matrix in ("W_Q", "W_QK") else 11 if matrix == "W_in" else 14
    )
    said = summarise(result, "random")
    assert said.title.startswith(f"random, {matrix}")
    assert said.rows[-1].question in ("class that breaks most", "column that suffers most")


def test_the_portrait_finds_what_the_hand_built_adder_reads() -> None:
    # Its values hold the digit, one column the one and the next column the other direction.
    values = run(handbuilt_adder(), Config(matrix="W_OV", component=1, kind="zero", **FEW))
    assert float(values.by_class.nan_to_num().max()) > 0.5
    row = next(
        r for r in summarise(values, "hand").rows if r.question == "column that suffers most"
    )
    assert row.control == "100 % with it"
    assert row.number != "100 % right"
    assert set(sorted(values.roles, key=lambda x: -values.roles[x])[:4]) == {
        "a_i",
        "b_i",
        "a_{i-1}",
        "b_{i-1}",
    }


def test_the_command_draws_and_refuses(tmp_path, capsys) -> None:
    folder = str(save(tmp_path / "hand", random_adder(PRESETS["311p"]), {}))
    out = ["--out", str(tmp_path / "out"), "--pairs", "150"]
    assert main([folder, "--matrix", "W_O", *out]) == 0
    screen = capsys.readouterr().out
    assert "singular value" in screen
    assert screen.count("\n") <= 36
    stem = tmp_path / "out" / "W_O-svd-1"
    assert stem.with_suffix(".png").exists()
    assert json.loads(stem.with_suffix(".json").read_text())["name"] == "W_O 1 (svd)"
    assert main([folder, "--matrix", "W_O", "--component", "9", *out]) == 2
    assert "W_O has 3 components" in capsys.readouterr().err
    assert main([folder, "--matrix", "W_V", *out]) == 2
    assert "--matrix W_V is not one of" in capsys.readouterr().err
