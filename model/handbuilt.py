"""An adder whose weights are written down, not trained: the carry sits where this file says.

Instruments are tested on it, because here the right answer is known. It is an ordinary member of
the family: one layer, one head, RMSNorm, tied head; W_O, W_in and W_out are held as products.

Notation: u = 1/30, e = u t for digit token t, S_i = a_i + b_i, s_i the answer, c_i the carry into
column i. Column i is answered where the token is s_{i-1}, and all arithmetic rests on

    z_i = S_{i-1} - s_{i-1} = 10 c_i - c_{i-1}      (so c_i = [z_i > 4.5]),
    s_i = S_i + c_i - 10 w_i,   w_i = [S_i + c_i >= 10].

*Pattern.* Source column k and query column i score -(k - i)(k - i + 1) times a large number, a
product of three coordinates: 0 at k = i and k = i - 1, very negative elsewhere, whatever the norm
does to the scale. So column i gives exactly 1/4 to each of a_i, b_i, a_{i-1}, b_{i-1}. `+` and `=`
score i (i - 10): they take the places that columns 0 and 10 leave empty. Later tokens are masked.

*Values.* One source is the current column for one query and the previous column for the next, so no
fixed direction can hold one of the two sums in every column: directions must alternate. Coordinates
`even` and `odd` hold -h, h = e / (1 + e), for every digit; a source in an even column adds 1 to
`odd`, one in an odd column 1 to `even`; `fill` brings the norm to sqrt(2) / (1 + e). Normed, that
is exactly (-e, 1) / sqrt(2) in an even column and (1, -e) / sqrt(2) in an odd one (RMSNorm: times
sqrt(d_model)): a digit moves only the coordinate of its parity. After W_O, `rest_even` and
`rest_odd` (the query token's h - e, and minus the constants) complete them: at
blocks.0.hook_resid_mid, for even i (odd i: exchanged),

    even + rest_even = u (S_i - s_{i-1}),        odd + rest_odd = u z_i.

*Feed-forward.* The query positions carry a constant so large that ln2 is a division by a constant.
Pairs of steep GELU units make ramps, one pair for either parity, the other one shut by position:
sum S_i - s_{i-1}, carry [z_i > 4.5], wrap [40 S_i + z_i > 364.5]; `digit`, which already holds
u s_{i-1}, receives sum + carry - 10 wrap and so becomes u s_i. The tied head has `digit` = e and
`square` = e^2, and `square` is a negative constant at query positions: logit_t is proportional to
2 s_i t - t^2, largest at t = s_i, by the same margin everywhere.

Where the carry is not: before attention the residual stream of column i is a function of s_{i-1}
and i alone; blocks.0.hook_attn_out holds S_{i-1}, from which s_{i-1} is still to be subtracted.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from model.adder import Adder
from model.config import ModelConfig
from model.factored import Params
from model.handbuilt_weights import (
    AT,
    ATTN_OUT_COMPONENTS,
    COORDINATES,
    LARGE,
    MARGIN,
    UNIT,
    UNITS,
    VARIANTS,
    W_IN_COMPONENTS,
    W_OUT_COMPONENTS,
    WIDTH,
    Carry,
    attention,
    embeddings,
    feed_forward,
    zeros,
)
from model.task import N_TARGET, query_position

__all__ = [
    "ATTN_OUT_COMPONENTS",
    "COORDINATES",
    "UNITS",
    "W_IN_COMPONENTS",
    "W_OUT_COMPONENTS",
    "Carry",
    "CarryLocation",
    "carry_locations",
    "handbuilt_adder",
    "handbuilt_config",
]


@dataclass(frozen=True, kw_only=True)
class CarryLocation:
    """A place where the carry into a column is known to be.

    Attributes:
        site: TransformerLens hook name.
        read: Direction of each answer column; activation . read + offset is the carry.
        write: Direction of each answer column; adding x write adds x to the carry, nothing else.
        offset: Constant of the reading.
        value: The reading at carry 0 and at carry 1.
        spread: What the reading loses where the previous carry is 1.
    """

    site: str
    read: Float[Tensor, "column width"]
    write: Float[Tensor, "column width"]
    offset: float
    value: tuple[float, float]
    spread: float


def handbuilt_config(*, dispensable: bool = True) -> ModelConfig:
    """Give the shape of the hand-built adder.

    Args:
        dispensable: Whether the unit and the components called `scratch` exist.
    """
    return ModelConfig(
        d_model=WIDTH,
        d_ff=len(UNITS) - (not dispensable),
        pos_rank=0,
        qkv_rank=0,
        attn_out_rank=len(ATTN_OUT_COMPONENTS) - (not dispensable),
        ffn_rank=len(W_IN_COMPONENTS) - (not dispensable),
        norm="rms",
        tie_qkv="none",
    )


def handbuilt_adder(
    *,
    carry: Carry = "discrete",
    dispensable: bool = True,
    dtype: torch.dtype = torch.float32,
) -> Adder:
    """Build an adder with a known carry variable; see the module's docstring for the equations.

    Args:
        carry: "discrete": c_i = [z_i > 4.5] decides, also under a wrong prefix; "soft": the digit
            is read off S_i + z_i / 10, with no carry bit anywhere; "ignored": the carry is computed
            by the same units but written nowhere, so that digits are added without carries.
        dispensable: Whether to include the unit and the components that nobody needs (`scratch`).
        dtype: Type of the parameters.

    Returns:
        The network. "discrete" and "soft" add every pair correctly in float32 and float64.
    """
    config = handbuilt_config(dispensable=dispensable)
    variant = VARIANTS[carry]
    W_E, W_pos = embeddings(variant)
    norm = float(W_pos[query_position(1)].norm())
    from_norm = norm / math.sqrt(WIDTH)  # what undoes ln2 and ln_final at query positions
    params: Params = {
        "W_E": W_E,
        "W_pos": W_pos,
        **{f"{name}_w": torch.ones(WIDTH, dtype=torch.float64) for name in ("ln1", "ln2")},
        **attention(from_norm),
        **feed_forward(variant, from_norm),
        "ln_final_w": zeros(WIDTH),
    }
    per_digit = MARGIN * from_norm / UNIT**2
    params["ln_final_w"][AT["digit"]] = 2 * per_digit
    params["ln_final_w"][AT["square"]] = per_digit / LARGE
    params["ln_final_w"][AT["end"]] = MARGIN * 1000 * from_norm
    if not dispensable:
        for name in ("W_O", "W_in", "W_out"):
            params[f"{name}_A"] = params[f"{name}_A"][:, :-1]
            params[f"{name}_B"] = params[f"{name}_B"][:-1]
        params["W_in_B"], params["W_out_A"] = params["W_in_B"][:, :-1], params["W_out_A"][:-1]
    return Adder(config, {name: value.to(dtype) for name, value in params.items()})


def carry_locations(
    *, carry: Carry = "discrete", dispensable: bool = True
) -> dict[str, CarryLocation]:
    """Say where the carry into each column is, by site.

    The residual stream holds z_i / 10 = c_i - c_{i-1} / 10 in a direction that depends on the
    parity of the column; the feed-forward units hold c_i itself ("soft": z_i / 10), in units that
    depend on it too.

    Args:
        carry: The variant that was built.
        dispensable: As it was built.
    """
    read, write = zeros(N_TARGET, WIDTH), zeros(N_TARGET, WIDTH)
    for column in range(N_TARGET):
        other = "odd" if column % 2 == 0 else "even"
        read[column, [AT[other], AT[f"rest_{other}"]]] = 1 / (10 * UNIT)
        write[column, AT[other]] = 10 * UNIT
    ramp = VARIANTS[carry].carry
    units, into = zeros(N_TARGET, len(UNITS)), zeros(N_TARGET, len(UNITS))
    height = ramp.height or 1.0
    for column in range(N_TARGET):
        low = UNITS.index(f"carry_{'even' if column % 2 == 0 else 'odd'}_low")
        units[column, low] = height / (ramp.k * (ramp.high - ramp.low))
        units[column, low + 1] = -units[column, low]
        into[column, low] = 1 / units[column, low]
    if not dispensable:
        units, into = units[:, :-1], into[:, :-1]
    soft = 0.1 if carry == "soft" else 0.0
    stream = CarryLocation(
        site="blocks.0.hook_resid_mid",
        read=read,
        write=write,
        offset=0.0,
        value=(0.0, 1.0),
        spread=0.1,
    )
    post = CarryLocation(
        site="blocks.0.mlp.hook_post",
        read=units,
        write=into,
        offset=ramp.shift,
        value=(0.0, 1.0),
        spread=soft,
    )
    return {stream.site: stream, post.site: post}
