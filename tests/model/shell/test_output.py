"""Two processes in one folder, killed runs, full disks: it is whole, or it says that it is not."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import model.shell.manifest as manifest_module
from model.errors import InputError
from model.shell.atomic import write_atomic
from model.shell.manifest import LOCK, MANIFEST, TIMING, UNFINISHED, find_problems, read_manifest
from model.shell.output import FolderInUse, Output
from model.whole import main as whole

ROOT = Path(manifest_module.__file__).parents[2]
BY = "python -m interp.one"


def fill(folder: Path, by: str = BY, adds: bool = False, keeps: tuple[str, ...] = (), **files: str):
    with Output(folder, by=by, adds=adds, keeps=keeps) as output, output.writing():
        for name, text in files.items():
            write_atomic(folder / name.replace("__", "/"), text)


class Killed(BaseException):
    """As if by a signal: nothing after it is carried out but what a test undoes."""


def kill(folder: Path, by: str = BY, adds: bool = False, **files: str) -> None:
    """Fill a folder and be killed before the end."""

    def killed() -> None:
        with Output(folder, by=by, adds=adds) as output, output.writing():
            for name, text in files.items():
                write_atomic(folder / name.replace("__", "/"), text)
            raise Killed

    with pytest.raises(Killed):
        killed()


def names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def listed(folder: Path) -> dict[str, str]:
    return {name: entry.by for name, entry in (read_manifest(folder) or {}).items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fill(tmp_path / "out", a="1", b="2", sub__c="3")
    return tmp_path / "out"


def test_a_filled_folder_lists_its_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert names(folder) == ["a", "b", MANIFEST, "sub/c"]
    assert listed(folder) == {"a": BY, "b": BY, "sub/c": BY}
    assert whole([str(folder)]) == 0
    assert "is whole: 3 files by python -m interp.one" in capsys.readouterr().out


def test_the_same_files_give_the_same_manifest(folder: Path, tmp_path: Path) -> None:
    fill(tmp_path / "other", sub__c="3", b="2", a="1")
    assert (tmp_path / "other" / MANIFEST).read_bytes() == (folder / MANIFEST).read_bytes()
    (folder / TIMING).write_text("{}")
    fill(folder, a="1", b="2", sub__c="3")
    assert (tmp_path / "other" / MANIFEST).read_bytes() == (folder / MANIFEST).read_bytes()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "a").write_text("x"), "a is not the file that python -m interp.one wrote"),
        (lambda f: (f / "sub/c").unlink(), "c is missing"),
        (lambda f: ((f / "a").unlink(), os.mkfifo(f / "a")), "a is missing"),
        (lambda f: (f / MANIFEST).rename(f / UNFINISHED), "a command was cut off here"),
    ],
)
def test_what_is_not_whole_is_said(
    spoil: Callable[[Path], object],
    said: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(folder)
    assert whole([str(folder)]) == 1
    captured = capsys.readouterr().out
    assert said in captured
    assert captured.count("\n") == 1


@pytest.mark.parametrize("content", [None, "{}", "[", '{"format": "x", "files": {}}'])
def test_a_folder_without_a_readable_manifest(
    content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / MANIFEST).write_text(content)
    assert whole([str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "a/../../x", "", "..", "a\0"])
def test_a_manifest_names_only_files_inside(name: str, folder: Path) -> None:
    content = json.loads((folder / MANIFEST).read_text())
    content["files"][name] = content["files"]["a"]
    (folder / MANIFEST).write_text(json.dumps(content))
    for use in (find_problems, lambda f: fill(f, a="1")):
        with pytest.raises(InputError, match="is damaged"):
            use(folder)


def test_what_is_left_of_an_earlier_run_goes(folder: Path) -> None:
    (folder / "notes.txt").write_text("somebody's own")
    fill(folder, a="4", d="5")
    assert names(folder) == ["a", "d", MANIFEST, "notes.txt"]
    assert listed(folder) == {"a": BY, "d": BY}
    assert find_problems(folder) == []


def test_what_is_kept_stays_listed(folder: Path) -> None:
    (folder / "sub" / "of a killed run").write_text("x")
    fill(folder, keeps=("sub/*",), a="4")
    assert listed(folder) == {"a": BY, "sub/c": BY, "sub/of a killed run": BY}
    assert find_problems(folder) == []
    assert not (folder / "b").exists()


def test_a_folder_of_another_command_is_refused_unless_added_to(folder: Path) -> None:
    before = {name: (folder / name).read_bytes() for name in names(folder)}
    with pytest.raises(InputError, match=r"was filled by python -m interp\.one: choose another"):
        fill(folder, by="python -m interp.two", a="other")
    assert {name: (folder / name).read_bytes() for name in names(folder)} == before
    fill(folder, by="python -m interp.two", adds=True, d="5")
    assert listed(folder) == {"a": BY, "b": BY, "sub/c": BY, "d": "python -m interp.two"}
    with pytest.raises(InputError, match=r"was filled by python -m interp\.two"):
        fill(folder, a="1")


def test_whose_a_folder_is_outlives_a_killed_run(folder: Path, tmp_path: Path) -> None:
    kill(folder, a="2")
    kill(tmp_path / "new", a="2")
    for place in (folder, tmp_path / "new"):
        with pytest.raises(InputError, match="was filled by"):
            fill(place, by="python -m interp.two")
        fill(place, a="1")
        assert names(place) == ["a", MANIFEST]
        assert find_problems(place) == []


def test_what_a_killed_run_left_goes_unless_it_is_gone_on_from(folder: Path) -> None:
    (folder / "notes.txt").write_text("somebody's own")
    kill(folder, a="2", sub__d="of the first")
    kill(folder, b="2", e="of the second")
    fill(folder, keeps=("sub/*",), a="3")
    assert names(folder) == ["a", MANIFEST, "notes.txt", "sub/c", "sub/d"]
    assert listed(folder) == {"a": BY, "sub/c": BY, "sub/d": BY}
    assert find_problems(folder) == []


def test_an_adding_run_that_was_killed_is_gone_on_from(folder: Path) -> None:
    two = "python -m interp.two"
    (folder / "notes.txt").write_text("somebody's own")
    kill(folder, by=two, adds=True, a="changed", d="data that is used again")
    fill(folder, by=two, adds=True, e="drawn from d")
    assert listed(folder) == {"a": two, "b": BY, "d": two, "e": two, "sub/c": BY}
    assert find_problems(folder) == []
    kill(folder, by=two, adds=True, b="changed", f="left")
    fill(folder, by="python -m interp.three", adds=True, g="new")
    assert listed(folder).keys() == {"a", "d", "e", "g", "sub/c"}
    assert find_problems(folder) == []
    assert {"b", "f", "notes.txt"} <= set(names(folder))


def test_a_second_process_is_told_who_is_at_work(folder: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from model.shell.output import Output\n"
        f"with Output(Path({str(folder)!r}), by='python -m interp.one'): pass"
    )
    with Output(folder, by=BY):
        with pytest.raises(FolderInUse, match=f"{BY}, process {os.getpid()}: wait for it"):
            fill(folder, a="other")
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
        )
        assert f"is being filled by {BY}, process {os.getpid()}" in done.stderr
    assert (folder / "a").read_text() == "1"
    assert not (folder / LOCK).exists()
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT)
    assert done.returncode == 0


KILLED = """
import os, signal, sys
from pathlib import Path
import model.shell.atomic as atomic
from model.shell.output import Output
folder, at = Path(sys.argv[1]), int(sys.argv[2])
calls = 0
def counting(call):
    def wrapped(*args, **options):
        global calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **options)
    return wrapped
for name in ("replace", "unlink", "fsync", "chmod"):
    setattr(os, name, counting(getattr(os, name)))
with Output(folder, by="python -m interp.one") as output, output.writing():
    for name in ("a", "b", "e"):
        atomic.write_atomic(folder / name, "new")
"""


def test_killed_between_any_two_steps_it_is_old_or_new_or_says_so(tmp_path: Path) -> None:
    states = []
    for at in range(1, 40):
        folder = tmp_path / str(at)
        fill(folder, a="old", b="old", c="old")
        done = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(at)], cwd=ROOT)
        texts = {x: (folder / x).read_text() for x in "abce" if (folder / x).exists()}
        if (folder / MANIFEST).exists():
            assert find_problems(folder) == []
            with Output(folder, by=BY) as output:
                assert output.is_whole
            assert not (folder / UNFINISHED).exists()
            old = {"a": "old", "b": "old", "c": "old"}
            assert texts in (old, {"a": "new", "b": "new", "e": "new"})
            states.append("old" if texts == old else "new")
        else:
            assert whole([str(folder)]) == 1
            states.append("unfinished")
        fill(folder, a="new", b="new", e="new")
        assert names(folder) == ["a", "b", "e", MANIFEST]
        if done.returncode == 0:
            break
    else:
        pytest.fail("more steps than expected")
    assert states == sorted(states, key=["old", "unfinished", "new"].index)
    assert set(states) == {"old", "unfinished", "new"}


def test_a_run_that_fails_before_it_writes_leaves_the_folder_as_it_was(folder: Path) -> None:
    before = (folder / MANIFEST).read_bytes()

    def fail(**files: str) -> None:
        with Output(folder, by=BY) as output, output.writing():
            for name, text in files.items():
                write_atomic(folder / name, text)
            raise InputError("another run")

    with pytest.raises(InputError, match="another run"):
        fail()
    assert names(folder) == ["a", "b", MANIFEST, "sub/c"]
    assert (folder / MANIFEST).read_bytes() == before
    with pytest.raises(InputError, match="another run"):
        fail(a="other")
    assert whole([str(folder)]) == 1


def test_nothing_is_left_of_a_folder_in_which_nothing_was_written(tmp_path: Path) -> None:
    with pytest.raises(InputError), Output(tmp_path / "x" / "y", by=BY):
        raise InputError("too soon")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError), Output(tmp_path / "x", by=BY) as output, output.writing():
        raise InputError("too soon")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_and_leaves_no_manifest(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, calls = os.replace, []

    def full(*args: object) -> None:
        calls.append(args)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        replace(*args)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match="No space left on device"):
        fill(folder, a="4")
    monkeypatch.undo()
    assert whole([str(folder)]) == 1
    fill(folder, a="4")
    assert names(folder) == ["a", MANIFEST]


def test_files_that_killed_runs_had_not_finished_go(folder: Path) -> None:
    rests = [folder / ".a.x1y2z3ab.tmp", folder / "sub" / ".c.aaaa_aaa.tmp"]
    kept = [folder / ".a.tmp", folder / "x.tmp"]
    for path in rests + kept:
        path.write_text("half")
    with Output(folder, by=BY):
        assert not any(path.exists() for path in rests)
        assert all(path.exists() for path in kept)


def test_a_folder_inside_with_its_own_manifest(tmp_path: Path) -> None:
    store = tmp_path / "store"
    for number in (1, 2):
        fill(store / f"s{number}", by="python -m train", weights=str(number))
    fill(store, by="python -m train.sweep", keeps=("s*/*",), table="x")
    assert sorted(listed(store)) == ["s1/manifest.json", "s2/manifest.json", "table"]
    assert whole([str(store)]) == 0
    (store / "s2" / "weights").write_text("other")
    assert whole([str(store)]) == 1
    fill(store / "s2", by="python -m train", weights="2")
    assert whole([str(store)]) == 0
    fill(store, by="python -m train.sweep", table="y")
    assert names(store / "s1") == [MANIFEST, "weights"]


def test_a_folder_inside_that_was_cut_off_shows_outside_too(tmp_path: Path) -> None:

    def killed() -> None:
        with Output(tmp_path / "x", by=BY) as output, output.writing():
            kill(tmp_path / "x" / "s1", a="1")
            raise Killed

    with pytest.raises(Killed):
        killed()
    assert names(tmp_path) == [f"x/{UNFINISHED}", f"x/s1/{UNFINISHED}", "x/s1/a"]


@pytest.mark.parametrize("target", ["file", "file/below", "x" * 300, "a\0b"])
def test_a_folder_that_cannot_be_made_is_said(target: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot write"), Output(tmp_path / target, by=BY):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
