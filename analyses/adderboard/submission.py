"""A network as one file of plain PyTorch, weights written out as decimals: text in, text out.

The file defines `build_model()` and `add(model, a, b)`. Its forward pass is the usual one, its
decoding is greedy and knows nothing of addition, and its weights are the checkpoint's float32
numbers, each by the shortest decimal that rounds to it.
"""

from typing import Any

import numpy as np
from torch import Tensor

from model.adder import Adder
from model.config import ModelConfig, qkv_names
from model.factored import factor_names

_RMS = '''\
def normalise(x, weight):
    """RMSNorm."""
    return x / torch.sqrt(x.pow(2).mean(dim=-1, keepdim=True) + EPS) * weight
'''

_LAYER = '''\
def normalise(x, weight, bias):
    """LayerNorm."""
    return torch.nn.functional.layer_norm(x, weight.shape, weight, bias, EPS)
'''

_FILE = '''\
"""{name}: {n_params} parameters that add two numbers of at most ten digits.

{architecture}.
Needs PyTorch and nothing else.

    model, metadata = build_model()
    add(model, 9999999999, 1)

The prompt is both operands in ten digits, most significant first; the model continues it with the
digits of the sum, least significant first, and an end token.
"""

import math

import torch
from torch import nn

VOCABULARY = [*"0123456789+=", "<PAD>", "<EOS>"]
MAX_NEW_TOKENS = 12
EPS = {eps!r}

WEIGHTS = {{
{weights}
}}


{normalise}

class Transformer(nn.Module):
    """One pre-norm decoder layer with one head; the head's matrix is the token embedding."""

    def __init__(self):
        super().__init__()
        for name, values in WEIGHTS.items():
            self.register_parameter(name, nn.Parameter(torch.tensor(values, dtype=torch.float32)))

    def forward(self, tokens):
        """Token ids (batch, position) in, logits of the next token (batch, position, 14) out."""
        length = tokens.shape[1]
        x = self.W_E[tokens] + {position}

        h = normalise(x, {ln1})
        q, k, v = {q}, {k}, {v}
        scores = q @ k.transpose(-2, -1) / math.sqrt(h.shape[-1])
        causal = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()
        pattern = scores.masked_fill(~causal, float("-inf")).softmax(dim=-1)
        x = x + pattern @ v @ {W_O}

        h = normalise(x, {ln2})
        x = x + nn.functional.gelu(h @ {W_in}) @ {W_out}
        return normalise(x, {ln_final}) @ self.W_E.T


@torch.no_grad()
def generate(model, tokens, max_new_tokens, end):
    """Continue a batch of prompts greedily, until every row has ended or `max_new_tokens`."""
    ended = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    for _ in range(max_new_tokens):
        following = model(tokens)[:, -1].argmax(dim=-1)
        tokens = torch.cat([tokens, following[:, None]], dim=1)
        ended |= following == end
        if bool(ended.all()):
            break
    return tokens


def encode(a, b):
    """Write the prompt of one sum as token ids."""
    return [VOCABULARY.index(character) for character in f"{{a:010d}}+{{b:010d}}="]


def decode(tokens):
    """Read generated tokens, up to the end token, as a number; -1 if they are none."""
    text = "".join(VOCABULARY[token] for token in tokens).partition("<EOS>")[0]
    return int(text[::-1]) if text.isdecimal() else -1


def add(model, a, b):
    """Let the model add two whole numbers from 0 to 9999999999."""
    prompt = torch.tensor([encode(a, b)])
    tokens = generate(model, prompt, MAX_NEW_TOKENS, VOCABULARY.index("<EOS>"))
    return decode(tokens[0, prompt.shape[1] :].tolist())


def build_model():
    """Return the model and what there is to say about it."""
    model = Transformer().eval()
    metadata = {{
        "name": {name!r},
        "author": {author!r},
        "params": sum(parameter.numel() for parameter in model.parameters()),
        "architecture": {architecture!r},
        "tricks": {tricks!r},
    }}
    return model, metadata
'''


def write_submission(model: Adder, name: str, author: str) -> str:
    """Write a network as the text of one self-contained Python file.

    Args:
        model: Any network of the family; its parameters are written as float32.
        name: What the file calls it.
        author: Who submits it.

    Returns:
        Python source that defines `build_model`, `add`, `generate`, `encode` and `decode`.
    """
    config = model.config
    q, k, v = (" @ ".join(["h", *_own(names)]) for names in qkv_names(config))
    first, *rest = _own(factor_names(model.params, "W_pos"))
    products = {
        matrix: " @ ".join(_own(factor_names(model.params, matrix)))
        for matrix in ("W_O", "W_in", "W_out")
    }
    parts = ("w",) if config.norm == "rms" else ("w", "b")
    norms = {
        norm: ", ".join(f"self.{norm}_{part}" for part in parts)
        for norm in ("ln1", "ln2", "ln_final")
    }
    return _FILE.format(
        name=name,
        author=author,
        n_params=config.n_params,
        architecture=describe_architecture(config),
        tricks=list_tricks(config),
        eps=config.eps,
        normalise=_RMS if config.norm == "rms" else _LAYER,
        weights="\n".join(_write_weight(key, value) for key, value in model.params.items()),
        position=" @ ".join([f"{first}[:length]", *rest]),
        q=q,
        k=k,
        v=v,
        **products,
        **norms,
    )


def describe_architecture(config: ModelConfig) -> str:
    """Name the shape of a network in one line."""
    norm = "RMSNorm" if config.norm == "rms" else "LayerNorm"
    return (
        f"1-layer decoder, 1 head, d_model {config.d_model}, d_ff {config.d_ff}, {norm}, exact "
        "GELU, no biases in linear maps, tied head"
    )


def list_tricks(config: ModelConfig) -> list[str]:
    """List what saves parameters."""
    ranks = {
        "position embedding": config.pos_rank,
        "QKV": config.qkv_rank,
        "attention output": config.attn_out_rank,
        "feed-forward": config.ffn_rank,
    }
    tricks = [f"rank-{rank} {part}" for part, rank in ranks.items() if rank]
    if config.tie_qkv != "none":
        tricks.append(f"QKV tied as {config.tie_qkv}")
    return [*tricks, "answer digits least significant first"]


def _own(names: tuple[str, ...]) -> list[str]:
    return [f"self.{name}" for name in names]


def _write_weight(name: str, value: Tensor) -> str:
    """Write one parameter as a dictionary entry, a row of the matrix to a line."""
    array: Any = value.detach().float().numpy()
    if array.ndim == 1:
        return f'    "{name}": {_write_row(array)},'
    rows = "\n".join(f"        {_write_row(row)}," for row in array)
    return f'    "{name}": [\n{rows}\n    ],'


def _write_row(row: np.ndarray) -> str:
    return "[" + ", ".join(str(x) for x in row) + "]"
