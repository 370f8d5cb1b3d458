"""Two engines behind one interface: the fused CPU kernel, and plain PyTorch as the reference.

Both see the same pairs for the same seed and step, and keep the same state, so that a run can be
taken up by either; their results differ only by float32 rounding.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from model.adder import forward
from model.config import ModelConfig, param_shapes
from model.errors import InputError
from model.factored import Params, init_params
from model.lanes import LANES, Kernel, VectorSet, find_vectors
from model.task import N_INPUT, N_PROMPT, encode
from train.batches import draw_batch
from train.config import ADAM_EPS, BETA_1, BETA_2, TrainConfig
from train.fused import CLIP, N_CONSTANTS, PROPAGATE, WEIGHT_DECAY, StepWriter, padded
from train.schedule import LR, SHARE_UNIT, schedule

MAX_WIDTH, MAX_UNITS = 16, 64


@dataclass
class State:
    """Everything that a step changes: parameters and Adam's moments, flat, and the step count."""

    params: np.ndarray
    mean: np.ndarray
    square: np.ndarray
    step: int = 0


def flatten(params: Params) -> np.ndarray:
    """Put parameters end to end in stored order, float32."""
    return torch.cat([p.detach().float().cpu().flatten() for p in params.values()]).numpy()


def unflatten(flat: np.ndarray, config: ModelConfig) -> Params:
    """Give back parameters by name (copies)."""
    params: Params = {}
    at = 0
    for name, shape in param_shapes(config).items():
        size = math.prod(shape)
        params[name] = torch.from_numpy(flat[at : at + size].copy()).view(shape)
        at += size
    return params


def fresh_state(model: ModelConfig, config: TrainConfig, seed: int) -> State:
    """Start a run: the initial parameters of `seed`, moments at zero."""
    params = init_params(model, seed, token_std=config.token_std, position_std=config.position_std)
    return state_from(params)


def state_from(params: Params) -> State:
    """Start from given parameters, moments at zero."""
    flat = flatten(params)
    return State(flat, np.zeros_like(flat), np.zeros_like(flat))


@runtime_checkable
class Engine(Protocol):
    """Trains a state in place."""

    name: str

    def run(self, state: State, n_steps: int) -> np.ndarray:
        """Take `n_steps` steps; gives the mean loss of each."""
        ...


def make_engine(
    model: ModelConfig,
    config: TrainConfig,
    seed: int,
    *,
    device: str = "cpu",
    reference: bool = False,
    cases: np.ndarray | None = None,
) -> Engine:
    """Choose the engine: the fused kernel on a CPU, PyTorch on a GPU or on request.

    Args:
        model: The network's shape.
        config: Schedule, data and optimizer.
        seed: Seed of the data stream, 0 to 2^63 - 1.
        device: "cpu" or "cuda".
        reference: Use PyTorch on the CPU too.
        cases: Extra cases (n, 20), digits of a then of b, units first, -1 where free.

    Raises:
        InputError: No such device, or a seed out of range.
    """
    if not 0 <= seed < 2**63:
        raise InputError(f"seed is {seed}: it must be 0 to 2^63 - 1")
    check_device(device)
    if reference or device == "cuda" or not fused_supports(model):
        return ReferenceEngine(model, config, seed, device=device, cases=cases)
    return FusedEngine(model, config, seed, cases=cases)


def check_device(device: str) -> None:
    """Refuse a device that is not there.

    Raises:
        InputError: Neither cpu nor cuda, or cuda without a GPU.
    """
    if device not in ("cpu", "cuda"):
        raise InputError(f"device is {device!r}: it must be cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda was asked for, but PyTorch sees no GPU: use --device cpu")


def fused_supports(model: ModelConfig) -> bool:
    """Tell whether the fused kernel is built for this shape (wider ones would compile too long)."""
    return model.d_model <= MAX_WIDTH and model.d_ff <= MAX_UNITS


@cache
def _compiled(model: ModelConfig, vectors: VectorSet) -> tuple[StepWriter, Kernel]:
    writer = StepWriter(model)
    return writer, writer.compile(vectors=vectors)


def _aligned(n: int, dtype: type = np.float32) -> np.ndarray:
    """Reserve zeros that start at a whole vector."""
    raw = np.zeros(n + LANES, dtype)
    skip = -(raw.ctypes.data // 4) % LANES
    return raw[skip : skip + n]


class FusedEngine:
    """One compiled kernel for whole steps; see `train.fused.step`."""

    name = "fused"

    def __init__(
        self, model: ModelConfig, config: TrainConfig, seed: int, cases: np.ndarray | None = None
    ) -> None:
        """Compile the kernel (once a process and shape) and reserve its memory."""
        self.config, self.seed = config, seed
        self.writer, self.kernel = _compiled(model, find_vectors())
        self.cases = np.ascontiguousarray(np.zeros((0, 20)) if cases is None else cases, np.int32)
        n = padded(self.writer.n_params)
        self._params, self._mean, self._square, self._grad = (_aligned(n) for _ in range(4))
        self._scratch = _aligned(self.writer.scratch_size)
        self._constants = _aligned(N_CONSTANTS)
        self._constants[WEIGHT_DECAY] = config.weight_decay
        self._constants[CLIP] = config.clip
        self._constants[PROPAGATE] = np.floor(config.propagate * SHARE_UNIT)

    def run(self, state: State, n_steps: int) -> np.ndarray:
        """Take `n_steps` steps; gives the mean loss of each."""
        losses = self._call(state, n_steps, update=True)
        state.step += n_steps
        return losses

    def gradient(self, state: State) -> tuple[float, np.ndarray]:
        """Compute loss and gradient (before clipping) of the next step without taking it."""
        loss = float(self._call(state, 1, update=False)[0])
        return loss, self._grad[: self.writer.n_params].copy()

    def _call(self, state: State, n_steps: int, *, update: bool) -> np.ndarray:
        n = self.writer.n_params
        losses = np.zeros(n_steps, np.float32)
        held = ((self._params, "params"), (self._mean, "mean"), (self._square, "square"))
        for memory, name in held:
            memory[:n] = getattr(state, name)
        self.kernel(
            self._params,
            self._mean,
            self._square,
            self._grad,
            schedule(self.config, state.step, n_steps),
            self._constants,
            self.cases,
            losses,
            self._scratch,
            len(self.cases),
            n_steps,
            state.step,
            self.seed,
            self.config.batch,
            int(update),
        )
        for memory, name in held:
            getattr(state, name)[:] = memory[:n]
        return losses


class ReferenceEngine:
    """The same step in plain PyTorch: autograd, clip_grad_norm_ and torch's AdamW."""

    name = "reference"

    def __init__(
        self,
        model: ModelConfig,
        config: TrainConfig,
        seed: int,
        *,
        device: str = "cpu",
        cases: np.ndarray | None = None,
    ) -> None:
        """Keep what a step needs."""
        self.model, self.config, self.seed = model, config, seed
        self.device, self.cases = device, cases

    def run(self, state: State, n_steps: int) -> np.ndarray:
        """Take `n_steps` steps; gives the mean loss of each."""
        params = {
            name: value.to(self.device).requires_grad_()
            for name, value in unflatten(state.params, self.model).items()
        }
        optimizer = torch.optim.AdamW(
            params.values(),
            lr=self.config.lr,
            betas=(BETA_1, BETA_2),
            eps=ADAM_EPS,
            weight_decay=self.config.weight_decay,
        )
        means, squares = (unflatten(x, self.model) for x in (state.mean, state.square))
        for name, value in params.items():
            optimizer.state[value] = {
                "step": torch.tensor(float(state.step)),
                "exp_avg": means[name].to(self.device),
                "exp_avg_sq": squares[name].to(self.device),
            }
        rows = schedule(self.config, state.step, n_steps)
        losses = np.zeros(n_steps, np.float32)
        for i, row in enumerate(rows):
            optimizer.param_groups[0]["lr"] = float(row[LR])
            optimizer.zero_grad(set_to_none=True)
            loss = self.loss(params, state.step + i, row)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(params.values(), self.config.clip)
            optimizer.step()
            losses[i] = loss.item()
        state.params[:] = flatten(params)
        for target, key in ((state.mean, "exp_avg"), (state.square, "exp_avg_sq")):
            target[:] = flatten({n: optimizer.state[v][key] for n, v in params.items()})
        state.step += n_steps
        return losses

    def loss(self, params: Params, step: int, row: np.ndarray) -> torch.Tensor:
        """Compute the mean cross-entropy of one step's batch over the 12 target tokens."""
        tokens = self.tokens(step, row)
        logits = forward(params, self.model, tokens[:, :N_INPUT])
        return torch.nn.functional.cross_entropy(
            logits[:, N_PROMPT - 1 :].flatten(0, 1), tokens[:, N_PROMPT:].flatten()
        )

    def tokens(self, step: int, row: np.ndarray) -> torch.Tensor:
        """Draw one step's batch as tokens (batch, 34)."""
        config = self.config
        a, b = draw_batch(self.seed, step, config.batch, row, config.propagate, self.cases)
        powers = 10 ** np.arange(10)
        pairs = [torch.from_numpy((x * powers).sum(1)) for x in (a, b)]
        return encode(*pairs).to(self.device)
