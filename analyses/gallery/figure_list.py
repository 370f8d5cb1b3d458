"""Every figure of the gallery, in the order in which a report shows them."""

from itertools import chain

from analyses.gallery import (
    attention,
    carry,
    components,
    curves,
    failures,
    journey,
    logits,
    margins,
    positions,
    scores,
    tokens,
    training,
    transition,
    units,
)
from analyses.gallery.figure import GalleryFigure
from model.errors import InputError

WRITE_UPS = (journey, curves, training, transition)
MECHANISM = (
    tokens,
    positions,
    attention,
    scores,
    units,
    components,
    logits,
    carry,
    margins,
    failures,
)
FIGURES: tuple[GalleryFigure, ...] = tuple(
    chain.from_iterable(module.FIGURES for module in (*WRITE_UPS, *MECHANISM))
)


def choose_figures(names: tuple[str, ...]) -> list[GalleryFigure]:
    """Look up figures by name; all of them where none is named.

    Raises:
        InputError: There is none of that name.
    """
    known = {figure.name: figure for figure in FIGURES}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"no figure {unknown[0]!r}: choose from {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(names or known)]
