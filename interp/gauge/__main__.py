"""The same network in balanced gauge: python -m interp.gauge 311p --out FOLDER."""

from collections.abc import Sequence

from tyro.conf import Positional

from model.shell import OutFolder, Output, Sample, console, run_command, show_files


def export(checkpoint: Positional[str], out: OutFolder, pairs: Sample = 10_000) -> None:
    """Write a network in balanced gauge: the same function, |A| = |B| in every product.

    A network of the write-ups' family stays one, its trained factors balanced. Of any other the
    effective weights of each head are, and gains move into what reads them.

    Args:
        checkpoint: Shipped name, folder, or published file of any one-layer adder.
        out: Folder to write.
        pairs: Random sums on which both are compared before anything is written.
    """
    import torch

    from interp.gauge.changes import balance
    from interp.gauge.networks import balance_network
    from model.adder import Adder
    from model.anyone import read_network
    from model.checkpoint import save
    from model.decode import teacher_forced
    from model.stored import save_network
    from model.task import uniform_pairs

    source = read_network(checkpoint)
    if source.model is None:
        balanced, kind = balance_network(source.network), "float64"
    else:
        params, kind = balance(source.model.params, source.model.config), "float32"
        params = {name: value.float() for name, value in params.items()}
        balanced = Adder(source.model.config, params)
    sums = uniform_pairs(pairs, torch.Generator().manual_seed(0), source.network.layout)
    before, after = (teacher_forced(model, *sums) for model in (source.trained, balanced))
    moved = float((before.margin - after.margin).abs().max())
    differ = int((before.tokens != after.tokens).any(dim=1).sum())
    operation = {"checkpoint": source.name, "operation": f"balanced gauge, {kind}"}
    lineage = [*source.card.get("lineage", []), operation]
    agreement = {"n": pairs, "answers_that_differ": differ}
    with Output(out, by="python -m interp.gauge") as output, output.writing():
        card = {"lineage": lineage, "agreement": agreement}
        if isinstance(balanced, Adder):
            save(out, balanced, card)
        else:
            save_network(out, balanced, {**source.card, **card, "n_params": source.n_params})
    count = "" if source.n_params is None else f"{source.n_params} parameters; "
    console.print(
        f"{count}{differ} of {pairs} answers differ, margins move by at most {moved:.2g}",
        highlight=False,
    )
    show_files(out)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        export,
        argv,
        prog="python -m interp.gauge",
        example="python -m interp.gauge 311p --out out/balanced/311p",
    )


if __name__ == "__main__":
    raise SystemExit(main())
