import os
from pathlib import Path

import pytest

from model.errors import InputError
from model.shell.atomic import write_atomic


def test_text_and_bytes_appear_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "file.txt"
    assert write_atomic(target, "é\n") == target
    assert target.read_bytes() == b"\xc3\xa9\n"
    write_atomic(target, b"other")
    assert target.read_bytes() == b"other"
    assert [path.name for path in target.parent.iterdir()] == ["file.txt"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = write_atomic(tmp_path / "file", "old")

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(InputError, match=r"cannot write .*file: No space left on device"):
        write_atomic(target, "new")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_target_under_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot write"):
        write_atomic(tmp_path / "file" / "below", "y")
