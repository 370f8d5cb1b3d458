"""Is a folder whole, as a command left it? python -m model.whole out/certify/262p.

Every command that writes several files lists them with their hashes in manifest.json, last of all.
Exit code 0: all of them are there and unchanged. 1: one is missing or changed, or a command was cut
off. 2: the folder has no manifest.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from tyro.conf import Positional

from model.shell import console, find_problems, read_manifest, run_command


def whole(folder: Positional[Path]) -> int:
    """Compare a folder with its manifest, and the folders inside with theirs.

    Args:
        folder: A folder that a command filled.
    """
    problems = find_problems(folder)
    for line in problems:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if not problems:
        entries = read_manifest(folder) or {}
        authors = ", ".join(sorted({entry.by for entry in entries.values()}))
        text = f"{folder} is whole: {len(entries)} files by {authors}"
        console.print(text, highlight=False, markup=False, soft_wrap=True)
    return int(bool(problems))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return run_command(
        whole,
        argv,
        prog="python -m model.whole",
        example="python -m model.whole out/certify/262p",
        can_be_quiet=False,
    )


if __name__ == "__main__":
    sys.exit(main())
