import math
from pathlib import Path
from typing import Any

import pytest
import torch

from model.adder import Adder
from model.checkpoint import load, read_checkpoint
from model.config import PRESETS
from model.decode import decode
from model.errors import InputError
from model.published import from_published
from tests.reference import assert_same, nudged
from tests.support import FULL_OR_RANKED, some_tokens

# For each tie mode, what the published code calls the (A, B) factor of Q, K and V.
SHARED = {
    "shareA": (("A", "Bq"), ("A", "Bk"), ("A", "Bv")),
    "shareA_tieKV": (("A", "Bq"), ("A", "Bkv"), ("A", "Bkv")),
    "shareA_tieQK": (("A", "Bqk"), ("A", "Bqk"), ("A", "Bv")),
    "shareB": (("Aq", "B"), ("Ak", "B"), ("Av", "B")),
    "shareB_tieKV": (("Aq", "B"), ("Akv", "B"), ("Akv", "B")),
    "shareB_tieQK": (("Aqk", "B"), ("Aqk", "B"), ("Av", "B")),
}
OWNERS = {
    "all": ("qkv_shared", "qkv_shared", "qkv_shared"),
    "qk": ("qk_shared", "qk_shared", "v_proj"),
    "kv": ("q_proj", "kv_shared", "kv_shared"),
}


def published(
    tie_qkv: str = "shareA_tieKV", qkv_rank: int = 3, *, rms: bool = True, rank: int = 2
) -> dict[str, Any]:
    """A dictionary in the published format with random weights; `rank` 0 makes the rest full."""
    d, d_ff, n_ctx = 5, 6, 34
    generator = torch.Generator().manual_seed(7)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    state: dict[str, torch.Tensor] = {"token_emb.weight": draw(14, d)}

    def linear(name: str, m: int, n: int, r: int) -> None:
        if r:
            state[f"{name}.A"], state[f"{name}.B"] = draw(m, r), draw(r, n)
        else:
            state[f"{name}.weight"] = draw(n, m)

    if rank:
        state["pos_emb.A"], state["pos_emb.B"] = draw(n_ctx, rank), draw(rank, d)
    else:
        state["pos_emb.weight"] = draw(n_ctx, d)
    if tie_qkv in SHARED:
        for a, b in SHARED[tie_qkv]:
            state[f"blocks.0.attn.qkv_{a}"] = draw(d, qkv_rank)
            state[f"blocks.0.attn.qkv_{b}"] = draw(qkv_rank, d)
    elif tie_qkv in OWNERS:
        for owner in OWNERS[tie_qkv]:
            linear(f"blocks.0.attn.{owner}", d, d, qkv_rank)
    else:
        linear("blocks.0.attn.qkv", d, 3 * d, qkv_rank)
    linear("blocks.0.attn.proj", d, d, rank)
    linear("blocks.0.mlp.fc1", d, d_ff, rank)
    linear("blocks.0.mlp.fc2", d_ff, d, rank)
    for name in ("blocks.0.ln1", "blocks.0.ln2", "ln_f"):
        state[f"{name}.weight"] = draw(d)
        if not rms:
            state[f"{name}.bias"] = draw(d)
    state["lm_head.weight"] = state["token_emb.weight"]
    config = {
        "n_layer": 1,
        "d_model": d,
        "n_head": 1,
        "d_ff": d_ff,
        "dropout": 0.0,
        "max_seq_len": n_ctx,
        "vocab_size": 14,
        "pos_rank": rank,
        "qkv_rank": qkv_rank,
        "attn_out_rank": rank,
        "ffn_rank": rank,
        "use_rmsnorm": rms,
        "tie_qkv": tie_qkv,
    }
    return {"model_config": config, "model_state": state, "step": 10, "val_exact": 0.5}


def published_logits(content: dict[str, Any], tokens: torch.Tensor) -> torch.Tensor:
    """What the published network computes, straight from its dictionary, in float64."""
    config = content["model_config"]
    state = {name: value.double() for name, value in content["model_state"].items()}
    length = tokens.shape[1]

    def apply(x: torch.Tensor, name: str) -> torch.Tensor:
        if f"{name}.A" in state:
            return x @ state[f"{name}.A"] @ state[f"{name}.B"]
        return torch.nn.functional.linear(x, state[f"{name}.weight"])

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        weight = state[f"{name}.weight"]
        if config["use_rmsnorm"]:
            return x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-8) * weight
        return torch.nn.functional.layer_norm(x, weight.shape, weight, state[f"{name}.bias"])

    def attend(x: torch.Tensor) -> torch.Tensor:
        tie, attn = config["tie_qkv"], "blocks.0.attn."
        if tie in SHARED:
            q, k, v = (
                x @ state[f"{attn}qkv_{a}"] @ state[f"{attn}qkv_{b}"] for a, b in SHARED[tie]
            )
        elif tie in OWNERS:
            q, k, v = (apply(x, attn + owner) for owner in OWNERS[tie])
        else:
            q, k, v = apply(x, f"{attn}qkv").chunk(3, dim=-1)
        scores = q @ k.mT / math.sqrt(config["d_model"])
        scores = scores + torch.full((length, length), -math.inf).triu(1)
        return apply(scores.softmax(-1) @ v, f"{attn}proj")

    if "pos_emb.A" in state:
        W_pos = state["pos_emb.A"] @ state["pos_emb.B"]
    else:
        W_pos = state["pos_emb.weight"]
    x = state["token_emb.weight"][tokens] + W_pos[:length]
    x = x + attend(norm(x, "blocks.0.ln1"))
    hidden = torch.nn.functional.gelu(apply(norm(x, "blocks.0.ln2"), "blocks.0.mlp.fc1"))
    x = x + apply(hidden, "blocks.0.mlp.fc2")
    return norm(x, "ln_f") @ state["lm_head.weight"].T


@pytest.mark.parametrize(("tie_qkv", "qkv_rank"), FULL_OR_RANKED)
@pytest.mark.parametrize(("rms", "rank"), [(True, 2), (False, 2), (False, 0)])
def test_every_tie_mode_gives_the_published_logits(
    tie_qkv: str, qkv_rank: int, rms: bool, rank: int
) -> None:
    content = published(tie_qkv, qkv_rank, rms=rms, rank=rank)
    config, params = from_published(content)
    model = Adder(config, {name: value.double() for name, value in params.items()})
    tokens = some_tokens()
    assert_same(published_logits(content, tokens), model(tokens), nudged(model)(tokens))


def test_later_keys_of_the_published_code_are_understood() -> None:
    content = published()
    content["model_config"] |= {
        "norm_type": "",
        "pe_type": "learned",
        "pe_init_period": 10.0,
        "token_emb_rank": 0,
        "use_index_emb": False,
        "lm_head_rank": 0,
    }
    assert from_published(content)[0] == from_published(published())[0]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("n_layer", 2),
        ("n_head", 7),
        ("vocab_size", 15),
        ("pe_type", "sinusoidal"),
        ("token_emb_rank", 3),
        ("use_index_emb", True),
        ("lm_head_rank", 2),
        ("norm_type", "none"),
        ("rope_base", 10000),
        ("tie_qkv", "shareC"),
        ("use_rmsnorm", "yes"),
        ("d_model", "5"),
    ],
)
def test_a_key_that_changes_the_forward_pass_is_refused_by_name(key: str, value: object) -> None:
    content = published()
    content["model_config"][key] = value
    with pytest.raises(InputError, match=key):
        from_published(content)


@pytest.mark.parametrize("key", ["d_model", "d_ff", "max_seq_len"])
def test_a_missing_size_is_refused_by_name(key: str) -> None:
    content = published()
    del content["model_config"][key]
    with pytest.raises(InputError, match=key):
        from_published(content)


@pytest.mark.parametrize(
    "content",
    [None, [], {}, {"model_config": {}}, {"model_config": [], "model_state": {}}, torch.zeros(2)],
)
def test_other_contents_are_no_published_adder(content: object) -> None:
    with pytest.raises(InputError, match="not a published adder"):
        from_published(content)


def test_an_untied_head_is_refused() -> None:
    content = published()
    content["model_state"]["lm_head.weight"] = torch.zeros(14, 5)
    with pytest.raises(InputError, match="untied head is not supported"):
        from_published(content)


@pytest.mark.parametrize("value", [3, "text", None, [torch.zeros(5)], torch.zeros(5).to_sparse()])
def test_a_tensor_that_is_none_is_refused_by_name(value: object) -> None:
    content = published()
    content["model_state"]["ln_f.weight"] = value
    with pytest.raises(InputError, match=r"ln_f\.weight.*no plain tensor"):
        from_published(content)


@pytest.mark.parametrize("key", ["blocks.0.attn.proj.weight", "blocks.0.attn.qkv.weight"])
def test_a_vector_in_place_of_a_matrix_is_refused(key: str, tmp_path: Path) -> None:
    content = published("none", 0, rank=0)
    content["model_state"][key] = torch.zeros(5)
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"model\.pt: .*is missing"):
        load(tmp_path / "model.pt")


def test_the_published_checkpoint_is_what_it_says(published_311p: Path) -> None:
    checkpoint = read_checkpoint(published_311p)
    assert checkpoint.model.config == PRESETS["311p"]
    assert checkpoint.name == "best_311p_s34"
    assert checkpoint.card["published"] == {"step": 9000, "val_exact": 1.0, "params": 311}
    answer = decode(checkpoint.model, torch.tensor([9304630660]), torch.tensor([8594408863]))
    assert int(answer.sums[0]) == 17999039523
    # The published number has three digits; float32 loses some 1e-5 of it.
    assert float(answer.margin[0, 8]) == pytest.approx(-0.738, abs=6e-4)


def test_the_published_checkpoint_gives_the_published_logits(published_311p: Path) -> None:
    content = torch.load(published_311p, map_location="cpu", weights_only=True)
    model = load(published_311p).double()
    tokens = some_tokens(20)
    assert_same(published_logits(content, tokens), model(tokens), nudged(model)(tokens))
