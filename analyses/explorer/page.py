"""The page: a template, the bundled script and style, and the networks, in one HTML file."""

import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PARTS = Path(__file__).parent / "page"
SCRIPT, STYLE = PARTS / "bundle/explorer.js", PARTS / "bundle/explorer.css"

ABSTRACT = (
    "Type two numbers and see how the sum is made. Every number on this page is computed here, "
    "from the weights."
)


def build_page(networks: Sequence[Mapping[str, Any]]) -> str:
    """Write a page that needs nothing but itself.

    Args:
        networks: What `describe` gave, at least one; their names differ.
    """
    *names, last = (str(network["name"]) for network in networks)
    subject = f"{', '.join(names)} and {last} add" if names else f"{last} adds"
    parts = {
        "title": html.escape(f"How {subject}"),
        "abstract": html.escape(ABSTRACT),
        "style": read(STYLE),
        "script": read(SCRIPT),
        "networks": embed(networks),
    }
    return re.sub(r"\{\{ (\w+) \}\}", lambda mark: parts[mark[1]], read(PARTS / "page.html"))


def embed(networks: Sequence[Mapping[str, Any]]) -> str:
    """Write JSON that may stand inside of a script element."""
    return json.dumps(networks, separators=(",", ":")).replace("<", "\\u003c")


def read(path: Path) -> str:
    """Read a part of the page."""
    return path.read_text(encoding="utf-8")
