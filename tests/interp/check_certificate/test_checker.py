"""The checker accepts a true certificate and refuses altered ones."""

import ast
import base64
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from interp.certify.atlas import build_atlas
from interp.certify.certificate import CertifyConfig, certify
from interp.certify.file import write_certificate
from interp.check_certificate.cells import Sets, rebuild
from interp.check_certificate.command import main
from model.checkpoint import load, save

ROOM = Path(__file__).resolve().parents[3] / "interp/check_certificate"


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    path = Path(__file__).resolve().parents[3].parent / "shared/published/best_311p_s34.pt"
    if not path.exists():
        pytest.skip("the published checkpoint is not on this machine")
    folder = tmp_path_factory.mktemp("certified")
    model = load(path)
    save(folder / "model", model, {})
    certificate = certify(model, CertifyConfig(eos_budget=2))
    atlas = build_atlas(certificate, model)
    rows = atlas[atlas["real"] == "wrong"][["tree", "leaf", "a", "b"]].to_numpy("int64")
    return write_certificate(certificate, rows, folder / "certificate.json"), folder / "model"


def pack(array: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(array.tobytes())).decode()


def unpack(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=kind).copy()


def altered(certified: tuple[Path, Path], tmp_path: Path, change) -> int:
    content = json.loads(certified[0].read_text())
    change(content)
    path = tmp_path / "altered.json"
    path.write_text(json.dumps(content))
    return main([str(path), str(certified[1])])


def test_true_certificate_holds(certified: tuple[Path, Path], capsys: pytest.CaptureFixture[str]):
    assert main([str(certified[0]), str(certified[1])]) == 0
    printed = capsys.readouterr().out
    assert "the certificate holds" in printed
    assert "99996142150190900700 <= right pairs <= 99996142150190900700" in printed


def flip_leaf(tree: int, leaf_code: int, new: int):
    def change(content: dict) -> None:
        codes = unpack(content["trees"][tree]["codes"], "u1")
        codes[np.flatnonzero(codes == leaf_code)[0]] = new
        content["trees"][tree]["codes"] = pack(codes)

    return change


def drop_node(content: dict) -> None:
    codes = unpack(content["trees"][0]["codes"], "u1")
    content["trees"][0]["codes"] = pack(codes[:-1])


def cut_node(content: dict) -> None:
    drop_node(content)
    content["trees"][0]["nodes"] -= 1


def split_leaf(content: dict) -> None:
    codes = unpack(content["trees"][0]["codes"], "u1")
    codes[0] = 9
    content["trees"][0]["codes"] = pack(codes)


def skew_axes(content: dict) -> None:
    content["trees"][0]["axes"][0][0] += 0.5


def no_axes(content: dict) -> None:
    content["trees"][0]["axes"] = [[0.0] * 4] * 4


def far_reference(content: dict) -> None:
    content["trees"][0]["reference"][0] = 1e9


def infinite_reference(content: dict) -> None:
    content["trees"][0]["reference"][0] = float("inf")


def other_hash(content: dict) -> None:
    content["weights_sha256"] = "0" * 64


def drop_tree(content: dict) -> None:
    del content["trees"][5]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (flip_leaf(0, 0, 4), "cannot be proved"),
        (flip_leaf(0, 0, 1), "float32 cannot be proved"),
        (drop_node, "the size that is stated"),
        (cut_node, "too few nodes"),
        (split_leaf, "splits what cannot be split"),
        (skew_axes, "cannot be proved"),
        (no_axes, "cannot be proved"),
        (far_reference, "cannot be proved"),
        (infinite_reference, "is no number of JSON"),
        (other_hash, "other weights"),
        (drop_tree, "there are not 103 trees"),
    ],
)
def test_altered_certificates_are_refused(
    certified: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change,
    reason: str,
):
    code = altered(certified, tmp_path, change)
    printed = capsys.readouterr()
    assert reason in printed.out + printed.err
    assert code == (1 if printed.out else 2)


def test_altered_counts_and_witnesses_are_refused(
    certified: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    # The leaves are checked in the tests above; here only what follows them.
    monkeypatch.setattr("interp.check_certificate.checker.check_leaves", lambda *_: None)
    sets, known = Sets(), {}

    def rebuilt(_: Sets, column: int, query: int, codes: list[int]) -> Any:
        """Rebuild a tree once, as it does not change from one certificate to the next."""
        key = column, query, bytes(codes)
        if key not in known:
            known[key] = rebuild(sets, column, query, codes)
        return known[key]

    monkeypatch.setattr("interp.check_certificate.checker.Sets", lambda: sets)
    monkeypatch.setattr("interp.check_certificate.checker.rebuild", rebuilt)

    def one_more(content: dict) -> None:
        for end in ("lower", "upper"):
            content["counts"]["real"][end] = str(int(content["counts"]["real"][end]) + 1)

    def move_witness(content: dict) -> None:
        rows = unpack(content["witnesses"]["rows"], "<i8")
        rows[2] = 0
        content["witnesses"]["rows"] = pack(rows)

    def hide_failure(content: dict) -> None:
        for index, tree in enumerate(content["trees"]):
            codes = unpack(tree["codes"], "u1")
            if (codes == 4).any():
                flip_leaf(index, 4, 8)(content)
                return

    assert altered(certified, tmp_path, one_more) == 1
    assert "counted 99996142150190900700" in capsys.readouterr().out
    assert altered(certified, tmp_path, move_witness) == 1
    assert "witness" in capsys.readouterr().out
    assert altered(certified, tmp_path, hide_failure) == 1


def test_one_altered_weight_is_refused(
    certified: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "model"
    folder.mkdir()
    tensors = safetensors.numpy.load_file(certified[1] / "model.safetensors")
    tensors["W_E"][3, 1] = np.nextafter(tensors["W_E"][3, 1], np.float32(9))
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    (folder / "model.json").write_text((certified[1] / "model.json").read_text())
    assert main([str(certified[0]), str(folder)]) == 2
    assert "not the weights that its card describes" in capsys.readouterr().err
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({"config": card["config"]}))
    assert main([str(certified[0]), str(folder)]) == 1
    assert "other weights" in capsys.readouterr().out


def test_unreadable_files_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([str(tmp_path / "none.json"), "262p"]) == 2
    (tmp_path / "wrong.json").write_text("{}")
    assert main([str(tmp_path / "wrong.json"), "262p"]) == 2
    assert main([]) == 2
    assert main(["--help"]) == 0
    assert "cannot be read" in capsys.readouterr().err


def test_checker_shares_no_code_with_the_producer():
    for path in ROOM.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            for module in modules:
                top, _, rest = module.partition(".")
                assert top not in ("model", "train", "analyses", "torch", "scipy")
                assert top != "interp" or rest.startswith("check_certificate")
