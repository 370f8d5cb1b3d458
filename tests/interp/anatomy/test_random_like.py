import pytest
import torch

from interp.anatomy.random_like import random_like
from model.config import PRESETS
from model.dense import dense
from tests.network_support import OPTIONS, random_network
from tests.support import random_adder


@pytest.mark.parametrize("name", ["everything", "no feed-forward", "layer norm", "no norm"])
def test_a_random_network_has_the_shapes_options_and_scales(name):
    network = random_network(**OPTIONS[name])
    other = random_like(network, 1)
    assert other.layout == network.layout
    for key, weight in network.tensors().items():
        drawn = other.tensors()[key]
        assert drawn.shape == weight.shape
        assert torch.equal(drawn == 0, weight == 0), key
        if key.endswith("_w"):
            assert torch.equal(drawn.sort().values, weight.sort().values)
        elif weight.numel() > 60:
            assert 0.6 < float(drawn.norm() / weight.norm()) < 1.6, key
    assert torch.equal(random_like(network, 1).W_E, other.W_E)
    assert not torch.equal(random_like(network, 2).W_E, other.W_E)


def test_what_is_tied_stays_tied():
    network = dense(random_adder(PRESETS["262p"]))  # K = V, head = embedding
    other = random_like(network, 1)
    assert torch.equal(other.W_K, other.W_V)
    assert torch.equal(other.W_U, other.W_E.T)
    assert not torch.equal(other.W_Q, other.W_K)
