from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

PUBLISHED = Path(__file__).resolve().parents[1].parent / "shared/published/best_311p_s34.pt"


@pytest.fixture
def published_311p() -> Path:
    if not PUBLISHED.exists():
        pytest.skip("the published checkpoint is not on this machine")
    return PUBLISHED


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")
