"""Training of any layout: the pass against the network's own, the stream, and runs that resume."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from model.anyone import read_network
from model.errors import InputError
from model.layouts import LAYOUTS, PAIRS
from model.network import forward
from model.task import uniform_pairs
from train.plain import PlainSpec, Recipe, Shape, answer_logits, train_plain
from train.plain import run as run_module
from train.plain.__main__ import main
from train.plain.config import LayoutName
from train.plain.shape import count_params, init_params, network_of, split
from train.plain.step import Trainer
from train.plain.stream import draw_pairs
from train.schedule import schedule

SHAPE = Shape(d_model=4, d_ff=6)
SPEC = PlainSpec(shape=SHAPE, recipe=Recipe(steps=6, batch=16, warmup=2), seed=1, every=2)


@pytest.fixture(autouse=True)
def few_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("N_UNIFORM", "N_STRATIFIED", "N_TEST"):
        monkeypatch.setattr(run_module, name, 64)


def test_every_layout_has_its_name() -> None:
    assert get_args(LayoutName) == tuple(LAYOUTS)
    assert count_params(Shape()) == 103 * 7 + 18 * 7 + 4 * 49 + 2 * 7 * 40 + 3 * 7 == 1_624


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_pass_is_the_networks_own_at_the_scored_positions(layout: LayoutName) -> None:
    shape = Shape(layout=layout, d_model=5, d_ff=6)
    flat = init_params(shape, 3, token_std=0.7, position_std=0.7).double()
    task = LAYOUTS[layout]
    tokens = task.encode(*uniform_pairs(8, torch.Generator().manual_seed(0), task))
    tokens = tokens[:, : task.n_input]
    found = answer_logits(split(flat, shape), shape, tokens)
    expected = forward(network_of(flat, shape), tokens)[:, task.n_prompt - 1 :]
    assert torch.allclose(found, expected, rtol=0, atol=1e-12 * float(expected.abs().max()))


def test_pairs_are_a_function_of_seed_and_step_and_of_the_mixture() -> None:
    recipe = Recipe(batch=4_096, short=0.5, carry_heavy=1.0, propagate=0.75)
    row = schedule(recipe.full(), 0, 1)[0]
    a, b = draw_pairs(PAIRS, 1, 5, row, recipe)
    again, other = (draw_pairs(PAIRS, 1, step, row, recipe) for step in (5, 6))
    assert torch.equal(a, again[0])
    assert not torch.equal(a, other[0])
    assert 0 <= int(torch.minimum(a, b).min()) <= int(torch.maximum(a, b).max()) < PAIRS.capacity
    # A length below all five digits: half are short, four fifths of these.
    share = float(((a < 100**4) & (b < 100**4)).double().mean())
    assert abs(share - 0.4) < 5 * np.sqrt(0.4 * 0.6 / 4_096)
    heavy = float(((a % 100 + b % 100) == 99).double().mean())
    assert abs(heavy - 0.7525) < 5 * np.sqrt(0.75 * 0.25 / 4_096)
    light = Recipe(batch=4_096, carry_heavy=0.0)
    a, b = draw_pairs(PAIRS, 1, 5, schedule(light.full(), 0, 1)[0], light)
    assert float(((a % 100 + b % 100) == 99).double().mean()) < 0.03


def test_a_step_lowers_the_loss_of_its_batch() -> None:
    trainer = Trainer.fresh(SPEC)
    row = schedule(SPEC.recipe.full(), 2, 1)[0]
    before = float(trainer.loss(0, row).detach())
    for _ in range(20):
        trainer.step = 0
        trainer.run(1)
    assert float(trainer.loss(0, row).detach()) < before - 0.1


def test_an_interrupted_run_ends_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "SAVE_SECONDS", 0.0)
    train_plain(SPEC, tmp_path / "whole")

    class Interrupted(Exception):
        pass

    def interrupt(row: run_module.Row) -> None:
        if row["step"] == 4:
            raise Interrupted

    with pytest.raises(Interrupted):
        train_plain(SPEC, tmp_path / "cut", interrupt)
    best = train_plain(SPEC, tmp_path / "cut")
    whole, cut = (read_network(tmp_path / name) for name in ("whole", "cut"))
    assert whole.card["sha256"] == cut.card["sha256"]
    assert cut.card["best"] == best == whole.card["best"]
    assert cut.card["command"] == SPEC.command()
    assert cut.network.layout == PAIRS
    assert cut.n_params == count_params(SHAPE)
    assert (tmp_path / "cut/log.csv").read_text() == (tmp_path / "whole/log.csv").read_text()
    child = PlainSpec(
        shape=SHAPE, recipe=SPEC.recipe, seed=3, every=2, start=str(tmp_path / "whole")
    )
    assert torch.equal(network_of(Trainer.fresh(child).params, SHAPE).W_E, whole.network.W_E)
    train_plain(child, tmp_path / "child")
    lineage = read_network(tmp_path / "child").card["lineage"]
    assert [x["command"] for x in lineage] == [SPEC.command(), child.command()]
    with pytest.raises(InputError, match="no pairs one of this kind, 7 wide"):
        Trainer.fresh(PlainSpec(shape=Shape(), recipe=SPEC.recipe, seed=3, start=child.start))
    with pytest.raises(InputError, match="another run"):
        train_plain(PlainSpec(shape=SHAPE, recipe=SPEC.recipe, seed=2, every=2), tmp_path / "cut")
    (tmp_path / "cut/state.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match="damaged"):
        train_plain(SPEC, tmp_path / "cut")


def test_the_command_trains_and_what_it_writes_repeats_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--layout", "micro-10", "--d-model", "3", "--d-ff", "4", "--steps", "2"]
    words += ["--batch", "16", "--every", "2", "--seed", "7"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"files: {tmp_path / 'run'}"
    card = read_network(tmp_path / "run").card
    assert card["command"] == " ".join(["python -m train.plain", *words[:-4], "--seed 7 --every 2"])
    assert card["measured"]["uniform"]["pairs"] == 64


def test_bad_values_are_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        (["--layout", "octal"], "layout"),
        (["--batch", "17"], "multiple of 16"),
        (["--short", "2"], "short is 2"),
        (["--d-model", "65"], "d-model is 65"),
    ):
        assert main(words) == 2
        error = capsys.readouterr().err
        assert message in error
        assert len(error.splitlines()) == 1
