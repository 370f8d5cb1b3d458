"""The rules of the house: imports run downhill, through doors, without circles."""

import ast
import importlib
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "model": {"model"},
    "train": {"train", "model"},
    "interp": {"interp", "model"},
    "analyses": {"analyses", "interp", "train", "model"},
}
FILES = sorted(path for package in ALLOWED for path in (ROOT / package).rglob("*.py"))
LONGEST = 400
ALONE = {
    "interp.check_certificate": set(),
    "model.lanes": {"model.errors"},
    "train.fused": {"train.config", "train.schedule", "train.batches"},
    "train.blocks": {"train.config", "train.schedule", "train.batches", "train.engine"},
    "train.batched": {"train.config", "train.schedule", "train.batches", "train.engine"},
}
"""Rooms that are read alone, and the modules of their own package that they may import."""


def name_of(path: Path) -> str:
    """Dotted name of a module or package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}
ROOMS = {name for name, path in MODULES.items() if path.name == "__init__.py" and "." in name}


def room_of(module: str) -> str | None:
    """The room that a module lies in; a room's door lies in it too."""
    found = [room for room in ROOMS if module == room or module.startswith(room + ".")]
    return max(found, key=len, default=None)


@cache
def door(room: str) -> dict[str, str]:
    """What a room offers: name -> the module that it comes from."""
    stub = MODULES[room].with_suffix(".pyi")
    if not stub.exists():
        return {}
    lines = ast.parse(stub.read_text(encoding="utf-8")).body
    return {
        alias.name: f"{room}.{node.module}"
        for node in lines
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@cache
def imports(path: Path) -> tuple[tuple[str, str], ...]:
    """Every (module, name) that a file imports, also inside functions; name "" for the module."""
    found: list[tuple[str, str]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found += [(node.module or "", alias.name) for alias in node.names]
    return tuple(found)


def targets(path: Path) -> Iterator[str]:
    """Our modules that a file needs, doors opened."""
    for module, name in imports(path):
        if f"{module}.{name}" in MODULES:
            module, name = f"{module}.{name}", ""
        if module in ROOMS:
            yield from [door(module)[name]] if name in door(module) else [module]
        elif module in MODULES:
            yield module


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Some circle of a graph, or nothing."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_module_keeps_the_rules(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= LONGEST, f"{text.count(chr(10))} lines"
    assert ast.get_docstring(ast.parse(text)), "no docstring"
    package = path.relative_to(ROOT).parts[0]
    roots = {module.partition(".")[0] for module, _ in imports(path)}
    assert roots & set(ALLOWED) <= ALLOWED[package], "imports uphill"
    assert package == "interp" or "transformer_lens" not in roots
    here = room_of(name_of(path))
    for module, name in imports(path):
        room = room_of(module)
        if room is None or room == here:
            continue
        assert module == room, f"{module} is private to {room}"
        assert f"{room}.{name}" not in MODULES or name in door(room), f"{room}.{name} is private"
        assert not name or name in door(room), f"{room} does not offer {name}"


def test_no_circles() -> None:
    modules = {name: set(targets(path)) - {name} for name, path in MODULES.items()}
    assert circle(modules) == []
    rooms = {
        room: {room_of(m) or m for n in modules if room_of(n) == room for m in modules[n]} - {room}
        for room in ROOMS
    }
    assert circle(rooms) == []


@pytest.mark.parametrize("room", sorted(ALONE))
def test_a_room_that_is_read_alone(room: str) -> None:
    package = room.partition(".")[0]
    for name, path in MODULES.items():
        if room_of(name) == room:
            ours = {m for m in targets(path) if m.partition(".")[0] in ALLOWED}
            if room in {"interp.check_certificate", "model.lanes"}:
                outside = {m for m in ours if room_of(m) != room}
            else:
                outside = {m for m in ours if m.startswith(package) and room_of(m) != room}
            assert outside <= ALONE[room], f"{name} imports {sorted(outside - ALONE[room])}"


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_door_opens(room: str) -> None:
    package = importlib.import_module(room)
    assert len(ast.get_docstring(ast.parse(MODULES[room].read_text(encoding="utf-8"))) or "") > 20
    for name in door(room):
        assert getattr(package, name) is not None


def test_the_check_sees_wrong_imports(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text("def f():\n    import transformer_lens.utils\n    from train.run import x\n")
    assert imports(wrong) == (("transformer_lens.utils", ""), ("train.run", "x"))
    assert circle({"a": {"b"}, "b": {"a"}})
    assert room_of("interp.carry_probe.fit") == "interp.carry_probe"
