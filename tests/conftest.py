from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from train.validation import validation_pairs

PUBLISHED = Path(__file__).resolve().parents[1].parent / "shared/published/best_311p_s34.pt"


@pytest.fixture
def published_311p() -> Path:
    if not PUBLISHED.exists():
        pytest.skip("the published checkpoint is not on this machine")
    return PUBLISHED


@pytest.fixture
def few_pairs(monkeypatch) -> Iterator[None]:
    """Validation on 500 pairs."""
    validation_pairs.cache_clear()
    monkeypatch.setattr("train.validation.N_HARD", 500)
    monkeypatch.setattr("train.run.N_TEST", 500)
    yield
    validation_pairs.cache_clear()


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")
