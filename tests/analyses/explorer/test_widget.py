"""The widget: what it is given, and what it says where it cannot be."""

import sys

import pytest

from analyses.explorer import explore
from model.anyone import read_network
from model.checkpoint import load
from model.errors import InputError


def test_without_the_library_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(InputError, match=r"carrylens\[notebook\]"):
        explore("262p")


def test_what_cannot_be_shown_is_refused() -> None:
    with pytest.raises(InputError, match="needs a network"):
        explore()
    with pytest.raises(InputError, match="same name"):
        explore("262p", read_network("262p"))


def test_the_widget_holds_the_networks_and_the_page_s_script() -> None:
    pytest.importorskip("anywidget", reason="anywidget is not installed: no widget")
    widget = explore(load("262p"), read_network("491p").network, "262p-failed")
    names = [network["name"] for network in widget.networks]
    assert names == ["network 1", "network 2", "262p-failed"]
    assert "render" in str(widget._esm)
