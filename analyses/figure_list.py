"""Every figure of the gallery, in the order in which a report shows them."""

from analyses import gallery_curves, gallery_journey, gallery_training, gallery_transition
from analyses.gallery import GalleryFigure
from model.errors import InputError

FIGURES: tuple[GalleryFigure, ...] = (
    *gallery_journey.FIGURES,
    *gallery_curves.FIGURES,
    *gallery_training.FIGURES,
    *gallery_transition.FIGURES,
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
