"""A small vocabulary for drawing grey pictures: chance, signed distances, light.

Everything is vectorised over `TOGETHER` pictures: coordinates are (n, 28, 28), one value a picture
is (n, 1, 1).

The same bits on every processor: only + - * / sqrt, comparisons and rounding, which IEEE 754
defines to the last bit. No sin or exp, no sum whose order is open; and chance is scaled here, since
a compiler may fuse the product and the sum inside rng.uniform.
"""

from __future__ import annotations

from functools import reduce
from itertools import pairwise

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Pixels = NDArray[np.float32]  # (n, 28, 28), or (n, 1, 1) for one value an example
Value = float | Pixels

SHAPE = (28, 28)
TOGETHER = 50  # pictures drawn at once: their arrays fit in a cache
FAR = 9.0  # the picture spans [-1, 1] both ways: this far from every pixel is out of it
PIXEL = 2.0 / SHAPE[0]


# ---- chance --------------------------------------------------------------------------------------


def between(rng: Generator, low: float, high: float) -> Pixels:
    """One uniform value an example, (n, 1, 1)."""
    return low + (high - low) * rng.random((TOGETHER, 1, 1), dtype=np.float32)


def chance(rng: Generator, share: float) -> NDArray[np.bool_]:
    """True for about this share of the examples, (n, 1, 1)."""
    return rng.random((TOGETHER, 1, 1), dtype=np.float32) < share


def noise(rng: Generator, cell: int) -> Pixels:
    """Uniform values in [-1, 1), one for each square of cell x cell pixels, (n, 28, 28)."""
    rows, columns = SHAPE[0] // cell, SHAPE[1] // cell
    values = 2.0 * rng.random((TOGETHER, rows, columns), dtype=np.float32) - 1.0
    return values.repeat(cell, axis=1).repeat(cell, axis=2)


def pose(rng: Generator) -> tuple[Pixels, Pixels]:
    """Each pixel's place on the garment, x to the right and y down: a random affine map."""
    centres = (np.arange(SHAPE[0], dtype=np.float32) - 0.5 * (SHAPE[0] - 1)) * PIXEL
    x = centres - between(rng, -0.14, 0.14)
    y = centres[:, None] - between(rng, -0.11, 0.11)
    # With t = tan(angle / 2), cosine and sine are ratios of polynomials: no library function.
    t = between(rng, -0.05, 0.05)
    cosine, sine = (1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t)
    down = (cosine * y - sine * x) / between(rng, 0.8, 1.02)
    right = (cosine * x + sine * y) / between(rng, 0.8, 1.02)
    return right + between(rng, -0.08, 0.08) * down, down


# ---- shapes: signed distances, negative inside ---------------------------------------------------


def union(*distances: Pixels) -> Pixels:
    """Inside any of the shapes."""
    return reduce(np.minimum, distances)


def intersection(*distances: Pixels) -> Pixels:
    """Inside all of the shapes."""
    return reduce(np.maximum, distances)


def clamp(t: Pixels, low: Value, high: Value) -> Pixels:
    """The value nearest to t in [low, high]."""
    nearest: Pixels = np.clip(t, low, high)
    return nearest


def norm(u: Value, v: Value) -> Pixels:
    """Length of the vector (u, v)."""
    length: Pixels = np.sqrt(u * u + v * v)
    return length


def polyline(t: Pixels, *knots: tuple[Value, Value]) -> Pixels:
    """f(t), piecewise linear through the knots (t_k, f_k) and constant beyond the ends."""
    value = knots[0][1]
    for (t0, f0), (t1, f1) in pairwise(knots):
        slope: Value = (f1 - f0) / (t1 - t0)
        value = value + slope * clamp(t - t0, 0.0, t1 - t0)
    return np.asarray(value, np.float32)


def box(x: Pixels, y: Pixels, left: Value, right: Value, top: Value, bottom: Value) -> Pixels:
    """Distance to left < x < right, top < y < bottom; an edge may depend on x and y."""
    return intersection(left - x, x - right, top - y, y - bottom)


def ellipse(x: Pixels, y: Pixels, half_width: Pixels, half_height: Pixels) -> Pixels:
    """Nearly the distance to an ellipse about the origin: (|(x / a, y / b)| - 1) min(a, b)."""
    shorter: Pixels = np.minimum(half_width, half_height)
    return (norm(x / half_width, y / half_height) - 1.0) * shorter


def tube(
    x: Pixels, y: Pixels, start: tuple[Value, Value], end: tuple[Value, Value], *radii: Value
) -> Pixels:
    """Distance to a straight tube of two radii, round at its start and cut off at its end."""
    length = norm(end[0] - start[0], end[1] - start[1])
    run, rise = (end[0] - start[0]) / length, (end[1] - start[1]) / length
    along: Pixels = (x - start[0]) * run + (y - start[1]) * rise
    across = (x - start[0]) * rise - (y - start[1]) * run
    radius = polyline(along, (0.0, radii[0]), (length, radii[1]))
    return intersection(norm(across, np.minimum(along, 0.0)) - radius, along - length)


def line(distance: Pixels, half_width: Value = 0.02) -> Pixels:
    """Distance to a line drawn where another distance is zero."""
    return abs(distance) - half_width


# ---- light ---------------------------------------------------------------------------------------


def cover(distance: Pixels) -> Pixels:
    """The part of each pixel that lies inside, 0 to 1."""
    return clamp(0.5 - distance / PIXEL, 0.0, 1.0)


def shade(distance: Pixels, depth: Value) -> Pixels:
    """The factor 1 - depth inside and 1 outside: a dark part, or a light one if depth < 0."""
    return 1.0 - depth * cover(distance)


def wave(t: Pixels) -> Pixels:
    """Triangle wave of period 1 between -1 and 1."""
    return 4.0 * abs(t - np.floor(t) - 0.5) - 1.0


def pattern(
    rng: Generator, x: Pixels, y: Pixels, striped: float, checked: float, printed: float
) -> Pixels:
    """Stripes, checks, a mottled print or nothing, in these shares; about -1 to 1."""
    kind, phase, frequency = between(rng, 0, 1), between(rng, 0, 1), between(rng, 1.5, 4.0)
    rows = clamp(2.5 * wave(frequency * y + phase), -1.0, 1.0)
    columns = clamp(2.5 * wave(frequency * x + phase), -1.0, 1.0)
    print_ = 0.8 * noise(rng, 2) + 0.4 * noise(rng, 1)
    plain = np.where(kind < striped + checked + printed, print_, 0.0)
    unchecked = np.where(kind < striped + checked, 0.5 * (rows + columns), plain)
    return np.where(kind < striped, rows, unchecked)


def cloth(rng: Generator, x: Pixels, y: Pixels, outline: Pixels, **shares: float) -> Pixels:
    """Brightness of a cloth cut along the outline: cover * roundness * tone * (1 + texture)."""
    marks = between(rng, 0.1, 0.5) * pattern(rng, x, y, **shares)
    fold = wave(between(rng, 1.0, 3.0) * x + between(rng, -1.0, 1.0) * y + between(rng, 0, 1))
    lamp = between(rng, -0.15, 0.15) * x + between(rng, -0.15, 0.15) * y
    grain = between(rng, 0.01, 0.08) * (noise(rng, 1) + noise(rng, 1))
    texture: Pixels = marks + between(rng, 0.0, 0.1) * fold + lamp + grain
    roundness = clamp(0.7 - 3.0 * outline, 0.7, 1.0)
    return cover(outline) * roundness * between(rng, 0.28, 0.95) * (1.0 + texture)
