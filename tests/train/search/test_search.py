"""The search: gradients, counts, the same bits in any company, extremes, resumption, bad input."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from model.network import Network, forward
from train.search.__main__ import main
from train.search.config import Polish, Recipe
from train.search.contexts import extremes_of, judge, margins
from train.search.group import Group, draw_tokens
from train.search.parametrisations import CIRCLE, PARAMETRISATIONS, to_network
from train.search.polish import polish
from train.search.run import Search, run_search

NAMES = sorted(PARAMETRISATIONS)
TINY = Recipe(steps=8, batch=16)


def draw(name: str, seeds: range) -> torch.Tensor:
    """Initial numbers of some seeds."""
    return torch.stack([PARAMETRISATIONS[name].draw(seed) for seed in seeds], 1)


def sequences(tokens: np.ndarray) -> torch.Tensor:
    """Undo the kernel's order."""
    n = tokens.shape[1]
    return torch.from_numpy(tokens.transpose(0, 2, 1).reshape(-1, n)).long()


@pytest.mark.parametrize("name", NAMES)
def test_the_count_is_that_of_the_name(name: str) -> None:
    assert PARAMETRISATIONS[name].n_params == int(name.removeprefix("circle")[:2])


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_the_network_in_float64(name: str) -> None:
    parametrisation, numbers = PARAMETRISATIONS[name], draw(name, range(3))
    tokens = draw_tokens(TINY, 0)
    loss, grad = Group(parametrisation, TINY, numbers).gradient(tokens)
    x = sequences(tokens)
    for seed in range(3):
        p = numbers[:, seed].clone().requires_grad_()
        network = to_network(parametrisation, p)
        assert isinstance(network, Network)
        logits = forward(network, x[:, :-1])[:, CIRCLE.n_prompt - 1 :]
        true = F.cross_entropy(logits.flatten(0, 1), x[:, CIRCLE.n_prompt :].flatten())
        (expected,) = torch.autograd.grad(true, p)
        assert loss[seed] == pytest.approx(float(true.detach()), rel=1e-5)
        # Float32 sums of a few hundred terms; every number moves its network.
        assert torch.allclose(grad[:, seed], expected, rtol=0, atol=1e-5 * float(expected.norm()))
        assert bool((expected != 0).all())


def test_a_seed_alone_has_the_same_bits_as_in_company() -> None:
    parametrisation, numbers = PARAMETRISATIONS["circle23"], draw("circle23", range(37))
    together, alone = (
        Group(parametrisation, TINY, chosen) for chosen in (numbers, numbers[:, 5:6])
    )
    together.advance(8)
    alone.advance(8)
    assert torch.equal(together.numbers[:, 5], alone.numbers[:, 0])
    assert not torch.equal(together.numbers[:, 4], alone.numbers[:, 0])


def test_no_pair_goes_beyond_the_extremes_of_its_context() -> None:
    parametrisation = PARAMETRISATIONS["circle23"]
    numbers = parametrisation.draw(3)
    extremes = extremes_of(parametrisation, numbers)
    x = sequences(draw_tokens(Recipe(batch=256), 1))
    found: dict[tuple[int, ...], list[float]] = {}
    keys = context_keys(extremes.tokens, extremes.column, extremes.target)
    for key, u in zip(keys, extremes.u.tolist(), strict=True):
        found.setdefault(key, []).append(u)
    least = judge(parametrisation, numbers, inside=1)
    assert least.shape == (3, len(extremes.u))
    from train.search.parametrisations import arc, attention, shrink

    parts = parametrisation.expand(numbers[:, None])
    v = shrink(parts)[0] * (parts["W_V"][:, 0] @ arc(parts)[..., 0])
    pattern = attention(parts)[..., 0]
    for column in range(CIRCLE.n_answer):
        at = torch.full((256,), column)
        u = (pattern[column] * v[x[:, :-1]]).sum(1)
        keys = context_keys(x[:, :-1], at, x[:, CIRCLE.n_prompt + column])
        for key, value in zip(keys, u.tolist(), strict=True):
            low, high = found[key]
            assert low - 1e-12 <= value <= high + 1e-12


def context_keys(
    tokens: torch.Tensor, column: torch.Tensor, target: torch.Tensor
) -> list[tuple[int, ...]]:
    """Name contexts: column, token of the query, sum of the operands' digits, true digit."""
    rows = torch.arange(len(column))
    query = tokens[rows, column + CIRCLE.n_prompt - 1]
    a, b = tokens[rows, column], tokens[rows, column + CIRCLE.width + 1]
    pair_sum = torch.where(column < CIRCLE.width, a + b, 0)
    return list(
        zip(column.tolist(), query.tolist(), pair_sum.tolist(), target.tolist(), strict=True)
    )


def test_margins_agree_with_the_network() -> None:
    parametrisation = PARAMETRISATIONS["circle21"]
    numbers = parametrisation.draw(1)
    extremes = extremes_of(parametrisation, numbers)
    some = extremes.pick(torch.arange(0, 3000, 97))
    found = margins(parametrisation, numbers, some)[0]
    rows = torch.arange(len(found))
    logits = forward(to_network(parametrisation, numbers), some.tokens)
    logits = logits[rows, some.column + CIRCLE.n_prompt - 1]
    true = logits[rows, some.target].clone()
    logits[rows, some.target] = float("-inf")
    size = parametrisation.expand(numbers[:, None])
    scale = numbers[0].abs() * size["head"].square().sum().sqrt()
    assert torch.allclose(found, (true - logits.amax(1)) / scale)


def test_polishing_lowers_the_failing_contexts_or_keeps_the_network() -> None:
    parametrisation = PARAMETRISATIONS["circle23"]
    config = Polish(polish_steps=4, look_every=2, hardest=16, beside=16)
    looks: list[int] = []
    found = polish(
        parametrisation,
        parametrisation.draw(0),
        config,
        report=lambda step, failing, margin: looks.append(failing),
    )
    assert found.failing == min(looks)
    assert len(looks) == 3


def test_an_interrupted_search_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    search = Search(
        parametrisation=PARAMETRISATIONS["circle20"],
        seeds=(0, 1, 2, 3),
        recipe=TINY,
        polish=Polish(polish_steps=1, hardest=16, beside=16),
        n_polished=1,
    )

    def stop(step: int, loss: float, left: int) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_search(search, tmp_path / "a", stop)
    for name in "ab":
        run_search(search, tmp_path / name, lambda step, loss, left: None)
    for file in ("seeds.csv", "best/model.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--batch", "17"], "multiple of 16"),
        (["--lr", "0"], "lr must be"),
        (["--steps", "0"], "steps is 0"),
        (["--parametrisation", "circle5"], "circle5"),
        (["--propagate", "2"], "propagate is 2"),
        (["--hardest", "3"], "hardest must be"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    text = said.out + said.err
    assert complaint in text
    assert text.count("\n") == 1
    assert not (tmp_path / "out").exists()
