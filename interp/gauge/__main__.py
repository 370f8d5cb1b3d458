"""The same network in balanced gauge: python -m interp.gauge 311p --out FOLDER."""

from collections.abc import Sequence

from tyro.conf import Positional

from model.shell import OutFolder, Output, Sample, console, run_command, show_files


def export(checkpoint: Positional[str], out: OutFolder, pairs: Sample = 10_000) -> None:
    """Write a checkpoint in balanced gauge: the same function, |A| = |B| in every product.

    Args:
        checkpoint: Shipped name, folder, or published .pt file.
        out: Folder to write.
        pairs: Random sums on which both are compared before anything is written.
    """
    import torch

    from interp.gauge.changes import balance
    from model.adder import Adder
    from model.checkpoint import read_checkpoint, save
    from model.decode import teacher_forced
    from model.task import uniform_pairs

    source = read_checkpoint(checkpoint)
    config = source.model.config
    params = balance(source.model.params, config)
    balanced = Adder(config, {name: value.float() for name, value in params.items()})
    sums = uniform_pairs(pairs, torch.Generator().manual_seed(0))
    before, after = (teacher_forced(model, *sums) for model in (source.model, balanced))
    moved = float((before.margin - after.margin).abs().max())
    differ = int((before.tokens != after.tokens).any(dim=1).sum())
    operation = {"checkpoint": source.name, "operation": "balanced gauge, float32"}
    lineage = [*source.card.get("lineage", []), operation]
    agreement = {"n": pairs, "answers_that_differ": differ}
    with Output(out, by="python -m interp.gauge") as output, output.writing():
        save(out, balanced, {"lineage": lineage, "agreement": agreement})
    console.print(
        f"{config.n_params} parameters; {differ} of {pairs} answers differ, "
        f"margins move by at most {moved:.2g}",
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
