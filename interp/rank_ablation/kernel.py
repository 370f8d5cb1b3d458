"""The forward pass, compiled, with parts replaced example by example.

Question: what does the network answer when a part of it carries a mean of its class, the value of
another example, or a norm frozen at the clean run?

Method: the tables of `model.tables` hold what is left of the network. Beside them stand keyed
tables: queries, keys and values get an addition looked up under a key of the example (its digit
sum, another example's token), the streams after attention get one per column and key, and the
norms may be given their scale. Plain edits of the weights belong in `model.decode`: it is faster.
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
from model.task import N_ANSWER, N_INPUT, N_PROMPT, N_TARGET, query_position

FIRST = query_position(0)


@dataclass(frozen=True, kw_only=True)
class Keyed:
    """Additions that depend on a key per example, and norms that are not recomputed.

    A table with a single key serves every key.

    Attributes:
        q: Added to the query of a column, by `query_key`.
        k: Added to the key of a source position, by `source_key`.
        ov: Added to its value times W_O, by `source_key`.
        attn: Added to the residual stream after attention, by `stream_key`.
        pre: Added before the GELU.
        mlp: Added to the residual stream after the feed-forward layer.
        logits: Added to the logits.
        query_key: Key of each (example, column).
        source_key: Key of each (example, source position).
        stream_key: Key of each (example, column) for `attn`, `pre`, `mlp` and `logits`.
        edges: Factor on what each (column, source position) writes, after the softmax.
        scale2: Given scale of the second norm, per (example, column); empty: recomputed.
        scale_final: The same of the last norm.
    """

    q: Float[Tensor, "column query_keys head"]
    k: Float[Tensor, "pos k_keys head"]
    ov: Float[Tensor, "pos ov_keys d"]
    attn: Float[Tensor, "column attn_keys d"]
    pre: Float[Tensor, "column pre_keys ff"]
    mlp: Float[Tensor, "column mlp_keys d"]
    logits: Float[Tensor, "column logit_keys vocab"]
    query_key: Int[Tensor, "batch column"]
    source_key: Int[Tensor, "batch pos"]
    stream_key: Int[Tensor, "batch column"]
    edges: Float[Tensor, "column pos"]
    scale2: Float[Tensor, "scaled_or_none column"]
    scale_final: Float[Tensor, "scaled_or_none column"]

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
    d, d_ff = tables.W_in.shape
    head = tables.q.shape[-1]
    zeros = tables.x.new_zeros
    one_key = torch.zeros(1, N_TARGET, dtype=torch.int64).expand(n, N_TARGET)
    return Keyed(
        q=zeros(N_TARGET, 1, head),
        k=zeros(N_INPUT, 1, head),
        ov=zeros(N_INPUT, 1, d),
        attn=zeros(N_TARGET, 1, d),
        pre=zeros(N_TARGET, 1, d_ff),
        mlp=zeros(N_TARGET, 1, d),
        logits=zeros(N_TARGET, 1, tables.W_U.shape[1]),
        query_key=one_key,
        source_key=torch.zeros(1, N_INPUT, dtype=torch.int64).expand(n, N_INPUT),
        stream_key=one_key,
        edges=tables.x.new_ones(N_TARGET, N_INPUT),
        scale2=zeros(0, N_TARGET),
        scale_final=zeros(0, N_TARGET),
    )


def decode_keyed(
    tables: Tables,
    keyed: Keyed,
    tokens: Int[Tensor, "batch 34"],
    *,
    greedy: bool,
    dtype: torch.dtype = torch.float32,
) -> tuple[Decoded, Float[Tensor, "batch column vocab"]]:
    """Decode under keyed additions.

    Args:
        tables: What is left of the network.
        keyed: What is added, for these examples; where its queries and keys are wider than the
            network's, the further dimensions are additions to the scores.
        tokens: Prompts and true targets, as `model.task.encode` writes them.
        greedy: Feed the answers back; otherwise the true digits.
        dtype: Arithmetic of the pass.

    Returns:
        Tokens and margins, and the logits that they come from.
    """
    n = tokens.shape[0]
    kind = np.float32 if dtype == torch.float32 else np.float64
    logits = np.empty((n, N_TARGET, tables.W_U.shape[1]), dtype=kind)
    answer = np.empty((n, N_TARGET), dtype=np.int64)

    array = functools.partial(_array, kind=kind)
    lanes = functools.partial(_lanes, kind=kind)
    widen = functools.partial(_widen, width=keyed.q.shape[-1])
    _decode(
        tokens.numpy().copy(),
        greedy,
        (array(tables.x), array(widen(tables.q)), lanes(widen(tables.k)), lanes(tables.ov)),
        (array(keyed.q), lanes(keyed.k), lanes(keyed.ov)),
        tuple(np.ascontiguousarray(getattr(keyed, f"{x}_key")) for x in _KEYS),
        array(keyed.edges),
        (
            array(keyed.attn + tables.attn_bias[:, None]),
            array(keyed.pre + tables.b_in[:, None]),
            array(keyed.mlp + tables.b_out[:, None]),
            array(keyed.logits),
        ),
        tuple(array(getattr(tables, name)) for name in _GAINS),
        (array(tables.W_in), array(tables.W_out), array(tables.W_U)),
        (array(keyed.scale2), array(keyed.scale_final)),
        (tables.centre, kind(tables.eps)),
        answer,
        logits,
    )
    out, truth = torch.from_numpy(logits), tokens[:, N_PROMPT:]
    true_logit = out.gather(2, truth[:, :, None])[:, :, 0]
    best_other = out.scatter(2, truth[:, :, None], float("-inf")).amax(dim=2)
    margin = (true_logit - best_other).float()
    return Decoded(torch.from_numpy(answer), margin, truth), out


def _array(x: Tensor, kind: type) -> np.ndarray:
    return np.ascontiguousarray(x.detach().numpy(), dtype=kind)


def _lanes(x: Tensor, kind: type) -> np.ndarray:
    return _array(x.transpose(-1, -2).contiguous(), kind)


def _widen(x: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(x, (0, width - x.shape[-1]))


_KEYS = ("query", "source", "stream")
_GAINS = ("ln2_w", "ln2_b", "ln_final_w", "ln_final_b")


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Compile with Numba, underneath any wrapper that a type checker has put around it."""
    options = {"nogil": True, "cache": True, "error_model": "numpy"}
    fast = {"contract", "reassoc", "nsz"}
    return numba.njit(fastmath=fast, **options)(inspect.unwrap(function))


@_compiled
def _decode(
    tokens, greedy, tables, added, keys, edges, streams, gains, mats, scales, norm, answer, logits
):
    x, q, kT, ovT = tables
    q2, k2T, ov2T = added
    query_key, source_key, stream_key = keys
    attn, pre_add, mlp, logit_add = streams
    ln2_w, ln2_b, lnf_w, lnf_b = gains
    W_in, W_out, W_U = mats
    scale2, scale_final = scales
    centre, eps = norm
    head, d, d_ff, vocab = q.shape[2], x.shape[2], W_in.shape[1], W_U.shape[1]
    K = np.empty((head, N_INPUT), x.dtype)
    V = np.empty((d, N_INPUT), x.dtype)
    score = np.empty(N_INPUT, x.dtype)
    query = np.empty(head, x.dtype)
    resid = np.empty(d, x.dtype)
    h = np.empty(d, x.dtype)
    half, root = x.dtype.type(0.5), x.dtype.type(math.sqrt(0.5))
    for n in range(tokens.shape[0]):
        seen = 0
        for column in range(N_TARGET):
            length = FIRST + column + 1
            for j in range(seen, length):
                token, key = tokens[n, j], source_key[n, j]
                key_k = key if k2T.shape[2] > 1 else 0
                key_v = key if ov2T.shape[2] > 1 else 0
                for i in range(head):
                    K[i, j] = kT[j, i, token] + k2T[j, i, key_k]
                for i in range(d):
                    V[i, j] = ovT[j, i, token] + ov2T[j, i, key_v]
            seen = length
            token, key = tokens[n, length - 1], stream_key[n, column]
            key_a = key if attn.shape[1] > 1 else 0
            key_p = key if pre_add.shape[1] > 1 else 0
            key_m = key if mlp.shape[1] > 1 else 0
            key_l = key if logit_add.shape[1] > 1 else 0
            key_q = query_key[n, column] if q2.shape[1] > 1 else 0
            for i in range(head):
                query[i] = q[column, token, i] + q2[column, key_q, i]
            for j in range(length):
                score[j] = 0
            for i in range(head):
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
                score[j] *= edges[column, j] / total
            for i in range(d):
                acc = x[column, token, i] + attn[column, key_a, i]
                for j in range(length):
                    acc += score[j] * V[i, j]
                resid[i] = acc
            _normalise(resid, h, centre, eps, scale2, n, column)
            for i in range(d):
                h[i] = h[i] * ln2_w[i] + ln2_b[i]
                resid[i] += mlp[column, key_m, i]
            for m in range(d_ff):
                acc = pre_add[column, key_p, m]
                for i in range(d):
                    acc += h[i] * W_in[i, m]
                acc = half * acc * (1 + math.erf(acc * root))
                for i in range(d):
                    resid[i] += acc * W_out[m, i]
            _normalise(resid, h, centre, eps, scale_final, n, column)
            for i in range(d):
                h[i] = h[i] * lnf_w[i] + lnf_b[i]
            best = 0
            for t in range(vocab):
                acc = logit_add[column, key_l, t]
                for i in range(d):
                    acc += h[i] * W_U[i, t]
                logits[n, column, t] = acc
                if acc > logits[n, column, best]:
                    best = t
            answer[n, column] = best
            if greedy and column < N_ANSWER:
                tokens[n, N_PROMPT + column] = best


@_compiled
def _normalise(resid, h, centre, eps, given, n, column):
    d = resid.shape[0]
    mean = resid.dtype.type(0)
    if centre:
        for i in range(d):
            mean += resid[i]
        mean /= d
    total = resid.dtype.type(0)
    for i in range(d):
        h[i] = resid[i] - mean
        total += h[i] * h[i]
    scale = given[n, column] if given.shape[0] else math.sqrt(total / d + eps)
    for i in range(d):
        h[i] /= scale
