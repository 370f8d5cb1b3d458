"""Files of random weights in every design that the readers know, and files that they refuse."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from model import convert, evaluate, predict
from model.anyone import AnyAdder, read_network
from model.errors import InputError
from model.network import forward
from model.task import uniform_pairs
from tests.authors import _qwen3, load_state, logits_of

State = dict[str, Any]


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(1000 * seed + 10 * sum(shape) + len(shape))
    return torch.randn(shape, generator=generator) * 0.7


def micro(
    *,
    tok: int = 2,
    place: int = 3,
    heads: int = 1,
    kv_heads: int = 1,
    qk: int = 4,
    v: int = 5,
    ff: int = 2,
    arc: int = 0,
    positions: str = "spiral",
    special: str = "special_pos",
    tied: tuple[str, ...] = (),
    rank: int = 0,
    biases: bool = True,
    phase: bool = False,
    prefix: bool = False,
) -> State:
    """A file as MicroAdder writes it; `tied` are the projections that have no tensor."""
    d = tok + place
    state: State = {"z_hi_pos": draw(1, place), "head_proj.weight": draw(tok, d)}
    if arc:
        names = ("A", "B", "start", "stride") if arc == 4 else ("A", "start", "stride")
        state |= {f"tok_arc_{x}": draw(seed=i + 1) for i, x in enumerate(names)}
    else:
        state["tok_emb.weight"] = draw(14, tok)
    if positions == "learned":
        state["digit_pos"] = draw(10, place)
    else:
        parts = ("amp", "phase", "slope", "offset")
        state |= {f"spiral_{x}": draw(seed=i + 11) for i, x in enumerate(parts)}
    if positions == "by digit":
        state["pos_correction"] = draw(10)
    if positions == "linear":
        state |= {"pos_corr_slope": draw(seed=21), "pos_corr_intercept": draw(seed=22)}
    if special == "special_pos":
        state["special_pos"] = draw(3, place)
    elif special == "special_pos_learned":
        state |= {"special_pos_learned": draw(2, place), "_eos_pos": torch.zeros(1, place)}
    else:
        state |= {"special_pos_equals": draw(1, place), "_eos_pos": torch.zeros(1, place)}
        state["_plus_pos"] = torch.zeros(1, place)
    inner: State = {"q_proj.weight": draw(heads * qk, place)}
    if "k" not in tied:
        inner["k_proj.weight"] = draw(kv_heads * qk, place, seed=1)
    if "v" not in tied:
        inner["v_proj.weight"] = draw(kv_heads * v, tok, seed=2)
    if phase:
        inner["q_phase_angle"] = draw(heads)
    if rank:
        inner |= {"out_proj.A": draw(heads * v, rank), "out_proj.B": draw(rank, d)}
    else:
        inner["out_proj.weight"] = draw(d, heads * v)
    mlp: State = {"fc1.weight": draw(ff, d)}
    if "fc2" not in tied:
        mlp["fc2.weight"] = draw(d, ff)
    if biases:
        mlp |= {"fc1.bias": draw(ff), "fc2.bias": draw(d)}
    norms = {name: draw(d, seed=i + 31) + 1 for i, name in enumerate(("ln1", "ln2", "ln_f"))}
    if "norms" in tied:
        norms = dict.fromkeys(norms, norms["ln1"])
    if prefix:
        state |= {f"blocks.0.attn.{name}": x for name, x in inner.items()}
        state |= {f"blocks.0.ffn.{name}": x for name, x in mlp.items()}
        for name, x in norms.items():
            state[f"{'blocks.0.' * (name != 'ln_f')}{name}.weight"] = x
        state["blocks.0.attn.causal_mask"] = torch.ones(1, 1, 34, 34)
    else:
        state |= inner | mlp | {f"{name}.weight": x for name, x in norms.items()}
    config = {"n_heads": heads, "n_layers": 1, "vocab_size": 10 if arc else 14, "alibi": False}
    return {"model_state_dict": state, "config": config, "step": 3}


# Options of a file, and its trained numbers, counted by hand from the shapes.
MICRO: dict[str, tuple[dict[str, Any], int]] = {
    "everything of its own": ({}, 3 + 10 + 28 + 4 + 9 + 12 + 12 + 10 + 25 + 10 + 10 + 7 + 15),
    "as 57p, fc2 too": (
        {"arc": 3, "special": "equals", "tied": ("k", "v", "norms"), "rank": 1, "phase": True}
        | {"biases": False},
        3 + 10 + 3 + 4 + 3 + 12 + 1 + 10 + 10 + 10 + 5,
    ),
    "fc2 tied": ({"tied": ("fc2",), "biases": False}, 155 - 7 - 10),
    "arc with two radii": ({"arc": 4, "qk": 5}, 155 - 28 + 4 + 6),
    "a fourth place": ({"place": 4, "v": 6, "positions": "linear"}, 192),
    "two turned heads of three": (
        {"tok": 3, "heads": 2, "kv_heads": 2, "qk": 3, "v": 3, "tied": ("k",), "phase": True}
        | {"prefix": True, "positions": "by digit"},
        3 + 18 + 42 + 4 + 10 + 9 + 18 + 2 + 18 + 36 + 12 + 12 + 8 + 18,
    ),
    "shared key and value head": (
        {"heads": 2, "kv_heads": 1, "qk": 2, "v": 3, "tied": ("k",), "phase": True, "ff": 9},
        3 + 10 + 28 + 4 + 9 + 12 + 2 + 6 + 30 + 45 + 45 + 14 + 15,
    ),
    "learned places": (
        {"positions": "learned", "special": "special_pos_learned", "rank": 2},
        3 + 10 + 28 + 30 + 6 + 12 + 12 + 10 + 20 + 10 + 10 + 7 + 15,
    ),
}


def save(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


def assert_reads_as_its_author(adder: AnyAdder, path: Path) -> None:
    layout = adder.network.layout
    tokens = layout.encode(*uniform_pairs(20, torch.Generator().manual_seed(2)))
    tokens = tokens[:, : layout.n_input]
    state = {
        name: value.double() if isinstance(value, Tensor) else value
        for name, value in load_state(path).items()
    }
    expected = logits_of(state, tokens)
    scale = float(expected.abs().max())
    assert torch.allclose(forward(adder.network, tokens), expected, rtol=0, atol=1e-10 * scale)


@pytest.mark.parametrize("name", MICRO)
def test_every_design_of_microadder_is_read(name: str, tmp_path: Path) -> None:
    options, n_params = MICRO[name]
    path = save(micro(**options), tmp_path / "model.pt")
    adder = read_network(path)
    assert_reads_as_its_author(adder, path)
    assert adder.n_params == n_params
    assert adder.network.n_heads == options.get("heads", 1)
    assert adder.network.n_kv_heads == options.get("kv_heads", 1)


def test_frozen_numbers_are_not_counted(tmp_path: Path) -> None:
    content = micro(arc=3, special="equals")
    before = read_network(save(content, tmp_path / "a.pt")).n_params
    content["config"] |= {"freeze_spiral": "amp, slope", "freeze_tok_arc": "A"}
    content["config"] |= {"equals_spiral_idx": 2.5}
    assert before is not None
    assert read_network(save(content, tmp_path / "b.pt")).n_params == before - 3 - 3


def qwen3(*, heads: int = 2, kv: int = 1, d: int = 4, ff: int = 5, width: int = 4) -> State:
    layer = "model.layers.0."
    shapes = {
        "self_attn.q_proj": (heads * width, d),
        "self_attn.k_proj": (kv * width, d),
        "self_attn.v_proj": (kv * width, d),
        "self_attn.o_proj": (d, heads * width),
        "self_attn.q_norm": (width,),
        "self_attn.k_norm": (width,),
        "input_layernorm": (d,),
        "post_attention_layernorm": (d,),
        "mlp.gate_proj": (ff, d),
        "mlp.up_proj": (ff, d),
        "mlp.down_proj": (d, ff),
    }
    state = {
        f"{layer}{name}.weight": draw(*shape, seed=i)
        for i, (name, shape) in enumerate(shapes.items())
    }
    return {**state, "model.embed_tokens.weight": draw(10, d), "model.norm.weight": draw(d) + 1}


def save_qwen3(state: State, path: Path) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **{name: value.numpy() for name, value in state.items()})
    else:
        path.write_bytes(safetensors.torch.save(state))
    return path


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize(("heads", "kv"), [(1, 1), (2, 1), (4, 2)])
def test_qwen3_files_are_read(suffix: str, heads: int, kv: int, tmp_path: Path) -> None:
    state = qwen3(heads=heads, kv=kv)
    path = save_qwen3(state, tmp_path / f"model{suffix}")
    adder = read_network(path)
    tokens = adder.network.layout.encode(*uniform_pairs(20, torch.Generator().manual_seed(2)))
    tokens = tokens[:, :34]
    expected = _qwen3({name: value.double() for name, value in state.items()}, tokens)
    scale = float(expected.abs().max())
    assert torch.allclose(forward(adder.network, tokens), expected, rtol=0, atol=1e-10 * scale)
    assert adder.n_params == sum(value.numel() for value in state.values())


def test_config_json_beside_a_file_says_theta_and_eps(tmp_path: Path) -> None:
    state = qwen3()
    path = save_qwen3(state, tmp_path / "model.npz")
    (tmp_path / "config.json").write_text(json.dumps({"rope_theta": 7, "rms_norm_eps": 1e-3}))
    network = read_network(path).network
    tokens = network.layout.encode(*uniform_pairs(5, torch.Generator().manual_seed(2)))[:, :34]
    double = {name: value.double() for name, value in state.items()}
    expected = _qwen3(double, tokens, theta=7.0, eps=1e-3)
    assert torch.allclose(forward(network, tokens), expected, atol=1e-9)
    assert not torch.allclose(_qwen3(double, tokens), expected, atol=1e-3)


def test_an_untied_head_is_its_own_and_a_tied_one_counts_once(tmp_path: Path) -> None:
    state = qwen3()
    n = sum(value.numel() for value in state.values())
    tied = {**state, "lm_head.weight": state["model.embed_tokens.weight"].clone()}
    assert read_network(save_qwen3(tied, tmp_path / "a.npz")).n_params == n
    own = {**state, "lm_head.weight": draw(10, 4, seed=9)}
    adder = read_network(save_qwen3(own, tmp_path / "b.npz"))
    assert adder.n_params == n + 40
    assert torch.equal(adder.network.W_U, own["lm_head.weight"].double().T)


def one_line(capsys: pytest.CaptureFixture[str], path: Path) -> str:
    assert predict.main([str(path), "1", "2"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert len(captured.err) < 600
    return captured.err


def spoilt_micro(**changes: Any) -> State:
    content = micro()
    for name, value in changes.items():
        name = name.replace("__", ".")
        if value is None:
            del content["model_state_dict"][name]
        else:
            content["model_state_dict"][name] = value
    return content


def with_config(**config: Any) -> State:
    content = micro()
    content["config"] |= config
    return content


REFUSED: dict[str, tuple[State, str]] = {
    "unknown tensor": (spoilt_micro(alibi_log_slopes=draw(1)), "alibi_log_slopes is unknown"),
    "missing tensor": (spoilt_micro(q_proj__weight=None), "q_proj.weight is missing"),
    "missing gain": (spoilt_micro(ln2__weight=None), "ln2.weight is missing"),
    "wrong shape": (spoilt_micro(fc1__weight=draw(2, 6)), "fc1.weight has shape (2, 6)"),
    "a number too many": (spoilt_micro(spiral_amp=draw(2)), "not one number"),
    "NaN": (spoilt_micro(z_hi_pos=torch.full((1, 3), torch.nan)), "NaN or infinite"),
    "whole numbers": (spoilt_micro(z_hi_pos=torch.ones(1, 3).long()), "no plain tensor"),
    "complex": (spoilt_micro(z_hi_pos=torch.ones(1, 3) + 0j), "no plain tensor"),
    "text": (spoilt_micro(z_hi_pos="here"), "no plain tensor"),
    "two layers": (
        {**micro(), "model_state_dict": {**micro()["model_state_dict"], "blocks.1.x": draw(1)}},
        "2 layers",
    ),
    "two layers by config": (with_config(n_layers=2), "n_layers = 2 is not supported"),
    "one name twice": (spoilt_micro(blocks__0__q_proj__weight=draw(4, 3)), "are the same"),
    "no heads": (with_config(n_heads=None), "how many heads"),
    "odd heads": (with_config(n_heads=3), "do not part into 3 heads"),
    "alibi": (with_config(alibi=True), "alibi = True is not supported"),
    "no second norm": (with_config(norm_mode="no_ln2"), "norm_mode = 'no_ln2'"),
    "new option": (with_config(mixture=3), "mixture = 3 is unknown"),
    "a tensor in the config": (with_config(mixture=draw(3)), "mixture is no plain value"),
    "another vocabulary": (spoilt_micro(tok_emb__weight=draw(20, 2)), "20 tokens"),
    "another model": (
        {"transformer.wte.weight": draw(50, 4), "transformer.wpe.weight": draw(9, 4)},
        "are of no adder known here",
    ),
    "no tensors": ({}, "no tensors by name"),
    "a name over two lines": (
        {**micro(), "model_state_dict": {**micro()["model_state_dict"], "x\n\x1b[1m": draw(1)}},
        r"tensor 'x\n\x1b[1m' is unknown",
    ),
    "an option over two lines": (with_config(**{"x\ny": "z\n" * 500}), r"'x\ny' = "),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_known_is_named_in_one_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, message = REFUSED[name]
    assert message in one_line(capsys, save(content, tmp_path / "model.pt"))


def test_qwen3_files_that_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.npz"
    spoilt = {
        "2 layers": {**qwen3(), "model.layers.1.input_layernorm.weight": draw(4)},
        "1000 tokens": {**qwen3(), "model.embed_tokens.weight": draw(1000, 4)},
        "bias is unknown": {**qwen3(), "model.layers.0.mlp.up_proj.bias": draw(5)},
        "do not part into heads": {**qwen3(), "model.layers.0.self_attn.q_proj.weight": draw(6, 4)},
    }
    for message, state in spoilt.items():
        assert message in one_line(capsys, save_qwen3(state, path))
    state = {name: x for name, x in qwen3().items() if "_norm" not in name}
    assert "put config.json beside" in one_line(capsys, save_qwen3(state, path))
    for config, message in (
        ({"num_hidden_layers": 4}, "num_hidden_layers = 4"),
        ({"rope_scaling": {"type": "yarn"}}, "rope_scaling"),
        ({"rope_theta": "big"}, "rope_theta"),
        ([], "no JSON object"),
    ):
        save_qwen3(qwen3(), path)
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert message in one_line(capsys, path)


def test_damaged_and_dangerous_arrays_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.npz"
    np.savez(path, x=np.array([{"a": 1}], dtype=object))
    assert "no file of plain arrays" in one_line(capsys, path)
    path.write_bytes(b"PK\x03\x04 cut short")
    assert "no file of plain arrays" in one_line(capsys, path)
    path = tmp_path / "other.safetensors"
    path.write_bytes(b"\xff" * 64)
    assert "truncated or no safetensors file" in one_line(capsys, path)


def test_commands_take_a_file_and_the_folder_made_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(micro(), tmp_path / "mine.pt")
    assert convert.main([str(path), str(tmp_path / "out")]) == 0
    assert "layout micro-14, d_model 5, 1 head, 2 units, trained parameters 155" in (
        capsys.readouterr().out
    )
    results = []
    for reference in (path, tmp_path / "out", tmp_path / "out/model.safetensors"):
        assert evaluate.main([str(reference), "--pairs", "300", "--hard", "--json"]) == 0
        results.append(json.loads(capsys.readouterr().out))
    assert results[0]["sets"] == results[1]["sets"] == results[2]["sets"]
    assert results[0]["n_params"] == results[1]["n_params"] == 155
    assert convert.main([str(path), str(tmp_path / "out")]) == 2
    assert "exists already" in capsys.readouterr().err


def test_the_family_can_be_converted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert.main(["262p", str(tmp_path / "out")]) == 0
    assert "trained parameters 262" in capsys.readouterr().out
    stored, shipped = read_network(tmp_path / "out"), read_network("262p")
    for name, value in shipped.network.tensors().items():
        assert torch.equal(stored.network.tensors()[name], value), name
    assert stored.network.layout == shipped.network.layout


def test_a_command_of_the_family_says_that_it_reads_the_family_only(tmp_path: Path) -> None:
    from model.checkpoint import load

    convert.main([str(save(micro(), tmp_path / "mine.pt")), str(tmp_path / "out")])
    with pytest.raises(InputError, match="outside the write-ups' family"):
        load(tmp_path / "out")
