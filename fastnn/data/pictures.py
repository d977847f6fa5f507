"""PNG, JPEG and the like as a network's inputs, by Pillow: any size, grey or colour."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.data.examples import Schema
from fastnn.data.files import opened
from fastnn.errors import ConfigError, DataError, require

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
# Nothing else is tried, whatever a file's name: Pillow hands some formats to other programs.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")


def is_picture(path: Path) -> bool:
    """Whether a path is to be read by `read_pictures`: a folder, or called like a picture."""
    return path.suffix.lower() in SUFFIXES or path.is_dir()


def picture_files(paths: Sequence[Path]) -> list[Path]:
    """The pictures among these paths, each folder replaced by what lies in it, sorted by name."""
    files = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        try:
            inside = sorted(
                file
                for file in path.iterdir()
                if file.suffix.lower() in SUFFIXES
                and not file.name.startswith(".")
                and file.is_file()
            )
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
        if not inside:
            raise DataError(f"{path}: this folder holds no pictures ({', '.join(SUFFIXES)})")
        files += inside
    return files


def require_pictures(schema: Schema) -> None:
    """ConfigError unless a network of this kind takes pictures and Pillow is there to read them."""
    if schema.picture is None:
        kind = "bytes" if schema.pixels else "numbers"
        found = f"{schema.width} {kind}" if len(schema.shape) == 1 else f"{kind} {schema.shape}"
        raise ConfigError(
            f"FILE: this network takes {found} for each example, not pictures of grey or coloured "
            "bytes; give it a .csv, .npy or .npz file"
        )
    require("PIL", "Pillow", "pictures")


def read_pictures(paths: Sequence[Path], schema: Schema, *, invert: bool = False) -> NDArray[Any]:
    """Inputs (N, D) uint8 from a file each, fitted into the network's picture.

    A picture is turned as its EXIF orientation says, keeps its proportions, and stands in the
    middle; the rest gets the colour of its border. `invert` makes bright what is dark. What is
    transparent becomes black, or white where what is drawn on it is dark.
    """
    inputs, shape = np.empty((len(paths), schema.width), np.uint8), schema.picture
    assert shape is not None, "`require_pictures` comes first"
    for row, path in zip(inputs, paths, strict=True):
        with opened(path) as file:
            picture = _fitted(_decoded(file, path), shape)
        row[...] = (255 - picture if invert else picture).ravel()
    return inputs


def have_bright_borders(inputs: NDArray[Any], shape: Sequence[int]) -> NDArray[np.bool_]:
    """Which pictures (N, D) are bright at more than half of their border, (N,).

    Of the 20,000 test images of MNIST and Fashion-MNIST none is.
    """
    return np.array([_border_colour(row.reshape(shape)).mean() > 127 for row in inputs], bool)


def _decoded(file: BufferedReader, path: Path) -> Any:
    """The upright picture as one of Pillow's, in mode L or RGB."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of damage that does not keep Pillow from reading
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(file, formats=_FORMATS)
            image.load()
            return _opaque(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        kinds = ", ".join(_FORMATS)
        raise DataError(f"{path}: this is not a picture that Pillow can read ({kinds})") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: too large a picture: {error}") from error
    except MemoryError:
        raise  # `opened` has a message for it
    except Exception as error:  # damaged bytes make Pillow raise anything from OSError to KeyError
        raise DataError(f"{path}: this picture is damaged or cut off ({error})") from error


def _opaque(image: Any) -> Any:
    """Grey (L) or RGB, in bytes; what is transparent lies over black, a dark drawing over white."""
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would cut off at 255
        grey = np.rint(np.asarray(image).astype(np.float64) / 257).clip(0, 255)
        return Image.fromarray(grey.astype(np.uint8))
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        grey, alpha = (np.asarray(coloured.convert("LA"), np.float64)[..., n] for n in (0, 1))
        over = 255 if (alpha * (127.5 - grey)).sum() > 0 else 0
        return Image.alpha_composite(
            Image.new("RGBA", image.size, (over, over, over, 255)), coloured
        ).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _fitted(image: Any, shape: Sequence[int]) -> NDArray[np.uint8]:
    """A picture (height, width) or (height, width, 3) with the whole of an image in its middle."""
    from PIL import Image

    height, width = shape[:2]
    image = image.convert("L" if len(shape) == 2 else "RGB")
    scale = min(height / image.height, width / image.width)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    if size != image.size:
        # A triangle over all pixels that become one: nothing is skipped, and unlike sharper
        # filters it cannot leave the range of the picture's own colours.
        image = image.resize(size, Image.Resampling.BILINEAR)
    pixels: NDArray[np.uint8] = np.asarray(image)
    if pixels.shape[:2] == (height, width):
        return pixels
    picture = np.empty(tuple(shape), np.uint8)
    picture[...] = _border_colour(pixels)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    picture[top : top + size[1], left : left + size[0]] = pixels
    return picture


def _border_colour(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The median of the outermost pixels, of each colour by itself."""
    edges = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
    colour: NDArray[np.uint8] = np.median(np.concatenate(edges), axis=0).astype(np.uint8)
    return colour
