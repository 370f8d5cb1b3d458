"""One answer column, hook by hook: the wrapper's activations without the wrapper's cost.

A single layer makes the logits of answer column i a function of the sources up to position 21 + i
and of the query there, so a probe or a swap at that position needs one query, not 33. Site names
are those of the wrapper (`HOOKS` gives its full hook names); bottlenecks are computed from the
factors themselves. Edits act below the edited site only, and `known` activations are not computed
again, so that a swap deep in the layer costs what lies below it.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import gelu

from model.adder import Adder
from model.config import ModelConfig, qkv_names
from model.factored import Params, factor_names, product
from model.task import query_position

HOOKS: dict[str, str] = {
    "embed": "hook_embed",
    "pos_low": "hook_pos_low",
    "pos_embed": "hook_pos_embed",
    "resid_pre": "blocks.0.hook_resid_pre",
    "ln1_scale": "blocks.0.ln1.hook_scale",
    "ln1_normalized": "blocks.0.ln1.hook_normalized",
    "q_low": "blocks.0.attn.hook_q_low",
    "q": "blocks.0.attn.hook_q",
    "k_low": "blocks.0.attn.hook_k_low",
    "k": "blocks.0.attn.hook_k",
    "v_low": "blocks.0.attn.hook_v_low",
    "v": "blocks.0.attn.hook_v",
    "attn_scores": "blocks.0.attn.hook_attn_scores",
    "pattern": "blocks.0.attn.hook_pattern",
    "z": "blocks.0.attn.hook_z",
    "o_low": "blocks.0.attn.hook_o_low",
    "attn_out": "blocks.0.hook_attn_out",
    "resid_mid": "blocks.0.hook_resid_mid",
    "mlp_in": "blocks.0.hook_mlp_in",
    "ln2_scale": "blocks.0.ln2.hook_scale",
    "ln2_normalized": "blocks.0.ln2.hook_normalized",
    "in_low": "blocks.0.mlp.hook_in_low",
    "pre": "blocks.0.mlp.hook_pre",
    "post": "blocks.0.mlp.hook_post",
    "out_low": "blocks.0.mlp.hook_out_low",
    "mlp_out": "blocks.0.hook_mlp_out",
    "resid_post": "blocks.0.hook_resid_post",
    "final_scale": "ln_final.hook_scale",
    "final_normalized": "ln_final.hook_normalized",
    "logits": "unembed.hook_out",
}
"""The wrapper's hook of each site, in the order of the computation."""

SOURCE_HOOKS = frozenset(
    {
        *("embed", "pos_low", "pos_embed", "resid_pre", "ln1_scale", "ln1_normalized"),
        *("k_low", "k", "v_low", "v"),
    }
)
"""Sites with a vector for every source; at the query position they see one token, s_{i-1}."""

_LOW = {
    "pos_low": "pos_rank",
    **dict.fromkeys(("q_low", "k_low", "v_low"), "qkv_rank"),
    "o_low": "attn_out_rank",
    **dict.fromkeys(("in_low", "out_low"), "ffn_rank"),
}

Trace = dict[str, Tensor]
"""Activations by site: (batch, source, width) for source sites, (batch, width) otherwise."""

Edits = Mapping[str, Callable[[Tensor], Tensor]]
"""What replaces the activation of a site before anything below reads it."""

_NOTHING: dict = {}


@dataclass(frozen=True)
class Network:
    """A network in float64 by its factors; made by `network_of`.

    Attributes:
        config: The network's shape.
        params: Its parameters.
        factors: Names of the parameters whose product is W_pos, W_Q, W_K, W_V, W_O, W_in and W_out.
    """

    config: ModelConfig
    params: Params
    factors: dict[str, tuple[str, ...]]

    def sites(self) -> tuple[str, ...]:
        """List the sites that the network has; `mlp_in` repeats resid_mid and is left out."""
        absent = {low for low, rank in _LOW.items() if not getattr(self.config, rank)}
        return tuple(site for site in HOOKS if site not in absent | {"mlp_in"})

    def matrix(self, name: str) -> Tensor:
        """Multiply the factors of a matrix out."""
        return product(self.params, self.factors[name])


def network_of(model: Adder) -> Network:
    """Copy a model's factors in float64."""
    params = {name: value.detach().double() for name, value in model.params.items()}
    factors = dict(zip(("W_Q", "W_K", "W_V"), qkv_names(model.config), strict=True))
    factors |= {name: factor_names(params, name) for name in ("W_pos", "W_O", "W_in", "W_out")}
    return Network(model.config, params, factors)


def after(site: str) -> tuple[str, ...]:
    """List the sites computed after `site`."""
    order = tuple(HOOKS)
    return order[order.index(site) + 1 :]


def upstream(trace: Trace, site: str) -> Trace:
    """Keep the sites that are computed before an edit at `site` acts, and `site` itself.

    The order of `HOOKS` is that of the computation, so a site that is merely earlier than `site`
    cannot depend on it.
    """
    below = set(after(site))
    return {name: value for name, value in trace.items() if name not in below}


def trace_hooks(
    network: Network,
    tokens: Int[Tensor, "batch pos"],
    column: int,
    *,
    known: Mapping[str, Tensor] = _NOTHING,
    edits: Edits = _NOTHING,
) -> Trace:
    """Compute the activations of one answer column.

    Args:
        network: The network.
        tokens: Token ids with the prefix to be used, at least 22 + column positions.
        column: Answer column, 0 (units) to 11 (EOS).
        known: Activations taken as they are instead of being computed (edits still apply).
        edits: Functions by site; each gets the activation and returns its replacement.

    Returns:
        The activations by site, edited ones as they were edited.
    """
    column_pass = _Pass(network, known, edits)
    site, matrix, norm = column_pass.site, column_pass.matrix, column_pass.norm
    params = network.params
    length = query_position(column) + 1

    embed = site("embed", lambda: params["W_E"][tokens[:, :length]])
    first, *rest = network.factors["W_pos"]
    rows = params[first][:length].expand(len(tokens), -1, -1)
    if rest:
        low = site("pos_low", lambda: rows)
        position = site("pos_embed", lambda: low @ params[rest[0]])
    else:
        position = site("pos_embed", lambda: rows)
    x = site("resid_pre", lambda: embed + position)
    h = norm("ln1", "ln1", x)
    q = matrix("W_Q", "q_low", "q", lambda: h()[:, -1])
    k = matrix("W_K", "k_low", "k", h)
    v = matrix("W_V", "v_low", "v", h)
    scores = site("attn_scores", lambda: (k @ q[:, :, None])[..., 0] / math.sqrt(q.shape[-1]))
    pattern = site("pattern", lambda: scores.softmax(dim=-1))
    z = site("z", lambda: (pattern[:, None] @ v)[:, 0])
    attn_out = matrix("W_O", "o_low", "attn_out", lambda: z)
    resid_mid = site("resid_mid", lambda: x[:, -1] + attn_out)
    read = norm("ln2", "ln2", site("mlp_in", lambda: resid_mid))
    pre = matrix("W_in", "in_low", "pre", read)
    post = site("post", lambda: gelu(pre))
    mlp_out = matrix("W_out", "out_low", "mlp_out", lambda: post)
    resid_post = site("resid_post", lambda: resid_mid + mlp_out)
    final = norm("ln_final", "final", resid_post)
    site("logits", lambda: final() @ params["W_E"].T)
    return column_pass.found


def trace_columns(
    network: Network, tokens: Int[Tensor, "batch pos"], columns: Sequence[int]
) -> Iterator[Trace]:
    """Compute the activations of several answer columns of the same inputs, one after the other.

    What depends on a source alone is the same for every column that reads it: it is computed once,
    for the column that reads most.
    """
    most = trace_hooks(network, tokens, max(columns))
    shared = {site: most[site] for site in SOURCE_HOOKS if site in most}

    for column in columns:
        length = query_position(column) + 1
        # In a memory layout of their own, so that products of them round as they do alone.
        known = {site: value[:, :length].contiguous() for site, value in shared.items()}
        yield trace_hooks(network, tokens, column, known=known)


class _Pass:
    """One forward pass: computes, takes over or edits every site, and remembers it."""

    def __init__(self, network: Network, known: Mapping[str, Tensor], edits: Edits) -> None:
        self._network, self._known, self._edits = network, known, edits
        self.found: Trace = {}

    def site(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """Settle the activation of one site."""
        value = self._known[name] if name in self._known else compute()
        self.found[name] = self._edits[name](value) if name in self._edits else value
        return self.found[name]

    def matrix(self, name: str, low: str, high: str, read: Callable[[], Tensor]) -> Tensor:
        """Multiply by a matrix, through its bottleneck where it is a product."""
        names, params = self._network.factors[name], self._network.params
        if len(names) == 1:
            return self.site(high, lambda: read() @ params[names[0]])
        h = self.site(low, lambda: read() @ params[names[0]])
        return self.site(high, lambda: h @ params[names[1]])

    def norm(self, name: str, prefix: str, x: Tensor) -> Callable[[], Tensor]:
        """Settle both sites of a norm; return what gives its output, gain and bias applied."""
        params, eps = self._network.params, self._network.config.eps
        if self._network.config.norm == "layer":
            x = x - x.mean(dim=-1, keepdim=True)
        scale = self.site(
            f"{prefix}_scale", lambda: torch.sqrt(x.pow(2).mean(dim=-1, keepdim=True) + eps)
        )
        h = self.site(f"{prefix}_normalized", lambda: x / scale)
        return lambda: h * params[f"{name}_w"] + params.get(f"{name}_b", 0.0)


def at_query(trace: Trace, site: str) -> Tensor:
    """Return the activation at the query position, (batch, width)."""
    return trace[site][:, -1] if site in SOURCE_HOOKS else trace[site]
