import pandas as pd
import pytest
import torch

from interp.anatomy.clean_run import clean_run
from interp.anatomy.components import fold
from interp.truncation.__main__ import main
from interp.truncation.instrument import Config, drop_units, run, second_moments, truncate
from model.adder import Adder
from model.checkpoint import load, save
from model.config import PRESETS, ModelConfig
from model.decode import decode
from model.dense import dense
from model.errors import InputError
from model.handbuilt import UNITS, handbuilt_adder
from model.task import carry_stratified_pairs, uniform_pairs
from tests.support import random_adder

PAIRS = carry_stratified_pairs(200, torch.Generator().manual_seed(0))


def rounding_of_W_pos(model: Adder) -> torch.Tensor:
    """How far W_pos may be off where both of its factors were rounded to float32."""
    A, B = (model.params[name].detach().double().abs() for name in ("W_pos_A", "W_pos_B"))
    return 2.1 * 2.0**-24 * (A @ B)


@pytest.mark.parametrize("tie", ["shareA_tieKV", "none", "shareB", "all", "kv"])
def test_full_ranks_keep_the_effective_weights_and_lower_ones_have_them(tie) -> None:
    model = random_adder(ModelConfig(tie_qkv=tie))
    same = truncate(model, {"qkv_rank": 3, "pos_rank": 3})
    assert ((dense(same).W_pos - dense(model).W_pos).abs() <= rounding_of_W_pos(same)).all()
    cut = truncate(model, {"pos_rank": 2, "attn_out_rank": 1, "ffn_rank": 2, "qkv_rank": 2})
    assert cut.config == ModelConfig(
        tie_qkv=tie, pos_rank=2, attn_out_rank=1, ffn_rank=2, qkv_rank=2
    )
    assert torch.linalg.matrix_rank(dense(cut).W_pos, rtol=1e-5) == 2
    assert torch.linalg.matrix_rank(dense(cut).W_O[0], rtol=1e-5) == 1
    stacked = torch.cat([dense(cut).W_Q[0], dense(cut).W_K[0]], dim=0 if tie == "shareB" else 1)
    if tie.startswith("share"):
        assert torch.linalg.matrix_rank(stacked, rtol=1e-4) == 2


def test_the_cut_is_the_best_approximation_of_its_rank() -> None:
    model = random_adder(PRESETS["311p"])
    W = dense(model).W_pos
    truncated = truncate(model, {"pos_rank": 2})
    cut = dense(truncated).W_pos
    smallest = torch.linalg.svdvals(W)[2]
    assert abs((W - cut).norm() - smallest) <= rounding_of_W_pos(truncated).norm()


def test_data_weighting_is_the_best_for_the_outputs() -> None:
    model = random_adder(PRESETS["311p"])
    folded = fold(dense(model))
    reads = clean_run(folded, uniform_pairs(300, torch.Generator().manual_seed(0)))
    moments = second_moments(model, reads)
    x, W = reads.post.reshape(-1, 8), dense(model).W_out

    def error(cut) -> float:
        return float((x @ (W - dense(cut).W_out)).norm())

    plain = truncate(model, {"ffn_rank": 2})
    weighted = truncate(model, {"ffn_rank": 2}, moments)
    assert error(weighted) <= error(plain) * (1 + 1e-5)


def test_the_hand_built_adder_survives_without_what_it_does_not_need() -> None:
    model = handbuilt_adder()
    fewer = drop_units(model, len(UNITS) - 1, PAIRS)
    assert fewer.config.d_ff == len(UNITS) - 1
    assert bool(decode(fewer, *PAIRS).exact.all())
    too_few = drop_units(model, len(UNITS) - 2, PAIRS)
    assert not bool(decode(too_few, *PAIRS).exact.all())


def test_every_combination_is_tried_and_the_smallest_is_found() -> None:
    model = handbuilt_adder()
    result = run(model, Config(pairs=100, thresholds=(0.5, 1.0)))
    full = result.table[result.table["n_params"] == model.config.n_params]
    assert (full["exact"] == 1.0).all()
    assert len(result.table) == 2 * 3 * 6
    best = result.smallest.set_index("threshold").loc[1.0]
    assert best["n_params"] <= model.config.n_params
    assert best["right"] == best["n"] == 100


def test_ranks_out_of_range_are_refused() -> None:
    model = random_adder(PRESETS["311p"])
    with pytest.raises(InputError, match="pos_rank 4 is not between 1 and 3"):
        truncate(model, {"pos_rank": 4})
    with pytest.raises(InputError, match="d_ff 9 is not between 1 and 8"):
        drop_units(model, 9, PAIRS)


def test_the_command_writes_its_tables(published_311p, tmp_path, capsys) -> None:
    argv = [str(published_311p), "--pairs", "400", "--thresholds", "0.9", "--out", str(tmp_path)]
    assert main(argv) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "To keep 90.0 % right, 303 of 311 parameters suffice (pos " in printed
    table = pd.read_csv(tmp_path / "truncations.csv")
    assert len(table) == 2 * 81
    assert (tmp_path / "truncation.png").exists()


def test_the_screen_says_where_nothing_suffices(tmp_path, capsys) -> None:
    folder = str(save(tmp_path / "m", random_adder(PRESETS["262p"]), {}))
    assert main([folder, "--pairs", "100", "--out", str(tmp_path / "out")]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "With all ranks the network adds 0 % of sums." in printed
    assert "No combination of ranks keeps 99.0 % right." in printed
    assert "suffice" not in printed


def test_bad_input_is_one_line(tmp_path, capsys) -> None:
    folder = str(save(tmp_path / "m", handbuilt_adder(), {}))
    assert load(folder)
    assert main([folder, "--thresholds", "2"]) == 2
    assert "--thresholds holds 2.0" in capsys.readouterr().err
