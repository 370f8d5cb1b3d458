"""Put a shipped model's certificate beside its weights, and what it proves into its model card.

python -m analyses.certified 262p
"""

from collections.abc import Sequence

from tyro.conf import Positional

from interp.certify import CLAIMS, TOTAL, Certificate, Count, Result, run, write_certificate
from model.checkpoint import CARD, read_checkpoint
from model.errors import InputError
from model.shell import console, run_command, write_atomic

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
    result = run(checkpoint.model)
    wrong = result.atlas[result.atlas["real"] == "wrong"]
    witnesses = wrong[["tree", "leaf", "a", "b"]].to_numpy("int64")
    write_certificate(result.certificate, witnesses, checkpoint.path / "certificate.json")
    card = readme.read_text(encoding="utf-8")
    before, _, after = card.partition(NEXT_HEADING)
    before = before.partition(HEADING)[0]
    section = write_section(result.certificate, checkpoint.path.name)
    write_atomic(readme, before + section + NEXT_HEADING + after)
    return result


def certify_all(checkpoints: Positional[tuple[str, ...]]) -> None:
    """Certify shipped models and keep the certificates beside them.

    Args:
        checkpoints: Shipped names or folders.
    """
    if not checkpoints:
        raise InputError("no checkpoints: give shipped names, such as 262p")
    for name in checkpoints:
        certificate = certify_shipped(name).certificate
        console.print(
            f"{name}: right in real arithmetic on {say_count(certificate.real)}; in float32 on "
            f"{say_count(certificate.float32)}",
            highlight=False,
            soft_wrap=True,
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        certify_all,
        argv,
        prog="python -m analyses.certified",
        example="python -m analyses.certified 262p 311p",
    )
