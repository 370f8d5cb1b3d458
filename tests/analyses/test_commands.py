import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from analyses import commands
from analyses.commands import COMMANDS, describe_certificate, main

ROOT = Path(__file__).resolve().parents[2]


def test_every_python_m_has_a_subcommand() -> None:
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
        for package in ("model", "train", "interp", "analyses")
        for path in (ROOT / package).rglob("*.py")
        if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    }
    named = {module for module, _ in COMMANDS.values()}
    assert modules - {"analyses.commands"} - named == set(), "add them to analyses/commands.py"
    assert named <= modules


def test_help_is_instant_because_nothing_heavy_is_imported(capsys) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in [*COMMANDS, "list"])
    code = (
        "import sys; from analyses.commands import main; main([]); "
        "sys.exit(bool({'torch', 'numpy', 'rich', 'tyro'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_subcommands_are_the_modules_own_main(monkeypatch) -> None:
    seen = []

    class Module:
        @staticmethod
        def main(argv):
            seen.append(argv)
            return 7

    class Imports:
        @staticmethod
        def import_module(name: str) -> type[Module]:
            seen.append(name)
            return Module

    entries = {module: commands.entry(module) for module, _ in COMMANDS.values()}
    monkeypatch.setattr(commands, "entry", entries.__getitem__)
    monkeypatch.setattr(commands, "importlib", Imports)
    for name, (module, _) in COMMANDS.items():
        assert main([name, "262p", "--x"]) == 7
        assert seen[-2:] == [entries[module], ["262p", "--x"]]


def test_a_real_subcommand_runs(capsys) -> None:
    assert main(["predict", "262p", "9304630660", "8594408863"]) == 0
    assert "17899039523" in capsys.readouterr().out
    assert main(["predict", "262p", "1"]) == 2


def test_unknown_subcommands_get_one_line(capsys) -> None:
    assert main(["prob"]) == 2
    error = capsys.readouterr().err
    assert "no command 'prob'" in error
    assert error.count("\n") == 1


def test_the_list_prints_what_the_cards_say(capsys) -> None:
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert "262p-base" in shown
    assert "1,138 of" in shown
    assert main(["list", "x"]) == 2
    assert main(["list", "--help"]) == 0


@pytest.mark.parametrize(
    ("lower", "sha256", "expected"),
    [
        (10**20, "s", "all 10^20 pairs right"),
        (10**20 - 7, "s", "wrong: real at most 7, float32 at most 7"),
        (10**20, "t", "of other weights"),
    ],
)
def test_certificates_count_for_the_weights_they_are_of(lower, sha256, expected) -> None:
    counts = {name: {"lower": str(lower)} for name in ("real", "float32")}
    certificate = {"weights_sha256": sha256, "counts": counts}
    assert describe_certificate(certificate, {"sha256": "s"}) == expected
    assert describe_certificate(None, {"sha256": "s"}) == "none stored"


def test_the_script_is_installed_under_its_name() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'carrylens = "analyses.commands:main"' in text
    assert importlib.util.find_spec("analyses.commands") is not None
