import dataclasses

import pytest

from model.config import PRESETS, ModelConfig, TieQKV, param_shapes, preset, qkv_names
from model.errors import InputError
from tests.support import FULL_OR_RANKED


@pytest.mark.parametrize("name", PRESETS)
def test_preset_has_the_number_of_parameters_it_is_named_after(name: str) -> None:
    assert PRESETS[name].n_params == int(name.removesuffix("p"))


def test_every_preset_of_the_write_ups_is_there() -> None:
    counts = [262, 274, 271, 295, 303, 311, 456, 491, 512, 582, 777, 973]
    assert sorted(PRESETS) == sorted(f"{count}p" for count in counts)


def test_ffn_of_456p_has_63_parameters_a_matrix() -> None:
    shapes = param_shapes(PRESETS["456p"])
    for name in ("W_in", "W_out"):
        (m, r), (_, n) = shapes[f"{name}_A"], shapes[f"{name}_B"]
        assert m * r + r * n == 63


@pytest.mark.parametrize(("tie_qkv", "rank"), FULL_OR_RANKED)
def test_qkv_parameters_are_counted_once_each(tie_qkv: TieQKV, rank: int) -> None:
    distinct_a = {"none": 1 if rank else 3, "all": 1, "qk": 2, "kv": 2, "shareB": 3}
    distinct_b = {"none": 3, "all": 1, "qk": 2, "kv": 2, "shareA": 3}
    a = distinct_a.get(tie_qkv, 1 if tie_qkv.startswith("shareA") else 2)
    b = distinct_b.get(tie_qkv, 1 if tie_qkv.startswith("shareB") else 2)
    config = ModelConfig(tie_qkv=tie_qkv, qkv_rank=rank)
    names = {name for names in qkv_names(config) for name in names}
    shapes = param_shapes(config)
    count = sum(shapes[name][0] * shapes[name][1] for name in names)
    assert count == ((a + b) * 4 * rank if rank else max(a, b) * 16)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"d_model": 0}, "d_model is 0"),
        ({"d_model": "4"}, "d_model is '4'"),
        ({"d_model": True}, "d_model is True"),
        ({"d_ff": 2.0}, "d_ff is 2.0"),
        ({"n_ctx": 32}, "n_ctx is 32"),
        ({"pos_rank": -1}, "pos_rank is -1"),
        ({"norm": "batch"}, "norm is 'batch': it must be one of rms, layer"),
        ({"norm": ["rms"]}, "norm is ['rms']"),
        ({"tie_qkv": "some"}, "tie_qkv is 'some'"),
        ({"tie_qkv": "shareB", "qkv_rank": 0}, "qkv_rank must be 1 or more"),
        ({"heads": 2}, "unknown model configuration key 'heads'"),
    ],
)
def test_bad_fields_are_refused_by_name(fields: dict, message: str) -> None:
    with pytest.raises(InputError) as caught:
        ModelConfig.from_dict(fields)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", PRESETS)
def test_dictionary_round_trip(name: str) -> None:
    assert ModelConfig.from_dict(PRESETS[name].to_dict()) == PRESETS[name]


def test_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="unknown preset '263p': known are 262p, 274p"):
        preset("263p")
    assert preset("262p") is PRESETS["262p"]


def test_config_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        PRESETS["262p"].d_ff = 7  # type: ignore[misc]
