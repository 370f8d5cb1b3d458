from typing import get_args

import pytest
import torch

from model.config import PRESETS
from model.decode import count_errors, decode, decode_exactly, tables_of, teacher_forced
from model.dense import dense
from model.errors import InputError
from model.network import Network, forward
from model.packing import supports
from model.parts import OPTIONS as FIELDS
from model.parts import Activation, NormKind, Rotary
from model.tables import column_logits, tabulate
from model.task import uniform_pairs
from tests.network_support import OPTIONS, plain_logits, random_network
from tests.support import random_adder, some_tokens

NETWORKS = {name: random_network(**options) for name, options in OPTIONS.items()}
CASES = pytest.mark.parametrize("name", NETWORKS)


def pairs_of(network: Network, n: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    return uniform_pairs(n, torch.Generator().manual_seed(seed), network.layout)


def test_the_networks_hold_every_option() -> None:
    assert {network.norm for network in NETWORKS.values()} == set(get_args(NormKind))
    assert {network.act for network in NETWORKS.values()} == set(get_args(Activation))
    assert {network.W_gate is None for network in NETWORKS.values()} == {True, False}
    assert {network.W_X is None for network in NETWORKS.values()} == {True, False}


@CASES
def test_forward_pass_and_tables_equal_the_plain_pass(name: str) -> None:
    network = NETWORKS[name]
    layout = network.layout
    tokens = layout.encode(*pairs_of(network, 2))[:, : layout.n_input]
    expected = plain_logits(network, tokens)
    scale = float(expected.abs().max())
    assert scale > 0.1
    assert torch.allclose(forward(network, tokens), expected, rtol=0, atol=1e-10 * scale)
    tables = tabulate(network)
    for step in range(layout.n_target):
        at = expected[:, layout.n_prompt - 1 + step]
        logits = column_logits(tables, tokens, step)
        assert torch.allclose(logits, at, rtol=0, atol=1e-10 * scale), step


@CASES
def test_the_kernel_answers_as_the_tables_do(name: str) -> None:
    network = NETWORKS[name]
    a, b = pairs_of(network, 500)
    assert supports(tables_of(network))
    exact = decode_exactly(network, a, b)
    prefix = exact.tokens[:, : network.layout.n_target - 1]
    # What float32 itself costs, measured in the same run: the kernel has other roundings and an
    # exponential good to 3e-7, so it may be a few times further off.
    single = decode_exactly(tabulate(network.to(torch.float32)), a, b, prefix=prefix)
    cost = float((single.margin - exact.margin).abs().max())
    forced = decode(network, a, b, prefix=prefix)
    assert float((forced.margin - exact.margin).abs().max()) <= 10 * cost
    clear = (exact.margin.abs() > 20 * cost).all(dim=1)
    assert clear.float().mean() > 0.5
    answer = decode(network, a, b)
    assert torch.equal(answer.tokens[clear], exact.tokens[clear])
    assert count_errors(network, a[clear], b[clear]) == int((~exact.exact[clear]).sum())


@CASES
def test_teacher_forcing_feeds_the_truth(name: str) -> None:
    network = NETWORKS[name]
    a, b = pairs_of(network, 40)
    layout = network.layout
    forced = teacher_forced(network, a, b)
    tokens = layout.encode(a, b)
    logits = forward(network, tokens[:, : layout.n_input])[:, layout.n_prompt - 1 :]
    truth = tokens[:, layout.n_prompt :, None]
    best_other = logits.scatter(2, truth, float("-inf")).amax(dim=2)
    margin = logits.gather(2, truth)[..., 0] - best_other
    assert torch.allclose(forced.margin.double(), margin, rtol=1e-3, atol=1e-3)
    assert torch.equal(forced.truth, truth[..., 0])


def test_an_option_left_out_changes_the_logits() -> None:
    """Negative control of the reference: each part of the largest network matters."""
    network = NETWORKS["everything"]
    layout = network.layout
    tokens = layout.encode(*pairs_of(network, 1))[:, : layout.n_input]
    whole = forward(network, tokens)
    for name, value in network.tensors().items():
        changed = forward(network.edit(**{name: value * 1.01 + 0.01}), tokens)
        assert not torch.allclose(changed, whole, atol=1e-6), name
    for rotary in (None, Rotary(theta=11.0, dim=4), Rotary(theta=11.0, dim=2, interleaved=True)):
        assert not torch.allclose(forward(network.edit(rotary=rotary), tokens), whole, atol=1e-6)
    for option in ({"act": "gelu"}, {"eps": 0.1}, {"attn_scale": 3.0}):
        assert not torch.allclose(forward(network.edit(**option), tokens), whole, atol=1e-6)
    zeros = {name: torch.zeros_like(network.ln1_b) for name in ("ln1_b", "ln2_b", "ln_final_b")}
    unbiased = forward(network.edit(**zeros), tokens)
    assert not torch.allclose(forward(network.edit(norm="rms", **zeros), tokens), unbiased)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_family_is_a_network(preset: str) -> None:
    model = random_adder(PRESETS[preset])
    tokens = some_tokens()
    assert torch.allclose(forward(dense(model), tokens), model(tokens), atol=1e-10)


def test_a_wide_network_is_decoded_without_the_kernel() -> None:
    network = random_network(d=20, ff=5)
    a, b = pairs_of(network, 8)
    assert not supports(tables_of(network))
    assert torch.equal(decode(network, a, b).tokens, decode_exactly(network, a, b).tokens)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm": "batch"}, "norm is 'batch'"),
        ({"act": "tanh"}, "act is 'tanh'"),
        ({"act": "none"}, "no units"),
        ({"ln1_b": torch.ones(5, dtype=torch.float64)}, "ln1_b is given"),
        ({"eps": -1.0}, "eps"),
        ({"eps": float("nan")}, "eps"),
        ({"attn_scale": 0.0}, "attn_scale"),
        ({"rotary": Rotary(theta=3.0, dim=3)}, "rotary dim"),
        ({"rotary": Rotary(theta=3.0, dim=6)}, "rotary dim"),
        ({"rotary": Rotary(theta=0.0, dim=2)}, "rotary theta"),
        ({"W_U": torch.zeros(5, 13, dtype=torch.float64)}, "W_U has shape"),
        ({"W_U": torch.zeros(5, 14)}, "all alike"),
        ({"W_Z": torch.zeros(5, 14)}, "W_Z is not one of a network"),
        ({"W_Q": torch.zeros(5, 4, dtype=torch.float64)}, "W_Q has shape"),
        ({"W_pos": torch.zeros(9, 5, dtype=torch.float64)}, "9 positions"),
        ({"W_gate": torch.zeros(5, 6, dtype=torch.float64)}, "W_gate and b_gate"),
        ({"q_norm_w": torch.ones(4, dtype=torch.float64)}, "q_norm_w and k_norm_w"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict, message: str) -> None:
    network = random_network()
    options = {name: changes.get(name, getattr(network, name)) for name in FIELDS}
    weights = {name: value for name, value in changes.items() if name not in FIELDS}
    with pytest.raises(InputError, match=message):
        Network.build(network.layout, options, {**network.tensors(), **weights})


def test_a_missing_weight_is_named() -> None:
    network = random_network()
    options = {name: getattr(network, name) for name in FIELDS}
    weights = {name: x for name, x in network.tensors().items() if name != "W_out"}
    with pytest.raises(InputError, match="W_out is missing"):
        Network.build(network.layout, options, weights)


def test_heads_must_share_evenly() -> None:
    with pytest.raises(InputError, match="3 heads of queries cannot share 2"):
        random_network(heads=3, kv_heads=2)
