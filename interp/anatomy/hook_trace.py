"""One answer column, hook by hook: the wrapper's activations without the wrapper's cost.

A single layer makes the logits of an answer column a function of the sources up to its query
position and of the query there, so a probe or a swap at that position needs one query, not one for
each position. Site names are those of the wrapper (`HOOKS` gives its full hook names); a network
has the sites that its wrapper has. Bottlenecks are computed from the factors, where these are
known. Edits act below the edited site only, and `known` activations are not computed again, so that
a swap deep in the layer costs what lies below it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from model.adder import Adder
from model.config import qkv_names
from model.dense import dense
from model.factored import factor_names
from model.layouts import Layout
from model.network import Network, join_heads, rotate, split_heads

HOOKS: dict[str, str] = {
    "embed": "hook_embed",
    "pos_low": "hook_pos_low",
    "pos_embed": "hook_pos_embed",
    "resid_pre": "blocks.0.hook_resid_pre",
    "ln1_scale": "blocks.0.ln1.hook_scale",
    "ln1_normalized": "blocks.0.ln1.hook_normalized",
    "q_low": "blocks.0.attn.hook_q_low",
    "q": "blocks.0.attn.hook_q",
    "rot_q": "blocks.0.attn.hook_rot_q",
    "k_low": "blocks.0.attn.hook_k_low",
    "k": "blocks.0.attn.hook_k",
    "rot_k": "blocks.0.attn.hook_rot_k",
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
    "pre_linear": "blocks.0.mlp.hook_pre_linear",
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
        *("k_low", "k", "rot_k", "v_low", "v"),
    }
)
"""Sites with a vector for every source; at the query position they see one token, s_{i-1}."""

LOW: dict[str, str] = {
    "W_pos": "pos_low",
    "W_Q": "q_low",
    "W_K": "k_low",
    "W_V": "v_low",
    "W_O": "o_low",
    "W_in": "in_low",
    "W_out": "out_low",
}
"""The site of each matrix's bottleneck."""

Trace = dict[str, Tensor]
"""Activations by site. Sites of `SOURCE_HOOKS` have axes (batch, source, ...), others (batch, ...);
what a head has of its own has a head axis: keys, values and queries before their width, scores and
patterns before the sources."""

Edits = Mapping[str, Callable[[Tensor], Tensor]]
"""What replaces the activation of a site before anything below reads it."""

_NOTHING: dict = {}


@dataclass(frozen=True)
class Specimen:
    """A network in float64 with what is known of its factors; made by `specimen_of`.

    Attributes:
        network: Its effective weights.
        factors: Both factors of each matrix that is a product of two, by the matrix's name; none
            where the network is known by its effective weights alone.
    """

    network: Network
    factors: Mapping[str, tuple[Float[Tensor, "_ rank"], Float[Tensor, "rank _"]]]

    @property
    def layout(self) -> Layout:
        """The network's task."""
        return self.network.layout

    def sites(self) -> tuple[str, ...]:
        """List the sites that the network has; `mlp_in` repeats resid_mid and is left out."""
        absent = {low for matrix, low in LOW.items() if matrix not in self.factors}
        absent.add("mlp_in")
        network = self.network
        if not _has_positions(network):
            absent.add("pos_embed")
        if network.rotary is None:
            absent |= {"rot_q", "rot_k"}
        if network.norm == "none":
            absent |= {f"{name}_{part}" for name in _NORMS for part in ("scale", "normalized")}
        if network.act == "none":
            absent |= {"resid_mid", "ln2_scale", "ln2_normalized", "pre", "post", "mlp_out"}
        if network.W_gate is None:
            absent.add("pre_linear")
        return tuple(site for site in HOOKS if site not in absent)

    @property
    def mid(self) -> str:
        """The site after attention: resid_mid, or resid_post without a feed-forward layer."""
        return "resid_post" if self.network.act == "none" else "resid_mid"


_NORMS = ("ln1", "ln2", "final")


def specimen_of(model: Adder | Network) -> Specimen:
    """Copy a network in float64, with its factors where it is given by them."""
    if isinstance(model, Network):
        return Specimen(model.to(torch.float64), {})
    params = {name: value.detach().double() for name, value in model.params.items()}
    names = dict(zip(("W_Q", "W_K", "W_V"), qkv_names(model.config), strict=True))
    names |= {name: factor_names(params, name) for name in ("W_pos", "W_O", "W_in", "W_out")}
    factors = {
        matrix: (params[found[0]], params[found[1]])
        for matrix, found in names.items()
        if len(found) == 2
    }
    return Specimen(dense(model), factors)


def _has_positions(network: Network) -> bool:
    """Tell whether the stream is a sum of token and learned position, each with a hook."""
    return network.W_X is None and network.rotary is None


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
    specimen: Specimen,
    tokens: Int[Tensor, "batch pos"],
    column: int,
    *,
    known: Mapping[str, Tensor] = _NOTHING,
    edits: Edits = _NOTHING,
) -> Trace:
    """Compute the activations of one answer column.

    Args:
        specimen: The network.
        tokens: Token ids with the prefix to be used, at least up to the column's query position.
        column: Answer column, 0 (units) to the layout's last; one more is the end token.
        known: Activations taken as they are instead of being computed (edits still apply).
        edits: Functions by site; each gets the activation and returns its replacement.

    Returns:
        The activations by site, edited ones as they were edited.
    """
    network, column_pass = specimen.network, _Pass(specimen, known, edits)
    site, matrix, norm = column_pass.site, column_pass.matrix, column_pass.norm
    query = network.layout.query_position(column)
    tokens, places = tokens[:, : query + 1], torch.arange(query + 1)
    heads, kv_heads = network.n_heads, network.n_kv_heads

    def split(n: int, bias: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda y: split_heads(y, n) + bias

    x = site("resid_pre", column_pass.stream(tokens, places))
    h = norm("ln1", "ln1", x)
    q = matrix("W_Q", "q", lambda: h()[:, -1], split(heads, network.b_Q))
    q = column_pass.turned("rot_q", q, network.q_norm_w, places[-1])
    k = matrix("W_K", "k", h, split(kv_heads, network.b_K))
    k = column_pass.turned("rot_k", k, network.k_norm_w, places)
    v = matrix("W_V", "v", h, split(kv_heads, network.b_V))
    k, v = (by_head(y, heads) for y in (k, v))
    scores = site("attn_scores", lambda: (k @ q[..., None])[..., 0] / network.attn_scale)
    pattern = site("pattern", lambda: scores.softmax(dim=-1))
    z = site("z", lambda: (pattern[:, :, None] @ v)[:, :, 0])
    attn_out = matrix("W_O", "attn_out", lambda: z.flatten(1), lambda y: y + network.b_O)
    if network.act == "none":
        resid_post = site("resid_post", lambda: x[:, -1] + attn_out)
    else:
        resid_mid = site("resid_mid", lambda: x[:, -1] + attn_out)
        g = norm("ln2", "ln2", site("mlp_in", lambda: resid_mid))
        post = site("post", column_pass.units(g))
        mlp_out = matrix("W_out", "mlp_out", lambda: post, lambda y: y + network.b_out)
        resid_post = site("resid_post", lambda: resid_mid + mlp_out)
    final = norm("ln_final", "final", resid_post)
    site("logits", lambda: final() @ network.W_U + network.b_U)
    return column_pass.found


def by_head(
    x: Float[Tensor, "batch source kv_head width"], n_heads: int
) -> Float[Tensor, "batch head source width"]:
    """Give every head of queries its keys or values, which several may share."""
    x = x.transpose(1, 2)
    return x if x.shape[1] == n_heads else x.repeat_interleave(n_heads // x.shape[1], dim=1)


def trace_columns(
    specimen: Specimen, tokens: Int[Tensor, "batch pos"], columns: Sequence[int]
) -> Iterator[Trace]:
    """Compute the activations of several answer columns of the same inputs, one after the other.

    What depends on a source alone is the same for every column that reads it: it is computed once,
    for the column that reads most.
    """
    query = specimen.layout.query_position
    most = trace_hooks(specimen, tokens, max(columns, key=query))
    shared = {site: most[site] for site in SOURCE_HOOKS if site in most}

    for column in columns:
        length = query(column) + 1
        # In a memory layout of their own, so that products of them round as they do alone.
        known = {site: value[:, :length].contiguous() for site, value in shared.items()}
        yield trace_hooks(specimen, tokens, column, known=known)


class _Pass:
    """One forward pass: computes, takes over or edits every site, and remembers it."""

    def __init__(self, specimen: Specimen, known: Mapping[str, Tensor], edits: Edits) -> None:
        self._specimen, self._known, self._edits = specimen, known, edits
        self.found: Trace = {}

    def site(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """Settle the activation of one site."""
        value = self._known[name] if name in self._known else compute()
        self.found[name] = self._edits[name](value) if name in self._edits else value
        return self.found[name]

    def stream(self, tokens: Tensor, places: Tensor) -> Callable[[], Tensor]:
        """Settle the sites of both embeddings; return what gives their sum."""
        network = self._specimen.network
        if not _has_positions(network):
            embed = self.site("embed", lambda: network.stream()[places, tokens])
            return lambda: embed
        embed = self.site("embed", lambda: network.W_E[tokens])
        factors = self._specimen.factors.get("W_pos")
        rows = (network.W_pos if factors is None else factors[0])[places]
        rows = rows.expand(len(tokens), -1, -1)
        if factors is None:
            position = self.site("pos_embed", lambda: rows)
        else:
            low = self.site("pos_low", lambda: rows)
            position = self.site("pos_embed", lambda: low @ factors[1])
        return lambda: embed + position

    def matrix(
        self,
        name: str,
        site: str,
        read: Callable[[], Tensor],
        finish: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Multiply by a matrix, heads side by side, through its bottleneck where it has one."""
        factors = self._specimen.factors.get(name)
        if factors is None:
            return self.site(site, lambda: finish(read() @ _flat(self._specimen.network, name)))
        low = self.site(LOW[name], lambda: read() @ factors[0])
        return self.site(site, lambda: finish(low @ factors[1]))

    def turned(self, name: str, x: Tensor, gain: Tensor | None, places: Tensor) -> Tensor:
        """Norm queries or keys and turn them by their positions, as far as the network does."""
        network = self._specimen.network
        if gain is not None:
            x = x / torch.sqrt(x.pow(2).mean(dim=-1, keepdim=True) + network.qk_eps) * gain
        rotary = network.rotary
        return x if rotary is None else self.site(name, lambda: rotate(x, places, rotary))

    def units(self, g: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """Settle what the feed-forward units read; return what gives their activation."""
        network = self._specimen.network
        if network.W_gate is None or network.b_gate is None:
            pre = self.matrix("W_in", "pre", g, lambda y: y + network.b_in)
            return lambda: network.activate(pre)
        W_gate, b_gate = network.W_gate, network.b_gate
        gate = self.site("pre", lambda: g() @ W_gate + b_gate)
        linear = self.site("pre_linear", lambda: g() @ network.W_in + network.b_in)
        return lambda: network.activate(gate) * linear

    def norm(self, name: str, prefix: str, x: Tensor) -> Callable[[], Tensor]:
        """Settle both sites of a norm; return what gives its output, gain and bias applied."""
        network = self._specimen.network
        if network.norm == "none":
            return lambda: x
        if network.norm == "layer":
            x = x - x.mean(dim=-1, keepdim=True)
        scale = self.site(
            f"{prefix}_scale", lambda: torch.sqrt(x.pow(2).mean(dim=-1, keepdim=True) + network.eps)
        )
        h = self.site(f"{prefix}_normalized", lambda: x / scale)
        return lambda: h * getattr(network, f"{name}_w") + getattr(network, f"{name}_b")


def _flat(network: Network, name: str) -> Tensor:
    """Return a matrix with its heads side by side."""
    weight = getattr(network, name)
    if name == "W_O":
        return weight.flatten(0, 1)
    return join_heads(weight) if weight.ndim == 3 else weight


def at_query(trace: Trace, site: str) -> Float[Tensor, "batch width"]:
    """Return the activation at the query position, heads side by side."""
    value = trace[site][:, -1] if site in SOURCE_HOOKS else trace[site]
    return value.flatten(1)
