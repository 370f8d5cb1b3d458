"""Certificates altered in a hundred ways: one line, exit code 1 or 2, bounded memory."""

import base64
import json
import re
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interp.check_certificate.cells import Sets, rebuild
from interp.check_certificate.command import main
from interp.check_certificate.tables import Checker
from interp.check_certificate.verdicts import check_leaves

ROOT = Path(__file__).resolve().parents[3]
NAME = "262p"
SOUND = (ROOT / f"checkpoints/{NAME}/certificate.json").read_text()
Change = Callable[[Any], Any]


def pack(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()


def put(*path: Any) -> Change:
    """Replace what lies at a path of keys, the last of `path` being the new value."""
    *keys, last, value = path

    def change(content: Any) -> None:
        for key in keys:
            content = content[key]
        content[last] = value

    return change


def drop(*keys: Any) -> Change:
    def change(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return change


def codes(tree: int, change: Callable[[np.ndarray], np.ndarray]) -> Change:
    """Alter the node codes of a tree, and state their number as it then is."""

    def alter(content: Any) -> None:
        entry = content["trees"][tree]
        found = np.frombuffer(zlib.decompress(base64.b64decode(entry["codes"])), "u1").copy()
        found = change(found)
        entry["codes"], entry["nodes"] = pack(found.astype("u1").tobytes()), len(found)

    return alter


def set_first(value: int) -> Change:
    def change(found: np.ndarray) -> np.ndarray:
        found[0] = value
        return found

    return codes(0, change)


def witness(*row: int) -> Change:
    return put("witnesses", {"count": 1, "rows": pack(np.array(row, "<i8").tobytes())})


def swap_trees(content: Any) -> None:
    trees = content["trees"]
    trees[3], trees[4] = trees[4], trees[3]


def double_tree(content: Any) -> None:
    content["trees"][4] = content["trees"][3]


def reverse_keys(content: Any) -> Any:
    return dict(reversed(content.items())) | {"format": "carrylens certificate 3"}


CONTENTS: dict[str, Change] = {
    # Keys.
    **{f"without {key}": drop(key) for key in json.loads(SOUND)},
    "another key": put("verified", True),
    "a count of tf32": put("counts", "tf32", {"lower": "0", "upper": str(10**20)}),
    "a count named by escape codes": put("counts", "\x1b[32mok\x1b[0m", {"lower": "0"}),
    "a count with a line of its own": put("counts", "x\nthe certificate holds", {"lower": "0"}),
    "without a count": drop("counts", "float32"),
    "without a lower count": drop("counts", "real", "lower"),
    "three bounds": put("counts", "real", "middle", "5"),
    "a key in a tree": put("trees", 0, "verified", True),
    "a tree without axes": drop("trees", 0, "axes"),
    "a tree without a reference": drop("trees", 0, "reference"),
    "a key in the witnesses": put("witnesses", "checked", True),
    "witnesses without rows": drop("witnesses", "rows"),
    "a key in the configuration": put("config", "dropout", 0.0),
    "a configuration without a rank": drop("config", "ffn_rank"),
    # Words.
    "another format": put("format", "carrylens certificate 9"),
    "a format in a list": put("format", ["carrylens certificate 2"]),
    "another order and format": reverse_keys,
    "other words": put("claims", "float32", "float16 as well"),
    "without words": put("claims", {}),
    "claims that are none": put("claims", None),
    "fewer words": drop("claims", "right"),
    "more words": put("claims", "speed", "fast"),
    "another counting": put("counting", "guessed"),
    "a counting that is a number": put("counting", 1),
    # Counts.
    **{
        f"a count that is {name}": put("counts", "real", "lower", value)
        for name, value in {
            "a number": 10**20,
            "a float": 1e20,
            "negative": "-1",
            "padded": "0" + str(10**20),
            "spaced": " " + str(10**20),
            "exponential": "1e20",
            "Arabic": "٣",
            "long": "9" * 22,
            "empty": "",
            "nothing": None,
            "a list": ["1"],
        }.items()
    },
    # Weights and configuration.
    "weights of others": put("weights_sha256", "0" * 64),
    "a hash in capitals": lambda c: put("weights_sha256", c["weights_sha256"].upper())(c),
    "a hash that is a number": put("weights_sha256", 5),
    "a negative rank": put("config", "pos_rank", -300),
    "a norm unknown": put("config", "norm", "banana"),
    "a norm in a list": put("config", "norm", ["rms"]),
    "a tie unknown": put("config", "tie_qkv", "x"),
    "a huge width": put("config", "d_ff", 10**9),
    "a negative context": put("config", "n_ctx", -5),
    "a width that is a float": put("config", "d_model", 4.0),
    "a width that is a truth": put("config", "d_model", True),
    "a width of text": put("config", "d_model", "4"),
    "another width": put("config", "d_ff", 8),
    "another norm": put("config", "norm", "layer"),
    "a configuration that is a list": put("config", []),
    # Trees.
    "no trees": put("trees", []),
    "trees by name": put("trees", {}),
    "a tree less": drop("trees", 7),
    "a tree that is text": put("trees", 0, "tree"),
    "two trees swapped": swap_trees,
    "a tree twice": double_tree,
    "another column": put("trees", 0, "column", 1),
    "a column that is false": put("trees", 0, "column", False),
    "a column that is a float": put("trees", 0, "column", 0.0),
    "another query": put("trees", 0, "query", 3),
    "no nodes": put("trees", 0, "nodes", 0),
    "fewer nodes": put("trees", 0, "nodes", -4),
    "more nodes": put("trees", 0, "nodes", 101),
    "nodes beyond all": put("trees", 0, "nodes", 10**30),
    "nodes as a float": put("trees", 0, "nodes", 100.0),
    "codes in another alphabet": put("trees", 0, "codes", "!" + pack(b"\0" * 100)),
    "codes with a line": put("trees", 0, "codes", pack(b"\0" * 100) + "\n"),
    "codes cut off": lambda c: put("trees", 0, "codes", c["trees"][0]["codes"][:-8])(c),
    "codes not compressed": put("trees", 0, "codes", base64.b64encode(b"\0" * 100).decode()),
    "codes in a list": put("trees", 0, "codes", [0] * 100),
    "codes with a tail": put(
        "trees", 0, "codes", base64.b64encode(zlib.compress(b"\0" * 100) + b"x").decode()
    ),
    "codes with another checksum": put(
        "trees",
        0,
        "codes",
        base64.b64encode(zlib.compress(b"\0" * 100)[:-4] + b"abcd").decode(),
    ),
    "codes that expand": put("trees", 0, "codes", pack(b"\0" * 100_000)),
    "right turned wrong": set_first(4),
    "right turned wrong in float32": set_first(1),
    "right turned wrong in real": set_first(3),
    "split where nothing is left": set_first(9),
    "a group that is none": set_first(19),
    "a code of 255": set_first(255),
    "a node less": codes(0, lambda x: x[:-1]),
    "a node more": codes(0, lambda x: np.append(x, 0)),
    "a split without children": codes(0, lambda x: np.append(x[:-1], 12)),
    # Hints.
    "a reference of text": put("trees", 0, "reference", "0"),
    "a reference too short": put("trees", 0, "reference", [0.0] * 3),
    "a reference too long": put("trees", 0, "reference", [0.0] * 5),
    "a reference of truths": put("trees", 0, "reference", [True] * 4),
    "a nested reference": put("trees", 0, "reference", [[0.0]] * 4),
    "a reference at the end": put("trees", 0, "reference", [1e308] * 4),
    "a reference far away": put("trees", 0, "reference", [1e12] * 4),
    "axes of zeros": put("trees", 0, "axes", [[0.0] * 4] * 4),
    "axes of two rows": put("trees", 0, "axes", [[1.0, 0.0, 0.0, 0.0]] * 2),
    "axes of one row": put("trees", 0, "axes", [[1.0, 0.0, 0.0, 0.0]] * 4),
    "axes without a number": put("trees", 0, "axes", 0, 0, None),
    "axes in numbers": put("trees", 0, "axes", [1.0] * 4),
    "huge axes": put("trees", 0, "axes", 0, 0, 1e300),
    "swollen axes": put("trees", 0, "axes", 0, 0, 1.9),
    # Witnesses.
    "witnesses that are none": put("witnesses", None),
    "a witness without a row": put("witnesses", "count", 1),
    "witnesses below none": put("witnesses", "count", -1),
    "witnesses beyond all": put("witnesses", "count", 2**40),
    "a witness cut off": put("witnesses", {"count": 1, "rows": pack(b"\0" * 31)}),
}
ENDS: dict[str, Change] = {
    # What is found out only when all leaves are checked.
    **{
        f"{name} {end} off by one": put("counts", name, end, str(10**20 - 1))
        for name in ("real", "float32", "real_with_end", "float32_with_end")
        for end in ("lower", "upper")
    },
    "more than all pairs": put("counts", "real", "upper", str(10**20 + 1)),
    "a witness of a right leaf": witness(0, 0, 1, 2),
    "a witness of no tree": witness(500, 0, 1, 2),
    "a witness below zero": witness(-1, -1, -1, -1),
}
TEXTS: dict[str, Callable[[str], str | bytes]] = {
    "empty": lambda _: "",
    "blank": lambda _: " \n",
    "nothing": lambda _: "null",
    "a list": lambda _: "[]",
    "an object": lambda _: "{}",
    "a number": lambda _: "10",
    "text": lambda _: '"carrylens certificate 2"',
    "cut off": lambda s: s[: len(s) // 2],
    "with a tail": lambda s: s + "x",
    "twice": lambda s: s + s,
    "marked": lambda s: "\ufeff" + s,
    "of two bytes": lambda s: s.encode("utf-16"),
    "not of characters": lambda s: s.encode().replace(b"pairs", b"p\xff\xfers"),
    "with a zero byte": lambda s: s.encode().replace(b"pairs", b"p\0irs", 1),
    "with a comment": lambda s: "// true\n" + s,
    "with a trailing comma": lambda s: s.rstrip()[:-1] + ",}",
    "in single quotes": lambda s: s.replace('"', "'"),
    "NaN": lambda s: re.sub(r'("reference": \[\s*)[^,]*', r"\1NaN", s, count=1),
    "Infinity": lambda s: re.sub(r'("reference": \[\s*)[^,]*', r"\1-Infinity", s, count=1),
    "10^400": lambda s: re.sub(r'("reference": \[\s*)[^,]*', r"\g<1>1e400", s, count=1),
    "10^400 in digits": lambda s: s.replace('"column": 0', '"column": 1' + "0" * 400),
    "10^5000 in digits": lambda s: s.replace('"column": 0', '"column": 1' + "0" * 5000),
    "10^400 as a count": lambda s: s.replace('"1' + "0" * 20 + '"', "1" + "0" * 400),
    "a hexadecimal number": lambda s: s.replace('"column": 0', '"column": 0x0'),
    "a number with a zero before": lambda s: s.replace('"column": 0', '"column": 00'),
    "True": lambda s: s.replace('"column": 0', '"column": True'),
    "brackets": lambda _: "[" * 100_000,
    "closed brackets": lambda _: "[" * 100_000 + "]" * 100_000,
    "braces": lambda _: '{"a":' * 100_000,
    "brackets in a key": lambda s: s.replace('"column": 0', '"column": ' + "[" * 99_999, 1),
    "brackets after text": lambda s: '["\\"", ' + "[" * 100_000,
    "a format twice": lambda s: s.replace("{", '{"format": "carrylens certificate 2",', 1),
    "counts twice": lambda s: s.replace("{", '{"counts": {"tf32": 1},', 1),
    "a count twice": lambda s: s.replace('"lower"', '"lower": "5", "lower"', 1),
    "a tree's key twice": lambda s: s.replace('"column": 0', '"column": 0, "column": 0'),
    "a key twice, escaped": lambda s: s.replace("{", '{"c\\u006funts": {},', 1),
    "an unpaired half": lambda s: s.replace("{", '{"\\ud800": 1,', 1),
    "a line in a string": lambda s: s.replace("All 10", "All\n10", 1),
    "many values": lambda _: "[" + "1," * 1_000_001 + "1]",
}


def refused(tmp_path: Path, data: str | bytes, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "altered.json"
    path.write_bytes(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)
    code = main([str(path), NAME])
    printed = capsys.readouterr()
    assert code in (1, 2)
    assert "the certificate holds" not in printed.out
    text = printed.out + printed.err
    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert text.isascii()
    assert text[:-1].isprintable()
    assert len(text) < 500


@pytest.mark.parametrize("kind", CONTENTS)
def test_altered_content_is_refused(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(SOUND)
    changed = CONTENTS[kind](content)
    refused(tmp_path, json.dumps(content if changed is None else changed), capsys)


@pytest.mark.parametrize("kind", TEXTS)
def test_altered_text_is_refused(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    altered = TEXTS[kind](SOUND)
    assert altered != SOUND
    refused(tmp_path, altered, capsys)


@pytest.fixture
def leaves_of_the_first_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prove only the first tree, and rebuild none twice: the others are not altered here."""

    def first(network: Checker, sets: Sets, column: int, *rest: Any) -> str | None:
        return check_leaves(network, sets, column, *rest) if column == 0 else None

    monkeypatch.setattr("interp.check_certificate.checker.check_leaves", first)
    monkeypatch.setattr("interp.check_certificate.checker.Sets", lambda: SETS)
    monkeypatch.setattr("interp.check_certificate.checker.rebuild", rebuilt)


SETS, KNOWN = Sets(), {}


def rebuilt(_: Sets, column: int, query: int, found: list[int]) -> Any:
    if (column, query) not in KNOWN:
        KNOWN[column, query] = rebuild(SETS, column, query, found)
    return KNOWN[column, query]


@pytest.mark.usefixtures("leaves_of_the_first_tree")
def test_altered_ends_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for change in ENDS.values():
        content = json.loads(SOUND)
        change(content)
        refused(tmp_path, json.dumps(content), capsys)


@pytest.mark.usefixtures("leaves_of_the_first_tree")
def test_what_is_altered_without_effect_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(SOUND)
    content["trees"][0]["reference"][0] += 1e-3  # a hint
    backwards = dict(reversed(content.items()))
    path = tmp_path / "same.json"
    path.write_text(json.dumps(backwards, ensure_ascii=True, separators=(",", ":")))
    assert main([str(path), NAME]) == 0
    exactly = f"{10**20} <= right pairs <= {10**20}"
    assert sorted(capsys.readouterr().out.splitlines()) == [
        f"float32            {exactly}",
        f"float32_with_end   {exactly}",
        f"real               {exactly}",
        f"real_with_end      {exactly}",
        "the certificate holds",
    ]


def test_there_are_enough_kinds() -> None:
    assert len(CONTENTS) + len(TEXTS) + len(ENDS) >= 150


BOMBS = """
import resource, sys
from pathlib import Path
from interp.check_certificate.cells import Sets, rebuild
from interp.check_certificate.command import main
from interp.check_certificate.tables import Checker
from interp.check_certificate.verdicts import check_leaves
codes = [main([str(path), "262p"]) for path in sorted(Path(sys.argv[1]).iterdir())]
print(codes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_bombs_stay_below_one_gibibyte(tmp_path: Path) -> None:
    stream = zlib.compressobj(1)
    bomb = b"".join(stream.compress(b"\0" * (1 << 24)) for _ in range(16)) + stream.flush()
    packed = base64.b64encode(bomb).decode()
    for number, change in enumerate(
        (
            put("trees", 0, "codes", packed),
            put("witnesses", {"count": 1, "rows": packed}),
            put("trees", 0, "codes", "A" * (20 << 20)),
        )
    ):
        content = json.loads(SOUND)
        change(content)
        (tmp_path / f"{number}.json").write_text(json.dumps(content))
    (tmp_path / "empty-lists.json").write_text("[" + "[]," * 5_000_000 + "[]]")
    (tmp_path / "brackets.json").write_text("[]" * 4_000_000)
    (tmp_path / "quotes.json").write_text('"\\' * 7_000_000)
    with (tmp_path / "sparse.json").open("wb") as file:
        file.truncate(8 << 30)
    run = subprocess.run(
        [sys.executable, "-c", BOMBS, str(tmp_path)], capture_output=True, text=True, cwd=ROOT
    )
    codes, _, peak = run.stdout.strip().rpartition(" ")
    assert codes == str([2] * 7), run.stderr
    assert run.stderr.count("\n") == 7
    assert int(peak) < 1024
