"""What is checked at every call in tests: the shapes of tensors, which pyright cannot see.

That is done in the modules that state shapes. A check takes longer than a small function, so that
the others would take several times as long: the types that they have are pyright's.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from beartype import beartype

F = TypeVar("F", bound=Callable[..., object])


def modules_with_shapes(root: Path) -> list[str]:
    """List the modules that import jaxtyping."""
    files = [
        path
        for room in ("model", "train", "interp", "analyses")
        for path in (root / room).rglob("*.py")
    ]
    names = [
        path.relative_to(root).with_suffix("")
        for path in files
        if "\nfrom jaxtyping import " in path.read_text()
    ]
    return [".".join(name.parts) for name in names]


def check(function: F) -> F:
    """Check a function's types, but not those of one that is made anew at every call.

    Writing the check takes milliseconds, and what is given to a function inside a function has
    mostly been checked on the way in.
    """
    return function if "<locals>" in function.__qualname__ else beartype(function)
