"""One sum, as a model answers it: python -m model.predict CHECKPOINT A B."""

import sys
from collections.abc import Sequence

from tyro.conf import Positional

from model.shell import Operand, console, run_command


def predict(checkpoint: Positional[str], a: Positional[Operand], b: Positional[Operand]) -> None:
    """Add two numbers with a model and show where its answer parts from the truth.

    Args:
        checkpoint: Shipped name, folder, or published .pt file.
        a: First operand, 0 to 9999999999.
        b: Second operand, 0 to 9999999999.
    """
    import torch
    from rich.table import Table

    from model.checkpoint import load
    from model.decode import decode
    from model.task import N_ANSWER, carries, describe_difference, digits

    model = load(checkpoint)
    first, second = torch.tensor([a]), torch.tensor([b])
    decoded = decode(model, first, second)
    carry_in, _ = carries(first, second)
    predicted, true = int(decoded.sums[0]), a + b

    table = Table(title=f"{a} + {b}", title_justify="left")
    for name in ("column", "a", "b", "carry in", "true", "model", "margin"):
        table.add_column(name, justify="right")
    da, db = digits(first, N_ANSWER)[0], digits(second, N_ANSWER)[0]
    names = [str(i) for i in range(10)] + ["+", "=", "PAD", "EOS"]
    for i in reversed(range(N_ANSWER)):
        style = "bold red" if bool(decoded.wrong[0, i]) else None
        cells = [i, int(da[i]), int(db[i]), int(carry_in[0, i]), true // 10**i % 10]
        answer = names[int(decoded.tokens[0, i])]
        table.add_row(*map(str, cells), answer, f"{float(decoded.margin[0, i]):.3f}", style=style)
    console.print(table)
    console.print(f"model  {predicted if predicted >= 0 else 'no number'}", highlight=False)
    console.print(f"true   {true}", highlight=False)
    console.print(f"differ {describe_difference(true, predicted)}", highlight=False)


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
