"""Weights and cards made to hang, to fill the memory, to run code or to mean something else.

Every one is refused in one line with exit code 2, within a bounded amount of memory.
"""

import io
import json
import os
import pickle
import resource
import signal
import stat
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import model.checkpoint as checkpoint_module
from model.adder import Adder
from model.archive import read_archive
from model.checkpoint import CARD, TRAJECTORY, WEIGHTS, load, save, trajectory_steps
from model.config import PRESETS
from model.errors import InputError
from model.factored import init_params
from model.pickled import read_pickled
from model.predict import main as predict
from model.reading import open_regular, read_json, read_regular
from tests.model.test_published import published
from train.cases import read_cases
from train.config import TrainConfig
from train.progress import resume
from train.spec import RunSpec

MEMORY, SECONDS = 2**30, 20
"""More than any refusal needs; beyond it the test fails rather than the machine."""

SPARSE = 8 * 2**30


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """A gibibyte more than the process has, and an end to waiting."""

    def too_long(*_: object) -> None:
        raise TimeoutError("still waiting for a file")

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before[1]))
    handler = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, handler)
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    params = init_params(PRESETS["262p"], 0)
    save(tmp_path / "run", Adder(PRESETS["262p"], params), {})
    steps = {name: value.detach()[None] for name, value in params.items()}
    safetensors.torch.save_file({**steps, "step": torch.tensor([5])}, tmp_path / "run" / TRAJECTORY)
    return tmp_path / "run"


def refusal(capsys: pytest.CaptureFixture[str], reference: str) -> str:
    """The one line of a refused checkpoint."""
    assert predict([reference, "1", "2"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    line = captured.err
    assert line.startswith("python -m model.predict: ")
    assert line.count("\n") == 1
    assert line.removesuffix("\n").isprintable()
    assert len(line) < 600
    return line


# What stands in a file's place.


def sparse(path: Path) -> None:
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.truncate(SPARSE)


def in_place(make: Callable[[str], object]) -> Callable[[Path], None]:
    def put(path: Path) -> None:
        path.unlink(missing_ok=True)
        make(str(path))

    return put


STANDS_IN: dict[str, tuple[Callable[[Path], None], str]] = {
    "zeros": (in_place(lambda p: os.symlink("/dev/zero", p)), "is a device"),
    "random": (in_place(lambda p: os.symlink("/dev/urandom", p)), "is a device"),
    "null": (in_place(lambda p: os.symlink("/dev/null", p)), "is a device"),
    "pipe": (in_place(os.mkfifo), "is a pipe"),
    "socket": (in_place(lambda p: os.mknod(p, stat.S_IFSOCK)), "is a socket"),
    "folder": (in_place(os.mkdir), "is a folder"),
    "sparse": (sparse, "above the limit"),
}


@pytest.mark.parametrize("name", [WEIGHTS, CARD, TRAJECTORY, "model.pt"])
@pytest.mark.parametrize("case", STANDS_IN)
def test_only_regular_files_of_a_sane_size_are_read(
    name: str, case: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put, message = STANDS_IN[case]
    put(folder / name)
    reference = {TRAJECTORY: f"{folder}@5", "model.pt": str(folder / "model.pt")}
    if (name, case) == ("model.pt", "folder"):
        message = f"has no {WEIGHTS}"
    assert message in refusal(capsys, reference.get(name, str(folder)))


@pytest.mark.parametrize("case", STANDS_IN)
def test_cases_saved_states_and_results_are_read_by_the_same_rule(
    case: str, tmp_path: Path
) -> None:
    put, message = STANDS_IN[case]
    spec = RunSpec(model=PRESETS["262p"], train=TrainConfig(), seed=0)
    readers: dict[str, Callable[[Path], object]] = {
        "cases.csv": read_cases,
        "state.safetensors": lambda path: resume(spec, path.parent),
        "table.csv": open_regular,
    }
    for name, read in readers.items():
        put(tmp_path / name)
        with pytest.raises(InputError, match=message):
            read(tmp_path / name)


def test_a_file_that_may_not_be_read_or_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "none", 10)
    (tmp_path / "some").write_bytes(b"x" * 10)
    assert read_regular(tmp_path / "some", 10) == b"x" * 10
    with pytest.raises(InputError, match="has 10 bytes, above the limit of 9"):
        read_regular(tmp_path / "some", 9)
    with pytest.raises(InputError, match="Not a directory"):
        read_regular(tmp_path / "some" / "below", 9)


# Cards.


def card_text(**config: str) -> str:
    fields = {name: json.dumps(x) for name, x in PRESETS["262p"].to_dict().items()} | config
    inside = ", ".join(f"{json.dumps(name)}: {x}" for name, x in fields.items())
    return f'{{"config": {{{inside}}}}}'


CARDS: dict[str, tuple[str | bytes, str]] = {
    "deep": ("[" * 500_000, "not readable JSON"),
    "deep objects": ('{"a":' * 100_000, "not readable JSON"),
    "many lists": ("[" + "[]," * 600_000, "above the limit"),
    "twice": ('{"config": {}, "config": {}}', "a key is given twice"),
    "two widths": (card_text()[:-2] + ', "d_model": 4}}', "a key is given twice"),
    "digits": (card_text(d_ff="9" * 5_000), "not readable JSON"),
    "a large number": (card_text(d_ff="9" * 4_000), "d_ff is 9"),
    "negative rank": (card_text(pos_rank="-300"), "pos_rank is -300"),
    "true": (card_text(d_ff="true"), "d_ff is True"),
    "a float": (card_text(d_ff="6.0"), "d_ff is 6.0"),
    "NaN": (card_text(d_ff="NaN"), "d_ff is nan"),
    "infinity": (card_text(d_ff="1e999"), "d_ff is inf"),
    "null": (card_text(norm="null"), "norm is None"),
    "a long text": (card_text(norm=json.dumps("x" * 10**5)), "norm is 'xx"),
    "codes of a terminal": (card_text(norm=json.dumps("\x1b[2J\n")), "norm is '\\x1b[2J\\n'"),
    "a list": (card_text(norm=json.dumps([[1] * 999] * 99)), "norm is [[1, 1"),
    "half a character": (card_text(norm='"\\ud800"'), "norm is '\\ud800'"),
    "a key with a newline": (card_text(**{"x\ny": "1"}), "unknown model configuration key 'x\\ny'"),
    "a long key": (card_text(**{"x" * 10**5: "1"}), "unknown model configuration key 'xx"),
    "wide": (card_text(d_ff="1000000000"), "d_ff is 1000000000"),
    "zeros": (b"\0" * 1000, "not readable JSON"),
    "another encoding": (card_text().encode("utf-16"), "not readable JSON"),
}


@pytest.mark.parametrize("case", CARDS)
def test_a_hostile_card(case: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, message = CARDS[case]
    (folder / CARD).write_bytes(text if isinstance(text, bytes) else text.encode())
    assert message in refusal(capsys, str(folder))


def test_a_plain_card_of_the_same_kind_is_read(folder: Path) -> None:
    (folder / CARD).write_text(card_text())
    assert load(folder).config == PRESETS["262p"]
    (folder / "list.json").write_text("[1, 2]")
    assert read_json(folder / "list.json") == [1, 2]


# Weights.


def weights(**changes: torch.Tensor) -> bytes:
    params = {name: p.detach() for name, p in init_params(PRESETS["262p"], 0).items()}
    return safetensors.torch.save(
        {**params, **{k.replace("__", " "): v for k, v in changes.items()}}
    )


def raw(header: str | bytes, data: bytes = b"", length: int | None = None) -> bytes:
    text = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def one_tensor(name: str = "W_E", **fields: Any) -> bytes:
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} | fields
    return raw(json.dumps({name: entry}), b"\0" * 4)


GAIN = torch.ones(4)
DAMAGED = "is truncated or no safetensors file"
SAFETENSORS: dict[str, tuple[bytes, str]] = {
    "int8": (weights(ln1_w=GAIN.to(torch.int8)), "tensor ln1_w is of type I8"),
    "int64": (weights(ln1_w=GAIN.to(torch.int64)), "tensor ln1_w is of type int64"),
    "bool": (weights(ln1_w=GAIN.to(torch.bool)), "tensor ln1_w is of type BOOL"),
    "uint16": (weights(ln1_w=GAIN.to(torch.uint16)), "tensor ln1_w is of type U16"),
    "float8": (weights(ln1_w=GAIN.to(torch.float8_e4m3fn)), "tensor ln1_w is of type F8_E4M3"),
    "complex": (weights(ln1_w=GAIN.to(torch.complex64)), "tensor ln1_w is of type C64"),
    "no such type": (one_tensor(dtype="F128"), DAMAGED),
    "beyond float32": (weights(ln1_w=GAIN.double() * 1e300), "tensor ln1_w has NaN or infinite"),
    "a header without end": (raw("{}", length=2**62), DAMAGED),
    "a header beyond the file": (raw("{}", length=99_999), DAMAGED),
    "a deep header": (raw("[" * 10**6), DAMAGED),
    "offsets beyond the file": (one_tensor(data_offsets=[0, 2**40], shape=[2**38]), DAMAGED),
    "offsets backwards": (one_tensor(data_offsets=[4, 0]), DAMAGED),
    "no numbers": (one_tensor(data_offsets=[0, 0], shape=[0, 2**60, 2**60]), DAMAGED),
    "an unlikely shape": (one_tensor(shape=[1] * 1000), "has an unlikely shape"),
    "a large empty one": (
        raw('{"W_E":{"dtype":"F32","shape":[0,4611686018427387904],"data_offsets":[0,0]}}'),
        "has an unlikely shape",
    ),
    "a name with a newline": (one_tensor("W_E\nprove"), "has the name 'W_E\\nprove'"),
    "a name with codes": (one_tensor("\x1b[31mW_E"), "has the name '\\x1b[31mW_E'"),
    "a name in Arabic": (one_tensor("W_\u0661"), "has the name 'W_\\u0661'"),
    "a long name": (one_tensor("W" * 10**5), "has the name 'WWW"),
    "no tensors": (raw("{}"), "tensor W_E is missing"),
    "many tensors": (
        raw(
            json.dumps(
                {
                    f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
                    for i in range(20_000)
                }
            )
        ),
        "is missing",
    ),
}


@pytest.mark.parametrize("case", SAFETENSORS)
def test_hostile_weights(case: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, message = SAFETENSORS[case]
    (folder / CARD).write_text(card_text())  # without a hash, which would stop most of them
    (folder / WEIGHTS).write_bytes(data)
    assert message in refusal(capsys, str(folder))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_point_weights_are_read(dtype: torch.dtype, folder: Path) -> None:
    (folder / CARD).write_text(card_text())
    (folder / WEIGHTS).write_bytes(weights(ln1_w=GAIN.to(dtype)))
    assert torch.equal(load(folder).params["ln1_w"], GAIN)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("9" * 5_000, "5,004 characters long: at most 4,096"),
        ("9" * 4_000, "a step is a number in plain digits"),
        ("\u0665", "no snapshot of step '\\u0665': a step is a number in plain digits"),
        ("\u00b2", "a step is a number in plain digits"),
        ("5\n", "holds characters that cannot be printed"),
        ("+5", "a step is a number in plain digits"),
        ("-5", "a step is a number in plain digits"),
        ("5_0", "a step is a number in plain digits"),
        ("", "a step is a number in plain digits"),
        ("999999999999999999", "the nearest is 5"),
    ],
)
def test_a_step_that_is_none(
    step: str,
    message: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert load(f"{folder}@5").config == PRESETS["262p"]
    monkeypatch.setattr(checkpoint_module, "SHIPPED", folder.parent)
    assert message in refusal(capsys, f"run@{step}")
    assert message in refusal(capsys, f"{folder}@{step}") or len(step) > 255


def test_a_trajectory_of_other_types(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = safetensors.torch.load_file(folder / TRAJECTORY)
    safetensors.torch.save_file({**tensors, "step": torch.tensor([5.0])}, folder / TRAJECTORY)
    assert "does not hold one snapshot a step" in refusal(capsys, f"{folder}@5")
    changed = {**tensors, "ln1_w": tensors["ln1_w"].long()}
    safetensors.torch.save_file(changed, folder / TRAJECTORY)
    assert "tensor ln1_w is of type int64" in refusal(capsys, f"{folder}@5")
    (folder / TRAJECTORY).unlink()
    os.mkfifo(folder / TRAJECTORY)
    with pytest.raises(InputError, match="is a pipe"):
        trajectory_steps(folder)


# Published files: a ZIP archive around a pickle.


def saved(content: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def changed(**changes: Any) -> bytes:
    """A published file with other entries in its state."""
    content = published()
    content["model_state"] |= {key.replace("__", "."): value for key, value in changes.items()}
    return saved(content)


def configured(**changes: Any) -> bytes:
    content = published()
    content["model_config"] |= changes
    return saved(content)


def with_number_key() -> bytes:
    content = published()
    content["model_config"][7] = 1
    return saved(content)


def archive(program: bytes, records: dict[str, bytes] | None = None, **options: Any) -> bytes:
    """A file as torch.save writes it, with a pickle of our own."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as file:
        for name, data in {"data.pkl": program, "version": b"3\n", **(records or {})}.items():
            file.writestr(f"archive/{name}", data)
    return buffer.getvalue()


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def whole(value: int) -> bytes:
    data = pickle.encode_long(value)
    return b"\x8a" + bytes([len(data)]) + data


def tuple_of(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def call(name: str, *parts: bytes) -> bytes:
    return b"c" + name.replace(" ", "\n").encode() + b"\n" + tuple_of(*parts) + b"R"


def stored_tensor(
    size: list[int],
    stride: list[int],
    offset: int = 0,
    count: int = 4,
    kind: str = "torch FloatStorage",
    key: str = "0",
) -> bytes:
    """The pickle of one tensor on a storage of `count` numbers."""
    place = f"c{kind}\n".replace(" ", "\n").encode()
    storage = tuple_of(text("storage"), place, text(key), text("cpu"), whole(count)) + b"Q"
    shape = [tuple_of(*map(whole, numbers)) for numbers in (size, stride)]
    hooks = call("collections OrderedDict")
    return call("torch._utils _rebuild_tensor_v2", storage, whole(offset), *shape, b"\x89", hooks)


def with_tensor(*arguments: Any, record: bytes = b"\0" * 16, **options: Any) -> bytes:
    state = b"}" + text("ln_f.weight") + stored_tensor(*arguments, **options) + b"s"
    program = b"\x80\x02}" + text("model_state") + state + b"s"
    return archive(program + text("model_config") + b"}s.", {"data/0": record})


def bomb(declared: int) -> bytes:
    """An archive with an entry that unpacks to 4 GiB of zeros, whatever its directory declares."""
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes(2**22)) + packer.flush(zlib.Z_FULL_FLUSH)
    stream, name = block * 2**10 + packer.flush(), b"archive/data.pkl"
    sizes = (zlib.crc32(bytes(declared % 2**20)), len(stream), declared, len(name), 0)
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 8, 0, 0, *sizes) + name
    central = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 8, 0, 0, *sizes, 0, 0, 0, 0, 0)
    central += name
    at, whole = len(local) + len(stream), len(central)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, whole, at, 0)
    return local + stream + central + end


def many_entries(count: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for number in range(count):
            file.writestr(f"a/{number}", b"N.")
    return buffer.getvalue()


def encrypted() -> bytes:
    data = bytearray(archive(b"N."))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + at] |= 1
    return bytes(data)


def flipped(data: bytes, part: bytes) -> bytes:
    at = data.index(part)
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def stacked(depth: int) -> bytes:
    return archive(b"\x80\x02" + b"(" * depth + b"t" * depth + b".")


def other_order() -> bytes:
    return {"little": b"big", "big": b"little"}[sys.byteorder]


def laughing() -> bytes:
    """Ninety lists, each ten times in the next."""
    program = b"(]q\x00"
    for number in range(1, 90):
        program += b"]q" + bytes([number]) + b"(" + (b"h" + bytes([number - 1])) * 10 + b"e"
    return archive(program + b"t.")


class Runs:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


BROKEN = "is truncated or no PyTorch file"
RUNS = "would run code when loaded, so it was not"
NO_ADDER = "not a published adder"
OPTIMIZER = Runs(torch.optim.AdamW, [torch.zeros(1)])
FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    # Code.
    "os.system": (lambda: saved(Runs(os.system, "exit 3")), RUNS),
    "eval": (lambda: saved({"model_config": Runs(eval, "1")}), RUNS),
    "exec in protocol 4": (lambda: archive(pickle.dumps(Runs(exec, "1"), 4)), RUNS),
    "getattr": (lambda: saved(Runs(getattr, "x", "upper")), RUNS),
    "open": (lambda: saved(Runs(open, "/etc/hostname")), RUNS),
    "a tensor's class": (lambda: saved(OPTIMIZER), RUNS),
    "an instance": (lambda: archive(b"(ios\nsystem\n."), RUNS),
    "an object": (lambda: archive(b"(cos\nsystem\no."), RUNS),
    "new object": (lambda: archive(b"cos\nsystem\n)\x81."), RUNS),
    "an old pickle": (lambda: pickle.dumps(Runs(os.system, "exit 3"), 0), BROKEN),
    "before ZIP": (lambda: saved(published(), _use_new_zipfile_serialization=False), BROKEN),
    "attributes": (lambda: archive(b"]}b."), "sets attributes of an object"),
    "an extension": (lambda: archive(b"\x82\x01."), "uses EXT1"),
    "a persistent name": (lambda: archive(b"Pname\n."), "uses PERSID"),
    # Programs without end.
    "opening marks": (lambda: archive(b"(" * 10**7, compression=8), "above the limit"),
    "a megabyte of marks": (lambda: archive(b"(" * 10**6), "nested more than 100 deep"),
    "deep lists": (lambda: archive(b"]" * 10**4 + b"a" * 9_999 + b"."), NO_ADDER),
    "deep tuples": (lambda: stacked(101), "nested more than 100 deep"),
    "many steps": (lambda: archive(b"\x80\x02" + b"N" * 10**6), "more than 50,000 steps"),
    "a text beyond the file": (lambda: archive(b"X\xff\xff\xff\xff."), BROKEN),
    "bytes beyond the file": (lambda: archive(b"\x8e" + b"\xff" * 8 + b"."), BROKEN),
    "a number of megabytes": (
        lambda: archive(b"\x8b" + struct.pack("<i", 10**6) + b"\x7f" * 10**6 + b"."),
        "uses LONG4",
    ),
    "a number of a million digits": (lambda: archive(b"I" + b"9" * 10**6 + b"\n."), BROKEN),
    "a number of 2,000 bits": (lambda: archive(b"\x8a\xff" + b"\x7f" * 255 + b"."), BROKEN),
    "a list of itself": (lambda: archive(b"]q\0h\0a."), NO_ADDER),
    "laughing lists": (laughing, NO_ADDER),
    "no stop": (lambda: archive(b"\x80\x02}"), BROKEN),
    "nothing": (lambda: archive(b""), BROKEN),
    "only a stop": (lambda: archive(b"."), BROKEN),
    "a mark left": (lambda: archive(b"(N."), BROKEN),
    "only a mark": (lambda: archive(b"(."), NO_ADDER),
    "no such memory": (lambda: archive(b"h\x05."), BROKEN),
    "a list as key": (lambda: archive(b"}]Ns."), BROKEN),
    "a tuple for a list": (lambda: archive(b")Na."), BROKEN),
    "an odd dictionary": (lambda: archive(b"}(Nu."), BROKEN),
    # Tensors that are not what they say.
    "10^12 numbers by strides": (lambda: with_tensor([10**6, 10**6], [0, 0]), "1,000,000,000,000"),
    "an expanded tensor": (lambda: changed(ln_f__weight=torch.ones(1).expand(5)), "5 numbers is"),
    "beyond the storage": (lambda: with_tensor([4], [2]), BROKEN),
    "an offset beyond it": (lambda: with_tensor([1], [1], 9), BROKEN),
    "a negative stride": (lambda: with_tensor([2], [-1], 3), BROKEN),
    "a negative size": (lambda: with_tensor([-2], [1]), BROKEN),
    "a negative offset": (lambda: with_tensor([1], [1], -1), BROKEN),
    "sizes that overflow": (lambda: with_tensor([2**62, 0], [1, 1]), "is missing"),
    "more strides than sizes": (lambda: with_tensor([1], [1, 1]), BROKEN),
    "a hundred dimensions": (lambda: with_tensor([1] * 100, [1] * 100), BROKEN),
    "a short storage": (lambda: with_tensor([4], [1], record=b"\0" * 8), BROKEN),
    "a long storage": (lambda: with_tensor([4], [1], record=b"\0" * 64), BROKEN),
    "no storage": (lambda: with_tensor([4], [1], key="1"), BROKEN),
    "a storage elsewhere": (lambda: with_tensor([4], [1], key="../../../etc/passwd"), BROKEN),
    "a quantised storage": (
        lambda: with_tensor([4], [1], kind="torch QInt8Storage"),
        "a torch.QInt8Storage, which is no plain tensor",
    ),
    "os.system for a storage": (
        lambda: with_tensor([4], [1], kind="os system"),
        "a os.system, which is no plain tensor",
    ),
    "int8": (lambda: changed(ln_f__weight=torch.ones(5, dtype=torch.int8)), "of type int8"),
    "int64": (lambda: changed(ln_f__weight=torch.ones(5, dtype=torch.int64)), "of type int64"),
    "bool": (lambda: changed(ln_f__weight=torch.ones(5, dtype=torch.bool)), "of type bool"),
    "uint16": (lambda: changed(ln_f__weight=torch.ones(5).to(torch.uint16)), "of type uint16"),
    "float8": (
        lambda: changed(ln_f__weight=torch.ones(5).to(torch.float8_e5m2)),
        "of type float8_e5m2",
    ),
    "complex": (
        lambda: changed(ln_f__weight=torch.ones(5, dtype=torch.complex64)),
        "of type complex64",
    ),
    "sparse": (lambda: changed(ln_f__weight=torch.ones(5).to_sparse()), "no plain tensors"),
    "meta": (lambda: changed(ln_f__weight=torch.ones(5, device="meta")), "no plain tensors"),
    "a list": (lambda: changed(ln_f__weight=[1.0] * 5), "is no plain tensor"),
    "a name with a newline": (lambda: changed(**{"x\ny": torch.ones(1)}), "the name 'x\\ny'"),
    "a long name": (lambda: changed(**{"x" * 10**5: torch.ones(1)}), "the name 'xxx"),
    # Configurations.
    "a tensor in the configuration": (
        lambda: configured(n_layer=torch.ones(2)),
        "key n_layer holds a Tensor",
    ),
    "a tensor as width": (
        lambda: configured(d_model=torch.tensor(5)),
        "key d_model holds a Tensor",
    ),
    "a tensor as norm": (
        lambda: configured(use_rmsnorm=torch.ones(2)),
        "use_rmsnorm holds a Tensor",
    ),
    "a list in the configuration": (lambda: configured(d_ff=[6]), "key d_ff holds a list"),
    "a long text": (lambda: configured(tie_qkv="x" * 10**5), "key tie_qkv holds a str"),
    "codes of a terminal": (lambda: configured(tie_qkv="\x1b[2J"), "tie_qkv is '\\x1b[2J'"),
    "a number as key": (with_number_key, "key 7 is unknown"),
    "a large width": (lambda: configured(d_model=2**62), "d_model is 4611686018427387904"),
    "two layers": (lambda: configured(n_layer=2), "n_layer = 2 changes the forward pass"),
    # Archives.
    "4 GiB in an entry": (lambda: bomb(2**32 - 2), "unpacks to 4,294,967,294 bytes, above"),
    "4 GiB said to be 16 bytes": (lambda: bomb(16), BROKEN),
    "4 GiB said to be a megabyte": (lambda: bomb(2**20 - 1), BROKEN),
    "20,000 entries": (lambda: many_entries(20_000), "20,000 entries"),
    "the same name twice": (
        lambda: many_entries(2).replace(b"a/1", b"a/0"),
        "two entries of one name",
    ),
    "two pickles": (lambda: archive(b"N.", {"x/data.pkl": b"N."}), BROKEN),
    "no pickle": (lambda: many_entries(3), BROKEN),
    "encrypted": (encrypted, "is encrypted"),
    "packed by LZMA": (lambda: archive(b"N.", compression=14), "packed in a way"),
    "a bit of the directory": (lambda: flipped(saved(published()), b"PK\x01\x02"), BROKEN),
    "a bit of the pickle": (lambda: flipped(saved(published()), b"model_state"), BROKEN),
    "of another byte order": (lambda: archive(b"N.", {"byteorder": other_order()}), "byte order"),
    "an unknown byte order": (lambda: archive(b"N.", {"byteorder": b"\xff"}), BROKEN),
    "cut": (lambda: saved(published())[:-30], BROKEN),
    "nothing but an end": (lambda: b"PK\x05\x06" + bytes(18), BROKEN),
    "8 MiB of ends": (lambda: (b"PK\x05\x06" + bytes(18)) * 300_000, BROKEN),
}


@pytest.mark.parametrize("case", FILES)
def test_a_hostile_published_file(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, message = FILES[case]
    (tmp_path / "model.pt").write_bytes(make())
    assert message in refusal(capsys, str(tmp_path / "model.pt"))
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_the_same_made_by_the_same_means_is_read() -> None:
    """The archives and pickles above are refused for what they hold, not for how they are made."""
    content = read_pickled(with_tensor([2, 2], [1, 2], record=bytes(range(16))), 2**20)
    expected = torch.frombuffer(bytearray(range(16)), dtype=torch.float32).reshape(2, 2).T
    assert torch.equal(content["model_state"]["ln_f.weight"], expected)
    assert read_pickled(stacked(100), 2**20) is not None
    assert len(read_archive(many_entries(3), 100)) == 3


def test_what_torch_saves_is_read_as_torch_reads_it() -> None:
    layer = torch.nn.Linear(3, 2)
    content = {
        "state": layer.state_dict(),
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1}]},
        "parameter": layer.weight,
        "views": [torch.arange(10)[2:8:2], torch.zeros(0, 3), torch.tensor(1.5)],
        "others": (torch.ones(2, dtype=torch.bfloat16), torch.ones(2).to(torch.float8_e5m2)),
        "plain": {"x": 1, "y": -1.5, "z": None, 3: (True, "\u00e9", 2**40)},
    }
    same(read_pickled(saved(content), 2**20), torch.load(io.BytesIO(saved(content))))


def same(mine: Any, theirs: Any) -> None:
    if isinstance(theirs, torch.Tensor):
        assert mine.dtype == theirs.dtype
        assert mine.shape == theirs.shape
        assert torch.equal(mine.double(), theirs.detach().double())
    elif isinstance(theirs, dict):
        assert list(mine) == list(theirs)
        for key in theirs:
            same(mine[key], theirs[key])
    elif isinstance(theirs, list | tuple):
        assert len(mine) == len(theirs)
        for one, other in zip(mine, theirs, strict=True):
            same(one, other)
    else:
        assert mine == theirs
