"""Networks and inputs that several tests share."""

import pytest
import torch

from model.adder import Adder
from model.config import PRESETS, ModelConfig, TieQKV, param_shapes
from model.factored import init_params
from model.lanes.vectors import supported_sets
from model.task import N_INPUT, encode, uniform_pairs
from train.config import TrainConfig

EVERY_SET = [pytest.param(kind, id=kind.name) for kind in supported_sets()]
"""Every set of vector instructions that this processor has."""

FULL_OR_RANKED: list[tuple[TieQKV, int]] = [
    ("none", 0),
    ("none", 3),
    ("all", 0),
    ("all", 3),
    ("qk", 0),
    ("qk", 3),
    ("kv", 0),
    ("kv", 3),
    ("shareA", 3),
    ("shareA_tieKV", 3),
    ("shareA_tieQK", 3),
    ("shareB", 3),
    ("shareB_tieKV", 3),
    ("shareB_tieQK", 3),
]
"""Every tie mode, with a full matrix where it allows one, and with rank 3."""


SHORT_RUN = TrainConfig(
    steps=200,
    batch=32,
    warmup=10,
    carry_heavy=0.5,
    phase_1=3,
    shift_until=20,
    phase_2=6,
    fade_start=50,
    fade_stop=100,
    token_std=0.3,
    position_std=0.3,
)
TWO_SEEDS = (4, 2**40 + 7)
"""A run of a few steps in which everything that a recipe can change does change."""


def random_adder(config: ModelConfig, seed: int = 0) -> Adder:
    """Parameters large enough for attention and GELU to be far from linear."""
    generator = torch.Generator().manual_seed(seed)
    params = {
        name: torch.randn(shape, generator=generator, dtype=torch.float64) * 0.7 + 0.1
        for name, shape in param_shapes(config).items()
    }
    return Adder(config, params)


def lively_adder(name: str, seed: int = 3) -> Adder:
    """A preset at random, with gains and biases of the norms that are not those of the start."""
    config = PRESETS[name]
    params = init_params(config, seed, token_std=0.7, position_std=0.7, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    for key, value in params.items():
        if key.startswith("ln"):
            noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
            params[key] = value + 0.3 * noise
    return Adder(config, params)


def tokens_of(n: int, seed: int = 0) -> torch.Tensor:
    """Whole sequences of uniform pairs."""
    return encode(*uniform_pairs(n, torch.Generator().manual_seed(seed)))


def some_tokens(n: int = 3) -> torch.Tensor:
    return encode(*uniform_pairs(n, torch.Generator().manual_seed(1)))[:, :N_INPUT]
