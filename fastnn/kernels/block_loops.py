"""The loops that Numba compiles for what a block is made of besides its affine layer.

Norms, activations, dropout, and the variation of pictures. Shares of the work are rows, columns or
tiles of a matrix, so that several threads may do it together. The equations are those of
`fastnn.kernels.Kernels`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnn.backend import Array
from fastnn.kernels.counted import FIRST, SECOND, G
from fastnn.kernels.elementary import (
    activation,
    activation_slope,
    residual_slope,
    residual_value,
)
from fastnn.kernels.loops import compiled, summing
from fastnn.kernels.native import Tile
from fastnn.kernels.reference import EPS, MOMENTUM

_G, _M1, _M2 = (np.uint64(constant) for constant in (G, FIRST, SECOND))
_U0, _U1, _U27, _U30, _U31 = (np.uint64(n) for n in (0, 1, 27, 30, 31))


@compiled
def mix(word: Any) -> Any:
    """SplitMix64's finalizer."""
    word = (word ^ (word >> _U30)) * _M1
    word = (word ^ (word >> _U27)) * _M2
    return word ^ (word >> _U31)


@compiled
def stream_key(key: Any, stream: int) -> Any:
    """The key of a stream of the epoch's random numbers."""
    return mix(key + _G * (np.uint64(stream) + _U1))


@compiled
def drop(
    y: Array, key: int, first: int, stream: int, threshold: int, scale: float, tile: Tile
) -> None:
    """y *= kept * scale in a tile; row 0 of y is the epoch's example number `first`."""
    own, width = stream_key(key, stream), np.uint64(y.shape[1])
    kind = y.dtype.type
    factor, zero = kind(scale), kind(0)
    for r in range(tile.top, tile.bottom):
        row = y[r, tile.left : tile.right]
        count = (np.uint64(first) + np.uint64(r)) * width + np.uint64(tile.left) + _U1
        for o in range(len(row)):
            word = mix(own + _G * (count + np.uint64(o)))
            row[o] *= factor if word >= threshold else zero


@compiled
def activate(
    y: Array, x: Array, skip: Array, skips: bool, key: int, first: int, kind: int, c: float,
    threshold: int, scale: float, stream: int, tile: Tile,
) -> None:  # fmt: skip
    """A tile of y = f(x) * kept * scale, and `skip` added if `skips`."""
    real = y.dtype.type
    constant, ones = real(c), np.ones(tile.right - tile.left, y.dtype)
    for r in range(tile.top, tile.bottom):
        out, row = y[r, tile.left : tile.right], x[r, tile.left : tile.right]
        activation(kind, out, ones, row, constant, real)
    if threshold != _U0:
        drop(y, key, first, stream, threshold, scale, tile)
    if skips:
        add(y, skip, tile)


@compiled
def activate_backward(
    dx: Array, dy: Array, x: Array, key: int, first: int, kind: int, c: float, threshold: int,
    scale: float, stream: int, tile: Tile,
) -> None:  # fmt: skip
    """A tile of dx = dy * f'(x) * kept * scale."""
    real = dx.dtype.type
    constant = real(c)
    for r in range(tile.top, tile.bottom):
        out, row = dx[r, tile.left : tile.right], x[r, tile.left : tile.right]
        activation_slope(kind, out, dy[r, tile.left : tile.right], row, constant, real)
    if threshold != _U0:
        drop(dx, key, first, stream, threshold, scale, tile)


@compiled
def add(y: Array, x: Array, tile: Tile) -> None:
    """A tile of y += x."""
    for r in range(tile.top, tile.bottom):
        out, row = y[r, tile.left : tile.right], x[r, tile.left : tile.right]
        for o in range(len(out)):
            out[o] += row[o]


@summing
def _sum(row: Array) -> Any:
    total = row.dtype.type(0)
    for o in range(len(row)):
        total += row[o]
    return total


@summing
def _variance(row: Array, mean: float) -> Any:
    total = row.dtype.type(0)
    for o in range(len(row)):
        total += (row[o] - mean) * (row[o] - mean)
    return total / row.dtype.type(len(row))


@summing
def _dot(a: Array, b: Array) -> Any:
    total = a.dtype.type(0)
    for o in range(len(a)):
        total += a[o] * b[o]
    return total


@compiled
def normalize_rows(
    y: Array, x_hat: Array, factor: Array, x: Array, gain: Array, shift: Array, first: int,
    last: int,
) -> None:  # fmt: skip
    """Layer norm of rows first to last; factor (B, 1)."""
    kind = x.dtype.type
    for r in range(first, last):
        mean = _sum(x[r]) / kind(x.shape[1])
        scale = kind(1) / np.sqrt(_variance(x[r], mean) + kind(EPS))
        factor[r, 0] = scale
        for o in range(x.shape[1]):
            value = (x[r, o] - mean) * scale
            x_hat[r, o] = value
            y[r, o] = gain[o] * value + shift[o]


@compiled
def normalize_columns(
    y: Array, x_hat: Array, factor: Array, x: Array, gain: Array, shift: Array,
    running_mean: Array, running_variance: Array, track: bool, first: int, last: int,
) -> None:  # fmt: skip
    """Batch norm of columns first to last; factor (1, O).

    By the running statistics, or by the batch's, which these `track`.
    """
    kind, rows = x.dtype.type, x.shape[0]
    mean, variance = running_mean[first:last].copy(), running_variance[first:last].copy()
    if track:
        mean[:] = 0
        variance[:] = 0
        for r in range(rows):
            row = x[r, first:last]
            for o in range(len(mean)):
                mean[o] += row[o]
        for o in range(len(mean)):
            mean[o] /= kind(rows)
        for r in range(rows):
            row = x[r, first:last]
            for o in range(len(mean)):
                variance[o] += (row[o] - mean[o]) * (row[o] - mean[o])
        unbiased, momentum = kind(rows / (rows - 1)), kind(MOMENTUM)
        for o in range(len(mean)):
            variance[o] /= kind(rows)
            old = running_mean[first + o]
            running_mean[first + o] = old + momentum * (mean[o] - old)
            old = running_variance[first + o]
            running_variance[first + o] = old + momentum * (variance[o] * unbiased - old)
    for o in range(len(mean)):
        factor[0, first + o] = kind(1) / np.sqrt(variance[o] + kind(EPS))
    scale, own_gain, own_shift = factor[0, first:last], gain[first:last], shift[first:last]
    for r in range(rows):
        row, hat, out = x[r, first:last], x_hat[r, first:last], y[r, first:last]
        for o in range(len(mean)):
            value = (row[o] - mean[o]) * scale[o]
            hat[o] = value
            out[o] = own_gain[o] * value + own_shift[o]


@compiled
def gain_and_shift_backward(
    dgain: Array, dshift: Array, dy: Array, x_hat: Array, keep: float, first: int, last: int
) -> None:
    """dgain = sum of dy * x_hat over B, dshift = sum of dy; added to those there if `keep` is 1."""
    gains, shifts = dgain[first:last], dshift[first:last]
    if keep == 0:
        gains[:] = 0
        shifts[:] = 0
    for r in range(len(dy)):
        row, hat = dy[r, first:last], x_hat[r, first:last]
        for o in range(len(gains)):
            gains[o] += row[o] * hat[o]
            shifts[o] += row[o]


@compiled
def normalize_rows_backward(
    dx: Array, dy: Array, x_hat: Array, factor: Array, gain: Array, first: int, last: int
) -> None:
    """Through layer norm, rows first to last; dx may be dy."""
    kind = dx.dtype.type
    width = kind(dx.shape[1])
    for r in range(first, last):
        for o in range(dx.shape[1]):
            dx[r, o] = gain[o] * dy[r, o]
        mean, slope = _sum(dx[r]) / width, _dot(dx[r], x_hat[r]) / width
        for o in range(dx.shape[1]):
            dx[r, o] = factor[r, 0] * (dx[r, o] - mean - x_hat[r, o] * slope)


@compiled
def normalize_columns_backward(
    dx: Array, dy: Array, x_hat: Array, factor: Array, gain: Array, own: bool, first: int, last: int
) -> None:
    """Through batch norm, columns first to last; `own` if the statistics were the batch's."""
    kind, rows = dx.dtype.type, dx.shape[0]
    mean, slope = np.zeros(last - first, dx.dtype), np.zeros(last - first, dx.dtype)
    if own:
        for r in range(rows):
            row, hat = dy[r, first:last], x_hat[r, first:last]
            for o in range(len(mean)):
                mean[o] += row[o]
                slope[o] += row[o] * hat[o]
        for o in range(len(mean)):
            mean[o] /= kind(rows)
            slope[o] /= kind(rows)
    scale, own_gain = factor[0, first:last], gain[first:last]
    for r in range(rows):
        row, hat, out = dy[r, first:last], x_hat[r, first:last], dx[r, first:last]
        for o in range(len(mean)):
            out[o] = scale[o] * own_gain[o] * (row[o] - mean[o] - hat[o] * slope[o])


@compiled
def residual_loss(
    dz: Array, losses: Array, z: Array, targets: Array, weights: Array, kind: int, c: float,
    scale: float,
) -> None:  # fmt: skip
    """losses = mean of f(z - targets); dz = scale / T * f'; `weights` may have no elements."""
    real = z.dtype.type
    constant, count = real(c), real(z.shape[1])
    residual, values = np.empty(z.shape[1], z.dtype), np.empty(z.shape[1], z.dtype)
    ones, steps = np.ones(z.shape[1], z.dtype), np.empty(z.shape[1], z.dtype)
    for r in range(z.shape[0]):
        weight = weights[r] if len(weights) else real(1)
        for t in range(len(residual)):
            residual[t] = z[r, t] - targets[r, t]
            steps[t] = weight * real(scale) / count
        residual_value(kind, values, ones, residual, constant, real)
        residual_slope(kind, dz[r], steps, residual, constant, real)
        losses[r] = weight * _sum(values) / count


@compiled
def _chosen(word: Any, bits: int, at: int, choices: int) -> Any:
    """So many bits of a word, as a number from 0 to `choices` - 1."""
    part = (word >> np.uint64(at)) & ((_U1 << np.uint64(bits)) - _U1)
    return np.int64((part * np.uint64(choices)) >> np.uint64(bits))


@compiled
def gather_varied(
    x: Array, labels_out: Array, inputs: Array, labels: Array, rows: Array, offset: Array,
    factor: Array, key: int, first: int, stream: int, height: int, width: int, channels: int,
    shift: int, flip: bool, cutout: int,
) -> None:  # fmt: skip
    """`gather` of pictures that are mirrored, moved and cut by one word each.

    rows[0] is the epoch's example number `first`.
    """
    kind, own = x.dtype.type, stream_key(key, stream)
    for b in range(len(rows)):
        row = min(max(rows[b], 0), len(inputs) - 1)
        labels_out[b] = labels[row]
        word = mix(own + _G * (np.uint64(first) + np.uint64(b) + _U1))
        down, right = _chosen(word, 16, 0, 2 * shift + 1), _chosen(word, 16, 16, 2 * shift + 1)
        mirrored = flip and _chosen(word, 1, 32, 2) == 1
        top = _chosen(word, 15, 33, height) - cutout // 2
        left = _chosen(word, 15, 48, width) - cutout // 2
        d = 0
        for i in range(height):
            source = i - down + shift
            seen_row = 0 <= source < height
            cut_row = top <= i < top + cutout
            for j in range(width):
                column = j - right + shift
                seen = seen_row and 0 <= column < width
                seen = seen and not (cut_row and left <= j < left + cutout)
                if mirrored:
                    column = width - 1 - column
                at = (source * width + column) * channels
                for channel in range(channels):
                    raw = kind(inputs[row, at + channel]) if seen else kind(0)
                    less = offset[d] if len(offset) > 1 else offset[0]
                    scale = factor[d] if len(factor) > 1 else factor[0]
                    x[b, d] = (raw - less) * scale
                    d += 1
