"""Section "model" of a report: what the network is, its parameters, and where it is from."""

from pathlib import Path

import pandas as pd

from analyses.report.section import Heading, Listing, Part, Section, Table, Text, picture
from analyses.report.source import Source
from interp import effective_params
from interp.output import save_json
from model.adder import Adder
from model.checkpoint import Checkpoint, versions, weights_sha256

MATRICES = {
    "W_E": "token embedding, tied to the head",
    "W_pos": "position embedding",
    "ln1": "norm before attention",
    "qkv": "queries, keys, values",
    "W_O": "attention output",
    "ln2": "norm before the feed-forward layer",
    "W_in": "feed-forward, in",
    "W_out": "feed-forward, out",
    "ln_final": "last norm",
}
FIELDS = {
    "d_model": "width of the residual stream and of the head",
    "d_ff": "feed-forward units (GELU)",
    "n_ctx": "learned positions",
    "pos_rank": "rank of the position embedding (0: full)",
    "qkv_rank": "rank of queries, keys and values (0: full)",
    "attn_out_rank": "rank of the attention output (0: full)",
    "ffn_rank": "rank of both feed-forward matrices (0: full)",
    "norm": "norm",
    "tie_qkv": "which factors queries, keys and values share",
}


def build_model(source: Source, folder: Path) -> Section:
    """Describe the network and count its parameters, stored and effective."""
    model, name = source.model, source.name
    config = effective_params.Config(pairs=source.size(64, 24), seed=source.seed)
    ranks = effective_params.run(model, config)
    save_json(
        {
            "stored": ranks.nominal,
            "gauge": ranks.gauge,
            "weights": ranks.weights,
            "logits": ranks.logits,
            "log_probabilities": ranks.log_probabilities,
            "gap": ranks.gap,
            "spectrum": ranks.spectrum,
        },
        folder / "ranks.json",
    )
    shape = model.config
    parts: list[Part] = [
        Text(
            f"{name} is a decoder-only transformer of one pre-norm layer with one head. It reads "
            "the digits of a and b, most significant first, and writes the eleven digits of a + b "
            "and an end token, least significant first: 22 prompt tokens, 12 answer tokens, 33 "
            "positions read. Column i of the answer (0: units) is decided where the token is "
            "s_(i-1), the digit written before it."
        ),
        Table("The shape of the network.", tabulate_shape(shape.to_dict())),
        Table(
            "Stored parameters, counted from the factors; shared factors count once.",
            tabulate_parameters(model),
        ),
        Heading("How many parameters there really are"),
        Text(
            f"Of the {ranks.nominal} stored parameters, {ranks.gauge} directions are changes of "
            "gauge: they change the factors and not the network (measured as the rank of the "
            "infinitesimal moves at these weights). The Jacobian of the answer logits with respect "
            f"to all parameters, on {config.pairs} random sums in float64, has rank {ranks.logits}"
            f"; below the last singular value counted there is a drop by a factor of "
            f"{ranks.gap:.1e}. A network that used all it could would have rank "
            f"{ranks.free}."
        ),
        Table(
            "Counts of parameters and of directions in which the network can move.",
            pd.DataFrame(
                {
                    "count": [
                        "stored parameters",
                        "changes of gauge",
                        "stored less gauge",
                        "rank of the effective weights",
                        "rank of the logits (effective parameters)",
                        "rank of the log-probabilities",
                    ],
                    "number": [
                        ranks.nominal,
                        ranks.gauge,
                        ranks.free,
                        ranks.weights,
                        ranks.logits,
                        ranks.log_probabilities,
                    ],
                }
            ),
        ),
        picture(
            effective_params.plot(ranks),
            folder,
            "spectrum",
            "Singular values of the Jacobian of the answer logits, relative to the first, on "
            f"{config.pairs} random sums. What lies to the right of the drop is rounding.",
        ),
        Heading("Where it comes from"),
        *describe_lineage(source.checkpoint),
        Table(
            "What identifies the weights, and what this report was computed with.",
            tabulate_versions(source.checkpoint),
        ),
    ]
    return Section(
        name="model",
        title="Model card",
        finding=(
            f"{name} stores {ranks.nominal} parameters; they move its logits in {ranks.logits} "
            f"independent directions ({ranks.gauge} are changes of gauge)."
        ),
        parts=tuple(parts),
        commands=(
            source.command(
                "interp.effective_params", "--pairs", config.pairs, "--seed", config.seed
            ),
        ),
        sources=("ranks.json",),
    )


def tabulate_shape(fields: dict[str, object]) -> pd.DataFrame:
    """List the configuration, with what each field means."""
    rows = [(name, str(value), FIELDS.get(name, "")) for name, value in fields.items()]
    return pd.DataFrame(rows, columns=["field", "value", "meaning"])


def tabulate_parameters(model: Adder) -> pd.DataFrame:
    """Count the stored parameters, matrix by matrix."""
    rows = []
    for prefix, meaning in MATRICES.items():
        own = [value for name, value in model.params.items() if name.startswith(prefix)]
        factors = " + ".join(" \u00d7 ".join(map(str, value.shape)) for value in own)
        rows.append((prefix, meaning, factors, sum(value.numel() for value in own)))
    rows.append(("all", "", "", sum(value.numel() for value in model.params.values())))
    return pd.DataFrame(rows, columns=["matrix", "what it is", "stored factors", "parameters"])


def describe_lineage(checkpoint: Checkpoint) -> list[Part]:
    """Say how the network was made, as far as its card does."""
    card = checkpoint.card
    lineage = card.get("lineage", [])
    if not lineage:
        known = card.get("published", {})
        facts = ", ".join(f"{key} {value:g}" for key, value in known.items())
        if known:
            text = (
                "The weights are a file that the authors of a write-up published; it records "
                f"{facts}, and no command."
            )
        else:
            text = "The card beside the weights records no command that made them."
        return [Text(text)]
    rows = []
    for number, stage in enumerate(lineage, 1):
        best = stage.get("best", {})
        rows.append(
            {
                "stage": number,
                "chosen at step": best.get("step", -1),
                "loss": best.get("loss", float("nan")),
                "exact match, validation": best.get("exact", float("nan")),
                "exact match, hard pairs": best.get("exact_hard", float("nan")),
            }
        )
    commands = "\n".join(stage.get("command", "(not recorded)") for stage in lineage)
    many = f"{len(lineage)} stages, each from" if len(lineage) > 1 else "One stage, from"
    start = "the result of the one before" if len(lineage) > 1 else "random parameters"
    return [
        Text(f"{many} {start}; the commands are the card's."),
        Table("The stages of training, as the checkpoint's card records them.", pd.DataFrame(rows)),
        Listing("The commands", commands),
    ]


def tabulate_versions(checkpoint: Checkpoint) -> pd.DataFrame:
    """List the hash of the weights and the versions behind weights and report."""
    then, now = checkpoint.card.get("trained_with", {}), versions()
    rows = [("weights, sha256", weights_sha256(checkpoint.model.params), "")]
    rows += [(key, value, str(then.get(key, "not recorded"))) for key, value in now.items()]
    return pd.DataFrame(rows, columns=["", "this report", "training"])
