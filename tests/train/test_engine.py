import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from model.config import PRESETS, QKV_FACTORS, ModelConfig
from model.errors import InputError
from model.factored import init_params
from model.lanes.code import Code
from model.lanes.values import F32
from model.lanes.vectors import (
    AVX2,
    AVX512,
    BASELINE,
    NEON,
    VARIABLE,
    VectorSet,
    supported_sets,
)
from tests.reference import assert_follows, assert_is_autograds
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
    f"{mode}, rank {rank}": dataclasses.replace(
        PRESETS["262p"], tie_qkv=mode, qkv_rank=rank, d_model=3, d_ff=1
    )
    for mode in QKV_FACTORS
    for rank in (0, 2)
    if rank or not mode.startswith("share")
}
"""As small as they may be: what is tied has nothing to do with the width, which LLVM's time has."""
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


def reference(model: ModelConfig) -> ReferenceEngine:
    return ReferenceEngine(model, SMALL, 7, cases=CASES)


SETS = [
    kind
    for kind in (BASELINE, AVX2, AVX512, NEON)
    if kind in supported_sets() or kind.part not in {here.part for here in supported_sets()}
]
"""The sets of this processor, and those whose code differs from theirs by more than lookups."""


@pytest.mark.parametrize("model", [*TIED.values(), *ODD.values()], ids=[*TIED, *ODD])
def test_gradient_is_autograds(model: ModelConfig) -> None:
    state = random_state(model, 1)
    state.step = 50
    loss, gradient = FusedEngine(model, SMALL, 7, cases=CASES).gradient(state)
    assert_is_autograds(reference(model), state, loss, gradient)


@pytest.mark.parametrize("name", PRESETS)
def test_gradient_is_autograds_at_random_and_after_a_thousand_steps(name: str) -> None:
    model = PRESETS[name]
    engine = FusedEngine(model, SMALL, 7, cases=CASES)
    anywhere, trained = random_state(model, 1), fresh_state(model, SMALL, 5)
    anywhere.step = 50
    engine.run(trained, 1_000)
    for state in (anywhere, trained):
        assert_is_autograds(reference(model), state, *engine.gradient(state))


def by_set() -> list[Any]:
    """Every set with 262p; of those whose code differs in lookups alone, each other shape once."""
    others = {"512p": PRESETS["512p"], **ODD}
    cases = []
    for kind in SETS:
        alike = [other for other in SETS if other.part == kind.part]
        mine = list(others.items())[alike.index(kind) :: len(alike)]
        cases += [
            pytest.param(model, kind, id=f"{name}, {kind.name}")
            for name, model in [("262p", PRESETS["262p"]), *mine]
        ]
    return cases


@pytest.mark.parametrize(("model", "vectors"), by_set())
def test_gradient_is_autograds_by_the_code_for_any_vectors(
    model: ModelConfig, vectors: VectorSet, monkeypatch
) -> None:
    if vectors in supported_sets():
        monkeypatch.setenv(VARIABLE, vectors.name)
        engine = FusedEngine(model, SMALL, 7, cases=CASES)
    else:
        # The same code but for lookups, in the instructions that this processor has.
        here = supported_sets()[-1]
        vectors = dataclasses.replace(vectors, cpu=here.cpu, options=here.options)
        monkeypatch.setattr(Code, "lookup", lambda code, table, at: code.gather(table, at, F32))
        engine = FusedEngine(model, SMALL, 7, cases=CASES)
        engine.kernel = StepWriter(model).compile(vectors=vectors)
    state = random_state(model, 1)
    assert_is_autograds(reference(model), state, *engine.gradient(state))


def test_the_environment_reaches_the_kernel(monkeypatch) -> None:
    model, kernels = ODD["d_model 3, d_ff 2"], []
    for vectors in supported_sets():
        monkeypatch.setenv(VARIABLE, vectors.name)
        kernels.append(FusedEngine(model, SMALL, 7).kernel)
    assert len(set(kernels)) == len(supported_sets())


@pytest.mark.parametrize("slip", ["another step", "a part in 10,000"])
def test_wrong_gradients_are_told(slip: str) -> None:
    model, state = PRESETS["262p"], random_state(PRESETS["262p"], 1)
    loss, gradient = FusedEngine(model, SMALL, 7, cases=CASES).gradient(state)
    assert_is_autograds(reference(model), state, loss, gradient)
    if slip == "another step":
        state.step = 1
    else:
        gradient = gradient * (1 + 1e-4)
    with pytest.raises(AssertionError, match="against"):
        assert_is_autograds(reference(model), state, loss, gradient)


@pytest.mark.parametrize("name", ["262p", "491p"])
def test_steps_follow_the_reference(name: str) -> None:
    model = PRESETS[name]
    state = fresh_state(model, SMALL, 3)
    losses = make_engine(model, SMALL, 7, cases=CASES).run(state, 12)
    assert_follows(reference(model), fresh_state(model, SMALL, 3), 12, state, losses)
    assert state.step == 12
    state.params[0] += 1e-3
    with pytest.raises(AssertionError, match="against"):
        assert_follows(reference(model), fresh_state(model, SMALL, 3), 12, state, losses)


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
