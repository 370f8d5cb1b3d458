"""The tour: runs from nothing in a fresh kernel, and is stored as it ran."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
Cell = dict[str, Any]


def code_cells(path: Path) -> list[Cell]:
    """Read the code cells of a notebook."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def printed(cell: Cell, stream: str = "stdout") -> str:
    """Join what a cell printed."""
    outputs = cell["outputs"]
    return "".join("".join(x["text"]) for x in outputs if x.get("name") == stream)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run in a process of its own: Jupyter's warnings are not this suite's."""
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)


def test_tour_runs_from_nothing_and_is_stored_as_it_runs(tmp_path: Path) -> None:
    out = tmp_path / "tour.ipynb"
    done = run(str(FOLDER / "execute.py"), str(out))
    assert done.returncode == 0, done.stderr
    stored, fresh = code_cells(FOLDER / "tour.ipynb"), code_cells(out)
    assert [cell["execution_count"] for cell in fresh] == list(range(1, len(fresh) + 1))
    assert "262 parameters" in printed(fresh[0])
    for old, new in zip(stored, fresh, strict=True):
        assert not printed(new, "stderr"), printed(new, "stderr")
        kinds = [[x["output_type"] for x in cell["outputs"]] for cell in (old, new)]
        assert kinds[0] == kinds[1], f"cell {old['id']} is stale: make notebook"


def test_every_cell_asserts_what_it_shows() -> None:
    for cell in code_cells(FOLDER / "tour.ipynb"):
        assert re.search(r"^ *assert ", "".join(cell["source"]), re.MULTILINE), cell["id"]


def test_stored_tour_names_no_machine() -> None:
    text = (FOLDER / "tour.ipynb").read_text(encoding="utf-8")
    assert not re.search(r"/(home|root|tmp|work|Users|usr|opt)/|site-packages|File \"", text)
    assert json.loads(text)["metadata"]["kernelspec"]["name"] == "python3"


def test_failing_assertion_fails_the_run(tmp_path: Path) -> None:
    failing = json.loads((FOLDER / "tour.ipynb").read_text(encoding="utf-8"))
    failing["cells"] = [code_cells(FOLDER / "tour.ipynb")[0] | {"source": ["assert 1 == 2"]}]
    (tmp_path / "tour.ipynb").write_text(json.dumps(failing), encoding="utf-8")
    copy = tmp_path / "execute.py"
    copy.write_text((FOLDER / "execute.py").read_text(encoding="utf-8"), encoding="utf-8")
    before = (tmp_path / "tour.ipynb").read_bytes()
    done = run(str(copy))
    assert done.returncode == 1
    assert "assert 1 == 2" in done.stderr
    assert (tmp_path / "tour.ipynb").read_bytes() == before


def test_unusable_arguments_are_one_line() -> None:
    done = run(str(FOLDER / "execute.py"), "--colour")
    assert done.returncode == 2
    assert done.stderr.startswith("python notebooks/execute.py: ")
    assert len(done.stderr.splitlines()) == 1
