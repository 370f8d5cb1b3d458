"""How numbers and columns are put into a sentence, so that the words stay true and few."""

from collections.abc import Collection, Iterable


def percent(share: float) -> str:
    """Write a share with one decimal; it says 0 or 100 only where that is exact.

    >>> percent(1.0), percent(0.9999), percent(0.123), percent(0.0001), percent(0.0)
    ('100 %', '> 99.9 %', '12.3 %', '< 0.1 %', '0 %')
    """
    if share in (0, 1):
        return f"{100 * share:.0f} %"
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "> 99.9 %"
    return f"{100 * share:.1f} %"


def count(n: int, noun: str) -> str:
    """Write a number with its noun: "no error", "1 error", "2,000 errors"."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}" if n else f"no {noun}"


def some_of(chosen: Iterable[int], among: Collection[int], noun: str = "column") -> str:
    """Say which of several were chosen, in at most four words whatever they are.

    >>> some_of([1, 2], [1, 2]), some_of([], [1, 2]), some_of([2], [2])
    ('every column', 'no column', 'column 2')
    >>> some_of([1, 2, 3], [1, 2, 3, 9]), some_of([9], [1, 2, 3, 9]), some_of([1, 2], [1, 2, 3, 4])
    ('every column but 9', 'only column 9', '2 of 4 columns')
    """
    kept = [item for item in among if item in set(chosen)]
    left = [item for item in among if item not in set(kept)]
    if len(among) == 1:
        return f"{noun} {kept[0]}" if kept else f"no {noun}"
    if not kept or not left:
        return f"{'every' if kept else 'no'} {noun}"
    if len(kept) == 1:
        return f"only {noun} {kept[0]}"
    if len(left) == 1:
        return f"every {noun} but {left[0]}"
    return f"{len(kept)} of {len(among)} {noun}s"


def clip(text: str, length: int = 40) -> str:
    """Shorten what a person named, such as a folder, to what a cell holds.

    >>> clip("s1"), clip("a-long-name", 8)
    ('s1', 'a-lon...')
    """
    return text if len(text) <= length else f"{text[: length - 3]}..."
