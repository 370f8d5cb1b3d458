"""Norms of a thread's own row vectors and their gradients, as every stage of a block needs them."""

import math
from collections.abc import Callable

import numpy as np

from train.blocks.layout import BlockLayout, Target

F = np.float32


def build_norm(lay: BlockLayout, target: Target) -> tuple[Callable, Callable, Callable]:
    """Build a norm without gain, its gain and bias, and its gradient.

    Returns:
        `normalise`, which turns x into xhat in place and gives the inverse scale; `scale`, which
        gives a coordinate of norm 0 (ln1), 1 (ln2) or 2 (ln_final) with gain and bias; and
        `pull`, which turns the gradient at the scaled vector into that at x, in place.
    """
    D, n_bias, eps, over, gain = lay.d_model, lay.n_bias, F(lay.eps), F(1 / lay.d_model), lay.gain

    @target.jit
    def normalise(x):
        mean, square = F(0), F(0)
        for i in range(D):
            mean += x[i] * over
        for i in range(D):
            if n_bias:
                x[i] -= mean
            square += x[i] * x[i] * over
        inverse = F(1) / math.sqrt(square + eps)
        for i in range(D):
            x[i] *= inverse
        return inverse

    @target.jit
    def scale(sh, norm, i, value):
        value *= sh[gain + norm * D + i]
        if n_bias:
            value += sh[gain + (3 + norm) * D + i]
        return value

    @target.jit
    def pull(sh, norm, grad, xhat, inverse):
        along, mean = F(0), F(0)
        for i in range(D):
            grad[i] *= sh[gain + norm * D + i]
            along += grad[i] * xhat[i] * over
            mean += grad[i] * over
        for i in range(D):
            value = grad[i] - xhat[i] * along
            if n_bias:
                value -= mean
            grad[i] = value * inverse

    return normalise, scale, pull
