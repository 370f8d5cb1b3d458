"""Writes any adder as a folder of our own: python -m model.convert FILE OUT.

    python -m model.convert checkpoint_57p.pt adders/57p
    python -m model.evaluate adders/57p --official

The folder holds effective weights as safetensors and a card with the layout, the options and every
shape. Commands also take FILE itself; the folder is for keeping, reading and editing.
"""

import sys
from collections.abc import Sequence

from tyro.conf import Positional

from model.shell import OutFolder, console, run_command


def convert(adder: Positional[str], out: Positional[OutFolder]) -> None:
    """Write any adder as weights (model.safetensors) and a readable card (model.json).

    Args:
        adder: Published file (.pt, .npz, .safetensors), folder, or shipped name.
        out: Folder to write; it must not exist, or be empty.
    """
    from model.anyone import read_network
    from model.errors import InputError
    from model.stored import save_network

    loaded = read_network(adder)
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"{out} exists already: name a new folder")
    except (OSError, ValueError) as error:
        raise error if isinstance(error, InputError) else InputError(f"{out}: {error}") from error
    kept = ("kind", "source", "claims")
    card = {
        "n_params": loaded.n_params,
        "source": loaded.path.name,
        **{name: loaded.card[name] for name in kept if name in loaded.card},
    }
    folder = save_network(out, loaded.network, card)
    network = loaded.network
    trained = "unknown" if loaded.n_params is None else str(loaded.n_params)
    heads = f"{network.n_heads} head{'s' if network.n_heads > 1 else ''}"
    console.print(
        f"{folder}: layout {network.layout.name}, d_model {network.d_model}, {heads}, "
        f"{network.d_ff} units, trained parameters {trained}",
        highlight=False,
        soft_wrap=True,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        convert,
        argv,
        prog="python -m model.convert",
        example="python -m model.convert checkpoint_57p.pt adders/57p",
        can_be_quiet=False,
    )


if __name__ == "__main__":
    sys.exit(main())
