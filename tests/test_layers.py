import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "model": {"model"},
    "train": {"train", "model"},
    "interp": {"interp", "model"},
    "analyses": {"analyses", "interp", "train", "model"},
}
MODULES = sorted(path for package in ALLOWED for path in (ROOT / package).rglob("*.py"))
LONGEST = 400


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_run_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    ours = {module.partition(".")[0] for module in imported(path)} & set(ALLOWED)
    assert ours <= ALLOWED[package], f"{name(path)} imports {sorted(ours - ALLOWED[package])}"


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_only_interp_imports_transformer_lens(path: Path) -> None:
    if path.relative_to(ROOT).parts[0] != "interp":
        assert "transformer_lens" not in {x.partition(".")[0] for x in imported(path)}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_modules_are_short_and_say_what_they_are(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= LONGEST, f"{name(path)} has {text.count(chr(10))} lines"
    assert ast.get_docstring(ast.parse(text)), f"{name(path)} has no docstring"


def test_the_check_sees_a_wrong_import(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text("def f():\n    import transformer_lens.utils\n    from train.run import x\n")
    assert set(imported(wrong)) == {"transformer_lens.utils", "train.run"}
