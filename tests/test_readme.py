"""The README's tree against the disk; `python tests/test_readme.py` rewrites the tree by hand."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PACKAGES = ("model", "train", "interp", "analyses", "benchmarks")
OTHERS = {
    "checkpoints/": "shipped models: weights, configuration, model card, log, snapshots",
    "docs/": "what needs more room than a docstring, and the builder of the API reference",
    "notebooks/": 'a tour in fifteen cells, from load("262p") to a patched carry',
    "tests/": "mirror the packages; every instrument has positive and negative controls",
    "Makefile": "make demo, make test, make check, make docs, make notebook",
    "pyproject.toml": "dependencies, and the settings of ruff, pyright and pytest",
    "CONTRIBUTING.md": "how to change this, on one screen",
    ".ci/run": "everything from scratch in a fresh environment",
}


def phrase(path: Path) -> str:
    """First line of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].rstrip(".")


def expected_tree() -> str:
    """One line a file: its path, and the phrase that its docstring begins with."""
    lines = []
    for package in PACKAGES:
        folder = ROOT / package
        modules = sorted(path for path in folder.rglob("*.py") if path.name != "__init__.py")
        if not modules:
            continue
        start = folder / "__init__.py"
        lines.append(f"{package + '/':<28}{phrase(start) if start.exists() else ''}".rstrip())
        lines += [f"  {path.relative_to(folder)!s:<26}{phrase(path)}" for path in modules]
    lines += [f"{name:<28}{text}" for name, text in OTHERS.items()]
    return "\n".join(lines) + "\n"


def parts() -> tuple[str, str, str]:
    """The README before, in and after the tree."""
    before, heading, after = README.read_text(encoding="utf-8").partition("## What is where")
    opening, fence, rest = after.partition("```\n")
    tree, closing, end = rest.partition("```")
    return before + heading + opening + fence, tree, closing + end


def test_tree_says_what_is_on_the_disk() -> None:
    listed, expected = parts()[1].splitlines(), expected_tree().splitlines()
    missing = [line for line in expected if line not in listed]
    stale = [line for line in listed if line not in expected]
    assert not missing + stale, "run: python tests/test_readme.py"
    assert listed == expected


def test_every_entry_exists_and_has_a_phrase() -> None:
    for name in OTHERS:
        assert (ROOT / name).exists(), name
    for line in parts()[1].splitlines():
        assert len(line.split(maxsplit=1)) == 2, f"no phrase: {line}"


def test_first_screen_has_the_figure_and_the_two_commands() -> None:
    first_screen = "\n".join(README.read_text(encoding="utf-8").splitlines()[:40])
    assert "docs/figures/carry_probe.png" in first_screen
    assert "make demo" in first_screen
    assert "make test" in first_screen


def test_every_relative_link_exists() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def main() -> None:
    """Put the tree of the disk into the README."""
    before, _, after = parts()
    README.write_text(before + expected_tree() + after, encoding="utf-8")


if __name__ == "__main__":
    main()
