"""The files of ../shared/published, pair by pair with their authors' forward passes."""

from pathlib import Path

import pytest
import torch

from model.anyone import read_network
from model.decode import decode, decode_exactly
from model.layouts import MICRO_10, MICRO_14, QWEN3, Layout
from model.network import forward
from model.task import Pairs, uniform_pairs
from tests.authors import answers, load_state, logits_of

FOLDER = Path(__file__).resolve().parents[2].parent / "shared/published"

# Trained numbers, layout, heads of queries and of keys, and errors in 200,000 uniform and as many
# carry-heavy pairs, measured on other draws.
FILES: dict[str, tuple[int, Layout, int, int, int, int]] = {
    "microadder/checkpoint_57p.pt": (57, MICRO_10, 1, 1, 0, 0),
    "microadder/checkpoint_141p.pt": (141, MICRO_14, 1, 1, 0, 0),
    "microadder/checkpoint_226p.pt": (226, MICRO_14, 2, 2, 0, 0),
    "jackcai/best_model_242.pt": (242, MICRO_14, 2, 2, 1798, 938),
    "jackcai/best_model_260.pt": (260, MICRO_14, 2, 2, 58, 101),
    "qwen3/best_122.npz": (122, QWEN3, 1, 1, 180, 10),
    "qwen3/best_146.npz": (146, QWEN3, 2, 1, 50, 7),
    "qwen3/best_228.npz": (228, QWEN3, 2, 1, 0, 0),
}
EACH = pytest.mark.parametrize("name", FILES)


def find(name: str) -> Path:
    if not (FOLDER / name).exists():
        pytest.skip("the published files are not on this machine")
    return FOLDER / name


def carry_heavy(n: int, seed: int) -> Pairs:
    """Each column propagates with probability 0.75; other digits are uniform."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.randint(0, 10, (n, 10), generator=generator)
    b = torch.randint(0, 10, (n, 10), generator=generator)
    b = torch.where(torch.rand(n, 10, generator=generator) < 0.75, 9 - a, b)
    powers = 10 ** torch.arange(10)
    return (a * powers).sum(1), (b * powers).sum(1)


def draws(n: int) -> dict[str, Pairs]:
    uniform = uniform_pairs(n, torch.Generator().manual_seed(11))
    return {"uniform": uniform, "carry-heavy": carry_heavy(n, 12)}


@EACH
def test_trained_numbers_layout_and_heads_are_read_off_the_file(name: str) -> None:
    adder = read_network(find(name))
    n_params, layout, heads, kv_heads, *_ = FILES[name]
    assert adder.n_params == n_params
    assert adder.network.layout is layout
    assert (adder.network.n_heads, adder.network.n_kv_heads) == (heads, kv_heads)
    assert adder.name == Path(name).stem


@EACH
def test_logits_equal_the_authors_in_float64(name: str) -> None:
    path = find(name)
    network = read_network(path).network
    layout = network.layout
    state = {
        key: value.double() if isinstance(value, torch.Tensor) else value
        for key, value in load_state(path).items()
    }
    tokens = layout.encode(*uniform_pairs(50, torch.Generator().manual_seed(2)))
    tokens = tokens[:, : layout.n_input]
    expected, logits = logits_of(state, tokens), forward(network, tokens)
    scale = float(expected.abs().max())
    assert torch.allclose(logits, expected, rtol=0, atol=1e-10 * scale)


@EACH
def test_the_same_pairs_fail_as_in_the_authors_forward_pass(name: str) -> None:
    """In float32, over all failures of a draw and a part of the rest; margins from 1e-4 on."""
    path = find(name)
    network, state = read_network(path).network, load_state(path)
    layout = network.layout
    n, first = layout.n_answer, layout.n_prompt
    for a, b in draws(200_000).values():
        failing = (~decode(network, a, b).exact).nonzero()[:1000, 0]
        chosen = torch.cat([failing, torch.arange(2000)])
        a, b = a[chosen], b[chosen]
        prompt = layout.encode(a, b)[:, :first]
        for decoded in (decode(network, a, b), decode_exactly(network, a, b)):
            ours = decoded.tokens[:, :n]
            with torch.no_grad():
                theirs, gaps = answers(state, torch.cat([prompt, ours[:, :-1]], dim=1), first)
            clear = (gaps > 1e-4).all(dim=1)
            assert float(clear.float().mean()) > 0.98
            assert torch.equal(ours[clear], theirs[clear])


@EACH
def test_error_rates_are_those_measured_elsewhere(name: str) -> None:
    network = read_network(find(name)).network
    *_, uniform, heavy = FILES[name]
    for (a, b), expected in zip(draws(200_000).values(), (uniform, heavy), strict=True):
        errors = int((~decode(network, a, b).exact).sum())
        # Two draws of a rate differ by at most five standard deviations of their difference.
        assert abs(errors - expected) <= 5 * (errors + expected) ** 0.5
