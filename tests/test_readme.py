"""The README and the pages of docs/: short, true links, every command within two steps."""

import re
from pathlib import Path

import pytest

from analyses.commands import COMMANDS
from tests.test_layers import MODULES, ROOMS

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
LONGEST = 9 * 1024


def links(page: Path) -> list[str]:
    return re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))


def test_the_readme_is_short() -> None:
    assert len(README.read_bytes()) <= LONGEST


def test_first_screen_has_the_figure_and_the_two_commands() -> None:
    first_screen = "\n".join(README.read_text(encoding="utf-8").splitlines()[:40])
    assert "docs/figures/carry_probe.png" in first_screen
    assert "make demo" in first_screen
    assert "make test" in first_screen


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_exists(page: Path) -> None:
    assert [link for link in links(page) if not (page.parent / link).exists()] == []


def test_a_stranger_finds_every_command() -> None:
    steps = [README, *(ROOT / link for link in links(README) if link.endswith(".md"))]
    text = "\n".join(page.read_text(encoding="utf-8") for page in steps)
    runnable = {name.removesuffix(".__main__") for name in MODULES if name.endswith(".__main__")}
    runnable |= {module.removesuffix(".__main__") for module, _ in COMMANDS.values()}
    assert [name for name in sorted(runnable) if f"python -m {name} " not in text] == []


def test_every_command_that_is_named_exists() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        named = set(re.findall(r"python -m ((?:model|train|interp|analyses)[a-z_.]*) ", text))
        assert named <= set(MODULES), page.name


def test_the_layout_names_every_room() -> None:
    text = (ROOT / "docs/layout.md").read_text(encoding="utf-8")
    assert [room for room in sorted(ROOMS) if f"`{room}`" not in text] == []
    named = set(re.findall(r"`((?:model|train|interp|analyses)\.\w+)`", text))
    assert named <= set(MODULES)
