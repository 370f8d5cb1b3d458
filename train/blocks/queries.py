"""The part of a block's step that runs per query: attention to loss, back again, and its sums."""

import math
from collections.abc import Callable

import numpy as np

from model.config import VOCAB_SIZE
from model.task import EOS, EQUALS, N_DIGITS, N_INPUT, N_PROMPT, N_TARGET
from train.blocks.algebra import build_norm
from train.blocks.layout import BlockLayout, Target

F = np.float32
GROUP = 4
"""Terms of a sum that are worked on together: a thread waits for its loads once for all of them."""


def build_queries(lay: BlockLayout, target: Target) -> Callable[..., None]:
    """Build the queries' stage: each thread takes one example's query of a column at a time."""
    D, U, V, cuda = lay.d_model, lay.d_ff, VOCAB_SIZE, target.cuda
    normalise, scale, pull = build_norm(lay, target)
    stage = lay.stage
    W_E, W_pos, W_Q, W_in, W_out = lay.W_E, lay.W_pos, lay.W_Q, lay.W_in, lay.W_out
    table, sums, pairs, n_sums = lay.table, lay.sums, lay.pairs, lay.n_sums
    xhat_final, dlogits, loss_row = lay.xhat_final, lay.dlogits, lay.loss_row
    xhat_2, dpre, post_row, dwritten = lay.xhat_2, lay.dpre, lay.post, lay.dwritten
    dquery, slot_row, ones, n_stage = lay.dquery, lay.slot_row, lay.ones, lay.n_stage
    kept, per_query, query_grad, slots = lay.kept, lay.per_query, lay.query_grad, N_DIGITS
    width = lay.table_width
    root, lowest = F(1 / math.sqrt(lay.d_model)), F(-3e38)
    root_half, density, half = F(math.sqrt(0.5)), F(1 / math.sqrt(2 * math.pi)), F(0.5)
    add_by_slot = _build_add_by_slot(lay, target)
    n_threads, lanes = lay.threads, min(GROUP, lay.threads)

    @target.jit
    def query(thread, stride, batch, c, b, sh, scratch, tokens):
        x, h = cuda.local.array(D, F), cuda.local.array(D, F)
        q, out = cuda.local.array(D, F), cuda.local.array(D, F)
        xhat, grad = cuda.local.array(D, F), cuda.local.array(D, F)
        pre, post = cuda.local.array(U, F), cuda.local.array(U, F)
        final, dfinal = cuda.local.array(D, F), cuda.local.array(D, F)
        logits = cuda.local.array(V, F)
        at = stage + thread
        p, n_sources = N_PROMPT - 1 + c, N_PROMPT + c
        token = np.int64(tokens[p, b])
        for i in range(D):
            x[i] = sh[W_E + token * D + i] + sh[W_pos + p * D + i]
            h[i] = x[i]
        normalise(h)
        for i in range(D):
            h[i] = scale(sh, 0, i, h[i])
        for j in range(D):
            total = F(0)
            for i in range(D):
                total += h[i] * sh[W_Q + i * D + j]
            q[j] = total * root
            out[j] = F(0)

        largest = lowest
        for first in range(0, n_sources, GROUP):
            for k in range(GROUP):
                s = min(first + k, n_sources - 1)
                t = np.int64(tokens[s, b])
                row = table + (s * slots + (t if t < slots else 0)) * width
                score = F(0)
                for i in range(D):
                    score += q[i] * sh[row + i]
                largest = max(largest, score)
        total = F(0)
        for first in range(0, n_sources, GROUP):
            for k in range(GROUP):
                s = min(first + k, n_sources - 1)
                t = np.int64(tokens[s, b])
                row = table + (s * slots + (t if t < slots else 0)) * width
                score = F(0)
                for i in range(D):
                    score += q[i] * sh[row + i]
                weight = math.exp(score - largest) if first + k < n_sources else F(0)
                total += weight
                for i in range(D):
                    out[i] += weight * sh[row + D + i]
        inverse = F(1) / total
        lse = largest + math.log(total)
        for i in range(D):
            out[i] *= inverse
            x[i] += out[i]
            xhat[i] = x[i]

        inverse_2 = normalise(xhat)
        for i in range(D):
            h[i] = scale(sh, 1, i, xhat[i])
            sh[at + (xhat_2 + i) * stride] = xhat[i]
        for u in range(U):
            total = F(0)
            for i in range(D):
                total += h[i] * sh[W_in + i * U + u]
            normal = half + half * math.erf(total * root_half)
            post[u] = total * normal
            pre[u] = normal + total * density * math.exp(-half * total * total)
            sh[at + (post_row + u) * stride] = post[u]
        for i in range(D):
            total = x[i]
            for u in range(U):
                total += post[u] * sh[W_out + u * D + i]
            final[i] = total
        inverse_3 = normalise(final)
        for i in range(D):
            dfinal[i] = F(0)
            sh[at + (xhat_final + i) * stride] = final[i]

        answer = np.int64(tokens[p + 1, b]) if c < N_TARGET - 1 else EOS
        largest, true_logit = lowest, F(0)
        for v in range(V):
            total = F(0)
            for i in range(D):
                total += scale(sh, 2, i, final[i]) * sh[W_E + v * D + i]
            logits[v] = total
            largest = max(largest, total)
            if v == answer:
                true_logit = total
        total = F(0)
        for v in range(V):
            logits[v] = math.exp(logits[v] - largest)
            total += logits[v]
        inverse = F(1) / total
        sh[at + loss_row * stride] = math.log(total) + largest - true_logit
        share = F(1) / (F(N_TARGET) * F(batch))
        for v in range(V):
            slope = (logits[v] * inverse - (F(1) if v == answer else F(0))) * share
            sh[at + (dlogits + v) * stride] = slope
            for i in range(D):
                dfinal[i] += slope * sh[W_E + v * D + i]
        pull(sh, 2, dfinal, final, inverse_3)
        for i in range(D):
            grad[i] = F(0)
            sh[at + (dwritten + i) * stride] = dfinal[i]
        for u in range(U):
            total = F(0)
            for i in range(D):
                total += dfinal[i] * sh[W_out + u * D + i]
            total *= pre[u]
            sh[at + (dpre + u) * stride] = total
            for i in range(D):
                grad[i] += total * sh[W_in + i * U + u]
        pull(sh, 1, grad, xhat, inverse_2)
        centre = F(0)
        for i in range(D):
            grad[i] += dfinal[i]
            centre += grad[i] * out[i]
            h[i] = F(0)

        for first in range(0, n_sources, GROUP):
            for k in range(GROUP):
                s = min(first + k, n_sources - 1)
                t = np.int64(tokens[s, b])
                row = table + (s * slots + (t if t < slots else 0)) * width
                score, along = -lse, -centre
                for i in range(D):
                    score += q[i] * sh[row + i]
                    along += grad[i] * sh[row + D + i]
                slope = math.exp(score) * along if first + k < n_sources else F(0)
                for i in range(D):
                    h[i] += slope * sh[row + i]
        first = kept + c * per_query * batch + b
        for i in range(D):
            sh[at + (dquery + i) * stride] = h[i] * root
            sh[at + (dquery + D + i) * stride] = grad[i]
            scratch[first + i * batch] = q[i]
            scratch[first + (D + i) * batch] = grad[i]
        scratch[first + 2 * D * batch] = lse
        scratch[first + (2 * D + 1) * batch] = centre
        sh[at + slot_row * stride] = F(0) if token == EQUALS else F(token)
        sh[at + ones * stride] = F(1)

    @target.jit
    def queries(thread, threads, batch, sh, scratch, tokens):
        stride, parts = threads + 1, cuda.local.array(lanes, F)
        for c in range(N_TARGET):
            for start in range(0, batch, threads):
                if start + thread < batch:
                    query(thread, stride, batch, c, start + thread, sh, scratch, tokens)
                else:
                    for k in range(n_stage):
                        sh[stage + k * stride + thread] = F(0)
                    sh[stage + slot_row * stride + thread] = F(-1)
                cuda.syncthreads()
                for e in range(thread, n_sums, threads):
                    left, right = stage + pairs[e, 0] * stride, stage + pairs[e, 1] * stride
                    for k in range(lanes):
                        parts[k] = F(0)
                    for first in range(0, n_threads, lanes):
                        for k in range(lanes):
                            parts[k] += sh[left + first + k] * sh[right + first + k]
                    for k in range(lanes):
                        sh[sums + e] += parts[k]
                at = query_grad + c * slots * 2 * D
                add_by_slot(thread, threads, sh, dquery, scratch, at, start == 0)
                cuda.syncthreads()

    return queries


def build_sources(lay: BlockLayout, target: Target) -> Callable[..., None]:
    """Build the sources' stage: gradients of each source's key and OV value, by token."""
    D, cuda = lay.d_model, target.cuda
    kept, per_query, table, stage, slots = lay.kept, lay.per_query, lay.table, lay.stage, N_DIGITS
    dquery, slot_row, source_grad = lay.dquery, lay.slot_row, lay.source_grad
    width = lay.table_width
    add_by_slot = _build_add_by_slot(lay, target)

    @target.jit
    def source(thread, stride, batch, p, b, sh, scratch, tokens):
        key, ov = cuda.local.array(D, F), cuda.local.array(D, F)
        dkey, dov = cuda.local.array(D, F), cuda.local.array(D, F)
        t = np.int64(tokens[p, b])
        slot = t if t < slots else 0
        row = table + (p * slots + slot) * width
        for i in range(D):
            key[i], ov[i] = sh[row + i], sh[row + D + i]
            dkey[i], dov[i] = F(0), F(0)
        for c in range(N_TARGET):
            first = kept + c * per_query * batch + b
            score = -scratch[first + 2 * D * batch]
            along = -scratch[first + (2 * D + 1) * batch]
            for i in range(D):
                score += scratch[first + i * batch] * key[i]
                along += scratch[first + (D + i) * batch] * ov[i]
            weight = math.exp(score) if p < N_PROMPT + c else F(0)
            slope = weight * along
            for i in range(D):
                dkey[i] += slope * scratch[first + i * batch]
                dov[i] += weight * scratch[first + (D + i) * batch]
        for i in range(D):
            sh[stage + (dquery + i) * stride + thread] = dkey[i]
            sh[stage + (dquery + D + i) * stride + thread] = dov[i]
        sh[stage + slot_row * stride + thread] = F(slot)

    @target.jit
    def sources(thread, threads, batch, sh, scratch, tokens):
        stride = threads + 1
        for start in range(0, batch, threads):
            for p in range(N_INPUT):
                if start + thread < batch:
                    source(thread, stride, batch, p, start + thread, sh, scratch, tokens)
                else:
                    sh[stage + slot_row * stride + thread] = F(-1)
                cuda.syncthreads()
                at = source_grad + p * slots * 2 * D
                add_by_slot(thread, threads, sh, dquery, scratch, at, start == 0)
                cuda.syncthreads()

    return sources


def _build_add_by_slot(lay: BlockLayout, target: Target) -> Callable[..., None]:
    """Build the sum of staged rows by the digit of each thread's token."""
    stage, slot_row, width, slots = lay.stage, lay.slot_row, 2 * lay.d_model, N_DIGITS
    cuda, n_threads, lanes = target.cuda, lay.threads, min(GROUP, lay.threads)

    @target.jit
    def add_by_slot(thread, threads, sh, rows, scratch, at, fresh):
        stride, parts = threads + 1, cuda.local.array(lanes, F)
        for e in range(thread, slots * width, threads):
            row, digit = stage + (rows + e % width) * stride, F(e // width)
            slots_at = stage + slot_row * stride
            for k in range(lanes):
                parts[k] = F(0)
            for first in range(0, n_threads, lanes):
                for k in range(lanes):
                    value = sh[row + first + k]
                    parts[k] += value if sh[slots_at + first + k] == digit else F(0)
            total = F(0) if fresh else scratch[at + e]
            for k in range(lanes):
                total += parts[k]
            scratch[at + e] = total

    return add_by_slot
