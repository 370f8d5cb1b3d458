"""The training step as one block of threads does it: a seed per block, all its steps in one launch.

The same Python compiles with Numba for a GPU, and for a CPU as a block of a single thread, which is
how it is tested. Nothing is added up by atomics: every sum has one owner who takes its terms in a
fixed order, so that a run gives the same bits every time, in whatever company.

One layer makes keys and values functions of (position, token): they are tabulated once a step, and
gradients are summed per (position, token) before they go back through norm and embedding. Stages:
compose, tabulate, draw, queries, sources, rows, gradients, AdamW; a barrier between two of them.
"""

from collections.abc import Callable

import numpy as np

from model.config import VOCAB_SIZE
from model.task import EQUALS, N_ANSWER, N_DIGITS, N_INPUT, N_PROMPT, N_TARGET, PLUS
from train.batches import MULTIPLIERS, ROUNDS, WEYL
from train.blocks.algebra import build_norm
from train.blocks.gradients import build_gradients
from train.blocks.layout import MATRICES, BlockLayout, Target
from train.blocks.queries import build_queries, build_sources
from train.schedule import HEAVY, MAX_DIGITS, SHIFT

F = np.float32


def build_block_step(lay: BlockLayout, target: Target) -> Callable[..., None]:
    """Compile all steps of one seed for a target.

    Returns:
        Function of thread, threads, batch, n_steps, first_step, key (2 words), shared memory,
        scratch memory, tokens (33, batch), params, mean, square, schedule rows, losses, decay and
        clip.
    """
    draw = _build_draw(target)
    compose, tabulate = _build_tables(lay, target)
    queries = build_queries(lay, target)
    sources = build_sources(lay, target)
    rows, gradients, adamw = build_gradients(lay, target)
    cuda, loss_at, per_token = target.cuda, lay.loss, F(1 / N_TARGET)

    @target.jit
    def run(
        thread, threads, batch, n_steps, first_step, key_0, key_1, share,
        sh, scratch, tokens, params, mean, square, schedule, losses, decay, clip,
    ):  # fmt: skip
        for step in range(n_steps):
            row = schedule[first_step + step]
            compose(thread, threads, sh, params)
            cuda.syncthreads()
            tabulate(thread, threads, sh)
            draw(thread, threads, batch, first_step + step, key_0, key_1, row, share, tokens)
            cuda.syncthreads()
            queries(thread, threads, batch, sh, scratch, tokens)
            sources(thread, threads, batch, sh, scratch, tokens)
            rows(thread, threads, sh, scratch)
            cuda.syncthreads()
            gradients(thread, threads, sh, scratch, params)
            cuda.syncthreads()
            if thread == 0:
                losses[step] = sh[loss_at] * per_token / F(batch)
            adamw(thread, threads, sh, params, mean, square, row, decay, clip)
            cuda.syncthreads()

    return run


def _build_draw(target: Target) -> Callable[..., None]:
    """Draw a batch: `train.batches.draw_batch` without extra cases."""
    cuda, low = target.cuda, np.uint64(0xFFFFFFFF)
    m_0, m_1 = (np.uint64(m) for m in MULTIPLIERS)
    w_0, w_1 = (np.uint64(w) for w in WEYL)
    half, byte, top, ten = np.uint64(32), np.uint64(8), np.uint64(24), np.uint64(10)
    unit_mask = np.uint64((1 << 24) - 1)

    @target.jit
    def philox(words, example, block, step, key_0, key_1):
        c0, c1, c2, c3 = np.uint64(example), np.uint64(block), np.uint64(step), np.uint64(0)
        k0, k1 = key_0, key_1
        for _ in range(ROUNDS):
            first, second = c0 * m_0, c2 * m_1
            c0, c1, c2, c3 = (second >> half) ^ c1 ^ k0, second & low, (first >> half) ^ c3 ^ k1, first & low  # noqa: E501  # fmt: skip
            k0, k1 = (k0 + w_0) & low, (k1 + w_1) & low
        words[0], words[1], words[2], words[3] = c0, c1, c2, c3

    @target.jit
    def draw(thread, threads, batch, step, key_0, key_1, row, share, tokens):
        words = cuda.local.array(4, np.uint64)
        digits = cuda.local.array(20, np.int32)
        for example in range(thread, batch, threads):
            philox(words, example, 0, step, key_0, key_1)
            heavy = (words[0] >> byte) < np.uint64(row[HEAVY])
            length = 1 + np.int32(((words[1] >> byte) * np.uint64(row[MAX_DIGITS])) >> top)
            places = np.uint64(row[SHIFT]) * np.uint64(N_DIGITS + 1 - length)
            start = np.int32(((words[3] >> byte) * places) >> top)
            for block in range(5):
                philox(words, example, block + 1, step, key_0, key_1)
                for k in range(4):
                    i = 4 * block + k
                    scaled = (words[k] >> byte) * ten
                    digit = np.int32(scaled >> top)
                    if i >= N_DIGITS and heavy and (scaled & unit_mask) < share:
                        digit = 9 - digits[i - N_DIGITS]
                    digits[i] = digit
            carry = 0
            tokens[N_DIGITS, example], tokens[N_PROMPT - 1, example] = PLUS, EQUALS
            for i in range(N_ANSWER):
                total = carry
                if i < N_DIGITS:
                    inside = start <= i < start + length
                    a = digits[i] if inside else 0
                    b = digits[N_DIGITS + i] if inside else 0
                    tokens[N_DIGITS - 1 - i, example] = a
                    tokens[2 * N_DIGITS - i, example] = b
                    total += a + b
                carry = 1 if total >= 10 else 0
                tokens[N_PROMPT + i, example] = total - 10 * carry

    return draw


def _build_tables(lay: BlockLayout, target: Target) -> tuple[Callable, Callable]:
    """Multiply factors out, and tabulate keys and OV values of every (position, token)."""
    D, cuda = lay.d_model, target.cuda
    normalise, scale, _ = build_norm(lay, target)
    plan, n_matrices, sums, n_sums = lay.plan, len(MATRICES), lay.sums, lay.n_sums
    grad, n_params = lay.grad, lay.n_params
    W_E, W_pos, W_K, W_V, W_O, table = lay.W_E, lay.W_pos, lay.W_K, lay.W_V, lay.W_O, lay.table
    gain, gains_at, n_gains, n_embedding = lay.gain, lay.gains_at, lay.n_gains, VOCAB_SIZE * D
    slots, width = N_DIGITS, lay.table_width

    @target.jit
    def compose(thread, threads, sh, params):
        for i in range(thread, n_embedding, threads):
            sh[W_E + i] = params[i]
        for i in range(thread, n_gains, threads):
            sh[gain + i] = params[gains_at[i]]
        for i in range(thread, n_sums, threads):
            sh[sums + i] = F(0)
        for i in range(thread, n_params, threads):
            sh[grad + i] = F(0)
        for k in range(n_matrices):
            m, n, rank = plan[k, 0], plan[k, 1], plan[k, 2]
            A, B, at = plan[k, 3], plan[k, 4], plan[k, 5]
            for e in range(thread, m * n, threads):
                i, j = e // n, e % n
                if rank == 0:
                    sh[at + e] = params[A + e]
                else:
                    total = F(0)
                    for r in range(rank):
                        total += params[A + i * rank + r] * params[B + r * n + j]
                    sh[at + e] = total

    @target.jit
    def tabulate(thread, threads, sh):
        h, v = cuda.local.array(D, F), cuda.local.array(D, F)
        for r in range(thread, N_INPUT * slots, threads):
            p, slot = r // slots, r % slots
            token = PLUS if p == N_DIGITS else (EQUALS if p == N_PROMPT - 1 else slot)
            for i in range(D):
                h[i] = sh[W_E + token * D + i] + sh[W_pos + p * D + i]
            normalise(h)
            for i in range(D):
                h[i] = scale(sh, 0, i, h[i])
            for j in range(D):
                key, value = F(0), F(0)
                for i in range(D):
                    key += h[i] * sh[W_K + i * D + j]
                    value += h[i] * sh[W_V + i * D + j]
                sh[table + r * width + j] = key
                v[j] = value
            for j in range(D):
                written = F(0)
                for i in range(D):
                    written += v[i] * sh[W_O + i * D + j]
                sh[table + r * width + D + j] = written

    return compose, tabulate
