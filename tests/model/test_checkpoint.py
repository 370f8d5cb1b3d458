import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

import model.checkpoint as checkpoint_module
from model.adder import Adder
from model.checkpoint import (
    CARD,
    TRAJECTORY,
    WEIGHTS,
    load,
    read_checkpoint,
    save,
    shipped,
    trajectory_steps,
    weights_sha256,
)
from model.config import PRESETS
from model.errors import InputError
from model.factored import init_params
from model.predict import main as predict
from tests.model.test_published import published
from tests.support import some_tokens


def small_model(seed: int = 0) -> Adder:
    return Adder(PRESETS["262p"], init_params(PRESETS["262p"], seed))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(tmp_path / "run", small_model(), {"seed": 0, "command": "python -m train"})


@pytest.fixture
def ships_262p(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of shipped checkpoints with one of the name 262p."""
    monkeypatch.setattr(checkpoint_module, "SHIPPED", tmp_path / "shipped")
    return save(tmp_path / "shipped" / "262p", small_model(), {})


def same(one: Adder, other: Adder) -> bool:
    return one.config == other.config and all(
        torch.equal(value, other.params[name]) for name, value in one.params.items()
    )


def test_round_trip_by_folder_and_by_file(folder: Path) -> None:
    for reference in (folder, str(folder), folder / WEIGHTS, str(folder / WEIGHTS)):
        assert same(load(reference), small_model())
    assert read_checkpoint(folder).name == "run"


def test_card_is_readable_and_complete(folder: Path) -> None:
    card = json.loads((folder / CARD).read_text())
    assert card["n_params"] == 262
    assert card["config"] == PRESETS["262p"].to_dict()
    assert card["sha256"] == weights_sha256(small_model().params)
    assert card["versions"]["torch"] == torch.__version__
    assert (card["seed"], card["command"]) == (0, "python -m train")
    assert sorted(path.name for path in folder.iterdir()) == [CARD, WEIGHTS]


def test_saving_over_a_card_of_another_shape_writes_the_true_one(folder: Path) -> None:
    card = read_checkpoint(folder).card
    other = Adder(PRESETS["311p"], init_params(PRESETS["311p"], 1))
    save(folder, other, card)
    assert same(load(folder), other)


def test_hash_depends_on_values_only() -> None:
    assert weights_sha256(small_model().params) == weights_sha256(small_model().params)
    assert weights_sha256(small_model(1).params) != weights_sha256(small_model().params)


def test_shipped_name_works_from_any_working_directory(
    ships_262p: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shipped() == ["262p"]
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "262p").mkdir(parents=True)  # an output folder of the same name is in the way
    monkeypatch.chdir(elsewhere)
    assert same(load("262p"), small_model())
    assert read_checkpoint("262p").name == "262p"
    with pytest.raises(InputError, match=f"has no {WEIGHTS}"):
        load("./262p")


def test_an_installed_package_carries_its_checkpoints(folder: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    package = Path(checkpoint_module.__file__).parent
    shutil.copytree(package, site / "model", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(folder, site / "checkpoints" / "262p")
    program = "import model.checkpoint as c; print(c.__file__, c.load('262p').config.n_params)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(site / "model" / "checkpoint.py"), "262"]


def test_snapshots_of_a_trajectory(folder: Path) -> None:
    params = [small_model(seed).params for seed in (1, 2)]
    tensors = {name: torch.stack([p[name].detach() for p in params]) for name in params[0]}
    tensors["step"] = torch.tensor([100, 200])
    safetensors.torch.save_file(tensors, folder / TRAJECTORY)
    assert trajectory_steps(folder) == [100, 200]
    assert same(load(f"{folder}@200"), small_model(2))
    assert read_checkpoint(f"{folder}@100").name == "run@100"
    with pytest.raises(InputError, match="no snapshot of step 190: the nearest is 200"):
        load(f"{folder}@190")
    with pytest.raises(InputError, match="no snapshot of step 'last': a step is a number"):
        load(f"{folder}@last")


def test_a_checkpoint_without_trajectory_says_so(folder: Path) -> None:
    assert trajectory_steps(folder) == []
    with pytest.raises(InputError, match=f"has no {TRAJECTORY}: leave out @5"):
        load(f"{folder}@5")


def test_a_damaged_trajectory_is_refused(folder: Path) -> None:
    safetensors.torch.save_file({"W_E": torch.zeros(1)}, folder / TRAJECTORY)
    with pytest.raises(InputError, match="does not hold one snapshot a step"):
        load(f"{folder}@5")


def test_a_folder_may_have_an_at_sign_in_its_name(folder: Path) -> None:
    moved = folder.rename(folder.with_name("run@2"))
    assert same(load(moved), small_model())
    assert same(load(str(moved)), small_model())


def test_nothing_is_left_when_a_model_cannot_be_saved(tmp_path: Path) -> None:
    broken = small_model()
    with torch.no_grad():
        broken.params["W_E"][3, 1] = float("nan")
    with pytest.raises(InputError, match="tensor W_E has NaN"):
        save(tmp_path / "run", broken, {})
    with pytest.raises(TypeError):
        save(tmp_path / "run", small_model(), {"command": object()})
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot write"):
        save(tmp_path / "file" / "run", small_model(), {})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


class RunsCode:
    """Pickles as a call of os.mkdir."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def edit_card(folder: Path, **changes: object) -> None:
    card = json.loads((folder / CARD).read_text()) | changes
    (folder / CARD).write_text(json.dumps(card))


def edit_weights(folder: Path, **changes: torch.Tensor | None) -> None:
    tensors = {**safetensors.torch.load_file(folder / WEIGHTS), **changes}
    kept = {name: value for name, value in tensors.items() if value is not None}
    safetensors.torch.save_file(kept, folder / WEIGHTS)
    card = json.loads((folder / CARD).read_text())
    edit_card(folder, sha256=weights_sha256(kept), n_params=card["n_params"])


def cut(path: Path, keep: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def without_key(folder: Path, key: str) -> None:
    config = json.loads((folder / CARD).read_text())["config"]
    del config[key]
    edit_card(folder, config=config)


def other_config(**changes: object) -> Callable[[Path], None]:
    return lambda folder: edit_card(folder, config=PRESETS["262p"].to_dict() | changes)


NAN = torch.full((14, 4), float("nan"))
BAD_FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no weights": (lambda f: (f / WEIGHTS).unlink(), f"has no {WEIGHTS}"),
    "no card": (lambda f: (f / CARD).unlink(), f"{CARD} is missing"),
    "card cut": (lambda f: cut(f / CARD, 0.5), "is not readable JSON"),
    "card empty": (lambda f: cut(f / CARD, 0), "is not readable JSON"),
    "card binary": (lambda f: (f / CARD).write_bytes(b"\xff\xfe"), "is not readable JSON"),
    "card deep": (lambda f: (f / CARD).write_text("[" * 100_000), "is not readable JSON"),
    "card a list": (lambda f: (f / CARD).write_text("[]"), "has no config"),
    "card without config": (lambda f: (f / CARD).write_text("{}"), "has no config"),
    "config a list": (lambda f: edit_card(f, config=[1]), "has no config"),
    "config lacks norm": (lambda f: without_key(f, "norm"), "lacks 'norm'"),
    "unknown key": (other_config(n_heads=2), "unknown model configuration key 'n_heads'"),
    "text for a number": (other_config(d_ff="6"), "d_ff is '6'"),
    "unknown norm": (other_config(norm="batch"), "norm is 'batch'"),
    "another shape": (other_config(d_ff=7), "tensor W_in_B has shape (3, 6), not (3, 7)"),
    "weights cut": (lambda f: cut(f / WEIGHTS, 0.7), "is truncated or no safetensors file"),
    "weights empty": (lambda f: cut(f / WEIGHTS, 0), "is truncated or no safetensors file"),
    "weights text": (lambda f: (f / WEIGHTS).write_text("hello"), "is truncated or no safetensors"),
    "other weights": (
        lambda f: safetensors.torch.save_file(small_model(1).state_dict(), f / WEIGHTS),
        "sha256 differs",
    ),
    "missing tensor": (lambda f: edit_weights(f, ln2_w=None), "tensor ln2_w is missing"),
    "extra tensor": (
        lambda f: edit_weights(f, b_O=torch.zeros(4)),
        "tensor b_O does not belong",
    ),
    "wrong shape": (
        lambda f: edit_weights(f, ln2_w=torch.zeros(5)),
        "tensor ln2_w has shape (5,), not (4,)",
    ),
    "NaN": (lambda f: edit_weights(f, W_E=NAN), "tensor W_E has NaN or infinite values"),
    "infinity": (lambda f: edit_weights(f, W_E=NAN.nan_to_num(torch.inf)), "tensor W_E has NaN"),
}


def one_line(capsys: pytest.CaptureFixture[str], reference: str) -> str:
    """Run the command on a bad checkpoint; it must fail in one line on stderr, with code 2."""
    assert predict([reference, "1", "2"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("python -m model.predict: ")
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_bad_folder_is_one_line_and_exit_2(
    case: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, message = BAD_FOLDERS[case]
    spoil(folder)
    before = sorted(folder.parent.rglob("*"))
    assert message in one_line(capsys, str(folder))
    assert sorted(folder.parent.rglob("*")) == before


def spoil_published(**changes: object) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        content = published()
        for key, value in changes.items():
            name = key.replace("__", ".")
            if value is None:
                del content["model_state"][name]
            else:
                content["model_state"][name] = value
        torch.save(content, path)

    return write


def flip_a_weight(path: Path) -> None:
    torch.save(published(), path)
    data = bytearray(path.read_bytes())
    value = published()["model_state"]["ln_f.weight"].numpy().tobytes()
    data[data.index(value)] ^= 1
    path.write_bytes(data)


def unsupported_key(path: Path) -> None:
    content = published()
    content["model_config"]["n_head"] = 7
    torch.save(content, path)


def save_and_cut(keep: float) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        torch.save(published(), path)
        cut(path, keep)

    return write


DAMAGED = "is truncated or no PyTorch file"
RUNS = "would run code when loaded, so it was not"
BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (save_and_cut(0.6), DAMAGED),
    "empty": (lambda p: p.write_bytes(b""), DAMAGED),
    "text": (lambda p: p.write_text("hello"), DAMAGED),
    "one bit flipped": (flip_a_weight, DAMAGED),
    "folder": (lambda p: p.mkdir(), f"has no {WEIGHTS}"),
    "code in a zip": (lambda p: torch.save({"model_config": RunsCode(p.parent / "x")}, p), RUNS),
    "code in a pickle": (
        lambda p: p.write_bytes(pickle.dumps(RunsCode(p.parent / "x"), 2)),
        DAMAGED,
    ),
    "whole module": (lambda p: torch.save(torch.nn.Linear(2, 2), p), RUNS),
    "bare tensor": (lambda p: torch.save(torch.zeros(2), p), "not a published adder"),
    "unsupported key": (unsupported_key, "n_head = 7 changes the forward pass"),
    "missing tensor": (spoil_published(ln_f__weight=None), "tensor ln_final_w is missing"),
    "extra tensor": (spoil_published(ln_f__bias=torch.zeros(5)), "ln_final_b does not belong"),
    "unknown tensor": (spoil_published(blocks__1=torch.zeros(5)), "blocks.1 does not belong"),
    "wrong shape": (spoil_published(ln_f__weight=torch.zeros(6)), "has shape (6,), not (5,)"),
    "NaN": (spoil_published(ln_f__weight=torch.full((5,), torch.nan)), "has NaN or infinite"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_published_file_is_one_line_and_exit_2(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write, message = BAD_FILES[case]
    write(tmp_path / "model.pt")
    assert message in one_line(capsys, str(tmp_path / "model.pt"))
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_unknown_names_list_the_shipped_ones(
    ships_262p: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for reference in ("999p", "no/such/folder", "../262p"):
        assert "262p" in one_line(capsys, reference)
    assert "characters long" in one_line(capsys, "x" * 5000)
    assert "an argument is empty" in one_line(capsys, "")


def test_a_file_of_another_kind_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    assert "published files end in .pt" in one_line(capsys, str(tmp_path / "notes.txt"))


def test_a_published_file_has_no_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(published(), tmp_path / "model.pt")
    assert load(tmp_path / "model.pt")(some_tokens()).shape == (3, 33, 14)
    assert "leave out @10" in one_line(capsys, f"{tmp_path / 'model.pt'}@10")


@pytest.mark.parametrize("name", shipped())
def test_shipped_checkpoint_loads_and_matches_its_card(name: str) -> None:
    checkpoint = read_checkpoint(name)
    assert checkpoint.model.config.n_params == checkpoint.card["n_params"]
    assert checkpoint.model.config == PRESETS.get(name, checkpoint.model.config)
    assert {"sha256", "command", "seed", "versions"} <= set(checkpoint.card)
