"""MicroAdder's files: spiral positions, tokens from a table or on an arc, tied projections.

Which tensors a file holds varies from one design to the next; what is absent is derived from what
is there. The configuration in the file decides only what no tensor shows.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from model.errors import InputError, printable
from model.network import Network
from model.readers.keys import Keys, check_layers
from model.readers.split import Parts, arc, assemble, layout_of, place_rows, spiral

STRIP = ("blocks.0.", "attn.", "ffn.")
NORM_NAMES = {"ln1": ("ln1", "norm1"), "ln2": ("ln2", "norm2"), "ln_final": ("ln_f", "norm_f")}

# Configuration keys that change the forward pass and leave no tensor: only these values are read.
FIXED: dict[str, tuple[Any, ...]] = {
    "n_layers": (1,),
    "alibi": (False,),
    "softmax1": (False,),
    "attn_mode": ("split",),
    "norm_mode": ("full", "weighted", "shared", "fixed", "parameterless"),
    "qk_source": ("pos",),
    "qk_input": ("pos", "full"),
    "pos_mode": ("learned", "spiral_correct"),
    "ffn_act": ("gelu",),
}
# Keys that tensors repeat, or that only say how training began or what it left alone.
SHOWN = (
    *("d_model", "tok_dim", "pos_dim", "n_heads", "head_dim", "qk_dim", "ffn_dim", "ffn_bias"),
    *("vocab_size", "max_seq_len", "pos_correction_mode", "freeze_special", "freeze_pad"),
    *("tie_qk", "attn_out_rank", "num_kv_heads", "q_phase", "share_layers", "tie_fc2_head"),
    *("token_init", "tok_emb_mode", "freeze_tok_arc", "freeze_spiral", "equals_spiral_idx"),
    *(f"tok_arc_init_{x}" for x in ("A", "B", "start", "stride")),
    *(f"spiral_init_{x}" for x in ("amp", "phase", "slope", "offset")),
)
_OFF = (None, False, 0, "", "none")


def recognises(names: Mapping[str, Any]) -> bool:
    """Tell these files by their names."""
    return "z_hi_pos" in names and "head_proj.weight" in names


def read_micro(state: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[Network, int]:
    """Turn a file's tensors into a network, and count the trained numbers.

    Args:
        state: Tensors by name.
        config: What the file says of its design; may be empty.

    Raises:
        InputError: A tensor or a configuration key is unknown, missing or does not fit.
    """
    check_layers(list(state), "blocks.")
    _check_config(config)
    keys = Keys(state, frozen=_frozen(config), strip=STRIP)
    keys.buffer("causal_mask")
    tokens = _tokens(keys, config)
    layout, tok = layout_of(tokens.shape[0]), tokens.shape[1]
    last = keys.take("z_hi_pos", (1, None))
    place = last.shape[1]
    d = tok + place
    positions = place_rows(layout, _digit_rows(keys, place), last, _special_rows(keys, place))
    head = keys.take("head_proj.weight", (tok, d))

    q = keys.take("q_proj.weight", (None, None)).T
    phase = keys.find("q_phase_angle", (None,))
    n_heads = _n_heads(config, phase)
    v = keys.find("v_proj.weight", (None, tok))
    v = head if v is None else v.T
    if "out_proj.A" in keys:
        left = keys.take("out_proj.A", (None, None))
        W_O = left @ keys.take("out_proj.B", (left.shape[1], d))
    else:
        W_O = keys.take("out_proj.weight", (d, None)).T
    k = keys.find("k_proj.weight", (None, q.shape[0]))
    # Tied keys are the unturned queries; with fewer heads of values, the first of them.
    tied = q[:, : q.shape[1] * v.shape[1] // max(W_O.shape[0], 1)]
    k = tied if k is None else k.T

    W_in = keys.take("fc1.weight", (None, d)).T
    ff = W_in.shape[1]
    W_out = keys.find("fc2.weight", (d, ff))
    if W_out is None and ff != tok:
        raise InputError(f"fc2.weight is missing, and {ff} units cannot use head_proj.weight")
    biases = {"b_in": keys.find("fc1.bias", (ff,)), "b_out": keys.find("fc2.bias", (d,))}
    parts = Parts(
        tokens=tokens,
        positions=positions,
        q=q,
        k=k,
        v=v,
        n_heads=n_heads,
        phase=phase,
        W_O=W_O,
        W_in=W_in,
        W_out=head if W_out is None else W_out.T,
        biases={name: bias for name, bias in biases.items() if bias is not None},
        head=head.T,
        norms=_norms(keys, config, d),
        norm="rms",
    )
    keys.finish()
    return assemble(parts), keys.trained


def _check_config(config: Mapping[str, Any]) -> None:
    for key, value in config.items():
        what = f"configuration key {printable(key)}"
        if not isinstance(value, bool | int | float | str | None):
            raise InputError(f"{what} is no plain value: it is not supported")
        shown = printable(repr(value))
        if key in FIXED:
            if value not in FIXED[key]:
                known = " or ".join(repr(x) for x in FIXED[key])
                raise InputError(f"{what} = {shown} is not supported (only {known})")
        elif key not in SHOWN and value not in _OFF:
            raise InputError(f"{what} = {shown} is unknown and may change the forward pass")


def _frozen(config: Mapping[str, Any]) -> set[str]:
    names = set()
    for key, stem in (("freeze_spiral", "spiral"), ("freeze_tok_arc", "tok_arc")):
        listed = str(config.get(key) or "")
        names |= {f"{stem}_{part.strip()}" for part in listed.split(",") if part.strip()}
    given = config.get("equals_spiral_idx", -1.0)
    if isinstance(given, int | float) and given >= 0:
        names.add("special_pos_equals")
    return names


def _n_heads(config: Mapping[str, Any], phase: Tensor | None) -> int:
    n = config.get("n_heads", None if phase is None else len(phase))
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise InputError("the file does not say how many heads there are (n_heads)")
    if phase is not None and len(phase) != n:
        raise InputError(f"q_phase_angle has {len(phase)} angles for {n} heads")
    return n


def _tokens(keys: Keys, config: Mapping[str, Any]) -> Tensor:
    """Token table; on an arc with fewer numbers than rows, its size is in the configuration."""
    if "tok_emb.weight" in keys:
        tokens = keys.take("tok_emb.weight", (None, None))
        pad = keys.find("_pad_emb", (1, tokens.shape[1]))
        return tokens if pad is None else torch.cat([tokens, pad])
    n = config.get("vocab_size")
    if isinstance(n, bool) or not isinstance(n, int):
        raise InputError("the file has no token table and does not say its size (vocab_size)")
    layout_of(n)
    A = keys.take("tok_arc_A", ())
    B = keys.find("tok_arc_B", ())
    start, stride = keys.take("tok_arc_start", ()), keys.take("tok_arc_stride", ())
    return arc(A, A if B is None else B, start, stride, n)


def _digit_rows(keys: Keys, place: int) -> Tensor:
    if "digit_pos" in keys:
        return keys.take("digit_pos", (10, place))
    numbers = [keys.take(f"spiral_{x}", ()) for x in ("amp", "phase", "slope", "offset")]
    rows = spiral(*numbers, width=place)
    correction = keys.find("pos_correction", (10,))
    if "pos_corr_slope" in keys:
        slope, intercept = keys.take("pos_corr_slope", ()), keys.take("pos_corr_intercept", ())
        correction = slope * torch.arange(10, dtype=rows.dtype) + intercept
    return rows if correction is None else rows * (1.0 + correction[:, None])


def _special_rows(keys: Keys, place: int) -> Tensor:
    """Rows of +, = and the end token."""
    if "special_pos" in keys:
        return keys.take("special_pos", (3, place))
    if "special_pos_learned" in keys:
        learned = [keys.take("special_pos_learned", (2, place))]
    else:
        learned = [keys.take(x, (1, place)) for x in ("_plus_pos", "special_pos_equals")]
    return torch.cat([*learned, keys.take("_eos_pos", (1, place))])


def _norms(keys: Keys, config: Mapping[str, Any], d: int) -> dict[str, Tensor]:
    """Gains by our names; where all three are one tensor, they count once."""
    gains: dict[str, Tensor] = {}
    for ours, names in NORM_NAMES.items():
        found = [name for name in names if f"{name}.weight" in keys]
        if found:
            gains[f"{ours}_w"] = keys.take(f"{found[0]}.weight", (d,), tied=True)
    if not gains and config.get("norm_mode") in ("fixed", "parameterless"):
        return {}
    for ours in NORM_NAMES:
        if f"{ours}_w" not in gains:
            raise InputError(f"tensor {NORM_NAMES[ours][0]}.weight is missing")
    first, *others = gains.values()
    tied = all(torch.equal(first, other) for other in others)
    keys.trained += d if tied else d * len(gains)
    return gains
