"""Every command: help at once, odd command lines answered by one line, a full device."""

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from analyses.commands import COMMANDS, entry
from analyses.gallery import FIGURES, FigureName
from analyses.report.__main__ import SectionName
from analyses.report.chapters import CHAPTERS

ROOT = Path(__file__).resolve().parents[1]
HEAVY = (
    *("torch", "transformer_lens", "pandas", "seaborn", "matplotlib"),
    *("scipy", "sklearn", "numba", "llvmlite", "joblib", "numpy"),
)
"""What takes long to import, and what no command needs before it has understood its arguments."""
MODULES = [module for module, _ in COMMANDS.values()]
CHECKER = "interp.check_certificate"
"""Reads arguments by itself, since it shares no code with us; of the heavy modules it has NumPy."""

_START = """
import contextlib, importlib, io, json, sys
found = {}
for module, words in json.loads(sys.argv[1]):
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        try:
            code = importlib.import_module(module).main(words)
        except SystemExit as stop:
            code = stop.code or 0
    loaded = sorted(set(json.loads(sys.argv[2])) & set(sys.modules))
    found[f"{module} {' '.join(words)}"] = (code, loaded, text.getvalue())
print(json.dumps(found))
"""


def start(calls: list[tuple[str, list[str]]]) -> dict[str, tuple[int, list[str], str]]:
    """Call commands in one fresh process; give exit code, heavy modules so far, and words."""
    argv = [sys.executable, "-c", _START, json.dumps(calls), json.dumps(HEAVY)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_help_and_wrong_options_are_answered_before_anything_slow_is_imported() -> None:
    ours = [entry(module) for module in MODULES if module != CHECKER]
    calls = [(module, [word]) for module in ours for word in ("--help", "--no-such-option")]
    for call, (code, loaded, text) in start(calls).items():
        assert loaded == [], f"{call} imported {loaded}"
        assert code == (0 if call.endswith("--help") else 2), call
        if code == 0:
            assert "Example: " in text, call
        else:
            assert text.count("\n") == 1, call
    for call, (_, loaded, text) in start([(entry(CHECKER), ["--help"])]).items():
        assert set(loaded) <= {"numpy"}, call
        assert text, call


def test_the_test_sees_what_is_imported() -> None:
    (_, loaded, _), *_ = start([(entry("model.predict"), ["262p", "1", "2"])]).values()
    assert "torch" in loaded


def test_one_vocabulary() -> None:
    """An option has one meaning, so one kind of value, wherever it is."""
    kinds: dict[str, set[str]] = {}
    calls = [(entry(module), ["--help"]) for module in MODULES if module != CHECKER]
    for _, _, text in start(calls).values():
        for line in text.splitlines():
            words = line.strip("│ ").split()
            if words and words[0].startswith("--"):
                kinds.setdefault(words[0], set()).add(words[1].strip("[]") if words[1:] else "")
    assert kinds["--seed"] == {"INT"}
    assert kinds["--pairs"] <= {"INT", "{None}|INT"}
    assert kinds["--workers"] == {"INT"}
    assert kinds["--seeds"] <= {"STR", "{None}|{[STR"}
    assert kinds["--out"] <= {"PATH", "{None}|PATH"}
    unwanted = {"--n", "--output", "--jobs", "--samples", "--folder", "--checkpoints", "--verbose"}
    assert not unwanted & kinds.keys()


def test_names_that_help_lists_are_those_that_there_are() -> None:
    assert get_args(FigureName) == tuple(figure.name for figure in FIGURES)
    assert get_args(SectionName) == tuple(CHAPTERS)


HUGE, LONG = str(10**30), "x" * 5_000
SEEDED = [
    *("interp.carry_probe", "interp.rank_ablation", "interp.component_portrait"),
    *("interp.certify_trajectory", "interp.failure_diff", "interp.effective_params"),
    *("interp.truncation", "analyses.algorithm", "analyses.dynamics", "analyses.report"),
    "model.evaluate",
]
WITH_FOLDER = [
    *SEEDED[:-1],
    *("interp.certify", "analyses.compression", "analyses.repair", "train.finetune"),
]
ODD: list[tuple[str, list[str], str]] = [
    *((name, ["262p", "--seed", "-1"], "--seed is -1") for name in SEEDED),
    *((name, ["262p", "--seed", str(2**63)], "--seed is 9223372036854775808") for name in SEEDED),
    *((name, ["262p", "--seed", "1.5"], "1.5") for name in SEEDED[:3]),
    *((name, ["262p", "--out", ""], "is empty") for name in WITH_FOLDER),
    *((name, ["262p", "--out", "a\0b"], "cannot be printed") for name in WITH_FOLDER[:4]),
    *((name, ["262p", "--out", "x" * 300], "over 255 bytes") for name in WITH_FOLDER),
    *((name, ["262p", "--out", "{file}"], "is a file, not a folder") for name in WITH_FOLDER),
    *((name, ["262p", "--out", "{file}/x"], "Not a directory") for name in WITH_FOLDER[:4]),
    ("interp.gauge", ["262p", "--out", "{file}"], "is a file, not a folder"),
    ("interp.gauge", ["262p"], "--out"),
    ("interp.gauge", ["262p", "--out", "new", "--pairs", HUGE], "--pairs is"),
    ("interp.certify", ["262p", "--out="], "--out is empty"),
    ("interp.certify", ["262p", "--budget", HUGE], "--budget is"),
    ("interp.certify", ["262p", "--eos-budget", "1"], "--eos-budget is 1"),
    ("interp.certify", [LONG], "5,000 characters"),
    ("interp.certify", ["\x1b[31m262p"], "cannot be printed"),
    ("interp.certify", ["a\nb"], "cannot be printed"),
    ("interp.certify_trajectory", ["262p", "--pairs", HUGE], "--pairs is"),
    ("interp.certify_trajectory", ["262p", "--snapshots", "0"], "--snapshots is 0"),
    (
        "interp.carry_probe",
        ["262p", "--columns", "11"],
        "column 11 is no answer column: give 0 to 10",
    ),
    ("interp.carry_probe", ["262p", "--columns", "-1"], "--columns"),
    ("interp.carry_probe", ["262p", "--workers", "0"], "--workers is 0"),
    ("interp.carry_probe", ["262p", "--workers", HUGE], "--workers is"),
    ("interp.rank_ablation", ["262p", "--pairs", HUGE], "--pairs is"),
    ("interp.rank_ablation", ["262p", "--pairs", "9" * 4_000], "--pairs"),
    ("interp.rank_ablation", ["262p", "--draws", "0"], "--draws is 0"),
    ("interp.rank_ablation", ["262p", "--block-tolerance", "nan"], "--block-tolerance is nan"),
    ("interp.rank_ablation", ["262p", "--n", "100"], "--n"),
    ("interp.component_portrait", ["262p", "--component", "0"], "--component is 0"),
    ("interp.effective_params", ["262p", "--pairs", "0"], "--pairs is 0"),
    ("interp.truncation", ["262p", "--thresholds", "inf"], "--thresholds"),
    ("interp.truncation", ["262p", "--thresholds", "2"], "--thresholds"),
    ("interp.failure_diff", ["262p", "1", str(10**10)], "b is 10000000000"),
    ("interp.failure_diff", ["262p", "--", "-1", "1"], "a is -1"),
    ("model.predict", ["262p", "1", "10000000000"], "b is 10000000000"),
    ("model.predict", ["262p", "--", "-1", "1"], "a is -1"),
    ("model.predict", ["262p", "1", "9" * 5_000], "5,000 characters"),
    ("model.predict", ["262p", "1", "9" * 4_000], "b is"),
    ("model.predict", ["262p", "0x10", "1"], "0x10"),
    ("model.evaluate", ["262p", "--pairs", HUGE], "--pairs is"),
    ("model.evaluate", ["262p", "--stratified", "0"], "--stratified is 0"),
    ("model.evaluate", ["262p", "--show", "-1"], "--show is -1"),
    ("train", ["--seed", str(2**63)], "--seed is"),
    ("train", ["--seed", "-1"], "--seed is -1"),
    ("train", ["--steps", HUGE], "--steps is"),
    ("train", ["--steps", "0"], "--steps is 0"),
    ("train", ["--lr", "nan"], "--lr is nan"),
    ("train", ["--lr", "inf"], "--lr is inf"),
    ("train", ["--batch", HUGE], "--batch is"),
    ("train", ["--warmup", "-1"], "--warmup is -1"),
    ("train", ["--d-model", HUGE], "d_model is"),
    ("train", ["--preset", "1p"], "unknown preset '1p'"),
    ("train", ["--stop", "3:x"], "stop bound '3:x'"),
    ("train", ["--stop", "3:nan"], "stop bound '3:nan'"),
    ("train", ["--stop", "-3:1"], "stop bound '-3:1'"),
    ("train", ["--device", "tpu"], "tpu"),
    ("train", ["--every", "0"], "--every is 0"),
    ("train", ["--out", "{file}"], "is a file, not a folder"),
    ("train", ["--out", "/dev/null"], "is a file, not a folder"),
    ("train.sweep", ["--seeds", "0-999999999999"], "too many"),
    ("train.sweep", ["--seeds", "0-99999", "100000-100001"], "too many"),
    ("train.sweep", ["--seeds", str(2**63)], "too large"),
    ("train.sweep", ["--seeds", "5-3"], "neither a number nor a range"),
    ("train.sweep", ["--seeds", "1", "1"], "given twice"),
    ("train.sweep", ["--seeds", "1_0"], "neither a number nor a range"),
    ("train.sweep", ["--seeds", "٣"], "neither a number nor a range"),
    ("train.sweep", ["--seeds"], "no seeds"),
    ("train.sweep", ["--workers", "0"], "--workers is 0"),
    ("train.finetune", ["262p", "--rounds", "1e-3"], "round '1e-3'"),
    ("train.finetune", ["262p", "--rounds", f"1e-3:{HUGE}"], "round '1e-3:1"),
    ("train.finetune", ["262p", "--rounds", "nan:5"], "round 'nan:5'"),
    ("train.ship", ["runs/none", "../x"], "name '../x'"),
    ("train.ship", ["runs/none", "x", "--pairs", "0"], "--pairs is 0"),
    ("train.ship", ["runs/none", "x", "--out", "elsewhere/y"], "its last part must be the name"),
    ("analyses.report", ["262p", "--sections", "poetry"], "poetry"),
    ("analyses.report", ["262p", "--seed", str(2**31)], "--seed is"),
    ("analyses.repair", ["262p", "--rounds", "0"], "--rounds is 0"),
    ("analyses.repair", ["262p", "--seeds", "0-999999999999"], "too many"),
    ("analyses.compression", ["262p", "--targets", "d_model=2"], "target 'd_model=2'"),
    ("analyses.compression", ["262p", "--steps", HUGE], "--steps is"),
    ("analyses.algorithm", ["262p", "--pairs", HUGE], "--pairs is"),
    ("analyses.dynamics", ["262p", "--certify", "5"], "--certify is 5"),
    ("analyses.claims", ["262p", "--pairs", HUGE], "--pairs is"),
    ("analyses.claims", ["262p", "--out", "{file}"], "is a file, not a folder"),
    ("analyses.figures", ["poetry"], "poetry"),
    ("analyses.figures", ["--format"], "no format"),
    ("analyses.figures", ["--out", "{file}"], "is a file, not a folder"),
    ("analyses.curves", ["poetry"], "poetry"),
    ("analyses.training_tables", ["table6", "--steps-scale", "nan"], "--steps-scale is nan"),
    ("analyses.training_tables", ["table6", "--steps-scale", "2"], "--steps-scale is 2"),
    ("analyses.training_tables", ["table9"], "table9"),
    ("analyses.smallest", [], "no folders"),
    ("analyses.smallest", ["x", "--out", "{folder}"], "it must be a file"),
    ("analyses.adderboard", ["262p", "--out", "s.txt"], ".py"),
    ("analyses.adderboard", ["262p", "--out", "{folder}"], "it must be a file"),
    ("analyses.certified", [], "no checkpoints"),
    ("analyses.explorer", [], "no checkpoints"),
    ("analyses.explorer", ["262p"] * 13, "at most 12"),
    ("analyses.explorer", ["262p", "262p"], "two networks are called 262p"),
    ("analyses.explorer", ["262p", "--pairs", HUGE], "--pairs is"),
    ("analyses.explorer", ["262p", "--out", "page.txt"], "must be an .html file"),
    ("analyses.explorer", ["262p", "--out", "{folder}"], "it must be a file"),
]


def name_of(value: Any) -> str | None:
    return " ".join(value)[:40] if isinstance(value, list) else None


@pytest.mark.parametrize(("module", "words", "message"), ODD, ids=name_of)
def test_an_odd_command_line_is_one_line_and_exit_2(
    module: str,
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    (tmp_path / "file").write_text("x")
    places = {"{file}": str(tmp_path / "file"), "{folder}": str(tmp_path)}
    for mark, place in places.items():
        words = [word.replace(mark, place) for word in words]
    main: Callable[[list[str]], int] = importlib.import_module(entry(module)).main
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"python -m {module}: ")
    assert printed.err.count("\n") == 1
    assert len(printed.err) < 1_100
    assert message in printed.err
    assert not list(work.iterdir()), "something was written"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize(
    ("words", "everything"),
    [
        (["model.predict", "--help"], False),
        (["model.predict", "262p", "1", "2"], False),
        (["interp.certify", "--no-such-option"], True),
    ],
    ids=name_of,
)
def test_a_full_device_is_one_line(words: list[str], everything: bool) -> None:
    argv = [sys.executable, "-m", *words]
    with open("/dev/full", "w") as full:
        errors = full if everything else subprocess.PIPE
        done = subprocess.run(argv, cwd=ROOT, stdout=full, stderr=errors, text=True, check=False)
    assert done.returncode == 2
    if not everything:
        assert (
            done.stderr == f"python -m {words[0]}: cannot write output: No space left on device\n"
        )
