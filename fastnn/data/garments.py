"""Garments drawn from random parameters: the data set that is there when there is no network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fastnn.data.drawing import (
    FAR,
    SHAPE,
    TOGETHER,
    Pixels,
    Value,
    between,
    box,
    chance,
    clamp,
    cloth,
    ellipse,
    intersection,
    line,
    norm,
    polyline,
    pose,
    shade,
    tube,
    union,
    wave,
)  # fmt: skip
from fastnn.rng import Stream, generator

__all__ = ["CLASS_NAMES", "SHAPE", "draw"]

CLASS_NAMES: tuple[str, ...] = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

# A block is always drawn whole, with equal shares of the classes: this makes example i independent
# of how many are asked for.
_BLOCK = TOGETHER * len(CLASS_NAMES)
_SPLIT_KEYS = {"train": 0, "test": 1}

Range = tuple[float, float]


def draw(
    count: int, *, split: Literal["train", "test"], seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Images (count, 784) in 0..255 and labels (count,); example i depends on (seed, split, i)."""
    images = np.empty((count, SHAPE[0] * SHAPE[1]), np.uint8)
    labels = np.empty(count, np.int32)
    for block, start in enumerate(range(0, count, _BLOCK)):
        rng = generator(seed, Stream.GARMENTS, _SPLIT_KEYS[split], block)
        order = rng.permutation(_BLOCK)[: count - start]
        images[start : start + _BLOCK] = _draw_block(rng)[order]
        labels[start : start + _BLOCK] = order // TOGETHER
    return images, labels


def _draw_block(rng: Generator) -> NDArray[np.uint8]:
    """Images (500, 784), class after class."""
    light = np.concatenate([garment(rng, *pose(rng)) for garment in _GARMENTS])
    grey = 255.0 * clamp(light, 0.0, 1.0) + 0.5
    return grey.astype(np.uint8).reshape(_BLOCK, -1)


# ---- tops: one pattern, cut five ways ------------------------------------------------------------


@dataclass(frozen=True)
class _Cut:
    """The ranges of a kind of top. That they overlap is what makes the classes hard to tell."""

    shoulder: Range
    neckline: Range
    waist: Range
    flare: Range
    hem: Range
    sleeveless: float
    long_sleeved: float


# The columns are the fields of _Cut, in garment coordinates: the shoulders lie near y = -0.75.
_T_SHIRT = _Cut((0.36, 0.52), (0.06, 0.34), (-0.10, 0.00), (0.00, 0.12), (0.55, 0.95), 0.15, 0.05)
_PULLOVER = _Cut((0.38, 0.54), (-0.02, 0.24), (-0.10, 0.02), (-0.06, 0.1), (0.55, 0.95), 0.00, 0.97)
_DRESS = _Cut((0.20, 0.42), (0.02, 0.32), (-0.12, 0.00), (0.00, 0.34), (0.80, 1.00), 0.50, 0.45)
_COAT = _Cut((0.41, 0.56), (-0.02, 0.16), (-0.10, 0.02), (0.00, 0.16), (0.76, 1.00), 0.02, 0.97)
_SHIRT = _Cut((0.36, 0.52), (-0.04, 0.16), (-0.12, 0.00), (0.00, 0.14), (0.55, 0.92), 0.04, 0.60)


def _top(rng: Generator, x: Pixels, y: Pixels, cut: _Cut) -> tuple[Pixels, Pixels]:
    """Outline of body and sleeves, the same left and right, and the shade of the seams between."""
    across = abs(x)
    shoulder, neckline = between(rng, *cut.shoulder), between(rng, *cut.neckline) - 0.9
    neck = shoulder * between(rng, 0.3, 0.6)
    waist = shoulder + between(rng, *cut.waist)
    hip, hem = waist + between(rng, *cut.flare), between(rng, *cut.hem)
    side = polyline(y, (-0.7, shoulder), (0.0, waist), (hem, hip))
    throat = (0.6 * neck, 0.7 * neckline - 0.27)
    edge = polyline(across, (0.0, neckline), throat, (neck, -0.92), (shoulder, -0.76))
    body = box(x, y, -side, side, edge, hem)
    is_long, width = chance(rng, cut.long_sleeved), between(rng, 0.11, 0.19)
    down = np.where(is_long, between(rng, 0.28, 0.88), between(rng, -0.47, -0.12))
    cuff = (shoulder + between(rng, 0.04, 0.3), down)
    sleeve = tube(across, y, (shoulder - 0.1, -0.62), cuff, width, width - 0.04)
    sleeve = np.where(chance(rng, cut.sleeveless), FAR, sleeve)
    armhole = intersection(line(across - side), -0.45 - y)
    return union(body, sleeve), shade(armhole, between(rng, 0.1, 0.8))


def _badge(rng: Generator, x: Pixels, y: Pixels, share: float) -> Pixels:
    """Shade of a print on the chest."""
    half_width, half_height = between(rng, 0.1, 0.3), between(rng, 0.05, 0.28)
    badge = ellipse(x, y + between(rng, 0.0, 0.35), half_width, half_height)
    return shade(np.where(chance(rng, share), badge, FAR), between(rng, -0.5, 0.9))


def _front(rng: Generator, x: Pixels, y: Pixels, lapel: Range, depth: Range) -> Pixels:
    """Shade of a front that opens: its edge, its buttons, and lapels of this length."""
    across = abs(x)
    edge = shade(line(x, 0.015), between(rng, *depth))
    button = intersection(across - 0.05, 0.5 - wave(4.0 * y + between(rng, 0, 1)))
    fold = tube(across, y, (0.24, -0.95), (0.02, between(rng, *lapel) - 0.9), 0.05, 0.02)
    return edge * shade(button, between(rng, 0.0, 0.7)) * shade(fold, between(rng, *depth))


def _t_shirt(rng: Generator, x: Pixels, y: Pixels) -> Pixels:
    outline, seams = _top(rng, x, y, _T_SHIRT)
    fabric = cloth(rng, x, y, outline, striped=0.15, checked=0.03, printed=0.2)
    return fabric * seams * _badge(rng, x, y, 0.4)


def _pullover(rng: Generator, x: Pixels, y: Pixels) -> Pixels:
    outline, seams = _top(rng, x, y, _PULLOVER)
    rib = shade(between(rng, 0.5, 0.9) - y, between(rng, -0.1, 0.3))
    fabric = cloth(rng, x, y, outline, striped=0.2, checked=0.05, printed=0.15)
    return fabric * seams * rib * _badge(rng, x, y, 0.3)


def _dress(rng: Generator, x: Pixels, y: Pixels) -> Pixels:
    outline, seams = _top(rng, x, y, _DRESS)
    belt = shade(line(y - between(rng, -0.15, 0.1), 0.04), between(rng, -0.3, 0.7))
    pleats = shade(-0.05 - y, between(rng, 0.0, 0.4) * wave(6.0 * x / (1.0 + abs(y))))
    fabric = cloth(rng, x, y, outline, striped=0.12, checked=0.04, printed=0.25)
    return fabric * seams * belt * pleats


def _coat(rng: Generator, x: Pixels, y: Pixels) -> Pixels:
    outline, seams = _top(rng, x, y, _COAT)
    pocket = intersection(line(y - between(rng, 0.2, 0.4)), line(abs(x) - 0.24, 0.1))
    front = shade(pocket, between(rng, 0.0, 0.8)) * _front(rng, x, y, (0.3, 0.9), (0.4, 1.0))
    fabric = cloth(rng, x, y, outline, striped=0.03, checked=0.08, printed=0.1)
    return fabric * seams * front


def _shirt(rng: Generator, x: Pixels, y: Pixels) -> Pixels:
    outline, seams = _top(rng, x, y, _SHIRT)
    front = _front(rng, x, y, (0.1, 0.3), (0.3, 0.8))
    fabric = cloth(rng, x, y, outline, striped=0.15, checked=0.35, printed=0.2)
    return fabric * seams * front


# ---- shoes: one last, worked three ways; a side view with the toe on the left --------------------


def _shoe(
    rng: Generator, x: Pixels, y: Pixels, heel: Value, ankle: Pixels
) -> tuple[Pixels, Pixels]:
    """Outline of the closed shoe, and each pixel's height above the sole, which may climb."""
    ground = 0.12 + 0.5 * (ankle + heel)
    height: Pixels = polyline(x, (-0.3, ground), (0.35, ground - heel)) - y
    toe, instep = between(rng, 0.26, 0.38), between(rng, 0.38, 0.48)
    cap = ((-0.95, 0.12), (-0.88, 0.8 * toe), (-0.74, toe))
    vamp = polyline(x, *cap, (-0.25, instep), (0.2, instep + 0.15))
    foot = box(x, height, -0.95, 0.9, 0.0, vamp)
    throat = between(rng, -0.2, 0.15) + between(rng, 0.0, 0.5) * clamp(height - 0.4, 0.0, 0.5)
    mouth = ankle - between(rng, 0.0, 0.25) * clamp(1.0 - 3.0 * abs(x - 0.5), 0.0, 1.0)
    shaft = box(x, height, throat, 0.92 - between(rng, 0.0, 0.15) * height, 0.0, mouth)
    tip, radius = (between(rng, 0.62, 0.76), ground), between(rng, 0.03, 0.22)
    post = tube(x, y, (0.66, ground - heel - 0.1), tip, 0.2, radius)
    return union(foot, shaft, np.where(heel > 0.05, post, FAR)), height


def _sandal(rng: Generator, x: Pixels, y: Pixels) -> Pixels:
    heel = np.maximum(between(rng, -0.6, 0.8), 0.0)
    outline, height = _shoe(rng, x, y, heel, between(rng, 0.3, 0.75))
    slant = x + between(rng, -0.7, 0.9) * height
    strap = wave(between(rng, 1.0, 2.2) * slant + between(rng, 0, 1)) + between(rng, -0.5, 0.3)
    hem, sole = outline + between(rng, 0.02, 0.14), between(rng, 0.08, 0.2) - height
    gap = intersection(hem, sole, 0.12 * strap)
    fabric = cloth(rng, x, y, outline, striped=0.05, checked=0.05, printed=0.2)
    return fabric * shade(gap, 1.0)


def _sneaker(rng: Generator, x: Pixels, y: Pixels) -> Pixels:
    outline, height = _shoe(rng, x, y, 0.0, between(rng, 0.58, 0.95))
    rubber = height - between(rng, 0.08, 0.18)
    sole = shade(rubber, between(rng, -1.0, 0.5)) * shade(line(rubber), between(rng, 0.0, 0.8))
    low, high = (between(rng, -0.3, 0.2), 0.15), (between(rng, 0.1, 0.6), 0.5)
    flash = shade(tube(x, height, low, high, 0.06, 0.06), between(rng, -0.5, 0.8))
    fabric = cloth(rng, x, y, outline, striped=0.03, checked=0.05, printed=0.2)
    return fabric * sole * flash


def _ankle_boot(rng: Generator, x: Pixels, y: Pixels) -> Pixels:
    heel, ankle = np.maximum(between(rng, -0.3, 0.5), 0.0), between(rng, 0.88, 1.45)
    outline, height = _shoe(rng, x, y, heel, ankle)
    sole = shade(height - between(rng, 0.04, 0.12), between(rng, -0.3, 0.7))
    elastic = np.where(chance(rng, 0.4), box(x, height, 0.35, 0.6, 0.45, ankle), FAR)
    fabric = cloth(rng, x, y, outline, striped=0.02, checked=0.04, printed=0.15)
    return fabric * sole * shade(elastic, between(rng, -0.2, 0.6))


# ---- trousers and bags ---------------------------------------------------------------------------


def _trouser(rng: Generator, x: Pixels, y: Pixels) -> Pixels:
    across = abs(x)
    waist, crotch, foot = between(rng, 0.2, 0.36), between(rng, -0.5, -0.1), between(rng, 0.6, 1)
    hip, ankle = waist + between(rng, 0.0, 0.12), between(rng, 0.24, 0.48)
    outer = polyline(y, (-0.95, waist), (-0.45, hip), (foot, ankle))
    legs = box(across, y, (y - crotch) * between(rng, 0.0, 0.2), outer, -0.95, foot)
    fly = shade(line(x, 0.015), between(rng, 0.1, 0.8))
    waistband = shade(line(y + 0.8), between(rng, 0.0, 0.6))
    fabric = cloth(rng, x, y, legs, striped=0.05, checked=0.06, printed=0.12)
    return fabric * fly * waistband


def _bag(rng: Generator, x: Pixels, y: Pixels) -> Pixels:
    wide, slope = between(rng, 0.5, 0.95), between(rng, -0.2, 0.2)
    top, bottom = between(rng, -0.6, 0.05), between(rng, 0.5, 0.9)
    panel = box(x, y, -wide - slope * y, wide + slope * y, top, bottom)
    fullness, middle = between(rng, 1.05, 1.5), 0.5 * (top + bottom)
    belly = ellipse(x, y - middle, fullness * wide, 1.2 * fullness * (bottom - middle))
    reach: Pixels = np.minimum(between(rng, 0.2, 1.0), top + 0.95)
    arch = ellipse(x, y - top, between(rng, 0.3, 0.95) * wide, reach)
    handle = intersection(line(arch, between(rng, 0.03, 0.07)), y - top - 0.1)
    handle = np.where(chance(rng, 0.8), handle, FAR)
    flap = line(y - top - between(rng, 0.1, 0.5) + between(rng, 0.0, 0.4) * abs(x))
    clasp = norm(x, y - top - between(rng, 0.2, 0.4)) - 0.08
    metal = shade(flap, between(rng, 0.0, 0.7)) * shade(clasp, between(rng, -0.5, 0.8))
    outline = union(intersection(panel, belly), handle)
    return cloth(rng, x, y, outline, striped=0.1, checked=0.1, printed=0.2) * metal


_GARMENTS: tuple[Callable[[Generator, Pixels, Pixels], Pixels], ...] = (
    _t_shirt, _trouser, _pullover, _dress, _coat, _sandal, _shirt, _sneaker, _bag, _ankle_boot,
)  # fmt: skip
