"""Makes a finished run a shipped checkpoint: measures it at length and writes its model card."""

from pathlib import Path
from typing import Any

from model.checkpoint import CARD, TRAJECTORY, Checkpoint, read_checkpoint, save
from model.decode import decode
from model.intervals import clopper_pearson
from model.reading import read_json, read_regular
from model.shell import Output, write_atomic
from model.task import hard_pairs
from model.tensor_file import TRAJECTORY_LIMIT
from train.progress import LOG
from train.run import CASES
from train.validation import count_test_errors

UNIFORM_SEED, STRATIFIED_SEED = 20_260_001, 20_260_002


def measure(folder: Path, uniform: int, stratified: int) -> dict[str, Any]:
    """Count errors on fresh uniform and carry-stratified pairs and on the named hard cases."""
    model = read_checkpoint(folder).model
    wrong = int((~decode(model, *hard_pairs()).exact).sum())
    result: dict[str, Any] = {"hard": {"errors": wrong, "pairs": len(hard_pairs()[0])}}
    for name, n, seed, hard in (
        ("uniform", uniform, UNIFORM_SEED, False),
        ("stratified", stratified, STRATIFIED_SEED, True),
    ):
        errors = count_test_errors(model, n, seed, stratified=hard)
        low, high = clopper_pearson(errors, n)
        result[name] = {"errors": errors, "pairs": n, "seed": seed, "interval_95": [low, high]}
    return result


def write_card(name: str, card: dict[str, Any]) -> str:
    """Write the model card as Markdown, every number taken from `card`."""
    config, measured = card["config"], card["measured"]
    lines = [
        f"# {name}",
        "",
        f"A transformer with {card['n_params']} parameters that adds two ten-digit numbers: "
        f"one layer, one head, d_model {config['d_model']}, d_ff {config['d_ff']}, "
        f"{'RMSNorm' if config['norm'] == 'rms' else 'LayerNorm'}, tied head, "
        f"QKV mode {config['tie_qkv']}, ranks: position {config['pos_rank']}, "
        f"QKV {config['qkv_rank']}, attention output {config['attn_out_rank']}, "
        f"feed-forward {config['ffn_rank']} (0 is full).",
        "",
        "## Measured",
        "",
        "| pairs | number | wrong | error rate, 95 % interval |",
        "|---|---|---|---|",
    ]
    for kind, text in (
        ("uniform", "uniform"),
        ("stratified", "carry chains of every length"),
        ("hard", "named hard cases and single-carry chains"),
    ):
        row = measured[kind]
        bounds = row.get("interval_95")
        interval = f"{bounds[0]:.1e} to {bounds[1]:.1e}" if bounds else "not a sample"
        lines.append(f"| {text} | {row['pairs']:,} | {row['errors']:,} | {interval} |")
    lines += [
        "",
        "Greedy decoding, all 11 digits right. Repeat with "
        f"`python -m model.evaluate {name} --pairs {measured['uniform']['pairs']} "
        f"--seed {measured['uniform']['seed']}`.",
        "",
        "## How it was made",
        "",
        "Each command starts from the result of the one before; run in this order in one folder "
        "they give these weights again on the same machine and versions.",
        "",
        "```",
        *(_say_step(step) for step in card["lineage"]),
        "```",
        "",
        f"Chosen at step {card['best']['step']:.0f} of the last one, by errors on uniform and hard "
        "validation pairs, then by smallest margin. "
        f"Versions: {', '.join(f'{k} {v}' for k, v in card['versions'].items())}.",
        "",
        f"sha256 of the weights: `{card['sha256']}`",
        "",
        "`log.csv` is the log of the last run, `trajectory.safetensors` its snapshots "
        f'(`load("{name}@STEP")`).',
        "",
    ]
    return "\n".join(lines)


def _say_step(step: dict[str, Any]) -> str:
    """Write one ancestor: its command, or what was done to which checkpoint."""
    if "command" in step:
        return step["command"]
    return f"# from {step.get('checkpoint')}: {step.get('operation', 'as it is')}"


def ship_run(run: Path, folder: Path, uniform: int, stratified: int) -> dict[str, Any]:
    """Measure a run and store it as a checkpoint with its model card; give what was measured."""
    source = read_checkpoint(run)
    with Output(folder, by="python -m train.ship", adds=True) as output:
        measured = measure(run, uniform, stratified)
        with output.writing():
            _write(source, measured, run, folder)
    return measured


def _write(source: Checkpoint, measured: dict[str, Any], run: Path, folder: Path) -> None:
    kept = {k: v for k, v in source.card.items() if k not in ("sha256", "versions", "measured")}
    trained_with = source.card["versions"]
    save(folder, source.model, {**kept, "measured": measured, "trained_with": trained_with})
    for file in (LOG, TRAJECTORY, CASES):
        if (run / file).exists():
            write_atomic(folder / file, read_regular(run / file, TRAJECTORY_LIMIT))
    card = read_json(folder / CARD)
    write_atomic(folder / "README.md", write_card(folder.name, {**card, "versions": trained_with}))
