"""Images as text: two pixels a character cell in colour terminals, a ramp of signs elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastnn.cli.terminal import can_print

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rich.console import Console
    from rich.text import Text

_RAMP = " .:-=+*#%@"
_HALF_BLOCK = "▀"
_GAP = 2


def print_images(
    console: Console, images: NDArray[Any], shape: tuple[int, int], captions: Sequence[str]
) -> None:
    """Draw images (n, height * width) uint8 side by side, as many a row as the console holds."""
    from rich.text import Text

    height, width = shape
    per_row = max(1, (console.width + _GAP) // (width + _GAP))
    for first in range(0, len(images), per_row):
        group = [image.reshape(height, width) for image in images[first : first + per_row]]
        drawn = [drawing(console, image) for image in group]
        for line in zip(*drawn, strict=True):
            console.print(Text(" " * _GAP).join(line), soft_wrap=True)
        titles = captions[first : first + per_row]
        console.print(
            Text((" " * _GAP).join(f"{title[:width]:^{width}}" for title in titles)), soft_wrap=True
        )


def drawing(console: Console, image: NDArray[Any]) -> list[Text]:
    """The lines of an image (height, width) or (height, width, 3), in bytes."""
    in_colour = console.color_system in ("256", "truecolor") and not console.no_color
    if in_colour and can_print(console, _HALF_BLOCK):
        return _half_blocks(image)
    return _signs(image if image.ndim == 2 else image.mean(axis=2))


def _half_blocks(image: NDArray[Any]) -> list[Text]:
    """The upper pixel as the colour of a half block, the lower one as its background."""
    from rich.text import Text

    lines = []
    for top in range(0, len(image), 2):
        line = Text()
        lower = image[top + 1] if top + 1 < len(image) else image[top] * 0
        for above, below in zip(image[top].tolist(), lower.tolist(), strict=True):
            line.append(_HALF_BLOCK, f"{_colour(above)} on {_colour(below)}")
        lines.append(line)
    return lines


def _colour(pixel: int | list[int]) -> str:
    red, green, blue = pixel if isinstance(pixel, list) else [pixel] * 3
    return f"rgb({red},{green},{blue})"


def _signs(image: NDArray[Any]) -> list[Text]:
    """One sign for two pixels above each other, by their mean."""
    from rich.text import Text

    even = image[: len(image) // 2 * 2].astype(int)
    means = (even[0::2] + even[1::2]) // 2
    return [Text("".join(_RAMP[value * len(_RAMP) // 256] for value in row)) for row in means]
