"""Every kind of ablation against the hooked model, edited with plain hooks."""

from typing import get_args

import pytest
import torch

from interp.anatomy.clean_run import clean_run
from interp.anatomy.components import (
    Component,
    decompose,
    fold,
    matrices,
    unit_components,
)
from interp.anatomy.roles import ROLES, role_of
from interp.hooked import to_hooked
from interp.rank_ablation.kernel import decode_keyed, no_change
from interp.rank_ablation.kinds import NormMode, Setting, ablate, ablate_set
from interp.rank_ablation.positions import POSITION_DRAWS, Kind
from interp.rank_ablation.random_terms import random_term
from model.adder import Adder
from model.config import ModelConfig
from model.decode import decode, teacher_forced
from model.dense import dense
from model.factored import init_params
from model.tables import tabulate
from model.task import N_TARGET, carry_stratified_pairs, digits, uniform_pairs
from tests.reference import ALLOWED, margin_rounding

BLOCK = "blocks.0."
MATRICES = ("W_pos", "W_QK", "W_OV", "W_Q", "W_KV", "W_O", "W_in", "W_out")
UNITS = ("ln1", "ln2", "ln_final", "edges", "W_pos", "W_out")
N, N_REFERENCE = 48, 70


def make_model(**fields) -> Adder:
    config = ModelConfig(**fields)
    params = init_params(config, 2, token_std=1.0, position_std=0.8, dtype=torch.float64)
    generator = torch.Generator().manual_seed(4)
    for name in params:
        if name.startswith("ln"):
            noise = torch.randn(params[name].shape, generator=generator, dtype=torch.float64)
            params[name] = params[name] + 0.3 * noise
    return Adder(config, params)


def make_setting(model: Adder) -> Setting:
    generator = torch.Generator().manual_seed(0)
    folded = fold(dense(model))
    reference = clean_run(folded, uniform_pairs(N_REFERENCE, generator))
    run = clean_run(folded, carry_stratified_pairs(N, generator))
    donor = torch.randint(N_REFERENCE, (N,), generator=generator)
    return Setting(folded, reference, run, donor, seed=7)


def cut(setting: Setting, matrix: str) -> list[Component]:
    W = matrices(setting.folded)[matrix]
    left, right = (torch.eye(n, dtype=W.dtype) for n in W.shape)
    return decompose(matrix, W, "svd", left, right, tolerance=0.0)


@pytest.fixture(scope="module")
def world():
    model = make_model()
    hooked = to_hooked(model)
    setting = make_setting(model)
    caches = {}
    for name, run in (("reference", setting.reference), ("run", setting.run)):
        _, caches[name] = hooked.run_with_cache(run.tokens[:, :-1])
    return hooked, setting, caches


def digit_sums(run, *, by_column: bool) -> torch.Tensor:
    """Class of each of the 33 positions: as a query (its answer column's) or as a source."""
    a, b = run.pairs
    total = digits(a, 12) + digits(b, 12)
    out = torch.zeros(len(a), 33, dtype=torch.int64)
    for position in range(33):
        if by_column:
            column = position - 21
        elif position < 10:
            column = 9 - position
        elif 10 < position < 21:
            column = 20 - position
        else:
            column = position - 22
        if 0 <= column < 12:
            out[:, position] = total[:, column]
    return out


def stand_in(values: torch.Tensor, kind: Kind, setting: Setting, by_column: bool) -> torch.Tensor:
    """What replaces an activation (batch, 33, ...) of the reference in each evaluated sum."""
    shape = (N, *values.shape[1:])
    if kind == "zero":
        return torch.zeros(shape, dtype=values.dtype)
    mean = values.mean(dim=0)
    if kind == "mean":
        return mean.expand(shape)
    if kind == "resample":
        return values[setting.donor]
    out = torch.empty(shape, dtype=values.dtype)
    seen = digit_sums(setting.reference, by_column=by_column)
    here = digit_sums(setting.run, by_column=by_column)
    for n in range(N):
        for position in range(33):
            same = seen[:, position] == here[n, position]
            out[n, position] = values[same, position].mean(dim=0) if same.any() else mean[position]
    return out


def hooked_logits(world, part: Component, kind: Kind, norm: NormMode) -> torch.Tensor:
    """Edit the hooked model: take the term's output away where it arises, put another one there."""
    hooked, setting, caches = world
    folded, T, d = setting.folded, part.term, 4
    hooks, seen = [], {}

    def output(cache):
        """The term's contribution in a run, at every position."""
        normed = cache[f"{BLOCK}ln1.hook_normalized"].reshape(-1, 33, d)
        if part.matrix in ("W_OV", "edges"):
            pattern = cache[f"{BLOCK}attn.hook_pattern"][:, 0]
        if part.matrix == "W_OV":
            return pattern @ normed @ T
        if part.matrix == "edges":
            mask = torch.zeros(33, 33, dtype=T.dtype)
            mask[21:] = T
            return (pattern * mask) @ cache[f"{BLOCK}attn.hook_v"][:, :, 0] @ folded.W_O[0]
        return {
            "W_QK": lambda: normed @ T @ normed.transpose(1, 2) / d**0.5,
            "W_Q": lambda: (normed @ T)[:, :, None],
            "W_KV": lambda: (normed @ T)[:, :, None],
            "ln1": lambda: normed @ T,
            "W_O": lambda: cache[f"{BLOCK}attn.hook_z"][:, :, 0] @ T,
            "W_in": lambda: cache[f"{BLOCK}ln2.hook_normalized"] @ T,
            "ln2": lambda: cache[f"{BLOCK}ln2.hook_normalized"] @ T,
            "W_out": lambda: cache[f"{BLOCK}mlp.hook_post"] @ T,
            "ln_final": lambda: cache["ln_final.hook_normalized"] * hooked.ln_final.w @ T,
        }[part.matrix]()

    sites = {
        "W_QK": ["attn.hook_attn_scores"],
        "W_Q": ["attn.hook_q"],
        "W_KV": ["attn.hook_k", "attn.hook_v"],
        "W_OV": ["hook_attn_out"],
        "edges": ["hook_attn_out"],
        "W_O": ["hook_attn_out"],
        "W_in": ["mlp.hook_pre"],
        "W_out": ["hook_mlp_out"],
        "ln1": ["ln1.hook_normalized"],
        "ln2": ["ln2.hook_normalized"],
        "ln_final": ["ln_final.hook_normalized"],
    }
    if part.matrix == "W_pos":
        new = torch.zeros_like(T)
        segment = torch.tensor([0] * 10 + [1] + [2] * 10 + [3] + [4] * 11)
        if part.basis == "unit":
            j = part.index[0]
            pool = [i for i in range(33) if i != j]
            same = [i for i in pool if segment[i] == segment[j]]
            pool = same if kind == "conditional" and same else pool
            if kind != "zero":
                new[j] = folded.W_pos[pool].mean(dim=0)
        elif kind == "mean":
            new = T.mean(dim=0).expand(33, d)
        elif kind == "conditional":
            new = torch.stack([T[segment == s].mean(dim=0) for s in segment])
        hooks.append(("hook_pos_embed", lambda x, hook: x - T + new))
    else:
        read = ("attn.hook_pattern", "attn.hook_z", "ln1.hook_normalized", "ln2.hook_normalized")
        for name in (*(BLOCK + r for r in read), BLOCK + "mlp.hook_post", BLOCK + "attn.hook_v"):
            hooks.append((name, lambda x, hook: seen.__setitem__(hook.name, x.clone())))
        by_column = part.matrix not in ("W_KV", "ln1")
        reference = output(caches["reference"])
        replacement = stand_in(reference, kind, setting, by_column)

        def edit(x, hook):
            seen.setdefault(hook.name, x.clone())
            if hook.name == "ln_final.hook_normalized":
                gain = hooked.ln_final.w
                return (x * gain - x * gain @ T + replacement) / gain
            if hook.name.endswith("normalized"):
                clean = x.reshape(x.shape[0], 33, d)
                if part.matrix == "ln1":
                    return edit_ln1(x, clean)
                return x - x @ T + replacement
            change = replacement - output(seen)
            return x + (change[:, None] if part.matrix == "W_QK" else change)

        q_replacement = (
            stand_in(reference, kind, setting, by_column=True) if part.matrix == "ln1" else None
        )
        calls = []

        def edit_ln1(x, clean):
            # The norm is called for queries, keys and values, in this order.
            calls.append(1)
            new = q_replacement if len(calls) == 1 else replacement
            return (clean - clean @ T + new).reshape(x.shape)

        if part.matrix in ("ln1", "ln2"):
            hooks = []
        for name in sites[part.matrix]:
            hooks.append((name if name.startswith("ln_final") else BLOCK + name, edit))
    if norm == "frozen":
        names = [f"{BLOCK}ln2.hook_scale", "ln_final.hook_scale"]
        names += [f"{BLOCK}ln1.hook_scale"] if part.matrix == "W_pos" else []
        for name in names:
            hooks.append((name, lambda x, hook: caches["run"][hook.name].reshape(x.shape)))
    return hooked.run_with_hooks(setting.run.tokens[:, :-1], fwd_hooks=hooks)[:, 21:]


def our_logits(setting: Setting, part: Component, kind: Kind, norm: NormMode) -> torch.Tensor:
    (ablation,) = ablate(setting, part, kind, norm)
    keyed = ablation.keyed or no_change(ablation.tables, N)
    tokens = setting.run.tokens
    return decode_keyed(ablation.tables, keyed, tokens, greedy=False, dtype=torch.float64)[1]


@pytest.mark.parametrize("norm", get_args(NormMode))
@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("matrix", MATRICES)
def test_rank_components_agree_with_the_hooked_model(world, matrix, kind, norm) -> None:
    if matrix == "W_pos" and kind == "resample":
        pytest.skip("drawn at random: tested by its own properties below")
    part = cut(world[1], matrix)[1]
    ours, theirs = our_logits(world[1], part, kind, norm), hooked_logits(world, part, kind, norm)
    torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=1e-7)
    assert (ours - world[1].run.logits).abs().max() > 1e-3


@pytest.mark.parametrize("norm", get_args(NormMode))
@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("matrix", UNITS)
def test_units_agree_with_the_hooked_model(world, matrix, kind, norm) -> None:
    if matrix == "W_pos" and kind == "resample":
        pytest.skip("drawn at random: tested by its own properties below")
    part = unit_components(world[1].folded, matrix)[1]
    ours, theirs = our_logits(world[1], part, kind, norm), hooked_logits(world, part, kind, norm)
    torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=1e-7)


def test_the_fast_path_decodes_as_the_keyed_one(world) -> None:
    setting = world[1]
    a, b = setting.run.pairs
    fast = 0
    for matrix in MATRICES:
        for kind in get_args(Kind):
            for ablation in ablate(setting, cut(setting, matrix)[-1], kind, "live"):
                if ablation.keyed is not None:
                    continue
                fast += 1
                rows = ablation.rows
                for greedy, run in ((False, teacher_forced), (True, decode)):
                    plain = run(ablation.tables, a[rows], b[rows])
                    keyed, _ = decode_keyed(
                        ablation.tables,
                        no_change(ablation.tables, len(rows)),
                        setting.run.tokens[rows],
                        greedy=greedy,
                    )
                    # Both are float32.
                    fed = plain.tokens[:, :-1] if greedy else None
                    rounding = margin_rounding(ablation.tables, a[rows], b[rows], fed)
                    clear = plain.margin.abs() > 2 * ALLOWED * rounding
                    assert torch.equal(plain.tokens[clear], keyed.tokens[clear])
                    off = (plain.margin - keyed.margin).abs().max()
                    assert off <= 2 * ALLOWED * rounding
    assert fast > 2 * len(MATRICES)


@pytest.mark.parametrize("tie", ["shareA_tieKV", "none"])
@pytest.mark.parametrize("norm", ["rms", "layer"])
def test_removing_nothing_is_the_identity_and_everything_is_zero(tie, norm) -> None:
    model = make_model(tie_qkv=tie, norm=norm, d_model=5, d_ff=6)
    setting = make_setting(model)
    tokens = setting.run.tokens
    (nothing,) = ablate_set(setting, [])
    _, logits = decode_keyed(
        nothing.tables, no_change(nothing.tables, N), tokens, greedy=False, dtype=torch.float64
    )
    whole = tabulate(dense(model))
    _, plain = decode_keyed(whole, no_change(whole, N), tokens, greedy=False, dtype=torch.float64)
    torch.testing.assert_close(logits, plain)
    for matrix in matrices(setting.folded):
        if matrix == "edges":
            continue
        units = unit_components(setting.folded, matrix)
        parts = units if matrix.startswith("ln") else cut(setting, matrix)
        (gone,) = ablate_set(setting, parts)
        removed = matrices(setting.folded)[matrix]
        empty = Component(matrix, "random", (0,), removed, 1.0)
        (expected,) = ablate_set(setting, [empty])
        torch.testing.assert_close(gone.tables.k, expected.tables.k)
        changed = {"W_pos": "x", "W_in": "W_in", "W_out": "W_out", "W_OV": "ov", "W_O": "ov"}
        if matrix == "W_pos":
            torch.testing.assert_close(gone.tables.x, setting.folded.W_E.expand(N_TARGET, -1, -1))
        elif matrix in changed:
            assert getattr(gone.tables, changed[matrix]).abs().max() < 1e-12
    edges = Component("edges", "random", (0,), matrices(setting.folded)["edges"], 1.0)
    (cut_off,) = ablate(setting, edges, "zero", "live")
    assert cut_off.keyed is not None
    assert not cut_off.keyed.edges.any()


def test_resampled_positions_cover_every_sum_once_and_differ(world) -> None:
    setting = world[1]
    groups = ablate(setting, cut(setting, "W_pos")[0], "resample", "live")
    assert len(groups) == POSITION_DRAWS
    assert torch.cat([group.rows for group in groups]).sort().values.equal(torch.arange(N))
    assert not torch.equal(groups[0].tables.x, groups[1].tables.x)


def test_resampling_from_oneself_changes_nothing(world) -> None:
    _, setting, _ = world
    own = Setting(setting.folded, setting.run, setting.run, torch.arange(N), seed=0)
    for matrix in ("W_QK", "W_OV", "W_Q", "W_KV", "W_O", "W_in", "W_out"):
        logits = our_logits(own, cut(own, matrix)[0], "resample", "live")
        torch.testing.assert_close(logits, setting.run.logits)


def test_random_terms_have_the_norm_of_what_they_stand_for(world) -> None:
    generator = torch.Generator().manual_seed(0)
    for matrix in MATRICES:
        part = cut(world[1], matrix)[0]
        drawn = random_term(part, generator)
        torch.testing.assert_close(drawn.term.norm(), part.term.norm())
        assert torch.linalg.matrix_rank(drawn.term) == 1
        assert (drawn.term - part.term).norm() > 0.1 * part.term.norm()
    neuron = unit_components(world[1].folded, "W_out")[2]
    drawn = random_term(neuron, generator).term
    assert drawn[2].norm() > 0
    assert not drawn[[0, 1, 3, 4, 5, 6, 7]].any()


def test_edge_masks_are_the_roles(world) -> None:
    parts = unit_components(world[1].folded, "edges")
    assert [part.label for part in parts] == list(ROLES)
    total = sum(part.term for part in parts)
    torch.testing.assert_close(total, matrices(world[1].folded)["edges"])
    assert role_of(3, 6) == "a_i"
    assert parts[0].term[3, 6] == 1
