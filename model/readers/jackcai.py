"""JackCai's adders: learned rows for shared positions, two heads of width three."""

from collections.abc import Mapping
from typing import Any

import torch

from model.errors import InputError
from model.network import Network
from model.readers.keys import Keys
from model.readers.split import Parts, assemble, layout_of, place_indices, place_rows

HEAD_WIDTH = 3


def recognises(names: Mapping[str, Any]) -> bool:
    """Tell these files by their names."""
    return "digit_enc" in names and "z10_enc" in names


def read_jackcai(state: Mapping[str, Any]) -> tuple[Network, int]:
    """Turn a file's tensors into a network, and count the trained numbers.

    Raises:
        InputError: A tensor is missing, unknown or does not fit.
    """
    keys = Keys(state)
    _check_places(keys)
    keys.buffer("causal_mask")
    tokens = keys.take("tok_emb.weight", (None, None))
    layout, tok = layout_of(tokens.shape[0]), tokens.shape[1]
    digit = keys.take("digit_enc", (10, None))
    place = digit.shape[1]
    d = tok + place
    last, special = keys.take("z10_enc", (1, place)), keys.take("special_enc", (3, place))
    q, k = (keys.take(f"{x}_proj.weight", (None, place)).T for x in "qk")
    v = keys.take("v_proj.weight", (None, tok)).T
    if q.shape[1] % HEAD_WIDTH:
        raise InputError(f"q_proj.weight has {q.shape[1]} rows, not heads of {HEAD_WIDTH}")
    W_O = keys.take("out_proj.weight", (d, None)).T
    layer_norm = "ln1.bias" in keys
    norms = {}
    for ours, theirs in (("ln1", "ln1"), ("ln2", "ln2"), ("ln_final", "ln_f")):
        norms[f"{ours}_w"] = keys.take(f"{theirs}.weight", (d,))
        if layer_norm:
            norms[f"{ours}_b"] = keys.take(f"{theirs}.bias", (d,))
    W_in = keys.take("ffn.0.weight", (None, d)).T
    ff = W_in.shape[1]
    parts = Parts(
        tokens=tokens,
        positions=place_rows(layout, digit, last, special),
        q=q,
        k=k,
        v=v,
        n_heads=q.shape[1] // HEAD_WIDTH,
        phase=None,
        W_O=W_O,
        W_in=W_in,
        W_out=keys.take("ffn.2.weight", (d, ff)).T,
        biases={
            "b_in": keys.take("ffn.0.bias", (ff,)),
            "b_out": keys.take("ffn.2.bias", (d,)),
        },
        head=keys.take("head_proj.weight", (tok, d)).T,
        norms=norms,
        norm="layer" if layer_norm else "rms",
    )
    keys.finish()
    return assemble(parts), keys.trained


def _check_places(keys: Keys) -> None:
    for name, expected in zip(("_pos_sources", "_pos_indices"), place_indices(), strict=True):
        given = keys.buffer(name)
        if given is not None and not torch.equal(torch.as_tensor(given), torch.tensor(expected)):
            raise InputError(f"{name} shares positions in a way that is not known here")
