"""What a report is about, and how its parts call each other's commands."""

import functools
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from model.adder import Adder
from model.checkpoint import Checkpoint, read_checkpoint


@dataclass(frozen=True, kw_only=True)
class Source:
    """The checkpoint of a report and the size of its samples.

    Attributes:
        reference: Shipped name, folder, NAME@STEP, or published .pt file.
        seed: Seed of every sample.
        quick: Whether samples are small.
        known: What sections have computed for each other, see `once`.
    """

    reference: str
    seed: int = 0
    quick: bool = False
    known: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        """Compute what several sections of one process share when the first of them asks for it."""
        if name not in self.known:
            self.known[name] = compute()
        return self.known[name]

    @functools.cached_property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint, read when first asked for."""
        return read_checkpoint(self.reference)

    @property
    def model(self) -> Adder:
        """The network."""
        return self.checkpoint.model

    @property
    def name(self) -> str:
        """The checkpoint's name."""
        return self.checkpoint.name

    def size(self, default: int, quick: int) -> int:
        """Choose a number by the size of the report."""
        return quick if self.quick else default

    def command(self, module: str, *arguments: str | int) -> str:
        """Write a command on the checkpoint."""
        words = [self.reference, *map(str, arguments)]
        return f"python -m {module} {shlex.join(words)}"


def options_of(config: Any) -> list[str]:
    """Write as options what of a configuration differs from its defaults, and the seed."""
    words: list[str] = []
    for known in fields(config):
        value = getattr(config, known.name)
        if value == known.default and known.name != "seed":
            continue
        option = f"--{known.name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(option)
        elif isinstance(value, tuple):
            words += [option, *map(str, value)]
        else:
            words += [option, str(value)]
    return words
