import dataclasses

import numpy as np
import pytest
import torch

from model.config import PRESETS, QKV_FACTORS, ModelConfig
from model.errors import InputError
from model.factored import init_params
from model.lanes.code import Code
from model.lanes.values import F32, Vectors
from train.config import TrainConfig
from train.engine import (
    FusedEngine,
    ReferenceEngine,
    State,
    flatten,
    fresh_state,
    fused_supports,
    make_engine,
    state_from,
    unflatten,
)
from train.fused.step import StepWriter
from train.schedule import schedule

SMALL = TrainConfig(
    steps=2_000,
    batch=64,
    warmup=20,
    carry_heavy=0.3,
    extra_share=0.1,
    phase_1=5,
    shift_until=8,
    phase_2=10,
    fade_start=100,
    fade_stop=1_000,
    token_std=0.3,
    position_std=0.3,
)
CASES = np.concatenate([np.full((3, 19), -1), [[4], [5], [6]]], axis=1).astype(np.int32)
TIED = {
    f"{mode}, rank {rank}": dataclasses.replace(PRESETS["262p"], tie_qkv=mode, qkv_rank=rank)
    for mode in QKV_FACTORS
    for rank in (0, 2)
    if rank or not mode.startswith("share")
}

ODD = {
    f"d_model {d_model}, d_ff {d_ff}": dataclasses.replace(
        PRESETS["777p"], norm="rms", d_model=d_model, d_ff=d_ff
    )
    for d_model, d_ff in ((4, 1), (3, 2), (9, 7))
}


def random_state(model: ModelConfig, seed: int) -> State:
    generator = torch.Generator().manual_seed(seed)
    params = init_params(model, seed, token_std=0.5, position_std=0.5)
    return state_from(
        {k: v + 0.2 * torch.randn(v.shape, generator=generator) for k, v in params.items()}
    )


def reference_gradient(model: ModelConfig, state: State) -> tuple[float, np.ndarray]:
    engine = ReferenceEngine(model, SMALL, 7, cases=CASES)
    params = {
        name: value.double().requires_grad_()
        for name, value in unflatten(state.params, model).items()
    }
    loss = engine.loss(params, state.step, schedule(SMALL, state.step, 1)[0])
    loss.backward()
    grads = [value.grad for value in params.values() if value.grad is not None]
    return loss.item(), torch.cat([g.flatten() for g in grads]).numpy()


@pytest.mark.parametrize(
    "model",
    [*PRESETS.values(), *TIED.values(), *ODD.values()],
    ids=[*PRESETS, *TIED, *ODD],
)
def test_gradient_is_autograds(model: ModelConfig) -> None:
    state = random_state(model, 1)
    state.step = 50
    loss, gradient = FusedEngine(model, SMALL, 7, cases=CASES).gradient(state)
    true_loss, true_gradient = reference_gradient(model, state)
    assert loss == pytest.approx(true_loss, rel=1e-6)
    assert np.linalg.norm(gradient - true_gradient) < 2e-6 * np.linalg.norm(true_gradient)


@pytest.mark.parametrize("vectors", ["other", "avx2", "avx512"])
@pytest.mark.parametrize(
    "model",
    [PRESETS["262p"], PRESETS["512p"], *ODD.values()],
    ids=["262p", "512p", *ODD],
)
def test_gradient_is_autograds_by_the_code_for_any_vectors(
    model: ModelConfig, vectors: Vectors, monkeypatch
) -> None:
    state = random_state(model, 1)
    engine = FusedEngine(model, SMALL, 7, cases=CASES)
    # The one thing in that code which only some processors understand:
    monkeypatch.setattr(Code, "lookup", lambda code, table, token: code.gather(table, token, F32))
    engine.kernel = StepWriter(model).compile(vectors=vectors)
    loss, gradient = engine.gradient(state)
    true_loss, true_gradient = reference_gradient(model, state)
    assert loss == pytest.approx(true_loss, rel=1e-6)
    assert np.linalg.norm(gradient - true_gradient) < 2e-6 * np.linalg.norm(true_gradient)


def test_gradient_is_not_that_of_another_step() -> None:
    model, state = PRESETS["262p"], random_state(PRESETS["262p"], 1)
    _, gradient = FusedEngine(model, SMALL, 7).gradient(state)
    state.step = 1
    _, other = FusedEngine(model, SMALL, 7).gradient(state)
    assert np.linalg.norm(gradient - other) > 0.01 * np.linalg.norm(gradient)


@pytest.mark.parametrize("name", ["262p", "491p"])
def test_steps_follow_the_reference(name: str) -> None:
    model = PRESETS[name]
    fused, plain = fresh_state(model, SMALL, 3), fresh_state(model, SMALL, 3)
    losses = make_engine(model, SMALL, 11, cases=CASES).run(fused, 30)
    expected = make_engine(model, SMALL, 11, reference=True, cases=CASES).run(plain, 30)
    assert np.abs(losses - expected).max() < 2e-5
    assert np.abs(fused.params - plain.params).max() < 1e-4
    assert fused.step == plain.step == 30


@pytest.mark.parametrize("name", PRESETS)
def test_gradient_after_a_thousand_steps(name: str) -> None:
    model = PRESETS[name]
    state = fresh_state(model, SMALL, 5)
    engine = FusedEngine(model, SMALL, 7, cases=CASES)
    engine.run(state, 1_000)
    _, gradient = engine.gradient(state)
    _, true_gradient = reference_gradient(model, state)
    assert np.linalg.norm(gradient - true_gradient) < 1e-5 * np.linalg.norm(true_gradient)


def test_steps_in_pieces_are_the_same_steps() -> None:
    model = PRESETS["262p"]
    whole, pieces = fresh_state(model, SMALL, 0), fresh_state(model, SMALL, 0)
    FusedEngine(model, SMALL, 2).run(whole, 300)
    for n in (1, 99, 200):
        FusedEngine(model, SMALL, 2).run(pieces, n)
    assert np.array_equal(whole.params, pieces.params)
    assert np.array_equal(whole.square, pieces.square)


def test_training_learns_short_sums() -> None:
    config = TrainConfig(steps=3_000, batch=128, phase_1=10**6, phase_2=10**6, warmup=100)
    state = fresh_state(PRESETS["456p"], config, 0)
    losses = make_engine(PRESETS["456p"], config, 0).run(state, 3_000)
    assert losses[-200:].mean() < 0.4 * losses[:20].mean()


def test_flatten_round_trip() -> None:
    params = init_params(PRESETS["777p"], 0)
    back = unflatten(flatten(params), PRESETS["777p"])
    assert all(torch.equal(params[name], back[name]) for name in params)


def test_wide_shapes_fall_back_to_the_reference() -> None:
    wide = dataclasses.replace(PRESETS["311p"], d_model=20)
    assert not fused_supports(wide)
    assert make_engine(wide, SMALL, 0).name == "reference"


@pytest.mark.parametrize(("device", "seed"), [("tpu", 0), ("cpu", -1), ("cpu", 2**63)])
def test_bad_engine_requests(device: str, seed: int) -> None:
    with pytest.raises(InputError):
        make_engine(PRESETS["262p"], SMALL, seed, device=device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_missing_gpu_is_named() -> None:
    with pytest.raises(InputError, match="no GPU"):
        make_engine(PRESETS["262p"], SMALL, 0, device="cuda")
