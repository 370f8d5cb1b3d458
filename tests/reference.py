"""How far float32 is from exact here: the reference in float64, and in float32 in shuffled orders.

A tolerance on an engine is a multiple of what the plain float32 reference itself loses on the same
network, batch and processor. One order of summation may be lucky, so several are measured: the
examples, the coordinates of the residual stream and the units of the feed-forward layer change
places. None of that changes the exact result.

For float64 there is nothing finer to compare with. What rounding can do to a result is what a
change of every parameter in its last bits does, so that is measured, with a larger change.

Float64 algebra without a network in it (a projection, a share, parts that sum to a whole) needs no
such care: on numbers around 1 it loses 1e-15, and tests that allow 1e-9 or 1e-6 have room for any
processor.
"""

import dataclasses
import math
import re
from dataclasses import dataclass

import numpy as np
import torch

from model.adder import Adder
from model.decode import decode_exactly
from model.factored import Params
from model.tables import Tables
from model.task import N_PROMPT, N_TARGET, encode
from train.engine import ReferenceEngine, State, unflatten
from train.schedule import schedule

ORDERS = 4
ALLOWED = 8
"""What an engine may lose, as a multiple of what the float32 reference loses.

The kernels' exp, erf and log are good to 1.5e-7 to 4e-7 (`tests/model/lanes/test_lanes.py`),
PyTorch's to half a unit in the last place, 6e-8: 2 to 4 times as a rule, 7 at worst. The worst of
four orders is short of the worst of all, which leaves the rest.
"""
HALF_UNIT = 2.0**-24
"""Relative rounding of one float32 number: the least that any result loses."""
ALLOWED_64 = 32
"""What two ways to compute a network in float64 may differ by, as a multiple of one rounding of its
parameters: a result is some hundred operations deep, and their roundings add up as sqrt(100)."""
NUDGE, BY_ROUNDING = 2.0**-40, 2.0**-13
"""A relative change of parameters that shows in results, and float64's own as a part of it."""
DECISIVE = 1e-3
"""A run that float32 itself moves further than this is no test of anything else.

AdamW's first steps go by the sign of the gradient, and a coordinate whose gradient is nearly zero
goes either way.
"""

RESIDUAL = (r"(ln.*|qkv_A.*|W_[QKV]+|W_in(_A)?)", r"W_(E|pos|O|out|pos_B|O_B|out_B)")
UNITS = (r"W_out(_A)?", r"W_in(_B)?")
"""Parameters whose first, and whose second, axis is the residual stream, or the units."""


@dataclass
class Gradient:
    """Loss and gradient of one step's batch, in stored order."""

    loss: float
    values: np.ndarray

    def distance(self, true: "Gradient") -> np.ndarray:
        """Give the relative errors of the loss and of the gradient (in norm)."""
        off = np.linalg.norm(self.values - true.values) / np.linalg.norm(true.values)
        return np.array([abs(self.loss / true.loss - 1), off])


class Shuffled(ReferenceEngine):
    """The reference with its sums in another order; the same numbers but for rounding."""

    def __init__(self, engine: ReferenceEngine, order: int) -> None:
        """Draw the orders for an engine."""
        super().__init__(engine.model, engine.config, engine.seed, cases=engine.cases)
        generator = torch.Generator().manual_seed(order)
        sizes = (engine.config.batch, engine.model.d_model, engine.model.d_ff)
        self.examples, self.coordinates, self.units = (
            torch.randperm(n, generator=generator) for n in sizes
        )

    def loss(self, params: Params, step: int, row: np.ndarray) -> torch.Tensor:
        """Compute the loss of the same batch."""
        return super().loss({n: self._shuffle(n, p) for n, p in params.items()}, step, row)

    def tokens(self, step: int, row: np.ndarray) -> torch.Tensor:
        """Draw the same batch."""
        return super().tokens(step, row)[self.examples]

    def _shuffle(self, name: str, value: torch.Tensor) -> torch.Tensor:
        for patterns, order in ((RESIDUAL, self.coordinates), (UNITS, self.units)):
            for axis, pattern in enumerate(patterns):
                if re.fullmatch(pattern, name):
                    value = value.index_select(axis, order)
        return value


def autograd(engine: ReferenceEngine, state: State, dtype: torch.dtype) -> Gradient:
    """Compute loss and gradient of the next step in `dtype`."""
    params = {
        name: value.to(dtype).requires_grad_()
        for name, value in unflatten(state.params, engine.model).items()
    }
    loss = engine.loss(params, state.step, schedule(engine.config, state.step, 1)[0])
    loss.backward()
    grads = [value.grad.flatten() for value in params.values() if value.grad is not None]
    return Gradient(loss.item(), torch.cat(grads).double().numpy())


def gradient_rounding(engine: ReferenceEngine, state: State, true: Gradient) -> np.ndarray:
    """Measure the largest relative errors of float32 autograd: loss, gradient."""
    shuffled = [Shuffled(engine, order) for order in range(ORDERS)]
    errors = [autograd(e, state, torch.float32).distance(true) for e in shuffled]
    return np.maximum(np.max(errors, 0), [_sum_rounding(engine), HALF_UNIT])


def _sum_rounding(engine: ReferenceEngine) -> float:
    """Estimate the relative rounding of a batch's mean loss, as a part of what is allowed.

    PyTorch sums in pairs, which loses next to nothing. A running sum of n numbers rounds n times by
    up to half a unit of the total either way: sqrt(n) half-units.
    """
    return math.sqrt(engine.config.batch * N_TARGET) * HALF_UNIT / ALLOWED


def assert_is_autograds(
    engine: ReferenceEngine, state: State, loss: float, gradient: np.ndarray
) -> None:
    """Compare an engine's loss and gradient with the exact ones."""
    true = autograd(engine, state, torch.float64)
    error = Gradient(loss, gradient.astype(np.float64)).distance(true)
    rounding = gradient_rounding(engine, state, true)
    assert (error <= ALLOWED * rounding).all(), f"{error} against {ALLOWED} times {rounding}"


def assert_follows(
    engine: ReferenceEngine, start: State, n_steps: int, state: State, losses: np.ndarray
) -> None:
    """Compare the losses and the parameters of `n_steps` steps from `start` with the exact ones."""
    exact, rounding = exact_steps(engine, start, n_steps)
    error = _distance((state, losses), exact)
    assert (error <= ALLOWED * rounding).all(), f"{error} against {ALLOWED} times {rounding}"


def exact_steps(
    engine: ReferenceEngine, start: State, n_steps: int
) -> tuple[tuple[State, np.ndarray], np.ndarray]:
    """Take steps in float64; gives end and losses, and the most that float32 loses of each."""
    end = _copy(start, np.float64)
    exact = (end, engine.run(end, n_steps))
    errors = []
    for order in range(ORDERS):
        end = _copy(start, np.float32)
        errors.append(_distance((end, Shuffled(engine, order).run(end, n_steps)), exact))
    floor = _sum_rounding(engine) * float(exact[1].max())
    rounding = np.maximum(np.max(errors, 0), [floor, HALF_UNIT])
    assert (rounding < DECISIVE).all(), f"float32 loses {rounding} here: the case tells nothing"
    return exact, rounding


def _distance(one: tuple[State, np.ndarray], other: tuple[State, np.ndarray]) -> np.ndarray:
    far = float(np.linalg.norm(one[0].params - other[0].params))
    return np.array([np.abs(one[1] - other[1]).max(), far])


def nudged(model: Adder) -> Adder:
    """Change every parameter in bits that float64 is sure to keep; see `assert_same`."""
    generator = torch.Generator().manual_seed(0)

    def nudge(value: torch.Tensor) -> torch.Tensor:
        noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        return value.detach().double() * (1 + NUDGE * noise)

    return Adder(model.config, {name: nudge(value) for name, value in model.params.items()})


def rounding_64(value: torch.Tensor, from_nudged: torch.Tensor) -> float:
    """Estimate what float64 loses of a value, from the same value of the nudged network."""
    value, from_nudged = value.detach(), from_nudged.detach()
    finite = torch.isfinite(value)
    moved = (value - from_nudged)[finite].abs().max() * BY_ROUNDING
    return ALLOWED_64 * float(moved + torch.finfo(torch.float64).eps * value[finite].abs().max())


def assert_same(
    one: torch.Tensor, other: torch.Tensor, from_nudged: torch.Tensor, what: object = ""
) -> None:
    """Compare two ways to compute a network's value in float64.

    Args:
        one: The value, computed one way.
        other: The other way.
        from_nudged: One of the two ways, for the network that `nudged` gives.
        what: Named if they differ.
    """
    one, other = one.detach(), other.detach()
    finite = torch.isfinite(other)
    assert torch.equal(finite, torch.isfinite(one)), what
    error, allowed = float((one - other)[finite].abs().max()), rounding_64(other, from_nudged)
    assert error <= allowed, f"{what} {error:.1e} against {allowed:.1e}"


def margin_rounding(
    tables: Tables, a: torch.Tensor, b: torch.Tensor, prefix: torch.Tensor | None = None
) -> float:
    """Measure the largest error of float32 in the margins of pairs.

    Args:
        tables: The network, float64.
        a: First operands.
        b: Second operands.
        prefix: What is fed back; the true digits by default.
    """
    single = {
        field.name: getattr(tables, field.name).float()
        for field in dataclasses.fields(tables)
        if isinstance(getattr(tables, field.name), torch.Tensor)
    }
    prefix = encode(a, b)[:, N_PROMPT:-1] if prefix is None else prefix
    exact = decode_exactly(tables, a, b, prefix=prefix).margin
    rounded = decode_exactly(tables.edit(**single), a, b, prefix=prefix).margin
    return max(float((rounded - exact).abs().max()), HALF_UNIT)


def _copy(state: State, dtype: type) -> State:
    moments = (x.astype(dtype) for x in (state.mean, state.square))
    return State(state.params.astype(dtype), *moments, step=state.step)
