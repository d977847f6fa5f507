"""Examples and weights as small PNG files, written into a page as data URIs."""

from __future__ import annotations

import base64
import io
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastnn.analysis import palette

_LARGEST = 56  # pixels of a thumbnail's longer side
_HOVERED = 32  # and of one in a sheet
_SHEET_BYTES = 1_000_000  # of a sheet's pixels: whatever they are, a report stays below 5 MB
_NEGATIVE, _MIDDLE, _POSITIVE = (
    np.frombuffer(bytes.fromhex(colour[1:]), np.uint8).astype(float)
    for colour in palette.DIVERGING[1:4]
)


def picture_uri(image: NDArray[np.uint8]) -> str:
    """An image (H, W) or (H, W, 3) as the URI of a PNG file; a large one is made smaller."""
    return _uri(_shrunk(image, _LARGEST))


def weights_uri(weights: NDArray[np.floating], most: float) -> str:
    """Weights (H, W), -most to most, as a PNG: blue below 0, vermilion above."""
    share = np.clip(weights / most, -1, 1)[..., None]
    end = np.where(share < 0, _NEGATIVE, _POSITIVE)
    colours = _MIDDLE + np.abs(share) * (end - _MIDDLE)
    return _uri(_shrunk(colours.round().astype(np.uint8), _LARGEST))


class Sheet(NamedTuple):
    """Many pictures in one file, `columns` in a row, each `width` by `height` pixels."""

    uri: str
    columns: int
    rows: int
    width: int
    height: int


def sheet_room(shape: tuple[int, ...]) -> int:
    """How many pictures of this shape a sheet may hold."""
    scale = min(1.0, _HOVERED / max(shape[:2]))
    bytes_each = max(1.0, shape[0] * scale) * max(1.0, shape[1] * scale) * (shape[2:] or (1,))[0]
    return max(1, int(_SHEET_BYTES / bytes_each))


def sheet(images: NDArray[np.uint8]) -> Sheet:
    """Images (n, H, W) or (n, H, W, 3) side by side."""
    small = np.stack([_shrunk(image, _HOVERED) for image in images])
    count, height, width = small.shape[:3]
    columns = max(1, round(count**0.5))
    rows = -(-count // columns)
    room = np.zeros((rows * columns, *small.shape[1:]), np.uint8)
    room[:count] = small
    grid = room.reshape(rows, columns, *small.shape[1:]).swapaxes(1, 2)
    whole = grid.reshape(rows * height, columns * width, *small.shape[3:])
    return Sheet(_uri(whole), columns, rows, width, height)


def _shrunk(image: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return image
    from PIL import Image

    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))


def _uri(image: NDArray[Any]) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(file, "PNG", optimize=False)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
