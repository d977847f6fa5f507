"""Every kernel in operations that NumPy and CuPy share.

Each function is written to be checked against its equation (in `fastnn.kernels.Kernels`) line by
line. Results land in given arrays, so a step allocates nothing and can be timed for what it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

import numpy

from fastnn.backend import Array
from fastnn.kernels.counted import FIRST, SECOND, STREAM_AUGMENTATION, G, dropped_below
from fastnn.kernels.formulas import ACTIVATIONS, LOSSES, on_arrays

if TYPE_CHECKING:
    from fastnn.kernels import Augmentation, XentScratch

EPS = 1e-5  # added to a variance before its root is taken
MOMENTUM = 0.1  # how far running statistics move towards those of a batch


@dataclass(frozen=True, slots=True)
class Reference:
    """The kernels over one array module, numpy or cupy."""

    xp: ModuleType

    def new_mask(self, batch: int, width: int) -> Array:
        mask: Array = self.xp.empty((batch, width), bool)
        return mask

    def gather(
        self,
        x: Array,
        labels_out: Array,
        inputs: Array,
        labels: Array,
        rows: Array,
        raw: Array,
        offset: Array | None,
        factor: Array,
        noise: Array,
        *,
        augmentation: Augmentation | None,
    ) -> None:
        self.take(raw, inputs, rows)
        self.take(labels_out, labels, rows)
        if augmentation is not None:
            self._vary(raw, augmentation, self._words(noise, STREAM_AUGMENTATION, (len(raw), 1)))
        if offset is None:
            self.xp.multiply(raw, factor, out=x)
        else:
            self.xp.subtract(raw, offset, out=x)
            self.xp.multiply(x, factor, out=x)

    def affine(self, y: Array, mask: Array | None, x: Array, w: Array, b: Array | None) -> None:
        xp = self.xp
        xp.dot(x, w, out=y)
        if b is None:
            return
        if mask is not None:
            # max(y + b, 0) = max(y, -b) + b, to the bit: NumPy has no vector loop for the maximum
            # of an array and a scalar, which takes three times as long (docs/LOG.md).
            xp.maximum(y, -b, out=y)
        xp.add(y, b, out=y)

    def affine_backward(
        self,
        dx: Array | None,
        dw: Array,
        db: Array | None,
        dy: Array,
        x: Array,
        w: Array,
        mask: Array | None,
    ) -> None:
        xp = self.xp
        xp.dot(x.T, dy, out=dw)
        if db is not None:
            dy.sum(axis=0, out=db)
        if dx is not None:
            xp.dot(dy, w.T, out=dx)
            if mask is not None:  # x > 0 says it all; the mask is only a place to write it
                xp.greater(x, 0, out=mask)
                xp.multiply(dx, mask, out=dx)

    def normalize(
        self,
        y: Array,
        x_hat: Array,
        factor: Array,
        x: Array,
        gain: Array,
        shift: Array,
        running: tuple[Array, Array] | None,
        *,
        axis: int,
        track: bool,
    ) -> None:
        xp = self.xp
        if running is None or track:
            mean, variance = x.mean(axis=axis, keepdims=True), x.var(axis=axis, keepdims=True)
        else:
            mean, variance = running
        if running is not None and track:
            rows = len(x)
            for old, new in zip(running, (mean, variance * (rows / (rows - 1))), strict=True):
                old += MOMENTUM * (new[0] - old)
        factor[...] = 1 / xp.sqrt(variance + EPS)
        xp.subtract(x, mean, out=x_hat)
        xp.multiply(x_hat, factor, out=x_hat)
        xp.multiply(x_hat, gain, out=y)
        xp.add(y, shift, out=y)

    def normalize_backward(
        self,
        dx: Array,
        dgain: Array,
        dshift: Array,
        dy: Array,
        x_hat: Array,
        factor: Array,
        gain: Array,
        *,
        axis: int | None,
    ) -> None:
        xp = self.xp
        (dy * x_hat).sum(axis=0, out=dgain)
        dy.sum(axis=0, out=dshift)
        xp.multiply(dy, gain, out=dx)
        if axis is not None:
            mean = dx.mean(axis=axis, keepdims=True)
            slope = (dx * x_hat).mean(axis=axis, keepdims=True)
            xp.subtract(dx, mean, out=dx)
            xp.subtract(dx, x_hat * slope, out=dx)
        xp.multiply(dx, factor, out=dx)

    def activate(
        self,
        y: Array,
        x: Array,
        skip: Array | None,
        noise: Array,
        *,
        activation: str,
        dropout: float,
        stream: int,
    ) -> None:
        formula = ACTIVATIONS[activation]
        y[...] = on_arrays(formula.value, self.xp)(x, formula.c)
        self._drop(y, noise, dropout, stream)
        if skip is not None:
            self.xp.add(y, skip, out=y)

    def activate_backward(
        self,
        dx: Array,
        dy: Array,
        x: Array,
        noise: Array,
        *,
        activation: str,
        dropout: float,
        stream: int,
    ) -> None:
        formula = ACTIVATIONS[activation]
        self.xp.multiply(dy, on_arrays(formula.slope, self.xp)(x, formula.c), out=dx)
        self._drop(dx, noise, dropout, stream)

    def softmax_xent(
        self,
        dz: Array,
        losses: Array,
        hits: Array,
        z: Array,
        labels: Array,
        weights: Array | None,
        scratch: XentScratch,
        *,
        scale: float,
        smoothing: float,
    ) -> None:
        xp, (identity, onehot, row, guess) = self.xp, scratch
        z.argmax(axis=1, out=guess)
        xp.equal(guess, labels, out=hits)
        z.max(axis=1, keepdims=True, out=row)
        xp.subtract(z, row, out=z)  # the largest logit becomes 0: exp can no longer overflow
        self.take(onehot, identity, labels)
        if smoothing:
            xp.multiply(onehot, 1 - smoothing, out=onehot)
            xp.add(onehot, smoothing / z.shape[1], out=onehot)
        xp.multiply(z, onehot, out=dz)
        dz.sum(axis=1, out=losses)  # t . z
        xp.exp(z, out=dz)
        dz.sum(axis=1, keepdims=True, out=row)
        xp.divide(dz, row, out=dz)  # softmax(z)
        xp.subtract(dz, onehot, out=dz)
        xp.multiply(dz, scale, out=dz)
        xp.log(row, out=row)
        xp.subtract(row[:, 0], losses, out=losses)
        if weights is not None:
            xp.multiply(losses, weights, out=losses)
            xp.multiply(dz, weights[:, None], out=dz)

    def residual_loss(
        self,
        dz: Array,
        losses: Array,
        z: Array,
        targets: Array,
        weights: Array | None,
        *,
        loss: str,
        c: float,
        scale: float,
    ) -> None:
        xp, formula = self.xp, LOSSES[loss]
        residual = z - targets
        on_arrays(formula.value, xp)(residual, c).mean(axis=1, out=losses)
        xp.multiply(on_arrays(formula.slope, xp)(residual, c), scale / z.shape[1], out=dz)
        if weights is not None:
            xp.multiply(losses, weights, out=losses)
            xp.multiply(dz, weights[:, None], out=dz)

    def sgd(
        self, p: Array, g: Array, m: Array, scratch: Array, rates: Array, *,
        momentum: float, nesterov: bool, decay: float, n_decay: int,
    ) -> None:  # fmt: skip
        xp = self.xp
        if decay:
            self._add_scaled(g[:n_decay], p[:n_decay], decay, scratch[:n_decay])
        direction = g
        if momentum:
            xp.multiply(m, momentum, out=m)
            xp.add(m, g, out=m)
            if nesterov:
                self._add_scaled(g, m, momentum, scratch)
            else:
                direction = m
        xp.multiply(direction, rates, out=scratch)
        xp.subtract(p, scratch, out=p)

    def adam(
        self, p: Array, g: Array, m: Array, v: Array, scratch: Array, rates: Array, *,
        beta1: float, beta2: float, decay: float, n_decay: int, decoupled: bool,
    ) -> None:  # fmt: skip
        xp, size, eps, shrink = self.xp, rates[:1], rates[1:2], rates[2:]
        if decay and decoupled:
            xp.multiply(p[:n_decay], shrink, out=p[:n_decay])
        elif decay:
            self._add_scaled(g[:n_decay], p[:n_decay], decay, scratch[:n_decay])
        xp.multiply(m, beta1, out=m)
        self._add_scaled(m, g, 1 - beta1, scratch)
        xp.multiply(v, beta2, out=v)
        xp.multiply(g, g, out=scratch)
        xp.multiply(scratch, 1 - beta2, out=scratch)
        xp.add(v, scratch, out=v)
        xp.sqrt(v, out=scratch)
        xp.add(scratch, eps, out=scratch)
        xp.divide(m, scratch, out=scratch)
        xp.multiply(scratch, size, out=scratch)
        xp.subtract(p, scratch, out=p)

    def rmsprop(
        self, p: Array, g: Array, v: Array, scratch: Array, rates: Array, *,
        beta2: float, eps: float, decay: float, n_decay: int,
    ) -> None:  # fmt: skip
        xp = self.xp
        if decay:
            self._add_scaled(g[:n_decay], p[:n_decay], decay, scratch[:n_decay])
        xp.multiply(v, beta2, out=v)
        xp.multiply(g, g, out=scratch)
        xp.multiply(scratch, 1 - beta2, out=scratch)
        xp.add(v, scratch, out=v)
        xp.sqrt(v, out=scratch)
        xp.add(scratch, eps, out=scratch)
        xp.divide(g, scratch, out=scratch)
        xp.multiply(scratch, rates, out=scratch)
        xp.subtract(p, scratch, out=p)

    def lion(
        self, p: Array, g: Array, m: Array, scratch: Array, rates: Array, *,
        beta1: float, beta2: float, decay: float, n_decay: int,
    ) -> None:  # fmt: skip
        xp = self.xp
        if decay:
            xp.multiply(p[:n_decay], rates[1:], out=p[:n_decay])
        xp.subtract(m, g, out=scratch)
        xp.multiply(scratch, beta1, out=scratch)
        xp.add(scratch, g, out=scratch)  # beta1 m + (1 - beta1) g
        xp.sign(scratch, out=scratch)
        xp.multiply(scratch, rates[:1], out=scratch)
        xp.subtract(p, scratch, out=p)
        xp.multiply(m, beta2, out=m)
        self._add_scaled(m, g, 1 - beta2, scratch)

    def clip(self, g: Array, scratch: Array, *, value: float, norm: float) -> None:
        xp = self.xp
        if value:
            xp.clip(g, -value, value, out=g)
        if norm:
            xp.multiply(g, g, out=scratch)
            length = xp.sqrt(scratch.sum(keepdims=True))
            # `g` of length 0 stays as it is, and NaN stays NaN, for the divergence guard.
            xp.multiply(g, norm / xp.maximum(length, norm), out=g)

    def average(self, mean: Array, p: Array, scratch: Array, rates: Array) -> None:
        self.xp.subtract(p, mean, out=scratch)
        self.xp.multiply(scratch, rates, out=scratch)
        self.xp.add(mean, scratch, out=mean)

    def take(self, out: Array, table: Array, rows: Array) -> None:
        """out = table[rows], for rows known to be in range."""
        if self.xp is numpy:
            # NumPy's default mode, "raise", buffers the whole result beside `out`.
            numpy.take(table, rows, axis=0, out=out, mode="clip")
        else:
            self.xp.take(table, rows, axis=0, out=out)

    def _add_scaled(self, y: Array, x: Array, scale: float, scratch: Array) -> None:
        """y += scale * x."""
        self.xp.multiply(x, scale, out=scratch)
        self.xp.add(y, scratch, out=y)

    def _drop(self, y: Array, noise: Array, dropout: float, stream: int) -> None:
        """y *= kept / (1 - dropout)."""
        if dropout:
            xp = self.xp
            kept = self._words(noise, stream, y.shape) >= dropped_below(dropout)
            xp.multiply(y, kept, out=y)
            xp.multiply(y, 1 / (1 - dropout), out=y)

    def _words(self, noise: Array, stream: int, shape: tuple[int, int]) -> Array:
        """The batch's words of a stream, one for each of (B, columns)."""
        xp, (rows, columns) = self.xp, shape
        key = _mix(noise[:1] + numpy.uint64(G * (stream + 1) % 2**64))
        count = xp.arange(1, rows * columns + 1, dtype=xp.uint64)
        count += noise[1:] * numpy.uint64(columns)
        return _mix(key + count * numpy.uint64(G)).reshape(shape)

    def _vary(self, raw: Array, how: Augmentation, words: Array) -> None:
        """Vary pictures (B, D) in place, by one word (B, 1) each."""
        xp, many = self.xp, len(raw)

        def chosen(bits: int, at: int, choices: int) -> Array:
            """So many bits of each word, as a number from 0 to `choices` - 1."""
            part = (words >> numpy.uint64(at)) & numpy.uint64(2**bits - 1)
            return ((part * numpy.uint64(choices)) >> numpy.uint64(bits)).astype(numpy.int64)

        down, right = (chosen(16, at, 2 * how.shift + 1) - how.shift for at in (0, 16))
        i, j = xp.arange(how.height), xp.arange(how.width)
        rows, columns = i - down, j - right  # (B, H), (B, W): where each pixel comes from
        seen = ((rows >= 0) & (rows < how.height))[:, :, None]
        seen = seen & ((columns >= 0) & (columns < how.width))[:, None, :]
        if how.flip:
            columns = xp.where(chosen(1, 32, 2) == 1, how.width - 1 - columns, columns)
        if how.cutout:
            top = i - chosen(15, 33, how.height) + how.cutout // 2
            left = j - chosen(15, 48, how.width) + how.cutout // 2
            cut = ((top >= 0) & (top < how.cutout))[:, :, None]
            seen = seen & ~(cut & ((left >= 0) & (left < how.cutout))[:, None, :])
        pictures = raw.reshape(many, how.height, how.width, how.channels)
        moved = pictures[
            xp.arange(many)[:, None, None],
            xp.clip(rows, 0, how.height - 1)[:, :, None],
            xp.clip(columns, 0, how.width - 1)[:, None, :],
        ]
        pictures[...] = moved * seen[..., None]


def _mix(words: Array) -> Array:
    """SplitMix64's finalizer: each bit of the input changes half of the output's."""
    words = (words ^ (words >> numpy.uint64(30))) * numpy.uint64(FIRST)
    words = (words ^ (words >> numpy.uint64(27))) * numpy.uint64(SECOND)
    mixed: Array = words ^ (words >> numpy.uint64(31))
    return mixed
