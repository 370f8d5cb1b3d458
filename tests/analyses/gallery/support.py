"""What the tests of the mechanism figures share: small samples, and a round trip through CSV."""

import io
from dataclasses import dataclass
from pathlib import Path

import pytest

from analyses.gallery import attention as gallery_attention
from analyses.gallery import components as gallery_components
from analyses.gallery import failures as gallery_failures
from analyses.gallery import logits as gallery_logits
from analyses.gallery import margins as gallery_margins
from analyses.gallery import scores as gallery_scores
from analyses.gallery import units as gallery_units
from analyses.gallery.about import random_inits
from analyses.gallery.figure import GalleryFigure, Source, Tables, load_tables, save_tables
from interp.output import save_figure
from interp.rank_ablation.world import Sizes
from model.adder import Adder
from model.checkpoint import save


@dataclass(frozen=True)
class Made:
    """A figure after the round trip: tables re-read, caption, size of the drawing in bytes."""

    tables: Tables
    caption: str
    drawn: int


def few_samples(patch: pytest.MonkeyPatch) -> None:
    """Shrink every sample."""
    patch.setattr(gallery_attention, "N_PAIRS", 200)
    for module in (gallery_attention, gallery_scores):
        patch.setattr(module, "random_inits", lambda config: random_inits(config, 1))
    patch.setattr(gallery_units, "N_PAIRS", 800)
    patch.setattr(gallery_logits, "N_PAIRS", 400)
    patch.setattr(gallery_margins, "N_UNIFORM", 300)
    patch.setattr(gallery_margins, "N_STRATIFIED", 600)
    patch.setattr(gallery_components, "SIZES", Sizes(200, 40, 100, 60))
    patch.setattr(gallery_components, "NULL_SUMS", 20)
    patch.setattr(gallery_components, "DRAWS", 2)
    patch.setattr(gallery_failures, "BUDGET", 20_000)
    patch.setattr(gallery_failures, "ATTACKED", 2)
    patch.setattr(gallery_failures, "STEPS", 1)


def make(figure: GalleryFigure, model: Adder, folder: Path) -> Made:
    """Compute a figure, and draw and word it from what its CSV files give back."""
    with pytest.MonkeyPatch.context() as patch:
        few_samples(patch)
        checkpoint = save(folder / "some-model", model, {})
        source = Source(checkpoint=str(checkpoint), results=folder)
        save_tables(figure.name, figure.compute(source), {}, folder)
        tables = load_tables(figure.name, {}, folder)
        assert tables is not None
        drawing = figure.plot(tables)
        assert drawing.axes
        (path,) = save_figure(drawing, folder / figure.name, ("svg",))
        text = path.read_text()
        assert "some-model" in text
        caption = figure.caption(tables)
    assert f"some-model ({model.config.n_params} parameters)" in caption
    assert "nan" not in caption
    return Made(tables, caption, len(io.BytesIO(text.encode()).getvalue()))
