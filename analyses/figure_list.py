"""Every figure of the gallery, in the order in which a report shows them."""

from itertools import chain

from analyses import (
    gallery_attention,
    gallery_carry,
    gallery_components,
    gallery_curves,
    gallery_failures,
    gallery_journey,
    gallery_logits,
    gallery_margins,
    gallery_positions,
    gallery_scores,
    gallery_tokens,
    gallery_training,
    gallery_transition,
    gallery_units,
)
from analyses.gallery import GalleryFigure
from model.errors import InputError

WRITE_UPS = (gallery_journey, gallery_curves, gallery_training, gallery_transition)
MECHANISM = (
    gallery_tokens,
    gallery_positions,
    gallery_attention,
    gallery_scores,
    gallery_units,
    gallery_components,
    gallery_logits,
    gallery_carry,
    gallery_margins,
    gallery_failures,
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
