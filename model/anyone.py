"""Anyone's adder, by shipped name, folder or file, as one kind of object.

    adder = read_network("checkpoint_57p.pt")
    decode(adder.network, a, b)

Shipped names, folders of training runs and the write-ups' .pt files give the family's networks,
multiplied out in float64; folders of `model.convert` and files of other authors the rest.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.adder import Adder
from model.checkpoint import CARD, SHIPPED, is_general, read_checkpoint, shipped_adders
from model.dense import dense
from model.errors import InputError, printable
from model.network import Network
from model.readers import SUFFIXES, is_write_ups, open_file, read_foreign
from model.stored import read_stored


@dataclass(frozen=True)
class AnyAdder:
    """A network with what is known of it.

    Attributes:
        network: Layout and effective weights.
        n_params: Numbers that training changed, tied ones once; None where nobody says.
        card: What is known of its making.
        name: Shipped name, or that of the folder or file.
        path: Where it was read.
        model: The trained parameters, where the network is of the write-ups' family.
    """

    network: Network
    n_params: int | None
    card: dict[str, Any]
    name: str
    path: Path
    model: Adder | None = None

    @property
    def trained(self) -> Adder | Network:
        """What was trained, where that is known; the effective weights elsewhere."""
        return self.network if self.model is None else self.model


def read_network(reference: str | Path) -> AnyAdder:
    """Read any adder.

    Args:
        reference: Shipped name ("262p", "262p@STEP"), folder of a training run or of
            `model.convert`, or a published file (.pt, .npz, .safetensors).

    Raises:
        InputError: Nothing of that name, or a file that cannot be used; the message says why.
    """
    path = Path(str(reference))
    base, at, _ = str(reference).partition("@")
    if isinstance(reference, str) and base in shipped_adders():
        folder = SHIPPED / base
        if not is_general(folder):
            return _family(reference)
        if at:
            raise InputError(f"no checkpoint {printable(reference)}: {base} has no snapshots")
        return _with_card(folder, *read_stored(folder))
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, ValueError):
        return _family(reference)
    if is_folder and is_general(path):
        return _with_card(path, *read_stored(path))
    if is_file and path.suffix == ".safetensors" and (path.parent / CARD).is_file():
        stored = is_general(path.parent)
        return _with_card(path.parent, *read_stored(path.parent)) if stored else _family(reference)
    if is_file and path.suffix in SUFFIXES:
        content = open_file(path)
        if not is_write_ups(content):
            return _with_card(path, *read_foreign(path, content))
    return _family(reference)


def _family(reference: str | Path) -> AnyAdder:
    found = read_checkpoint(reference)
    network = dense(found.model)
    return AnyAdder(
        network, found.model.config.n_params, found.card, found.name, found.path, found.model
    )


def _with_card(path: Path, network: Network, card: dict[str, Any]) -> AnyAdder:
    n = card.get("n_params")
    if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 0):
        raise InputError(f"{path}: n_params is {printable(n)}: it must be a whole number")
    return AnyAdder(network, n, card, path.stem if path.is_file() else path.name, path)
