import llvmlite.binding as llvm
import pytest
import torch

from model.checkpoint import versions
from model.config import PRESETS
from model.decode import decode, decode_exactly, tables_of, teacher_forced
from model.dense import dense
from model.errors import InputError
from model.handbuilt import handbuilt_adder
from model.lanes.code import Code
from model.lanes.kernel import make_machine, optimise
from model.lanes.values import LANES
from model.lanes.vectors import (
    AVX2,
    AVX512,
    BASELINE,
    NAMES,
    NEON,
    VARIABLE,
    VectorSet,
    find_vectors,
    supported_sets,
)
from model.packing import supports
from model.shell import run_command
from model.tables import tabulate
from model.task import hard_pairs, uniform_pairs
from tests.reference import ALLOWED, margin_rounding
from tests.support import EVERY_SET, random_adder


def test_the_widest_set_is_the_default(monkeypatch) -> None:
    for value in (None, ""):
        if value is None:
            monkeypatch.delenv(VARIABLE, raising=False)
        else:
            monkeypatch.setenv(VARIABLE, value)
        assert find_vectors() == supported_sets()[-1]
        assert versions()["vectors"] == supported_sets()[-1].name


@pytest.mark.parametrize("kind", EVERY_SET)
def test_the_environment_selects_a_set(kind: VectorSet, monkeypatch) -> None:
    monkeypatch.setenv(VARIABLE, kind.name)
    assert find_vectors() == kind
    assert versions()["vectors"] == kind.name


def test_a_set_that_is_unknown_or_not_there_is_one_line(monkeypatch, capsys) -> None:
    absent = set(NAMES) - {kind.name for kind in supported_sets()}
    assert absent, "no processor has the sets of two architectures"
    for name, words in (("sse9", "it must be one of baseline, avx2"), (min(absent), "has ")):
        monkeypatch.setenv(VARIABLE, name)
        with pytest.raises(InputError, match=words):
            find_vectors()
        assert run_command(find_vectors, [], prog="any", example="any") == 2
        printed = capsys.readouterr().err
        assert printed.startswith(f"any: {VARIABLE} is {name!r}: ")
        assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("kind", "triple", "there", "absent"),
    [
        (BASELINE, "x86_64-unknown-linux-gnu", ("xmm", "mulps"), ("ymm", "zmm", "vfmadd")),
        (AVX2, "x86_64-unknown-linux-gnu", ("ymm", "vfmadd", "vpermps"), ("zmm",)),
        (AVX512, "x86_64-unknown-linux-gnu", ("zmm", "vfmadd", "vpermps"), ()),
        (NEON, "aarch64-unknown-linux-gnu", ("fmla", ".4s"), ()),
    ],
    ids=NAMES,
)
def test_code_has_the_instructions_of_its_set(
    kind: VectorSet, triple: str, there: tuple[str, ...], absent: tuple[str, ...]
) -> None:
    """Also for processors of another kind: LLVM writes their code anywhere, where it knows them."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        machine = make_machine(kind, triple)
    except RuntimeError:
        pytest.skip(f"this LLVM does not know {triple}")
    code = Code("probe", ("x_ptr", "y_ptr"), vectors=kind)
    code.module.triple = triple
    x, y = code.memory("x_ptr"), code.memory("y_ptr")
    with code.in_parts() as lane:
        y.store(code.exp(x.load(lane)) + code.lookup(y, x.load_ints(lane)), lane)
    assembly = machine.emit_assembly(optimise(code.close(), machine))
    assert all(word in assembly for word in there)
    assert not any(word in assembly for word in absent)


@pytest.mark.parametrize("kind", EVERY_SET)
@pytest.mark.parametrize("name", ["262p", "512p"])
def test_margins_are_exact_but_for_rounding(kind: VectorSet, name: str, monkeypatch) -> None:
    monkeypatch.setenv(VARIABLE, kind.name)
    tables = tabulate(dense(random_adder(PRESETS[name])))
    pairs = uniform_pairs(5 * LANES + 3, torch.Generator().manual_seed(2))
    found = teacher_forced(tables, *pairs)
    exact = decode_exactly(tables, *pairs, prefix=found.truth[:, :-1])
    allowed = ALLOWED * margin_rounding(tables, *pairs)
    assert (found.margin - exact.margin).abs().max() <= allowed
    clear = exact.margin.abs() > allowed
    assert torch.equal(found.wrong[clear], exact.wrong[clear])
    moved = teacher_forced(tables.edit(W_out=tables.W_out * (1 + 1e-3)), *pairs)
    assert (moved.margin - exact.margin).abs().max() > allowed


@pytest.mark.parametrize("kind", EVERY_SET)
def test_hard_pairs_are_decoded_alike(kind: VectorSet, monkeypatch) -> None:
    monkeypatch.setenv(VARIABLE, kind.name)
    pairs = hard_pairs()
    for model in (handbuilt_adder(), handbuilt_adder(carry="ignored")):
        tables = tables_of(model)
        assert supports(tables)
        assert torch.equal(decode(tables, *pairs).tokens, decode_exactly(tables, *pairs).tokens)
