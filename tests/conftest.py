"""What all tests share. Nothing slow is imported here: xdist's own process reads this too."""

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

from tests import checking

ROOT = Path(__file__).resolve().parents[1]
install_import_hook(checking.modules_with_shapes(ROOT), f"{checking.__name__}.check")

PUBLISHED = ROOT.parent / "shared/published/best_311p_s34.pt"


def pytest_collection_finish() -> None:
    """What is imported stays: the collector need not look through it a thousand times."""
    gc.freeze()


@pytest.fixture
def published_311p() -> Path:
    if not PUBLISHED.exists():
        pytest.skip("the published checkpoint is not on this machine")
    return PUBLISHED


@pytest.fixture
def few_pairs(monkeypatch) -> Iterator[None]:
    """Validation on 500 pairs."""
    from train.validation import validation_pairs

    validation_pairs.cache_clear()
    monkeypatch.setattr("train.validation.N_HARD", 500)
    monkeypatch.setattr("train.run.N_TEST", 500)
    yield
    validation_pairs.cache_clear()


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
