import pytest

from interp.anatomy.roles import ROLES, fed_roles, role_index, role_of, roles_of
from model.layouts import MICRO_10, QWEN3, WRITE_UPS
from tests.network_support import SHIFTED, SHORT


@pytest.mark.parametrize(
    "layout", [WRITE_UPS, MICRO_10, QWEN3, SHORT, SHIFTED], ids=lambda x: x.name
)
def test_every_source_has_the_role_that_its_digit_plays(layout):
    roles, names, index = roles_of(layout), layout.roles(), role_index(layout)
    assert len(set(roles)) == len(roles)
    assert index.shape == (layout.n_target, layout.n_input)
    for column in range(layout.n_target):
        query = layout.query_position(column)
        assert (index[column, query + 1 :] == -1).all()
        found = [roles[i] for i in index[column, : query + 1].tolist()]
        for position, role in enumerate(found):
            assert role == role_of(column, position, layout)
            if position in layout.separators:
                assert layout.token_names[layout.separators[position]] in role
            else:
                letter = names[position][0]
                assert role.removeprefix("other ").removeprefix("older ")[0] == letter
        if column < layout.width:
            assert found[layout.a_position(column)] == "a_i"
            assert found[layout.b_position(column)] == "b_i"
            assert found.count("a_i") == found.count("b_i") == 1
        if 0 < column <= layout.width:
            assert found[layout.a_position(column - 1)] == "a_{i-1}"
        if query >= layout.n_prompt:
            assert found[query] == fed_roles(layout)[0]


def test_separators_that_share_a_token_are_told_apart_by_their_place():
    assert {"0 before", "0 between", "0 after"} <= set(roles_of(QWEN3))
    assert {role_of(3, position, QWEN3) for position in (11, 12)} == {"0 between"}
    assert {"+", "="} <= set(ROLES)
    assert fed_roles(SHIFTED) == ("s_{i+1}", "s_{i+2}")
