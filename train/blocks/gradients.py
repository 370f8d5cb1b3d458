"""The end of a block's step: from the tables' gradients to those of the parameters, and AdamW."""

import math
from collections.abc import Callable

import numpy as np

from model.config import VOCAB_SIZE
from model.task import EQUALS, N_DIGITS, N_INPUT, N_PROMPT, PLUS
from train.blocks.algebra import build_norm
from train.blocks.layout import MATRICES, N_ROWS, BlockLayout, Target
from train.config import ADAM_EPS, BETA_1, BETA_2
from train.schedule import INV_BIAS_1, INV_ROOT_BIAS_2, LR

F = np.float32
AT_PLUS, AT_EQUALS = N_DIGITS * N_DIGITS, (N_PROMPT - 1) * N_DIGITS
"""Rows of `+` and `=` in the tables."""


def build_gradients(lay: BlockLayout, target: Target) -> tuple[Callable, Callable, Callable]:
    """Build three stages: rows of the tables, gradients of the parameters, AdamW."""
    return _build_rows(lay, target), _build_parameters(lay, target), _build_adamw(lay, target)


def _build_rows(lay: BlockLayout, target: Target) -> Callable[..., None]:
    """Build the pull-back of each (position, token) through keys, values, query and norm.

    Leaves xhat, v, the gradient at v, and that at the residual stream.
    """
    D, cuda = lay.d_model, target.cuda
    normalise, scale, pull = build_norm(lay, target)
    W_E, W_pos, W_Q, W_K, W_V, W_O = lay.W_E, lay.W_pos, lay.W_Q, lay.W_K, lay.W_V, lay.W_O
    slots = N_DIGITS
    source_grad, query_grad, kept_rows = lay.source_grad, lay.query_grad, lay.rows

    @target.jit
    def rows(thread, threads, sh, scratch):
        xhat, h = cuda.local.array(D, F), cuda.local.array(D, F)
        dh, dv = cuda.local.array(D, F), cuda.local.array(D, F)
        for r in range(thread, N_ROWS, threads):
            p, slot = r // slots, r % slots
            token = PLUS if p == N_DIGITS else (EQUALS if p == N_PROMPT - 1 else slot)
            for i in range(D):
                xhat[i] = sh[W_E + token * D + i] + sh[W_pos + p * D + i]
            inverse = normalise(xhat)
            for i in range(D):
                h[i] = scale(sh, 0, i, xhat[i])
            at, grads = kept_rows + r * 4 * D, source_grad + r * 2 * D
            for i in range(D):
                value, slope = F(0), F(0)
                for j in range(D):
                    value += h[j] * sh[W_V + j * D + i]
                    slope += scratch[grads + D + j] * sh[W_O + i * D + j]
                dv[i] = slope
                scratch[at + i] = xhat[i]
                scratch[at + D + i] = value
                scratch[at + 2 * D + i] = slope
            asked = query_grad + (r - AT_EQUALS) * 2 * D
            for i in range(D):
                total = F(0)
                for j in range(D):
                    total += scratch[grads + j] * sh[W_K + i * D + j] + dv[j] * sh[W_V + i * D + j]
                    if r >= AT_EQUALS:
                        total += scratch[asked + j] * sh[W_Q + i * D + j]
                dh[i] = total
            pull(sh, 0, dh, xhat, inverse)
            for i in range(D):
                value = dh[i]
                if r >= AT_EQUALS:
                    value += scratch[asked + D + i]
                scratch[at + 3 * D + i] = value

    return rows


def _build_parameters(lay: BlockLayout, target: Target) -> Callable[..., None]:
    """Build the gradients of matrices, norms and embedding, and of the matrices' factors.

    A matrix behind a norm gets gain * (sum of xhat dy) + bias * (sum of dy); the same sums times
    the matrix give the gradients of gain and bias.
    """
    D, U, V, n_bias, cuda = lay.d_model, lay.d_ff, VOCAB_SIZE, lay.n_bias, target.cuda
    W_E, W_Q, W_K, W_V, W_in = lay.W_E, lay.W_Q, lay.W_K, lay.W_V, lay.W_in
    G_pos, G_Q, G_K, G_V, G_O = lay.G_pos, lay.G_Q, lay.G_K, lay.G_V, lay.G_O
    G_in, G_out, gain, gains_at, slots = lay.G_in, lay.G_out, lay.gain, lay.gains_at, N_DIGITS
    sum_U, sum_in, sum_out = lay.sum_U, lay.sum_in, lay.sum_out
    moments, grad = lay.moments, lay.grad
    source_grad, query_grad, kept_rows = lay.source_grad, lay.query_grad, lay.rows
    plan, n_matrices, n_moments, n_ctx = lay.plan, len(MATRICES), (D + 1) * D, lay.config.n_ctx

    @target.jit
    def sum_rows(thread, threads, sh, scratch):
        for e in range(thread, 4 * n_moments, threads):
            kind, i, j = e // n_moments, e % n_moments // D, e % D
            total = F(0)
            for r in range(AT_EQUALS if kind == 0 else 0, N_ROWS):
                at = kept_rows + r * 4 * D
                left = F(1) if i == D else scratch[at + (D if kind == 3 else 0) + i]
                if kind == 0:
                    right = scratch[query_grad + (r - AT_EQUALS) * 2 * D + j]
                elif kind == 1:
                    right = scratch[source_grad + r * 2 * D + j]
                elif kind == 2:
                    right = scratch[at + 2 * D + j]
                else:
                    right = scratch[source_grad + r * 2 * D + D + j]
                total += left * right
            if kind < 3:
                sh[moments + e] = total
            elif i < D:
                sh[G_O + i * D + j] = total
        for e in range(thread, n_ctx * D, threads):
            total = F(0)
            if e < N_INPUT * D:
                for slot in range(slots):
                    total += scratch[kept_rows + (e // D * slots + slot) * 4 * D + 3 * D + e % D]
            sh[G_pos + e] = total
        for e in range(thread, V * D, threads):
            token, i = e // D, e % D
            total = F(0)
            if token < slots:
                for p in range(N_INPUT):
                    if p != N_DIGITS and p != N_PROMPT - 1:
                        total += scratch[kept_rows + (p * slots + token) * 4 * D + 3 * D + i]
            elif token == PLUS:
                total = scratch[kept_rows + AT_PLUS * 4 * D + 3 * D + i]
            elif token == EQUALS:
                total = scratch[kept_rows + AT_EQUALS * 4 * D + 3 * D + i]
            sh[grad + e] = total

    @target.jit
    def scale(sh, norm, i, j, n, at):
        value = sh[gain + norm * D + i] * sh[at + i * n + j]
        if n_bias:
            value += sh[gain + (3 + norm) * D + i] * sh[at + D * n + j]
        return value

    @target.jit
    def unfold_norms(thread, threads, sh):
        for e in range(thread, D * D, threads):
            i, j = e // D, e % D
            sh[G_Q + e] = scale(sh, 0, i, j, D, moments)
            sh[G_K + e] = scale(sh, 0, i, j, D, moments + n_moments)
            sh[G_V + e] = scale(sh, 0, i, j, D, moments + 2 * n_moments)
        for e in range(thread, D * U, threads):
            sh[G_in + e] = scale(sh, 1, e // U, e % U, U, sum_in)
            sh[G_out + e] = sh[sum_out + e]
        for e in range(thread, V * D, threads):
            v, i = e // D, e % D
            value = sh[gain + 2 * D + i] * sh[sum_U + v * (D + 1) + i]
            if n_bias:
                value += sh[gain + 5 * D + i] * sh[sum_U + v * (D + 1) + D]
            sh[grad + e] += value
        for e in range(thread, (1 + n_bias) * D, threads):
            i, row = e % D, (e if e < D else D)
            total = F(0)
            for j in range(D):
                at = moments + row * D + j
                total += sh[W_Q + i * D + j] * sh[at]
                total += sh[W_K + i * D + j] * sh[at + n_moments]
                total += sh[W_V + i * D + j] * sh[at + 2 * n_moments]
            first = e if e < D else 3 * D + i
            sh[grad + gains_at[first]] = total
            total = F(0)
            for u in range(U):
                total += sh[W_in + i * U + u] * sh[sum_in + row * U + u]
            sh[grad + gains_at[first + D]] = total
            total = F(0)
            for v in range(V):
                total += sh[W_E + v * D + i] * sh[sum_U + v * (D + 1) + row]
            sh[grad + gains_at[first + 2 * D]] = total

    @target.jit
    def unfold_factors(thread, threads, sh, params):
        # Matrices that share a factor reach one of its numbers by the same thread, one by one.
        for k in range(n_matrices):
            m, n, rank = plan[k, 0], plan[k, 1], plan[k, 2]
            A, B, G = plan[k, 3], plan[k, 4], plan[k, 6]
            if rank == 0:
                for e in range(thread, m * n, threads):
                    sh[grad + A + e] += sh[G + e]
                continue
            for e in range(thread, m * rank, threads):
                i, r = e // rank, e % rank
                total = F(0)
                for j in range(n):
                    total += sh[G + i * n + j] * params[B + r * n + j]
                sh[grad + A + e] += total
            for e in range(thread, rank * n, threads):
                r, j = e // n, e % n
                total = F(0)
                for i in range(m):
                    total += params[A + i * rank + r] * sh[G + i * n + j]
                sh[grad + B + e] += total

    @target.jit
    def parameters(thread, threads, sh, scratch, params):
        sum_rows(thread, threads, sh, scratch)
        cuda.syncthreads()
        unfold_norms(thread, threads, sh)
        cuda.syncthreads()
        unfold_factors(thread, threads, sh, params)

    return parameters


def _build_adamw(lay: BlockLayout, target: Target) -> Callable[..., None]:
    """Build clipping by the global norm and AdamW as torch does it."""
    grad, n_params = lay.grad, lay.n_params
    beta_1, beta_2, rest_1, rest_2 = F(BETA_1), F(BETA_2), F(1 - BETA_1), F(1 - BETA_2)
    eps, tiny = F(ADAM_EPS), F(1e-6)

    @target.jit
    def adamw(thread, threads, sh, params, mean, square, row, decay, clip):
        total = F(0)
        for e in range(n_params):
            total += sh[grad + e] * sh[grad + e]
        ratio = min(F(1), clip / (math.sqrt(total) + tiny))
        keep, rate = F(1) - row[LR] * decay, row[LR] * row[INV_BIAS_1]
        for e in range(thread, n_params, threads):
            slope = sh[grad + e] * ratio
            mean[e] = beta_1 * mean[e] + rest_1 * slope
            square[e] = beta_2 * square[e] + rest_2 * slope * slope
            root = math.sqrt(square[e]) * row[INV_ROOT_BIAS_2] + eps
            params[e] = params[e] * keep - rate * mean[e] / root

    return adamw
