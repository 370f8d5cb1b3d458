"""A jitted JAX training step that computes only the twelve scored queries."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from model.config import preset, qkv_names
from model.task import N_INPUT, N_PROMPT
from train.config import ADAM_EPS, BETA_1, BETA_2, TrainConfig
from train.engine import fresh_state, unflatten


def jitted(name: str, train: TrainConfig) -> Callable[[int], None]:
    """Make a function that takes `steps` steps of preset `name` (RMSNorm presets)."""
    model = preset(name)
    start = unflatten(fresh_state(model, train, 0).params, model)
    params = {key: jnp.asarray(value.numpy()) for key, value in start.items()}

    def product(p: dict, names: tuple[str, ...]) -> jax.Array:
        matrix = p[names[0]]
        for other in names[1:]:
            matrix = matrix @ p[other]
        return matrix

    def named(matrix: str) -> tuple[str, ...]:
        return (matrix,) if matrix in params else (f"{matrix}_A", f"{matrix}_B")

    def norm(x: jax.Array, gain: jax.Array) -> jax.Array:
        return x / jnp.sqrt(jnp.mean(x * x, -1, keepdims=True) + model.eps) * gain

    def loss_of(p: dict, tokens: jax.Array) -> jax.Array:
        x = p["W_E"][tokens[:, :N_INPUT]] + product(p, named("W_pos"))[:N_INPUT]
        h = norm(x, p["ln1_w"])
        q, k, v = (h @ product(p, names) for names in qkv_names(model))
        first = N_PROMPT - 1
        scores = q[:, first:] @ k.swapaxes(1, 2) / math.sqrt(model.d_model)
        causal = jnp.arange(N_INPUT) <= jnp.arange(first, N_INPUT)[:, None]
        pattern = jax.nn.softmax(jnp.where(causal, scores, -jnp.inf), axis=-1)
        x = x[:, first:] + pattern @ v @ product(p, named("W_O"))
        post = jax.nn.gelu(norm(x, p["ln2_w"]) @ product(p, named("W_in")), approximate=False)
        x = x + post @ product(p, named("W_out"))
        logits = jax.nn.log_softmax(norm(x, p["ln_final_w"]) @ p["W_E"].T)
        return -jnp.take_along_axis(logits, tokens[:, N_PROMPT:, None], -1).mean()

    def draw(key: jax.Array) -> jax.Array:
        key_length, key_digits = jax.random.split(key)
        length = jax.random.randint(key_length, (train.batch, 1, 1), 1, 11)
        digits = jax.random.randint(key_digits, (train.batch, 2, 10), 0, 10)
        a, b = jnp.moveaxis(jnp.where(jnp.arange(10) < length, digits, 0), 1, 0)

        def add(carry: jax.Array, pair: tuple) -> tuple:
            total = pair[0] + pair[1] + carry
            return total // 10, total % 10

        top, answer = jax.lax.scan(add, jnp.zeros(train.batch, int), (a.T, b.T))
        full = jnp.full((train.batch, 1), 10)
        parts = [a[:, ::-1], full, b[:, ::-1], full + 1, answer.T, top[:, None], full + 3]
        return jnp.concatenate(parts, axis=1)

    @jax.jit
    def step(carry: tuple) -> tuple:
        p, mean, square, key, count = carry
        key, now = jax.random.split(key)
        grad = jax.grad(loss_of)(p, draw(now))
        size = jnp.sqrt(sum(jnp.sum(g * g) for g in grad.values()))
        ratio = jnp.minimum(1.0, 1.0 / (size + 1e-6))
        mean = {n: BETA_1 * mean[n] + (1 - BETA_1) * g * ratio for n, g in grad.items()}
        square = {n: BETA_2 * square[n] + (1 - BETA_2) * (g * ratio) ** 2 for n, g in grad.items()}
        first, second = 1 - BETA_1**count, 1 - BETA_2**count
        p = {
            n: x * (1 - 2e-5) - 2e-3 * (mean[n] / first) / (jnp.sqrt(square[n] / second) + ADAM_EPS)
            for n, x in p.items()
        }
        return p, mean, square, key, count + 1

    zeros = {n: jnp.zeros_like(x) for n, x in params.items()}
    state = [(params, zeros, zeros, jax.random.key(0), jnp.ones(()))]

    def run(steps: int) -> None:
        for _ in range(steps):
            state[0] = step(state[0])
        jax.block_until_ready(state[0])

    return run
