"""What a report is about, and how its parts call each other's commands."""

import functools
import shlex
from dataclasses import dataclass, fields
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
    """

    reference: str
    seed: int = 0
    quick: bool = False

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
    for field in fields(config):
        value = getattr(config, field.name)
        if value == field.default and field.name != "seed":
            continue
        option = f"--{field.name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(option)
        elif isinstance(value, tuple):
            words += [option, *map(str, value)]
        else:
            words += [option, str(value)]
    return words
