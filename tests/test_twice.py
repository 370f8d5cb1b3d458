"""The same command gives the same bytes, in another process with another hash seed too.

Only timing.json may differ, which no manifest lists. As a program, `python -m tests.test_twice`
runs all commands in the working folder.
"""

import contextlib
import hashlib
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.shell import MANIFEST, TIMING, find_problems

ROOT = Path(__file__).resolve().parents[1]
SHORT = ["--steps", "40", "--batch", "16", "--warmup", "5"]
PHASES = ["--phase-1", "5", "--phase-2", "20", "--every", "20"]
COMMANDS: dict[str, list[str]] = {
    "train": ["--seed", "3", *SHORT, *PHASES],
    "train.sweep": ["--seeds", "1-2", "--workers", "1", *SHORT, *PHASES],
    "train.finetune": ["262p", "--seeds", "0", "--workers", "1", *SHORT],
    "interp.truncation": ["262p", "--pairs", "200"],
    "interp.component_portrait": ["262p", "--matrix", "W_O", "--component", "1"],
    "analyses.figures": ["attention_by_role", "--checkpoint", "262p"],
}


def run_all() -> None:
    """Run every command, each into a folder of its name, runs validated on few pairs."""
    from train.validation import validation_pairs

    validation_pairs.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.validation.N_HARD", 500)
        patch.setattr("train.run.N_TEST", 500)
        for name, argv in COMMANDS.items():
            main = importlib.import_module(f"{name}.__main__").main
            with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
                assert main([*argv, "--out", name]) == 0, name
    validation_pairs.cache_clear()


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("once")
    with contextlib.chdir(folder):
        run_all()
    return folder


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("again")
    environment = {**os.environ, "PYTHONHASHSEED": "271", "PYTHONPATH": str(ROOT)}
    program = [sys.executable, "-m", "tests.test_twice"]
    done = subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def digest(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != TIMING
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_the_same_bytes_twice(name: str, once: Path, again: Path) -> None:
    first, second = digest(once / name), digest(again / name)
    assert first == second
    assert any(Path(file).name == MANIFEST for file in first)
    for manifest in once.glob(f"{name}/**/{MANIFEST}"):
        assert find_problems(manifest.parent) == []


if __name__ == "__main__":
    run_all()
