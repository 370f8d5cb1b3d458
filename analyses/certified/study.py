"""Put a shipped model's certificate beside its weights, and what it proves into its model card.

python -m analyses.certified 262p
"""

from pathlib import Path

from interp.certify import CLAIMS, TOTAL, Certificate, Count, Result, run, write_certificate
from model.checkpoint import CARD, read_checkpoint
from model.errors import InputError
from model.reading import read_regular
from model.shell import Output, write_atomic

HEADING = "## Certified"
NEXT_HEADING = "## How it was made"


def say_count(count: Count) -> str:
    """Say a count in words that are exactly true."""
    if count.lower == TOTAL:
        return f"all {TOTAL:,} pairs"
    if count.gap == 0:
        return f"exactly {count.lower:,} of the {TOTAL:,} pairs"
    return f"at least {count.lower:,} and at most {count.upper:,} of the {TOTAL:,} pairs"


def write_section(certificate: Certificate, name: str) -> str:
    """Write the model card's section about a certificate."""
    return "\n".join(
        [
            HEADING,
            "",
            f"Right in real arithmetic on {say_count(certificate.real)}, and in float32 on "
            f"{say_count(certificate.float32)}. With the end token after the digits: in real "
            f"arithmetic on {say_count(certificate.real_with_end)}, in float32 on "
            f"{say_count(certificate.float32_with_end)}.",
            "",
            *(f"- {key}: {CLAIMS[key]}" for key in ("right", "real", "float32")),
            "",
            f"`certificate.json` is the proof; `python -m interp.check_certificate "
            f"checkpoints/{name}/certificate.json checkpoints/{name}` verifies it with code that "
            "shares nothing with the program that made it.",
            "",
            "",
        ]
    )


def certify_shipped(name: str) -> Result:
    """Certify one checkpoint, and write certificate.json and the section into its folder.

    Raises:
        InputError: The checkpoint is no folder with a model card.
    """
    checkpoint = read_checkpoint(name)
    readme = checkpoint.path / "README.md"
    if not (checkpoint.path / CARD).exists() or not readme.exists():
        raise InputError(f"{name} is no shipped folder with {CARD} and README.md")
    with Output(checkpoint.path, by="python -m analyses.certified", adds=True) as output:
        result = run(checkpoint.model)
        with output.writing():
            _write(result, checkpoint.path, readme)
    return result


def _write(result: Result, folder: Path, readme: Path) -> None:
    wrong = result.atlas[result.atlas["real"] == "wrong"]
    witnesses = wrong[["tree", "leaf", "a", "b"]].to_numpy("int64")
    write_certificate(result.certificate, witnesses, folder / "certificate.json")
    card = read_regular(readme).decode()
    before, _, after = card.partition(NEXT_HEADING)
    before = before.partition(HEADING)[0]
    section = write_section(result.certificate, folder.name)
    write_atomic(readme, before + section + NEXT_HEADING + after)
