"""The forward pass, compiled, with parts replaced example by example.

Question: what does the network answer when a part of it carries a mean of its class, the value of
another example, or a norm frozen at the clean run?

Method: the tables of `model.tables` hold what is left of the network. Beside them stand keyed
tables: queries, keys and values get an addition looked up under a key of the example (its digit
sum, another example's token), the streams after attention get one per step of the answer and key,
and the norms may be given their scale. Plain edits of the weights belong in `model.decode`: it is
faster.
"""

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from model.decode import Decoded
from model.tables import Tables

ACTIVATIONS = ("none", "relu", "gelu", "gelu_tanh", "silu")
"""The nonlinear functions, by the number that the compiled part knows them by."""


@dataclass(frozen=True, kw_only=True)
class Keyed:
    """Additions that depend on a key per example, and norms that are not recomputed.

    A table with a single key serves every key.

    Heads lie side by side in the last axis of q, k and ov, as in the tables.

    Attributes:
        q: Added to the query of a step, by `query_key`.
        k: Added to the key of a source position, by `source_key`.
        ov: Added to its value times W_O, by `source_key`.
        attn: Added to the residual stream after attention, by `stream_key`.
        pre: Added before the nonlinear function, or to what a gate multiplies.
        gate: Added to the gate before the nonlinear function.
        mlp: Added to the residual stream after the feed-forward layer.
        logits: Added to the logits.
        query_key: Key of each (example, step).
        source_key: Key of each (example, source position).
        stream_key: Key of each (example, step) for `attn`, `pre`, `gate`, `mlp` and `logits`.
        edges: Factor on what each (head, step, source position) writes, after the softmax.
        scale2: Given scale of the second norm, per (example, step); empty: recomputed.
        scale_final: The same of the last norm.
        crossed: Whether q and k are looked up by key times vocabulary plus the token that is
            there: what replaces a part before a norm depends on the rest.
    """

    q: Float[Tensor, "step query_keys joined"]
    k: Float[Tensor, "pos k_keys joined"]
    ov: Float[Tensor, "pos ov_keys written"]
    attn: Float[Tensor, "step attn_keys d"]
    pre: Float[Tensor, "step pre_keys ff"]
    gate: Float[Tensor, "step gate_keys ff"]
    mlp: Float[Tensor, "step mlp_keys d"]
    logits: Float[Tensor, "step logit_keys vocab"]
    query_key: Int[Tensor, "batch step"]
    source_key: Int[Tensor, "batch pos"]
    stream_key: Int[Tensor, "batch step"]
    edges: Float[Tensor, "head step pos"]
    scale2: Float[Tensor, "scaled_or_none step"]
    scale_final: Float[Tensor, "scaled_or_none step"]
    crossed: bool = False

    def rows(self, chosen: Tensor) -> "Keyed":
        """Keep some examples only, in the order of the indices `chosen`."""
        per_example = {
            name: getattr(self, name)[chosen] for name in ("query_key", "source_key", "stream_key")
        }
        for name in ("scale2", "scale_final"):
            value = getattr(self, name)
            per_example[name] = value[chosen] if len(value) else value
        return dataclasses.replace(self, **per_example)


def no_change(tables: Tables, n: int) -> Keyed:
    """Return the additions that change nothing, for `n` examples."""
    layout, (d, d_ff) = tables.layout, tables.W_in.shape
    n_target, n_input = layout.n_target, layout.n_input
    zeros = tables.x.new_zeros
    one_key = torch.zeros(1, n_target, dtype=torch.int64).expand(n, n_target)
    return Keyed(
        q=zeros(n_target, 1, tables.q.shape[-1]),
        k=zeros(n_input, 1, tables.k.shape[-1]),
        ov=zeros(n_input, 1, tables.ov.shape[-1]),
        attn=zeros(n_target, 1, d),
        pre=zeros(n_target, 1, d_ff),
        gate=zeros(n_target, 1, d_ff),
        mlp=zeros(n_target, 1, d),
        logits=zeros(n_target, 1, tables.W_U.shape[1]),
        query_key=one_key,
        source_key=torch.zeros(1, n_input, dtype=torch.int64).expand(n, n_input),
        stream_key=one_key,
        edges=tables.x.new_ones(tables.n_heads, n_target, n_input),
        scale2=zeros(0, n_target),
        scale_final=zeros(0, n_target),
    )


def decode_keyed(
    tables: Tables,
    keyed: Keyed,
    tokens: Int[Tensor, "batch length"],
    *,
    greedy: bool,
    dtype: torch.dtype = torch.float32,
) -> tuple[Decoded, Float[Tensor, "batch step vocab"]]:
    """Decode under keyed additions.

    Args:
        tables: What is left of the network.
        keyed: What is added, for these examples; where its queries and keys are wider than the
            network's, the further dimensions are additions to the scores.
        tokens: Prompts and true targets, as the layout writes them.
        greedy: Feed the answers back; otherwise the true digits.
        dtype: Arithmetic of the pass.

    Returns:
        Tokens and margins, and the logits that they come from.
    """
    n, layout, heads = tokens.shape[0], tables.layout, tables.n_heads
    kind = np.float32 if dtype == torch.float32 else np.float64
    logits = np.empty((n, layout.n_target, tables.W_U.shape[1]), dtype=kind)
    answer = np.empty((n, layout.n_target), dtype=np.int64)

    array = functools.partial(_array, kind=kind)
    lanes = functools.partial(_lanes, kind=kind)
    widen = functools.partial(_widen, heads=heads, width=keyed.q.shape[-1] // heads)
    gate, b_gate = tables.W_gate, tables.b_gate
    gated = gate is not None and b_gate is not None
    gate_add = keyed.gate if b_gate is None else keyed.gate + b_gate
    logit_add = keyed.logits if tables.b_U is None else keyed.logits + tables.b_U
    _decode(
        tokens.numpy().copy(),
        (layout.n_prompt, layout.n_answer if greedy else 0),
        (array(tables.x), array(widen(tables.q)), lanes(widen(tables.k)), lanes(tables.ov)),
        (array(keyed.q), lanes(keyed.k), lanes(keyed.ov)),
        tuple(np.ascontiguousarray(getattr(keyed, f"{x}_key")) for x in _KEYS),
        keyed.crossed,
        array(keyed.edges),
        (
            array(keyed.attn + tables.attn_bias[:, None]),
            array(keyed.pre + tables.b_in[:, None]),
            array(gate_add),
            array(keyed.mlp + tables.b_out[:, None]),
            array(logit_add),
        ),
        tuple(array(getattr(tables, name)) for name in _GAINS),
        (
            array(tables.W_in),
            array(tables.W_in if gate is None else gate),
            array(tables.W_out),
            array(tables.W_U),
        ),
        (array(keyed.scale2), array(keyed.scale_final)),
        (tables.norm != "none", tables.centre, kind(tables.eps)),
        (ACTIVATIONS.index(tables.act), gated),
        answer,
        logits,
    )
    out, truth = torch.from_numpy(logits), tokens[:, layout.n_prompt :]
    true_logit = out.gather(2, truth[:, :, None])[:, :, 0]
    best_other = out.scatter(2, truth[:, :, None], float("-inf")).amax(dim=2)
    margin = (true_logit - best_other).float()
    return Decoded(torch.from_numpy(answer), margin, truth, layout), out


def _array(x: Tensor, kind: type) -> np.ndarray:
    return np.ascontiguousarray(x.detach().numpy(), dtype=kind)


def _lanes(x: Tensor, kind: type) -> np.ndarray:
    return _array(x.transpose(-1, -2).contiguous(), kind)


def _widen(x: Tensor, heads: int, width: int) -> Tensor:
    x = x.unflatten(-1, (heads, -1))
    return torch.nn.functional.pad(x, (0, width - x.shape[-1])).flatten(-2)


_KEYS = ("query", "source", "stream")
_GAINS = ("ln2_w", "ln2_b", "ln_final_w", "ln_final_b")


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Compile with Numba, underneath any wrapper that a type checker has put around it."""
    options = {"nogil": True, "cache": True, "error_model": "numpy"}
    fast = {"contract", "reassoc", "nsz"}
    return numba.njit(fastmath=fast, **options)(inspect.unwrap(function))


@_compiled
def _activate(x, act):
    one, half = type(x)(1), type(x)(0.5)
    if act == 1:
        return max(x, one - one)
    if act == 2:
        return half * x * (1 + math.erf(x * type(x)(math.sqrt(0.5))))
    if act == 3:
        inner = x + type(x)(0.044715) * x * x * x
        return half * x * (one + math.tanh(type(x)(math.sqrt(2 / math.pi)) * inner))
    return x / (one + math.exp(-x))


@_compiled
def _decode(
    tokens,
    places,
    tables,
    added,
    keys,
    crossed,
    edges,
    streams,
    gains,
    mats,
    scales,
    norm,
    units,
    answer,
    logits,
):
    n_prompt, fed = places
    x, q, kT, ovT = tables
    q2, k2T, ov2T = added
    query_key, source_key, stream_key = keys
    attn, pre_add, gate_add, mlp, logit_add = streams
    ln2_w, ln2_b, lnf_w, lnf_b = gains
    W_in, W_gate, W_out, W_U = mats
    scale2, scale_final = scales
    normed, centre, eps = norm
    act, gated = units
    n_heads, n_steps, n_input = edges.shape
    joined, d, d_ff, vocab = q.shape[2], x.shape[2], W_in.shape[1], W_U.shape[1]
    width, written, n_tokens = joined // n_heads, ovT.shape[1], kT.shape[2]
    K = np.empty((joined, n_input), x.dtype)
    V = np.empty((written, n_input), x.dtype)
    score = np.empty(n_input, x.dtype)
    query = np.empty(joined, x.dtype)
    resid = np.empty(d, x.dtype)
    h = np.empty(d, x.dtype)
    for n in range(tokens.shape[0]):
        seen = 0
        for step in range(n_steps):
            length = n_prompt + step
            for j in range(seen, length):
                token, key = tokens[n, j], source_key[n, j]
                key_k = key * n_tokens + token if crossed else key
                key_k = key_k if k2T.shape[2] > 1 else 0
                key_v = key if ov2T.shape[2] > 1 else 0
                for i in range(joined):
                    K[i, j] = kT[j, i, token] + k2T[j, i, key_k]
                for i in range(written):
                    V[i, j] = ovT[j, i, token] + ov2T[j, i, key_v]
            seen = length
            token, key = tokens[n, length - 1], stream_key[n, step]
            key_a = key if attn.shape[1] > 1 else 0
            key_p = key if pre_add.shape[1] > 1 else 0
            key_g = key if gate_add.shape[1] > 1 else 0
            key_m = key if mlp.shape[1] > 1 else 0
            key_l = key if logit_add.shape[1] > 1 else 0
            key_q = query_key[n, step]
            key_q = key_q * n_tokens + token if crossed else key_q
            key_q = key_q if q2.shape[1] > 1 else 0
            for i in range(joined):
                query[i] = q[step, token, i] + q2[step, key_q, i]
            for i in range(d):
                resid[i] = x[step, token, i] + attn[step, key_a, i]
            for head in range(n_heads):
                for j in range(length):
                    score[j] = 0
                for i in range(head * width, (head + 1) * width):
                    weight = query[i]
                    if weight != 0:
                        for j in range(length):
                            score[j] += weight * K[i, j]
                top = score[0]
                for j in range(1, length):
                    top = max(top, score[j])
                total = x.dtype.type(0)
                for j in range(length):
                    # Below 1e-13 of the largest weight nothing is left to see, and exp is dear.
                    score[j] = math.exp(score[j] - top) if score[j] > top - 30 else 0
                    total += score[j]
                for j in range(length):
                    score[j] *= edges[head, step, j] / total
                for i in range(d):
                    acc = resid[i]
                    for j in range(length):
                        acc += score[j] * V[head * d + i, j]
                    resid[i] = acc
            if act != 0:
                _normalise(resid, h, normed, centre, eps, scale2, n, step)
                for i in range(d):
                    h[i] = h[i] * ln2_w[i] + ln2_b[i]
                    resid[i] += mlp[step, key_m, i]
                for m in range(d_ff):
                    acc = pre_add[step, key_p, m]
                    for i in range(d):
                        acc += h[i] * W_in[i, m]
                    if gated:
                        gate = gate_add[step, key_g, m]
                        for i in range(d):
                            gate += h[i] * W_gate[i, m]
                        acc *= _activate(gate, act)
                    else:
                        acc = _activate(acc, act)
                    for i in range(d):
                        resid[i] += acc * W_out[m, i]
            _normalise(resid, h, normed, centre, eps, scale_final, n, step)
            for i in range(d):
                h[i] = h[i] * lnf_w[i] + lnf_b[i]
            best = 0
            for t in range(vocab):
                acc = logit_add[step, key_l, t]
                for i in range(d):
                    acc += h[i] * W_U[i, t]
                logits[n, step, t] = acc
                if acc > logits[n, step, best]:
                    best = t
            answer[n, step] = best
            if step < min(fed, n_steps - 1):
                tokens[n, n_prompt + step] = best


@_compiled
def _normalise(resid, h, normed, centre, eps, given, n, step):
    d = resid.shape[0]
    if not normed:
        for i in range(d):
            h[i] = resid[i]
        return
    mean = resid.dtype.type(0)
    if centre:
        for i in range(d):
            mean += resid[i]
        mean /= d
    total = resid.dtype.type(0)
    for i in range(d):
        h[i] = resid[i] - mean
        total += h[i] * h[i]
    scale = given[n, step] if given.shape[0] else math.sqrt(total / d + eps)
    for i in range(d):
        h[i] /= scale
