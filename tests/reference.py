"""How far float32 is from exact here: the reference in float64, and in float32 in shuffled orders.

A tolerance on an engine is a multiple of what the plain float32 reference itself loses on the same
network, batch and processor. One order of summation may be lucky, so several are measured: the
examples, the coordinates of the residual stream and the units of the feed-forward layer change
places. None of that changes the exact result.
"""

import re
from dataclasses import dataclass

import numpy as np
import torch

from model.factored import Params
from train.engine import ReferenceEngine, State, unflatten
from train.schedule import schedule

ORDERS = 4
ALLOWED = 8
"""What an engine may lose, as a multiple of what the float32 reference loses.

The kernels' exp, erf and log are good to 1.5e-7 to 3e-7 (`tests/test_lanes.py`), PyTorch's to half
a unit in the last place, 6e-8: up to 5 times. The worst of four orders is short of the worst of
all, which leaves the rest.
"""
HALF_UNIT = 2.0**-24
"""Relative rounding of one float32 number, such as a loss: the least that any result loses."""
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
    return np.maximum(np.max(errors, 0), HALF_UNIT)


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
    true = _copy(start, np.float64)
    true_losses = engine.run(true, n_steps)

    def distance(end: State, its_losses: np.ndarray) -> np.ndarray:
        far = float(np.linalg.norm(end.params - true.params))
        return np.array([np.abs(its_losses - true_losses).max(), far])

    errors = []
    for order in range(ORDERS):
        end = _copy(start, np.float32)
        its_losses = Shuffled(engine, order).run(end, n_steps)
        errors.append(distance(end, its_losses))
    rounding = np.maximum(np.max(errors, 0), HALF_UNIT)
    assert (rounding < DECISIVE).all(), f"float32 loses {rounding} here: the case tells nothing"
    error = distance(state, losses)
    assert (error <= ALLOWED * rounding).all(), f"{error} against {ALLOWED} times {rounding}"


def _copy(state: State, dtype: type) -> State:
    moments = (x.astype(dtype) for x in (state.mean, state.square))
    return State(state.params.astype(dtype), *moments, step=state.step)
