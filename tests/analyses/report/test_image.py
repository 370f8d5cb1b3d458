import io

import numpy as np
import pytest
from PIL import Image

from analyses.report.image import COLOURS, compact


def png_of(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def pixels_of(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def drawing(colours: int) -> np.ndarray:
    """Opaque pixels of so many colours, as a figure has them: RGBA."""
    rng = np.random.default_rng(0)
    palette = rng.integers(0, 256, (colours, 3), dtype=np.uint8)
    pixels = palette[rng.integers(0, colours, (100, 200))]
    return np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])


@pytest.mark.parametrize("colours", [2, 17, COLOURS])
def test_few_colours_stay_what_they_are_in_fewer_bytes(colours: int) -> None:
    pixels = drawing(colours)
    png = png_of(pixels)
    small = compact(png)
    assert len(small) < len(png)
    assert Image.open(io.BytesIO(small)).mode == "P"
    assert (pixels_of(small) == pixels[..., :3]).all()


def test_of_many_colours_those_that_are_close_share_one() -> None:
    ramp = np.linspace(0, 255, 1_000).astype(np.uint8)
    pixels = np.stack([ramp, ramp[::-1], ramp // 2, np.full_like(ramp, 255)], axis=1)
    pixels = np.repeat(pixels[None], 100, axis=0)
    before, after = pixels[..., :3].astype(int), pixels_of(compact(png_of(pixels)))
    # 256 colours along a line of 256 levels: no two steps apart.
    assert np.abs(before - after).max() <= 2


def test_what_is_transparent_becomes_paper() -> None:
    pixels = drawing(3)
    pixels[:4, :, 3] = 0
    assert (pixels_of(compact(png_of(pixels)))[:4] == 255).all()


def test_an_image_never_grows() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1, 1, 3), dtype=np.uint8)
    png = png_of(noise)
    assert len(compact(png)) <= len(png)
