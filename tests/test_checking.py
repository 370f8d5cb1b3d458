from pathlib import Path

import pytest
import torch
from jaxtyping import TypeCheckError

from model.adder import forward
from model.config import PRESETS
from model.factored import init_params
from tests.checking import modules_with_shapes


def test_shapes_are_checked_where_they_are_stated() -> None:
    config = PRESETS["262p"]
    params = init_params(config, 0)
    forward(params, config, torch.zeros(2, 33, dtype=torch.long))
    with pytest.raises(TypeCheckError, match="forward"):
        forward(params, config, torch.zeros(33, dtype=torch.long))


def test_modules_with_shapes_are_found() -> None:
    names = modules_with_shapes(Path(__file__).resolve().parents[1])
    assert {"model.adder", "train.batched.engine", "interp.carry_probe.data"} <= set(names)
    assert not any(name.startswith(("model.lanes", "interp.check_certificate")) for name in names)
