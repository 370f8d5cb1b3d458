"""One sum, as a model answers it: python -m model.predict CHECKPOINT A B."""

import sys
from collections.abc import Sequence
from typing import Annotated

from tyro.conf import Positional

from model.shell import Between, console, run_command

AnyOperand = Annotated[int, Between(0, 10**18 - 1)]
"""What some layout may take; the one at hand says how far it goes."""


def predict(
    checkpoint: Positional[str], a: Positional[AnyOperand], b: Positional[AnyOperand]
) -> None:
    """Add two numbers with a model and show where its answer parts from the truth.

    Args:
        checkpoint: Shipped name, folder, or published file (.pt, .npz, .safetensors).
        a: First operand, 0 to the largest that the model reads (9999999999 for ten digits).
        b: Second operand.
    """
    import torch
    from rich.markup import escape
    from rich.table import Table

    from model.anyone import read_network
    from model.columns import carries, describe_difference, digits
    from model.decode import decode
    from model.errors import InputError

    network = read_network(checkpoint).network
    layout = network.layout
    for name, value in (("a", a), ("b", b)):
        if value > layout.max_operand:
            raise InputError(f"{name} is {value}: it must be 0 to {layout.max_operand}")
    first, second = torch.tensor([a]), torch.tensor([b])
    decoded = decode(network, first, second)
    n, base = layout.n_answer, layout.base
    carry_in, _ = carries(first, second, layout.width, base)
    predicted, true = int(decoded.sums[0]), a + b

    table = Table(title=f"{a} + {b}", title_justify="left")
    for name in ("column", "a", "b", "carry in", "true", "model", "margin"):
        table.add_column(name, justify="right")
    da, db = digits(first, n, base)[0], digits(second, n, base)[0]
    for i in reversed(range(n)):
        step = layout.step(i)
        style = "bold red" if bool(decoded.wrong[0, step]) else None
        cells = [i, int(da[i]), int(db[i]), int(carry_in[0, i]), true // base**i % base]
        answer = escape(layout.token_names[int(decoded.tokens[0, step])].strip("<>"))
        margin = f"{float(decoded.margin[0, step]):.3f}"
        table.add_row(*map(str, cells), answer, margin, style=style)
    console.print(table)
    console.print(f"model  {predicted if predicted >= 0 else 'no number'}", highlight=False)
    console.print(f"true   {true}", highlight=False)
    difference = describe_difference(true, predicted, n, base)
    console.print(f"differ {difference}", highlight=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        predict,
        argv,
        prog="python -m model.predict",
        example="python -m model.predict 262p 9304630660 8594408863",
        can_be_quiet=False,
    )


if __name__ == "__main__":
    sys.exit(main())
