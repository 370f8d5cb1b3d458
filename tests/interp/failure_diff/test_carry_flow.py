import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from interp.failure_diff.carry_flow import (
    ATTENTION,
    Flow,
    draw_flow,
    legend_handles,
    mistaken_carry,
)
from interp.failure_diff.columns import column_table, find_focus
from interp.failure_diff.result import records
from model.dense import dense
from model.handbuilt import handbuilt_adder


@pytest.mark.parametrize(
    ("kind", "pair", "mark"),
    [("discrete", (150, 70), None), ("ignored", (150, 70), "\N{MULTIPLICATION SIGN}")],
)
def test_a_diagram_shows_every_digit_carry_and_mistake(kind, pair, mark):
    table = column_table(dense(handbuilt_adder(carry=kind)), *pair)
    focus = find_focus(table)
    assert mistaken_carry(records(table), focus) == mark
    pattern = np.zeros((12, 33))
    pattern[focus.column, [9 - focus.column, 20 - focus.column]] = 0.5
    ax = Figure().subplots()
    draw_flow(ax, Flow("sum", table, pattern, frozenset({("a", 1)})), focus)
    words = [text.get_text() for text in ax.texts]
    assert sum(word.isdigit() and len(word) == 1 for word in words) >= 20 + 11 + 11
    assert words.count(mark or "none") == (mark is not None)
    lines = [p for p in ax.patches if p.get_edgecolor()[:3] == to_rgb(ATTENTION)]
    assert len(lines) == 2
    assert f"column {focus.column}" in words
    labels = [handle.get_label() for handle in legend_handles(mark)]
    assert ("missed carry" in labels) == (mark is not None)
