import numpy as np
import pytest
import torch

from model.config import PRESETS
from model.errors import InputError
from train.batched import BatchedEngine, draw_tokens
from train.config import TrainConfig
from train.engine import ReferenceEngine, fresh_state
from train.schedule import schedule

CONFIG = TrainConfig(
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
SEEDS = (4, 2**40 + 7)


@pytest.mark.parametrize("step", [0, 5, 60])
def test_device_stream_is_the_same_stream(step: int) -> None:
    model = PRESETS["262p"]
    engine = BatchedEngine(model, CONFIG)
    row = schedule(CONFIG, step, 1)[0]
    drawn = draw_tokens(
        engine.key(SEEDS), torch.tensor(step), CONFIG.batch, torch.from_numpy(row), CONFIG.propagate
    )
    for tokens, seed in zip(drawn, SEEDS, strict=True):
        assert torch.equal(tokens, ReferenceEngine(model, CONFIG, seed).tokens(step, row))


@pytest.mark.parametrize("name", ["262p", "777p"])
def test_batched_steps_are_single_runs(name: str) -> None:
    model = PRESETS[name]
    states = [fresh_state(model, CONFIG, seed) for seed in SEEDS]
    losses = BatchedEngine(model, CONFIG).run(states, SEEDS, [12, 12])
    for seed, state, row in zip(SEEDS, states, losses, strict=True):
        alone = fresh_state(model, CONFIG, seed)
        expected = ReferenceEngine(model, CONFIG, seed).run(alone, 12)
        assert np.abs(row - expected).max() < 1e-5
        assert np.abs(state.params - alone.params).max() < 2e-4
        assert state.step == 12


def test_extra_cases_are_refused() -> None:
    config = TrainConfig(extra_share=0.1)
    with pytest.raises(InputError, match="extra_share"):
        BatchedEngine(PRESETS["262p"], config)
