import pytest
import torch

from model.config import PRESETS
from model.errors import InputError
from tests.reference import assert_follows
from tests.support import SHORT_RUN, TWO_SEEDS
from train.batched.engine import BatchedEngine, draw_tokens
from train.config import TrainConfig
from train.engine import ReferenceEngine, fresh_state
from train.schedule import schedule


@pytest.mark.parametrize("step", [0, 5, 60])
def test_device_stream_is_the_same_stream(step: int) -> None:
    model = PRESETS["262p"]
    engine = BatchedEngine(model, SHORT_RUN)
    row = schedule(SHORT_RUN, step, 1)[0]
    drawn = draw_tokens(
        engine.key(TWO_SEEDS),
        torch.tensor(step),
        SHORT_RUN.batch,
        torch.from_numpy(row),
        SHORT_RUN.propagate,
    )
    for tokens, seed in zip(drawn, TWO_SEEDS, strict=True):
        assert torch.equal(tokens, ReferenceEngine(model, SHORT_RUN, seed).tokens(step, row))


@pytest.mark.parametrize("name", ["262p", "777p"])
def test_batched_steps_are_single_runs(name: str) -> None:
    model = PRESETS[name]
    states = [fresh_state(model, SHORT_RUN, seed) for seed in TWO_SEEDS]
    losses = BatchedEngine(model, SHORT_RUN).run(states, TWO_SEEDS, [12, 12])
    for seed, state, row in zip(TWO_SEEDS, states, losses, strict=True):
        start = fresh_state(model, SHORT_RUN, seed)
        assert_follows(ReferenceEngine(model, SHORT_RUN, seed), start, 12, state, row)
        assert state.step == 12


def test_extra_cases_are_refused() -> None:
    config = TrainConfig(extra_share=0.1)
    with pytest.raises(InputError, match="extra_share"):
        BatchedEngine(PRESETS["262p"], config)
