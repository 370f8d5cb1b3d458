"""One command for all the others: carrylens NAME ARGUMENTS does what its python -m does.

    carrylens list
    carrylens probe 262p
    carrylens certify --help

Modules are imported only when their command is called, so that help comes at once.
"""

import importlib
import importlib.util
import json
import sys
from collections.abc import Sequence
from typing import Any

COMMANDS: dict[str, tuple[str, str]] = {
    "predict": ("model.predict", "one sum, as a model answers it"),
    "evaluate": ("model.evaluate", "errors and margins on sets of pairs"),
    "convert": ("model.convert", "anybody's adder as a folder of weights and a readable card"),
    "whole": ("model.whole", "is a folder whole, as a command left it"),
    "train": ("train", "train one model from a seed"),
    "train-plain": ("train.plain", "train an adder of any layout in plain PyTorch"),
    "search": ("train.search", "search for the smallest adder: many seeds, few numbers"),
    "sweep": ("train.sweep", "many seeds of one recipe"),
    "finetune": ("train.finetune", "fine-tune in rounds, each from the best of the last"),
    "ship": ("train.ship", "make a finished run a shipped checkpoint"),
    "probe": ("interp.carry_probe", "where the carry is, and whether the model uses it"),
    "ablate": ("interp.rank_ablation", "what each rank component does"),
    "portrait": (
        "interp.component_portrait",
        "what one component reads, writes and is needed for",
    ),
    "truncate": ("interp.truncation", "lower ranks reached by truncation"),
    "gauge": ("interp.gauge", "changes of gauge, and a checkpoint in balanced gauge"),
    "effective-params": (
        "interp.effective_params",
        "rank of the Jacobian beside the count",
    ),
    "diff": ("interp.failure_diff", "one sum against its controls, column by column"),
    "certify": ("interp.certify", "right pairs out of all 10^20, proved"),
    "check": ("interp.check_certificate", "re-verify a certificate from the files alone"),
    "trajectory": (
        "interp.certify_trajectory",
        "certified error along a training trajectory",
    ),
    "certified": ("analyses.certified", "certificates beside the checkpoints"),
    "claims": ("analyses.claims", "the write-ups' statements, checked"),
    "compression": (
        "analyses.compression",
        "ranks that cannot be trained, reached and fine-tuned",
    ),
    "training-tables": (
        "analyses.training_tables",
        "the write-ups' training tables, trained again",
    ),
    "smallest": (
        "analyses.smallest",
        "how small a network can be and still be always right",
    ),
    "repair": ("analyses.repair", "certify, train on what fails, certify again"),
    "algorithm": (
        "analyses.algorithm",
        "rival executable hypotheses, and the winner as a program",
    ),
    "dynamics": ("analyses.dynamics", "what comes first along a training run"),
    "curves": ("analyses.curves", "training curves of runs, kept small"),
    "figures": ("analyses.figures", "the gallery: every figure with its data and caption"),
    "explorer": ("analyses.explorer", "a page in which networks run, to touch"),
    "report": ("analyses.report", "everything about a checkpoint on one page"),
    "adderboard": ("analyses.adderboard", "export one self-contained file and test it"),
}
"""Name of each subcommand: its module, whose main(argv) is called, and what it is for."""

LIST = "list"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit code; 2 where there is none of that name."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(write_help())
        return 0
    name, *rest = arguments
    if name == LIST:
        return list_checkpoints(rest)
    if name not in COMMANDS:
        print(
            f"carrylens: no command {name!r}: known are {', '.join([LIST, *COMMANDS])}",
            file=sys.stderr,
        )
        return 2
    return importlib.import_module(entry(COMMANDS[name][0])).main(rest)


def entry(module: str) -> str:
    """Give the module whose main() is what `python -m module` runs."""
    spec = importlib.util.find_spec(module)
    package = spec is not None and spec.submodule_search_locations is not None
    return f"{module}.__main__" if package else module


def write_help() -> str:
    """Write the list of subcommands."""
    width = max(map(len, COMMANDS)) + 2
    lines = ["usage: carrylens COMMAND [ARGUMENTS]", ""]
    lines.append(f"  {LIST:<{width}}shipped checkpoints: parameters, errors, certificate")
    for name, (module, purpose) in COMMANDS.items():
        lines.append(f"  {name:<{width}}{purpose} (python -m {module})")
    return "\n".join([*lines, "", "Each command explains itself: carrylens COMMAND --help"])


def list_checkpoints(argv: Sequence[str] = ()) -> int:
    """Print what the cards of the shipped checkpoints say."""
    if argv:
        wanted = argv[0] in ("-h", "--help")
        message = "usage: carrylens list" if wanted else "carrylens list takes no arguments"
        print(message, file=sys.stdout if wanted else sys.stderr)
        return 0 if wanted else 2
    from rich.table import Table

    from model.checkpoint import CARD, SHIPPED, shipped_adders
    from model.shell import console

    table = Table(title="shipped checkpoints", title_justify="left")
    for head in ("name", "parameters", "wrong, uniform", "wrong, carry chains"):
        table.add_column(head, justify="left" if head == "name" else "right")
    table.add_column("certificate")
    for name in shipped_adders():
        card = json.loads((SHIPPED / name / CARD).read_text(encoding="utf-8"))
        measured = card.get("measured", {})
        errors = (describe_errors(measured.get(kind)) for kind in ("uniform", "stratified"))
        file = SHIPPED / name / "certificate.json"
        certificate = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
        status = describe_certificate(certificate, card)
        table.add_row(name, str(card["n_params"]), *errors, status)
    console.print(table)
    return 0


def describe_errors(measured: dict[str, Any] | None) -> str:
    """Say how many pairs a card counts as wrong."""
    return f"{measured['errors']:,} of {measured['pairs']:,}" if measured else "not measured"


def describe_certificate(certificate: dict[str, Any] | None, card: dict[str, Any]) -> str:
    """Say what the certificate beside a card claims for real arithmetic and for float32."""
    if certificate is None:
        return "none stored"
    if certificate.get("weights_sha256", card.get("sha256")) != card.get("sha256"):
        return "of other weights"
    counts = certificate["counts"]
    known = [name for name in ("real", "float32") if name in counts]
    wrong = {name: 10**20 - int(counts[name]["lower"]) for name in known}
    if not any(wrong.values()):
        return "all 10^20 pairs right" + ("" if "float32" in known else " (real arithmetic)")
    return "wrong: " + ", ".join(f"{name} at most {n:,}" for name, n in wrong.items())


if __name__ == "__main__":
    sys.exit(main())
