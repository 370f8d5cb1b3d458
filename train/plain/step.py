"""One optimizer step: the scored positions only, everything before the softmax as tables.

With one layer, keys and values are functions of (position, token). They are tabulated once a step
and looked up; queries, feed-forward layer and head are computed at the answer's positions alone.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from model.anyone import read_network
from train.config import ADAM_EPS, BETA_1, BETA_2
from train.plain.config import PlainSpec, Shape
from train.plain.shape import EPS, Params, flatten, init_params, layout_of, split
from train.plain.stream import draw_pairs
from train.schedule import LR, schedule


def answer_logits(
    params: Params, shape: Shape, tokens: Int[Tensor, "batch pos"]
) -> Float[Tensor, "batch step vocab"]:
    """Compute the logits of every token of the answer.

    Args:
        params: Parameters by name.
        shape: The network's shape.
        tokens: What the network reads: prompt and answer, all but the last target.
    """
    task, d = layout_of(shape), shape.d_model
    n, first, vocab = task.n_input, task.n_prompt - 1, task.vocab_size
    stream = (params["W_pos"][:, None] + params["W_E"]).flatten(0, 1)
    h = _normalise(stream, params["ln1_w"])
    sources = h @ torch.cat([params["W_K"], params["W_V"] @ params["W_O"]], dim=1)
    later = stream[first * vocab :]
    queries = torch.cat([h[first * vocab :] @ params["W_Q"] / math.sqrt(d), later], dim=1)

    at = tokens + vocab * torch.arange(n)
    k, ov = F.embedding(at, sources).split(d, dim=-1)
    q, resid = F.embedding(at[:, first:] - first * vocab, queries).split(d, dim=-1)
    future = torch.ones(n - first, n, dtype=torch.bool).triu(first + 1)
    pattern = (q @ k.mT).masked_fill(future, float("-inf")).softmax(dim=-1)
    resid = resid + pattern @ ov
    post = F.gelu(_normalise(resid, params["ln2_w"]) @ params["W_in"])
    resid = resid + post @ params["W_out"]
    return _normalise(resid, params["ln_final_w"]) @ params["W_E"].T


def _normalise(x: Tensor, gain: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + EPS) * gain


class Trainer:
    """The state of a run: parameters and Adam's moments, each end to end, and the step count."""

    def __init__(self, spec: PlainSpec, params: Tensor, mean: Tensor, square: Tensor, step: int):
        """Take the state up."""
        self.spec, self.step = spec, step
        self.params = params.clone().requires_grad_()
        self.optimizer = torch.optim.AdamW(
            [self.params],
            lr=spec.recipe.lr,
            betas=(BETA_1, BETA_2),
            eps=ADAM_EPS,
            weight_decay=spec.recipe.weight_decay,
        )
        self.optimizer.state[self.params] = {
            "step": torch.tensor(float(step)),
            "exp_avg": mean.clone(),
            "exp_avg_sq": square.clone(),
        }

    @classmethod
    def fresh(cls, spec: PlainSpec) -> "Trainer":
        """Start from the adder that the run names, or from the initial parameters of its seed."""
        recipe = spec.recipe
        if spec.start is None:
            params = init_params(
                spec.shape, spec.seed, token_std=recipe.token_std, position_std=recipe.position_std
            )
        else:
            params = flatten(read_network(spec.start).network, spec.shape)
        zeros = torch.zeros_like(params)
        return cls(spec, params, zeros, zeros, 0)

    def state(self) -> dict[str, Tensor]:
        """Return everything that a step changes, apart from the step count."""
        moments = self.optimizer.state[self.params]
        return {
            "params": self.params.detach(),
            "mean": moments["exp_avg"],
            "square": moments["exp_avg_sq"],
        }

    def run(self, n_steps: int) -> np.ndarray:
        """Take `n_steps` steps; gives the loss of each."""
        losses = np.zeros(n_steps, np.float32)
        for i, row in enumerate(schedule(self.spec.recipe.full(), self.step, n_steps)):
            self.optimizer.param_groups[0]["lr"] = float(row[LR])
            self.optimizer.zero_grad()
            loss = self.loss(self.step, row)
            loss.backward()
            torch.nn.utils.clip_grad_norm_([self.params], self.spec.recipe.clip)
            self.optimizer.step()
            self.step += 1
            losses[i] = loss.item()
        return losses

    def loss(self, step: int, row: np.ndarray) -> Tensor:
        """Compute the mean cross-entropy over one step's answers, end tokens included."""
        shape, recipe = self.spec.shape, self.spec.recipe
        task = layout_of(shape)
        pairs = draw_pairs(task, self.spec.seed, step, row, recipe)
        tokens = task.lay_out(*pairs)
        logits = answer_logits(split(self.params, shape), shape, tokens[:, : task.n_input])
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, task.n_prompt :].flatten())
