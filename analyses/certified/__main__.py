"""Put a shipped model's certificate beside its weights, and what it proves into its model card.

python -m analyses.certified 262p
"""

from collections.abc import Sequence

from tyro.conf import Positional

from model.errors import InputError
from model.shell import console, run_command, show_files


def certify_all(checkpoints: Positional[tuple[str, ...]]) -> None:
    """Certify shipped models and keep the certificates beside them.

    Args:
        checkpoints: Shipped names or folders.
    """
    if not checkpoints:
        raise InputError("no checkpoints: give shipped names, such as 262p")
    from analyses.certified.study import certify_shipped, say_count
    from model.checkpoint import read_checkpoint

    for name in checkpoints:
        certificate = certify_shipped(name).certificate
        console.print(
            f"{name}: right in real arithmetic on {say_count(certificate.real)}; in float32 on "
            f"{say_count(certificate.float32)}",
            highlight=False,
            soft_wrap=True,
        )
        show_files(read_checkpoint(name).path)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        certify_all,
        argv,
        prog="python -m analyses.certified",
        example="python -m analyses.certified 262p 311p",
    )


if __name__ == "__main__":
    raise SystemExit(main())
