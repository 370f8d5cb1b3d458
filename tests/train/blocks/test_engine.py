import numpy as np
import pytest

from model.config import PRESETS, ModelConfig
from model.errors import InputError
from tests.reference import assert_follows
from tests.support import SHORT_RUN, TWO_SEEDS
from tests.train.sweep.support import check_restarts
from train.blocks.engine import BlockEngine
from train.blocks.layout import SHARED_BYTES, BlockLayout, fits_block
from train.config import TrainConfig
from train.engine import ReferenceEngine, fresh_state
from train.sweep import side_by_side as batched_sweep


# One all factors, the other all whole matrices; which is which is data, and a shape takes 13 s.
@pytest.mark.parametrize("name", ["262p", "777p"])
def test_a_block_takes_the_steps_of_a_single_run(name: str) -> None:
    model = PRESETS[name]
    states = [fresh_state(model, SHORT_RUN, seed) for seed in TWO_SEEDS]
    engine = BlockEngine(model, SHORT_RUN, "cpu")
    counts = [12, 7]
    losses = engine.run(states, TWO_SEEDS, counts)
    for seed, state, row, count in zip(TWO_SEEDS, states, losses, counts, strict=True):
        assert row.shape == (count,)
        start = fresh_state(model, SHORT_RUN, seed)
        assert_follows(ReferenceEngine(model, SHORT_RUN, seed), start, count, state, row)
        assert state.step == count


def test_a_seed_has_the_same_bits_in_any_company_and_in_pieces(monkeypatch) -> None:
    model = PRESETS["262p"]
    alone, beside, pieces = (fresh_state(model, SHORT_RUN, 4) for _ in range(3))
    engine = BlockEngine(model, SHORT_RUN, "cpu")
    engine.run([alone], [4], [9])
    engine.run([fresh_state(model, SHORT_RUN, 1), beside], [1, 4], [3, 9])
    monkeypatch.setattr("train.blocks.engine.LAUNCH_STEPS", 4)
    engine.run([pieces], [4], [9])
    for other in (beside, pieces):
        assert np.array_equal(alone.params, other.params)
        assert np.array_equal(alone.square, other.square)


@pytest.mark.usefixtures("few_pairs")
def test_runs_that_start_over_do_so_as_alone(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(
        batched_sweep,
        "make_batched_engine",
        lambda model, config, device: BlockEngine(model, config, device),
    )
    check_restarts(tmp_path, "block")


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("batch", [128, 512])
def test_every_preset_fits_into_a_block(name: str, batch: int) -> None:
    lay = BlockLayout.fit(PRESETS[name], batch)
    assert lay.threads >= 32
    assert lay.n_shared * 4 <= SHARED_BYTES


def test_wide_networks_do_not_fit() -> None:
    wide = ModelConfig(d_model=64, d_ff=256)
    assert not fits_block(wide, 128)
    with pytest.raises(InputError, match="d_model 64 does not fit"):
        BlockLayout.fit(wide, 128)


def test_extra_cases_are_refused() -> None:
    with pytest.raises(InputError, match="extra_share"):
        BlockEngine(PRESETS["262p"], TrainConfig(extra_share=0.1), "cpu")
