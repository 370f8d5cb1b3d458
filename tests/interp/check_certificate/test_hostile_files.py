"""Weights, cards and arguments that are not what they should be: one line, exit code 2."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interp.certify.file import CLAIMS, FORMAT
from interp.check_certificate import content
from interp.check_certificate.command import main
from interp.check_certificate.files import hash_weights, read_checkpoint, tensor_shapes
from model.checkpoint import load, weights_sha256
from model.config import PRESETS, ModelConfig, param_shapes
from tests.support import FULL_OR_RANKED

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = ROOT / "checkpoints/262p"
HEADER = 8


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.isascii()
    assert printed.err[:-1].isprintable()
    assert len(printed.err) < 500
    return printed.err


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("262p", "262p", "262p"),
        ("262p", "--exact"),
        ("262p", "--exact", "-1"),
        ("262p", "--exact", "٣"),
        ("262p", "--exact", "1e3"),
        ("262p", "--exact", "9" * 30),
        ("262p", "--seed", "x\x1b[31m"),
        ("262p", "--\x1b[31m\n"),
        ("262p@100",),
        ("none@100",),
        ("\x1b[31mred\n",),
        ("x" * 5000,),
        ("x\0y",),
        ("\udcff",),
        ("",),
        ("/dev/zero",),
        ("/dev/zero", "262p"),
        ("/dev", "262p"),
        ("/proc/self/mem", "262p"),
        ("/nowhere/certificate.json", "262p"),
        ("x" * 5000, "262p"),
        ("x\0y", "262p"),
        ("\x1b[2J\r\n", "262p"),
    ],
)
def test_arguments_are_refused(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    refused(capsys, *arguments)


def copy(folder: Path) -> Path:
    folder.mkdir()
    for name in ("model.safetensors", "model.json", "certificate.json"):
        (folder / name).write_bytes((SHIPPED / name).read_bytes())
    return folder


def device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def sparse(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(8 << 30)


def itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("name", ["model.safetensors", "model.json", "certificate.json"])
@pytest.mark.parametrize("change", [device, pipe, folder, sparse, itself, half, Path.unlink])
def test_only_regular_files_of_bounded_size(
    name: str,
    change: Callable[[Path], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(copy(tmp_path / "x") / name)
    refused(capsys, str(tmp_path / "x"))


def header(change: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
    """Alter the header of a safetensors file."""

    def alter(data: bytes) -> bytes:
        (size,) = struct.unpack("<Q", data[:HEADER])
        entries = json.loads(data[HEADER : HEADER + size])
        changed = change(entries)
        text = changed if isinstance(changed, bytes) else json.dumps(entries).encode()
        return struct.pack("<Q", len(text)) + text + data[HEADER + size :]

    return alter


def entry(key: str, value: Any) -> Callable[[bytes], bytes]:
    return header(lambda entries: entries["W_E"].__setitem__(key, value))


def number(value: float) -> Callable[[bytes], bytes]:
    return lambda data: data[:-4] + np.float32(value).tobytes()


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"",
        lambda data: data[:7],
        lambda data: struct.pack("<Q", 2**63) + data[8:],
        lambda data: struct.pack("<Q", 10**7) + data[8:],
        lambda data: data + b"more",
        lambda data: data[:-4],
        header(lambda entries: b"[" * 100_000),
        header(lambda entries: b'{"W_E": {}, "W_E": {}}'),
        header(lambda entries: b"[]"),
        header(lambda entries: entries.pop("W_E") and None),
        header(lambda entries: entries.update(extra=entries["W_E"])),
        entry("dtype", "F64"),
        entry("dtype", "I32"),
        entry("dtype", "C64"),
        entry("dtype", ["F32"]),
        entry("shape", [10**6, 10**6]),
        entry("shape", [-14, -4]),
        entry("shape", [4, 14]),
        entry("shape", [56]),
        entry("shape", [14.0, 4.0]),
        entry("shape", [[14], 4]),
        entry("shape", [1] * 1000),
        entry("shape", "W_E"),
        entry("data_offsets", [0, 0]),
        entry("data_offsets", [0, 2**63]),
        entry("data_offsets", [-224, 0]),
        entry("data_offsets", [224, 0]),
        entry("data_offsets", [0]),
        entry("more", 1),
        number(np.nan),
        number(np.inf),
        number(1.0),
    ],
)
def test_weights_are_refused(
    change: Callable[[bytes], bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy(tmp_path / "x") / "model.safetensors"
    altered = change(path.read_bytes())
    assert altered != path.read_bytes()
    path.write_bytes(altered)
    refused(capsys, str(tmp_path / "x"))


@pytest.mark.parametrize(
    "fields",
    [
        {"pos_rank": -300},
        {"pos_rank": 3},
        {"pos_rank": 65},
        {"pos_rank": 2.0},
        {"pos_rank": True},
        {"pos_rank": "2"},
        {"pos_rank": None},
        {"norm": "banana"},
        {"norm": ["rms"]},
        {"norm": "layer"},
        {"tie_qkv": "x"},
        {"tie_qkv": {}},
        {"tie_qkv": "all"},
        {"qkv_rank": 0},
        {"d_ff": 10**9},
        {"d_model": 0},
        {"n_ctx": -5},
        {"n_ctx": 34},
        {"x\x1b[31m\n": 1},
    ],
)
def test_cards_are_refused(
    fields: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy(tmp_path / "x") / "model.json"
    card = json.loads(path.read_text())
    card["config"] |= fields
    path.write_text(json.dumps(card))
    refused(capsys, str(tmp_path / "x"))


def test_a_name_means_what_it_means_to_the_loader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "262p"
    other.mkdir()
    for name in ("model.safetensors", "model.json"):
        (other / name).write_bytes((ROOT / "checkpoints/274p" / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    for reference in ("262p", "./262p", "262p/model.safetensors"):
        tensors, config = read_checkpoint(reference)
        model = load(reference)
        assert hash_weights(tensors) == weights_sha256(model.params)
        assert config == model.config.to_dict()
    assert read_checkpoint("262p")[1] != read_checkpoint("./262p")[1]


def test_shapes_are_those_of_the_loader() -> None:
    configs = list(PRESETS.values())
    configs += [ModelConfig(tie_qkv=tie, qkv_rank=rank) for tie, rank in FULL_OR_RANKED]
    for config in configs:
        assert tensor_shapes(config.to_dict()) == param_shapes(config)


def test_the_words_are_those_of_the_certifier() -> None:
    assert content.CLAIMS == CLAIMS
    assert content.FORMAT == FORMAT


def test_a_full_disk_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("interp.check_certificate.command.check", lambda *_: {})
    with open("/dev/full", "w") as full:
        monkeypatch.setattr("sys.stdout", full)
        refused(capsys, "262p")
