"""The explorer in a notebook: the same script and style as the page, as an anywidget."""

from pathlib import Path
from typing import Any

from analyses.explorer.describe import describe
from analyses.explorer.page import SCRIPT, STYLE, read
from model.adder import Adder
from model.anyone import AnyAdder, read_network
from model.dense import dense
from model.errors import InputError
from model.network import Network

Explorable = AnyAdder | Network | Adder | str | Path
"""A network, or where it is."""


def explore(*networks: Explorable, pairs: int = 0) -> Any:
    """Show networks in a notebook: type two numbers, see the columns, switch parts off.

    Args:
        networks: Networks, models, or references that `read_network` takes.
        pairs: Pairs of either kind that are searched for wrong sums to show; 0 for none.

    Returns:
        An `anywidget.AnyWidget`; its trait `networks` holds what the page would hold.

    Raises:
        InputError: No network is given, two have one name, or anywidget is not installed.
    """
    if not networks:
        raise InputError('explore() needs a network, such as read_network("262p")')
    adders = [_adder(network, f"network {i}") for i, network in enumerate(networks, 1)]
    if len({adder.name for adder in adders}) < len(adders):
        raise InputError("two networks have the same name: give them apart, or one of them")
    return _widget_class()(networks=[describe(adder, pairs=pairs) for adder in adders])


def _adder(given: Explorable, name: str) -> AnyAdder:
    if isinstance(given, AnyAdder):
        return given
    if isinstance(given, Adder):
        return AnyAdder(dense(given), given.config.n_params, {}, name, Path(), given)
    if isinstance(given, Network):
        return AnyAdder(given, None, {}, name, Path())
    return read_network(given)


def _widget_class() -> Any:
    """Make the widget's class; the library is asked for only here."""
    try:
        import anywidget  # pyright: ignore[reportMissingImports]
        import traitlets  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        message = 'the widget needs anywidget: pip install "carrylens[notebook]"'
        raise InputError(message) from error

    class ExplorerWidget(anywidget.AnyWidget):
        _esm = read(SCRIPT)
        _css = read(STYLE)
        networks = traitlets.List().tag(sync=True)

    return ExplorerWidget
