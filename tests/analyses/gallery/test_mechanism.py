import pytest

from analyses.gallery import attention as gallery_attention
from analyses.gallery import carry as gallery_carry
from analyses.gallery import components as gallery_components
from analyses.gallery import failures as gallery_failures
from analyses.gallery import logits as gallery_logits
from analyses.gallery import margins as gallery_margins
from analyses.gallery import positions as gallery_positions
from analyses.gallery import scores as gallery_scores
from analyses.gallery import tokens as gallery_tokens
from analyses.gallery import units as gallery_units
from analyses.gallery.figure import GalleryFigure
from model.adder import Adder
from model.config import PRESETS
from tests.analyses.gallery.support import make

MODULES = (
    gallery_attention,
    gallery_scores,
    gallery_tokens,
    gallery_positions,
    gallery_units,
    gallery_logits,
    gallery_carry,
    gallery_margins,
    gallery_components,
    gallery_failures,
)
FIGURES: list[GalleryFigure] = [figure for module in MODULES for figure in module.FIGURES]


def test_every_figure_is_of_the_mechanism_and_has_a_name_of_its_own() -> None:
    assert len({figure.name for figure in FIGURES}) == len(FIGURES) == 10
    assert all(figure.group == "mechanism" and figure.of_checkpoint for figure in FIGURES)


# An untrained model decides no cell, which takes the certifier long: test_failures.py has the
# atlas of what is undecided. LayerNorm matters where activations are read off.
CASES = [("262p", figure) for figure in FIGURES if figure.name != "failure_atlas"]
CASES += [("512p", figure) for figure in FIGURES if figure.name in ("ffn_units", "carry_flow")]


@pytest.mark.parametrize(("preset", "figure"), CASES, ids=lambda x: getattr(x, "name", x))
def test_an_untrained_model_is_drawn_and_worded_from_csv_alone(preset, figure, tmp_path) -> None:
    made = make(figure, Adder(PRESETS[preset]), tmp_path)
    assert made.drawn > 5_000
