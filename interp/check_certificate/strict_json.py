"""A strict reader of JSON, for the checker of certificates.

JSON leaves room: keys may come twice, numbers may be infinite, brackets may nest without end. Two
programs can then read two things in one file, or one of them can fall over. This reader takes
what has one meaning and a bounded cost, and says in one line what else it found.
"""

import json
import math
import re
from typing import Any, NoReturn

import numpy as np

DEPTH = 32
"""How deep brackets may nest."""
VALUES = 1_000_000
"""How many commas a text may hold, so that what it becomes fits in memory."""
DIGITS = 40
"""How long a number may be."""

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""A string; one that does not end reaches to the end, so that no text is gone over twice."""


class Unreadable(Exception):
    """A file is missing or is not what it should be; the message is one line of plain ASCII."""


def shown(text: object, length: int = 80) -> str:
    """Quote a foreign text for a message: ASCII, one line, cut to a length."""
    quoted = ascii(str(text)[: length + 1])
    return quoted if len(quoted) <= length else quoted[:length] + "..."


def read_json(data: bytes, what: str) -> Any:
    """Read one JSON text.

    Args:
        data: The text, UTF-8.
        what: What the text is, for messages.

    Returns:
        Dictionaries without double keys, lists, strings, booleans, None, integers, finite floats.

    Raises:
        Unreadable: It is anything else.
    """
    if data.count(b",") > VALUES:
        raise Unreadable(f"{what} holds more than {VALUES} values")
    if _depth(data) > DEPTH:
        raise Unreadable(f"{what} nests brackets more than {DEPTH} deep")
    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=_whole,
            parse_float=_real,
            parse_constant=_constant,
        )
    except _Refused as refused:
        raise Unreadable(f"{what}: {refused}") from refused
    except UnicodeDecodeError as error:
        raise Unreadable(f"{what} is not UTF-8 (byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise Unreadable(f"{what} is no JSON (line {error.lineno})") from error


class _Refused(Exception):
    """JSON that is not strict enough."""


def _depth(data: bytes) -> int:
    """Find how deep brackets nest outside of strings."""
    marks = np.frombuffer(_STRING.sub(b"", data), dtype=np.uint8)
    up = (marks == ord("[")) | (marks == ord("{"))
    down = (marks == ord("]")) | (marks == ord("}"))
    return int(np.cumsum(up.astype(np.int32) - down).max(initial=0))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _Refused(f"the key {shown(twice)} comes twice")
    return content


def _whole(text: str) -> int:
    if len(text) > DIGITS:
        raise _Refused(f"a number of {len(text)} digits")
    return int(text)


def _real(text: str) -> float:
    value = float(text) if len(text) <= DIGITS else math.inf
    if not math.isfinite(value):
        raise _Refused(f"the number {shown(text)} is too long or not finite")
    return value


def _constant(text: str) -> NoReturn:
    raise _Refused(f"{text} is no number of JSON")
