import dataclasses
import math

import pytest
import torch

from model.decode import decode, teacher_forced
from model.dense import dense
from model.factored import rank_one_terms
from model.handbuilt import (
    ATTN_OUT_COMPONENTS,
    COORDINATES,
    UNITS,
    W_IN_COMPONENTS,
    W_OUT_COMPONENTS,
    Carry,
    carry_locations,
    handbuilt_adder,
    handbuilt_config,
)
from model.network import Network
from model.task import (
    EOS,
    N_INPUT,
    N_PROMPT,
    N_TARGET,
    carries,
    carry_stratified_pairs,
    digits,
    encode,
    hard_pairs,
    uniform_pairs,
)

RESID_MID, POST = "blocks.0.hook_resid_mid", "blocks.0.mlp.hook_post"


def mixed_pairs(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    sets = [hard_pairs(), uniform_pairs(n, generator), carry_stratified_pairs(n, generator)]
    return torch.cat([a for a, _ in sets]), torch.cat([b for _, b in sets])


def sites(weights: Network, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    """Activations at the 12 query positions."""
    x = weights.W_E[tokens] + weights.W_pos[:N_INPUT]
    h = weights.normalise(x, "ln1")
    query = h[:, N_PROMPT - 1 :]
    scores = query @ weights.W_Q[0] @ (h @ weights.W_K[0]).mT / math.sqrt(x.shape[2])
    future = torch.ones(N_TARGET, N_INPUT, dtype=torch.bool).triu(N_PROMPT)
    pattern = scores.masked_fill(future, float("-inf")).softmax(-1)
    resid_mid = x[:, N_PROMPT - 1 :] + pattern @ h @ weights.W_V[0] @ weights.W_O[0]
    pre = weights.normalise(resid_mid, "ln2") @ weights.W_in
    post = torch.nn.functional.gelu(pre)
    return {"blocks.0.attn.hook_pattern": pattern, RESID_MID: resid_mid, POST: post}


@pytest.mark.parametrize("carry", ["discrete", "soft"])
@pytest.mark.parametrize("dispensable", [True, False])
def test_adds_correctly_with_wide_margins(carry: Carry, dispensable: bool) -> None:
    answer = decode(handbuilt_adder(carry=carry, dispensable=dispensable), *mixed_pairs(2000))
    assert not answer.wrong.any()
    assert float(answer.margin.min()) > 6.0


def test_float32_forward_agrees_with_float64() -> None:
    a, b = mixed_pairs(300)
    tokens = encode(a, b)[:, :N_INPUT]
    single = handbuilt_adder()(tokens)[:, N_PROMPT - 1 :].detach().double()
    double = handbuilt_adder(dtype=torch.float64)(tokens)[:, N_PROMPT - 1 :].detach()
    assert torch.equal(single.argmax(2), double.argmax(2))
    assert torch.equal(single.argmax(2), encode(a, b)[:, N_PROMPT:])
    gap = (single.topk(2).values - double.topk(2).values).diff(dim=2).abs().max()
    assert float(gap) < 1.0


def test_ignored_carry_adds_digits_without_carries() -> None:
    a, b = mixed_pairs(500)
    answer = decode(handbuilt_adder(carry="ignored"), a, b)
    assert torch.equal(answer.tokens[:, :10], (digits(a) + digits(b)) % 10)
    assert bool((answer.tokens[:, 11] == EOS).all())


def test_attends_a_quarter_to_each_operand_digit() -> None:
    a, b = mixed_pairs(100)
    weights = dense(handbuilt_adder(dtype=torch.float64))
    pattern = sites(weights, encode(a, b)[:, :N_INPUT])["blocks.0.attn.hook_pattern"]
    for column in range(1, 10):
        places = [9 - column, 10 - column, 20 - column, 21 - column]
        assert torch.allclose(pattern[:, column, places], torch.tensor(0.25).double())


@pytest.mark.parametrize("carry", ["discrete", "soft", "ignored"])
@pytest.mark.parametrize("dispensable", [True, False])
def test_carry_is_where_the_description_says(carry: Carry, dispensable: bool) -> None:
    a, b = mixed_pairs(500)
    options = {"carry": carry, "dispensable": dispensable}
    weights = dense(handbuilt_adder(**options, dtype=torch.float64))
    found = sites(weights, encode(a, b)[:, :N_INPUT])
    carry_in = carries(a, b)[0].double()
    previous = torch.cat([torch.zeros_like(carry_in[:, :1]), carry_in[:, :-1]], dim=1)
    for site, location in carry_locations(**options).items():
        value = torch.einsum("bcw,cw->bc", found[site], location.read) + location.offset
        # By design and in float64: the tail of GELU, beyond the bend, up to 5e-4 for "soft".
        assert torch.allclose(value[:, :11], carry_in - location.spread * previous, atol=1e-3), site
        effect = torch.einsum("cw,cw->c", location.read, location.write)
        assert torch.allclose(effect, torch.ones(N_TARGET).double())


def test_resid_mid_keeps_carry_and_digit_sum_apart() -> None:
    a, b = mixed_pairs(300)
    tokens = encode(a, b)[:, :N_INPUT]
    resid = sites(dense(handbuilt_adder(dtype=torch.float64)), tokens)[RESID_MID]
    total = torch.nn.functional.pad(digits(a) + digits(b), (0, 1)).double()
    answer = digits(a + b, 11).double()
    before = torch.nn.functional.pad(answer[:, :-1], (1, 0))
    for column in range(11):
        own = "even" if column % 2 == 0 else "odd"
        places = [COORDINATES.index(own), COORDINATES.index(f"rest_{own}")]
        value = 30 * resid[:, column, places].sum(1)
        assert torch.allclose(value, total[:, column] - before[:, column], atol=1e-3)


def test_before_attention_only_the_query_token_shows() -> None:
    a, b = mixed_pairs(300)
    tokens = encode(a, b)[:, N_PROMPT - 1 : N_INPUT]
    weights = dense(handbuilt_adder(dtype=torch.float64))
    resid_pre = weights.W_E[tokens] + weights.W_pos[N_PROMPT - 1 :]
    read = carry_locations()[RESID_MID].read
    value = torch.einsum("bcw,cw->bc", resid_pre, read)
    for column in range(1, 11):
        for token in range(10):
            same = value[tokens[:, column] == token, column]
            assert float(same.max() - same.min()) < 1e-12


def test_moving_the_carry_moves_the_digit_by_one() -> None:
    a, b = mixed_pairs(500)
    weights = dense(handbuilt_adder(dtype=torch.float64))
    resid = sites(weights, encode(a, b)[:, :N_INPUT])[RESID_MID]
    write = carry_locations()[RESID_MID].write
    carry_in = carries(a, b)[0]
    flip = torch.nn.functional.pad(1.0 - 2.0 * carry_in, (0, 1))
    moved = resid + flip[..., None] * write
    pre = weights.normalise(moved, "ln2") @ weights.W_in
    final = moved + torch.nn.functional.gelu(pre) @ weights.W_out
    answer = (weights.normalise(final, "ln_final") @ weights.W_U).argmax(2)[:, 1:10]
    expected = (digits(a + b, 11)[:, 1:10] + flip[:, 1:10].long()) % 10
    assert torch.equal(answer, expected)


@pytest.mark.parametrize("carry", ["discrete", "soft"])
def test_wrong_prefix_separates_the_variants(carry: Carry) -> None:
    """Under any digit in place of s_{i-1}, "discrete" follows [z > 4.5] and "soft" S + z / 10."""
    generator = torch.Generator().manual_seed(9)
    a, b = uniform_pairs(3000, generator)
    prefix = torch.randint(0, 10, (3000, 11), generator=generator)
    answer = decode(handbuilt_adder(carry=carry), a, b, prefix=prefix).tokens[:, 1:10]
    total = digits(a) + digits(b)
    z = (total[:, :9] - prefix[:, :9]).double()
    if carry == "discrete":
        expected = (total[:, 1:] + (z > 4.5).long()) % 10
        assert torch.equal(answer, expected)
    else:
        value = total[:, 1:] + z / 10
        clear = ((value - value.round()).abs() < 0.35) & ((value - 9.45).abs() > 0.3)
        expected = (value - 10 * (value > 9.45)).round().clamp(0, 9).long()
        assert torch.equal(answer[clear], expected[clear])


def test_scratch_parts_are_dispensable_and_the_others_are_not() -> None:
    a, b = mixed_pairs(500)
    model = handbuilt_adder(dtype=torch.float64)
    weights = dense(model)
    for matrix, names in (
        ("W_O", ATTN_OUT_COMPONENTS),
        ("W_in", W_IN_COMPONENTS),
        ("W_out", W_OUT_COMPONENTS),
    ):
        terms = rank_one_terms(
            model.params[f"{matrix}_A"].detach(), model.params[f"{matrix}_B"].detach()
        )
        for index, name in enumerate(names):
            edited = weights.edit(**{matrix: getattr(weights, matrix) - terms[index]})
            exact = bool(teacher_forced(edited, a, b).exact.all())
            assert exact == (name == "scratch"), (matrix, name)
    for index, name in enumerate(UNITS):
        W_out = weights.W_out.clone()
        W_out[index] = 0.0
        exact = bool(teacher_forced(weights.edit(W_out=W_out), a, b).exact.all())
        assert exact == (name == "scratch"), name


def test_scratch_parts_are_not_idle() -> None:
    a, b = mixed_pairs(200)
    weights = dense(handbuilt_adder(dtype=torch.float64))
    post = sites(weights, encode(a, b)[:, :N_INPUT])[POST]
    assert float(post[:, 1:10, UNITS.index("scratch")].std()) > 0.01


def test_config_names_every_component() -> None:
    config = handbuilt_config()
    assert (config.d_model, config.d_ff) == (len(COORDINATES), len(UNITS))
    assert (config.attn_out_rank, config.ffn_rank) == (3, 6)
    smaller = handbuilt_config(dispensable=False)
    assert dataclasses.replace(smaller, d_ff=11, attn_out_rank=3, ffn_rank=6) == config
