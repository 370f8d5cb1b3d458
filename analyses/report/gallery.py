"""Section "gallery" of a report: the figures of the gallery that show a mechanism."""

import shlex
from pathlib import Path

from analyses.claims import RESULTS
from analyses.figures import FIGURES
from analyses.gallery import Source as GallerySource
from analyses.gallery import make_figure
from analyses.report.image import SCREEN
from analyses.report.section import Heading, Part, Section, Text, take
from analyses.report.source import Source


def build_gallery(source: Source, folder: Path) -> Section:
    """Draw every figure of the gallery that depends on the checkpoint."""
    chosen = [figure for figure in FIGURES if figure.of_checkpoint]
    origin = GallerySource(checkpoint=source.reference, results=RESULTS, seed=source.seed)
    parts: list[Part] = [
        Text(
            f"{len(chosen)} views of the mechanism, each computed from {source.name} in this run; "
            "every caption says what is drawn, on how many pairs, and which control stands beside."
        )
    ]
    for figure in chosen:
        caption, _ = make_figure(figure, origin, folder, formats=("png",), dpi=SCREEN)
        parts += [Heading(figure.title), take(folder / f"{figure.name}.png", caption)]
    words = [*(figure.name for figure in chosen), "--checkpoint", source.reference]
    words += ["--seed", str(source.seed)]
    return Section(
        name="gallery",
        title="The mechanism in figures",
        finding=(
            f"{len(chosen)} figures of embeddings, attention, units, components, logits, margins "
            "and failures, each computed from the weights and drawn beside its controls."
        ),
        parts=tuple(parts),
        commands=(f"python -m analyses.figures {shlex.join(words)}",),
        sources=tuple(f"data/{figure.name}.*.csv" for figure in chosen),
    )
