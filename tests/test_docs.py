"""The reference: what it must hold. `make docs` builds all of it, and fails on a broken import."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs/build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_module_on_the_disk_has_a_page(builder: ModuleType) -> None:
    names = builder.module_names()
    assert {"model", "model.task", "train.__main__", "interp.hooked", "analyses"} <= set(names)
    for package in builder.PACKAGES:
        files = list((ROOT / package).rglob("*.py"))
        assert sum(name.partition(".")[0] == package for name in names) == len(files)


def test_pages_say_what_the_code_says(builder: ModuleType) -> None:
    pages = builder.build(["model", "model.task", "model.checkpoint"])
    assert {"index.html", "certification.html", "model/task.html", "search.js"} <= set(pages)
    assert "jaxtyping" in pages["model/task.html"]
    assert 'href="model/checkpoint.html"' in pages["index.html"]
    for path, page in pages.items():
        assert str(ROOT) not in page, path
        assert not re.search(r'(src|href)="https?://(?!pdoc\.dev)', page), f"{path} needs network"


def test_index_names_modules_and_files_that_exist(builder: ModuleType) -> None:
    text = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    packages = "|".join(builder.PACKAGES)
    named = set(re.findall(rf"`((?:{packages})\.[a-z_.]+)`", text))
    assert named
    assert named <= set(builder.module_names())
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / "docs" / link).exists(), link


def test_a_module_that_cannot_be_imported_stops_the_build(builder: ModuleType) -> None:
    with pytest.raises(RuntimeError, match=r"model\.nowhere"):
        builder.build(["model", "model.nowhere"])


def test_unusable_folder_is_one_line(
    builder: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(builder, "module_names", lambda: ["model"])
    (tmp_path / "file").write_text("")
    assert builder.main(["--out", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.startswith("python docs/build.py: cannot write ")
    assert builder.main(["--out", str(tmp_path / "site")]) == 0
    assert (tmp_path / "site/index.html").exists()
    assert "How 262p and 226p add" in (tmp_path / "site/try.html").read_text(encoding="utf-8")
    assert (tmp_path / "site/figures/carry_probe.png").exists()
