"""Components and gauges of networks of every option, against the plain forward pass."""

import pytest
import torch

from interp.anatomy.clean_run import clean_run
from interp.anatomy.components import (
    Component,
    decompose,
    fold,
    matrices,
    missing,
    overlap,
    stem_of,
    sum_terms,
    unit_components,
    with_matrices,
    without,
)
from interp.gauge.networks import balance_network, random_network_gauge
from interp.rank_ablation.kernel import decode_keyed, no_change
from model.network import Network, forward
from model.tables import tabulate
from model.task import Pairs, uniform_pairs
from tests.network_support import OPTIONS, random_network

EACH = pytest.mark.parametrize("name", OPTIONS)
CHANGED = (
    *("one kv head", "rotary, interleaved", "norms of q and k", "layer norm", "relu"),
    *("gated relu", "any stream", "no feed-forward", "everything"),
)
FREE_OF_GAUGE = ("W_pos", "W_QK", "W_OV", "W_in", "W_gate", "W_out")


def some_pairs(network: Network, n: int = 3) -> Pairs:
    return uniform_pairs(n, torch.Generator().manual_seed(0), network.layout)


def answer_logits(network: Network, pairs: Pairs) -> torch.Tensor:
    layout = network.layout
    tokens = layout.encode(*pairs)[:, : layout.n_input]
    return forward(network, tokens)[:, layout.n_prompt - 1 :]


def cut(folded: Network, matrix: str) -> list[Component]:
    W = matrices(folded)[matrix]
    left, right = (torch.eye(n, dtype=W.dtype) for n in W.shape)
    return decompose(matrix, W, "svd", left, right, tolerance=0.0)


def cuttable(folded: Network) -> list[str]:
    """Everything but edges, which are no weights, and gains, which have units only."""
    return [x for x in matrices(folded) if stem_of(x) != "edges" and not x.startswith("ln")]


@EACH
def test_the_clean_run_is_the_forward_pass_and_ablating_nothing_the_identity(name) -> None:
    network = random_network(**OPTIONS[name])
    folded, pairs = fold(network), some_pairs(network)
    expected = answer_logits(network, pairs)
    torch.testing.assert_close(clean_run(folded, pairs).logits, expected)
    for matrix, whole in matrices(folded).items():
        if stem_of(matrix) != "edges":
            same = with_matrices(folded, {matrix: whole})
            torch.testing.assert_close(answer_logits(same, pairs), expected)


@EACH
def test_components_sum_to_the_whole_and_their_removal_is_an_edit_of_the_weights(name) -> None:
    network = random_network(**OPTIONS[name])
    folded, pairs = fold(network), some_pairs(network, 2)
    tokens = network.layout.encode(*pairs)
    intact = answer_logits(network, pairs)
    for matrix in cuttable(folded):
        parts = cut(folded, matrix)
        torch.testing.assert_close(sum_terms(parts), matrices(folded)[matrix])
        gone = without(folded, parts[:1])
        expected = answer_logits(gone, pairs)
        tables = tabulate(gone)
        nothing = no_change(tables, 2)
        found = decode_keyed(tables, nothing, tokens, greedy=False, dtype=torch.float64)[1]
        torch.testing.assert_close(found, expected)
        assert (found - intact).abs().max() > 1e-6


def test_an_edit_of_one_head_is_an_edit_of_its_own_weights() -> None:
    network = random_network(heads=4, kv_heads=2, qk=2, v=3)
    folded, pairs = fold(network), some_pairs(network)
    whole = matrices(folded)
    expected = folded.edit(W_O=torch.cat([folded.W_O[:2], 0 * folded.W_O[2:3], folded.W_O[3:]]))
    for matrix in ("W_O.2", "W_OV.2"):
        edited = with_matrices(folded, {matrix: 0 * whole[matrix]})
        # Without W_O a head writes nothing; without W_OV its value bias still passes.
        bias = 0 if matrix == "W_O.2" else folded.b_V[1] @ folded.W_O[2]
        torch.testing.assert_close(
            answer_logits(edited, pairs),
            answer_logits(expected.edit(b_O=folded.b_O + bias), pairs),
        )
    assert overlap("W_OV.2", "W_O.2")
    assert not overlap("W_OV.2", "W_O.3")
    assert not overlap("W_QK.0", "W_Q.1")
    assert overlap("W_QK.0", "W_K.1")  # which heads share it is not in the name


@pytest.mark.parametrize("name", CHANGED)
def test_other_weights_of_the_same_function_have_components_that_do_the_same(name) -> None:
    network = random_network(**OPTIONS[name])
    pairs, generator = some_pairs(network), torch.Generator().manual_seed(5)
    moved = random_network_gauge(network, generator)
    expected = answer_logits(network, pairs)
    # Inverses lose the condition of what was drawn, some 100, times 1e-16.
    torch.testing.assert_close(answer_logits(moved, pairs), expected, atol=1e-8, rtol=1e-8)
    balanced = balance_network(moved)
    torch.testing.assert_close(answer_logits(balanced, pairs), expected, atol=1e-8, rtol=1e-8)
    here, there = fold(network), fold(moved)
    for matrix in cuttable(here):
        if stem_of(matrix) not in FREE_OF_GAUGE:
            continue
        for ours, theirs in zip(cut(here, matrix), cut(there, matrix), strict=True):
            assert ours.weight == pytest.approx(theirs.weight, rel=1e-6)
            effect, other = (
                answer_logits(without(folded, [part]), pairs)
                for folded, part in ((here, ours), (there, theirs))
            )
            torch.testing.assert_close(effect, other, atol=1e-6, rtol=1e-6)


def test_a_head_matrix_does_depend_on_the_gauge() -> None:
    network = random_network()
    moved = random_network_gauge(network, torch.Generator().manual_seed(5))
    ours, theirs = (cut(fold(x), "W_Q")[0].weight for x in (network, moved))
    assert abs(ours / theirs - 1) > 1e-3


def test_balanced_heads_have_factors_of_equal_norm() -> None:
    balanced = balance_network(random_network(heads=2, kv_heads=2, biases=False))
    for kv in range(2):
        torch.testing.assert_close(
            torch.linalg.svdvals(balanced.W_Q[kv]), torch.linalg.svdvals(balanced.W_K[kv])
        )
        torch.testing.assert_close(
            torch.linalg.svdvals(balanced.W_V[kv]), torch.linalg.svdvals(balanced.W_O[kv])
        )


def test_what_a_network_lacks_is_said_and_left_out() -> None:
    every = random_network(**OPTIONS["everything"])
    names = {stem_of(name) for name in matrices(fold(every))}
    assert "W_QK" not in names
    assert "W_gate" in names
    said = " ".join(missing(every))
    assert "Rotary positions and norms of q and k stand between W_Q and W_K" in said
    assert "W_X" in said
    bare = random_network(act="none", ff=0, norm="none", scale=0.3)
    bare = bare.edit(W_pos=torch.zeros_like(bare.W_pos))
    names = {stem_of(name) for name in matrices(fold(bare))}
    assert names == {"W_QK", "W_OV", "W_Q", "W_K", "W_V", "W_O", "edges"}
    said = " ".join(missing(bare, raw=True))
    for words in ("no feed-forward layer", "no norms", "No position is added", 'no basis "raw"'):
        assert words in said
    assert missing(random_network()) == []


def test_edges_have_the_roles_of_the_layout() -> None:
    network = random_network(**OPTIONS["shared keys and values"])
    folded = fold(network)
    parts = unit_components(folded, "edges.3")
    labels = [part.label for part in parts]
    assert "a_i" in labels
    assert "0 between" in labels
    torch.testing.assert_close(sum_terms(parts), matrices(folded)["edges.3"])
