"""A model of the family as a real TransformerLens HookedTransformer, its bottlenecks included.

Question: where does TransformerLens see the low-rank bottlenecks, and are its logits the model's?

Method: the factors are multiplied out in float64 (TransformerLens folds and centres nothing) and
loaded with strict=True beside explicit zero biases. A dense wrapper hides the bottleneck h = x A of
a product W = A B, so each one is given back as a hook point: a permanent hook on y = h B recovers
h = y B^+ (B^+ the pseudo-inverse, exact where B has full row rank), passes it through the hook
point, and adds what the hooks changed, (hook(h) - h) B. Reading h from y rather than from x is what
keeps edits upstream visible. Where B lacks full row rank, the part of h that B ignores is unseen.

    hooked = to_hooked(load("262p"))
    logits, cache = hooked.run_with_cache(tokens)
    cache["blocks.0.attn.hook_k_low"]
"""

from collections.abc import Callable

import torch
from torch import Tensor
from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformer_lens.hook_points import HookPoint

from model.adder import Adder
from model.config import VOCAB_SIZE, ModelConfig, qkv_names
from model.dense import dense
from model.factored import factor_names

BOTTLENECKS: dict[str, tuple[str, str]] = {
    "W_pos": ("hook_pos_low", "hook_pos_embed"),
    "W_Q": ("blocks.0.attn.hook_q_low", "blocks.0.attn.hook_q"),
    "W_K": ("blocks.0.attn.hook_k_low", "blocks.0.attn.hook_k"),
    "W_V": ("blocks.0.attn.hook_v_low", "blocks.0.attn.hook_v"),
    "W_O": ("blocks.0.attn.hook_o_low", "blocks.0.hook_attn_out"),
    "W_in": ("blocks.0.mlp.hook_in_low", "blocks.0.mlp.hook_pre"),
    "W_out": ("blocks.0.mlp.hook_out_low", "blocks.0.hook_mlp_out"),
}
"""For each matrix that may be a product: the hook point of its bottleneck, and the one it feeds."""


def factors_of(model: Adder, matrix: str) -> tuple[str, ...]:
    """Name the parameters whose product is `matrix` (a key of `BOTTLENECKS`): one if it is full."""
    if matrix in ("W_Q", "W_K", "W_V"):
        return qkv_names(model.config)["QKV".index(matrix[-1])]
    return factor_names(model.params, matrix)


def hooked_config(config: ModelConfig) -> HookedTransformerConfig:
    """Describe the network to TransformerLens: one head as wide as the stream, exact GELU."""
    return HookedTransformerConfig(
        n_layers=1,
        d_model=config.d_model,
        d_head=config.d_model,
        n_heads=1,
        d_mlp=config.d_ff,
        n_ctx=config.n_ctx,
        d_vocab=VOCAB_SIZE,
        act_fn="gelu",
        normalization_type="RMS" if config.norm == "rms" else "LN",
        eps=config.eps,
        default_prepend_bos=False,
        init_weights=False,
        dtype=torch.float64,
        device="cpu",
    )


def to_hooked(model: Adder) -> HookedTransformer:
    """Wrap a model as a HookedTransformer in float64.

    Logits equal those of the model in float64 to 1e-8 (a float32 model is itself about 1e-2 away
    from its own float64 values). `hooked.cfg.n_params` counts dense weights and is not the model's
    count. Call `generate` with use_past_kv_cache=False and stop_at_eos=False, since there is no
    tokenizer.

    Args:
        model: A network of any configuration; it is not changed and shares no tensor.

    Returns:
        The wrapper on the CPU, in evaluation mode, with a hook point for every bottleneck (the
        first names in `BOTTLENECKS`); `reset_hooks()` keeps them, as their hooks are permanent.
    """
    weights = dense(model)
    hooked = HookedTransformer(hooked_config(model.config))
    block = "blocks.0."
    zeros = weights.W_E.new_zeros
    state = {
        "embed.W_E": weights.W_E,
        "pos_embed.W_pos": weights.W_pos,
        "unembed.W_U": weights.W_U,
        "unembed.b_U": zeros(VOCAB_SIZE),
        f"{block}attn.W_O": weights.W_O[None],
        f"{block}attn.b_O": zeros(model.config.d_model),
        f"{block}mlp.W_in": weights.W_in,
        f"{block}mlp.b_in": zeros(model.config.d_ff),
        f"{block}mlp.W_out": weights.W_out,
        f"{block}mlp.b_out": zeros(model.config.d_model),
    }
    for role in "QKV":
        state[f"{block}attn.W_{role}"] = getattr(weights, f"W_{role}")[None]
        state[f"{block}attn.b_{role}"] = zeros(1, model.config.d_model)
    for ours, theirs in (("ln1", f"{block}ln1"), ("ln2", f"{block}ln2"), ("ln_final", "ln_final")):
        state[f"{theirs}.w"] = getattr(weights, f"{ours}_w")
        if model.config.norm == "layer":
            state[f"{theirs}.b"] = getattr(weights, f"{ours}_b")
    # TransformerLens keeps its causal mask and the masked score as buffers in the state.
    buffers = {name: value for name, value in hooked.named_buffers() if name in hooked.state_dict()}
    hooked.load_state_dict({**buffers, **state}, strict=True)
    for matrix in BOTTLENECKS:
        _open_bottleneck(hooked, model, matrix)
    hooked.setup()
    hooked.eval()
    return hooked


def _open_bottleneck(hooked: HookedTransformer, model: Adder, matrix: str) -> None:
    """Add the hook point of one bottleneck; a full matrix has none."""
    names = factors_of(model, matrix)
    if len(names) == 1:
        return
    low, high = BOTTLENECKS[matrix]
    B = model.params[names[1]].detach().double()
    point = HookPoint()
    parent, _, name = low.rpartition(".")
    hooked.get_submodule(parent).add_module(name, point)
    target = hooked.get_submodule(high)
    assert isinstance(target, HookPoint)
    target.add_perma_hook(_through(point, B))


def _through(point: HookPoint, B: Tensor) -> Callable[..., Tensor]:
    inverse = torch.linalg.pinv(B)

    def pass_through(activation: Tensor, hook: HookPoint) -> Tensor:
        h = activation @ inverse
        return activation + (point(h) - h) @ B

    return pass_through
