"""Tensors of a file by name: each is taken once, counted, and what nobody takes is refused."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from model.errors import InputError, printable

Sizes = tuple[int | None, ...]
"""A shape that is asked for; None stands for any size."""


class Keys:
    """The tensors of one file while a reader takes them.

    Args:
        tensors: Values by name; anything but plain tensors of floats is refused when taken.
        frozen: Names that training did not change; names with a leading underscore are frozen too.
        strip: Parts of names that vary between files and say nothing, removed from the front.

    Raises:
        InputError: Two names that are the same once stripped.
    """

    def __init__(
        self,
        tensors: Mapping[str, Any],
        *,
        frozen: Collection[str] = (),
        strip: Collection[str] = (),
    ) -> None:
        """Keep the tensors under their stripped names."""
        self._values: dict[str, Any] = {}
        self._given: dict[str, str] = {}
        self._frozen = frozen
        self.trained = 0
        """Numbers taken so far that training changed."""
        for given, value in tensors.items():
            name = str(given)
            for part in strip:
                name = name.removeprefix(part)
            if name in self._values:
                both = f"{self._given[name]} and {printable(given)}"
                raise InputError(f"tensors {both} are the same: keep one")
            self._values[name], self._given[name] = value, printable(given)

    def __contains__(self, name: str) -> bool:
        """Tell whether a tensor is there and not taken yet."""
        return name in self._values

    def take(self, name: str, shape: Sizes, *, tied: bool = False) -> Tensor:
        """Take a tensor as float64.

        Args:
            name: Its stripped name.
            shape: Its shape; None stands for any size.
            tied: Whether its numbers are counted already.

        Raises:
            InputError: It is missing, of another shape, or no plain tensor of finite floats.
        """
        if name not in self._values:
            raise InputError(f"tensor {name} is missing")
        given, value = self._given[name], self._values.pop(name)
        plain = isinstance(value, Tensor) and value.layout == torch.strided
        if not plain or not value.is_floating_point() or value.dtype.itemsize < 2:
            raise InputError(f"tensor {given} is no plain tensor of floats: it cannot be used")
        right = len(shape) == value.ndim and all(
            want in (None, size) for want, size in zip(shape, value.shape, strict=True)
        )
        if not right:
            wanted = " x ".join("any" if size is None else str(size) for size in shape)
            raise InputError(
                f"tensor {given} has shape {tuple(value.shape)}, not {wanted or 'one number'}"
            )
        value = value.detach().cpu().double()
        if not bool(torch.isfinite(value).all()):
            raise InputError(f"tensor {given} has NaN or infinite values: the file is not usable")
        if not tied and not name.startswith("_") and name not in self._frozen:
            self.trained += value.numel()
        return value

    def find(self, name: str, shape: Sizes) -> Tensor | None:
        """Take a tensor if it is there; see `take`."""
        return self.take(name, shape) if name in self._values else None

    def buffer(self, name: str) -> Any:
        """Take what is no weight (a mask, indices) as it is; None if it is not there."""
        return self._values.pop(name, None)

    def finish(self) -> None:
        """Check that everything was taken.

        Raises:
            InputError: A tensor is left; the message names it.
        """
        for name in self._values:
            raise InputError(
                f"tensor {self._given[name]} is unknown and may change the forward pass"
            )


def check_layers(names: Collection[Any], prefix: str) -> None:
    """Check that tensors called `prefix`NUMBER. are all of layer 0.

    Raises:
        InputError: There is another layer.
    """
    inner = [str(name).removeprefix(prefix) for name in names if str(name).startswith(prefix)]
    layers = {name.partition(".")[0] for name in inner}
    more = [layer for layer in layers if layer.isdecimal() and layer != "0"]
    if more:
        raise InputError(
            f"the network has {len(more) + 1} layers: only one-layer networks are read"
        )
