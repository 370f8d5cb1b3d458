"""How many of the 10^20 pairs does a checkpoint add correctly? python -m interp.certify 262p."""

from collections.abc import Sequence
from pathlib import Path

from tyro.conf import Positional

from interp.certify.config import CertifyConfig
from model.shell import OutFolder, Output, print_summary, run_command, show_files


def certify_command(
    checkpoint: Positional[str],
    *,
    config: CertifyConfig = CertifyConfig(),  # noqa: B008
    out: OutFolder | None = None,
) -> None:
    """Count the pairs that a network adds correctly, out of all 10^20.

    Args:
        checkpoint: Shipped name, folder, NAME@STEP, or any adder's file.
        config: Budgets.
        out: Folder for certificate.json, summary.json, columns.csv, atlas.csv and the figure; by
            default out/certify/NAME.
    """
    from model.anyone import read_network

    adder = read_network(checkpoint)
    folder = out or Path("out/certify") / adder.name
    with Output(folder, by="python -m interp.certify") as output:
        if adder.model is not None:
            from interp.certify.instrument import run, write
            from interp.certify.summary import summarise

            result = run(adder.model, config)
            with output.writing():
                write(result, folder)
            summary = summarise(result.certificate, result.columns, result.atlas, adder.name)
        else:
            from interp import certify_any

            found = certify_any.run(adder, budget=config.budget, end_budget=config.eos_budget)
            with output.writing():
                certify_any.write(found, adder, folder)
            summary = certify_any.summarise(found, adder.name)
    print_summary(summary)
    show_files(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        certify_command,
        argv,
        prog="python -m interp.certify",
        example="python -m interp.certify 262p",
    )


if __name__ == "__main__":
    raise SystemExit(main())
