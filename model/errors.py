"""The one exception that a user can mend: it becomes a single line and exit code 2."""


class InputError(ValueError):
    """Input that cannot be used; the message says what is wrong and how to mend it."""
