"""Running text: plain words, `code` and **strong** words, as HTML and as Markdown."""

import html
import re
from collections.abc import Iterator

_SPANS = re.compile(r"`([^`]+)`|\*\*(.+?)\*\*", re.DOTALL)
_INDEXED = re.compile(
    r"(?<![\w/.])([abcstuDSTWR])_(?:\{([^}]+)\}|\(([^)]+)\)|(i|\d+|QK|OV|KV|[QKVOEU]|pos|in|out))"
    r"(?![\w(])"
)
_POWER = re.compile(r"(?<![\w.])(2|10|[RG])\^(-?)(\d+)(?!\w)")
_EXPONENT = re.compile(r"(?<![\w.])(\d(?:\.\d+)?)e([-+]?)0*(\d+)(?!\w|\.\d)")
_MINUS = re.compile(r"(?<![\w)\]}])-(?=[\d.])")
_DIFFERENCE = re.compile(r"(?<=[\w)>]) - (?=[\w(<])")
_MARKDOWN = re.compile(r"[\\`*<>\[\]|~]|(?<!\w)_")


def spans(text: str) -> Iterator[tuple[str, str]]:
    """Split a text into ("text" | "code" | "strong", words)."""
    start = 0
    for found in _SPANS.finditer(text):
        if found.start() > start:
            yield "text", text[start : found.start()]
        yield ("code", found[1]) if found[1] is not None else ("strong", found[2])
        start = found.end()
    if start < len(text):
        yield "text", text[start:]


def inline_html(text: str) -> str:
    """Write a text as HTML, with indices and powers set as such."""
    parts = []
    for kind, words in spans(text):
        if kind == "code":
            parts.append(f"<code>{html.escape(words)}</code>")
        else:
            escaped = set_formulas(html.escape(words))
            parts.append(f"<strong>{escaped}</strong>" if kind == "strong" else escaped)
    return "".join(parts)


def set_formulas(escaped: str) -> str:
    """Set a_i, W_QK, 10^20, R^2, 1.2e-05 and minus signs in escaped text as a paper would."""
    text = _EXPONENT.sub(_power_of_ten, escaped)
    text = _POWER.sub(_power, text)
    text = _MINUS.sub("\u2212", text)
    text = text.replace("&gt;=", "\u2265").replace("&lt;=", "\u2264")
    return _DIFFERENCE.sub(" \u2212 ", _INDEXED.sub(_index, text))


def inline_markdown(text: str) -> str:
    """Write a text as Markdown that reads the same once rendered."""
    parts = []
    for kind, words in spans(text):
        if kind == "code":
            parts.append(f"`{words}`")
        else:
            escaped = escape_markdown(words)
            parts.append(f"**{escaped}**" if kind == "strong" else escaped)
    return "".join(parts)


def escape_markdown(text: str) -> str:
    """Escape what Markdown would take for markup."""
    return _MARKDOWN.sub(lambda m: f"\\{m[0]}", text).replace("\n", " ")


def _power(found: re.Match[str]) -> str:
    sign = "\u2212" if found[2] else ""
    return f"{found[1]}<sup>{sign}{found[3]}</sup>"


def _power_of_ten(found: re.Match[str]) -> str:
    sign = "\u2212" if found[2] == "-" else ""
    return f"{found[1]} \u00d7 10<sup>{sign}{found[3]}</sup>"


def _index(found: re.Match[str]) -> str:
    index = (found[2] or found[3] or found[4]).replace("-", "\u2212")
    return f"<i>{found[1]}</i><sub>{index}</sub>"
