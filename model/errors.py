"""The one exception that a user can mend: it becomes a single line and exit code 2."""


class InputError(ValueError):
    """Input that cannot be used; the message says what is wrong and how to mend it."""


def printable(name: object) -> str:
    """Show a name from a file in a message of one line: as it is, or escaped and cut."""
    text = str(name)
    plain = len(text) <= 80 and text.isascii() and text.isprintable()
    return text if plain else ascii(text[:80])
