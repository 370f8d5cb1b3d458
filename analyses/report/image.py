"""Figures for a page: PNG in a fifth of the bytes of one for print.

Figures are drawn with few colours, so a palette says what 24 bits and an opaque alpha channel say.
Up to 256 colours nothing changes; of more, those that are close share one.
"""

import io

from PIL import Image

COLOURS = 256
"""That one byte a pixel can name."""
SCREEN = 250
"""Dots per inch of a figure on a page: there, two for each of a common screen."""


def compact(png: bytes) -> bytes:
    """Write a PNG image with a palette, where that is smaller.

    Args:
        png: An image; what is transparent in it becomes white.

    Returns:
        The image of the same size in pixels, in no more bytes.
    """
    with Image.open(io.BytesIO(png)) as image:
        paper = Image.new("RGBA", image.size, "white")
        flat = Image.alpha_composite(paper, image.convert("RGBA")).convert("RGB")
        dots = image.info.get("dpi", (SCREEN, SCREEN))
    buffer = io.BytesIO()
    few = flat.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(buffer, "PNG", optimize=True, dpi=dots)
    return min(png, buffer.getvalue(), key=len)


def inches_wide(png: bytes) -> float:
    """Read how wide a PNG image was drawn."""
    with Image.open(io.BytesIO(png)) as image:
        return image.width / image.info.get("dpi", (SCREEN, SCREEN))[0]
