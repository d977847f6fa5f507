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

if TYPE_CHECKING:
    from fastnn.kernels import XentScratch


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
    ) -> None:
        self._take(raw, inputs, rows)
        self._take(labels_out, labels, rows)
        if offset is None:
            self.xp.multiply(raw, factor, out=x)
        else:
            self.xp.subtract(raw, offset, out=x)
            self.xp.multiply(x, factor, out=x)

    def affine(self, y: Array, mask: Array | None, x: Array, w: Array, b: Array) -> None:
        xp = self.xp
        xp.dot(x, w, out=y)
        if mask is not None:
            # max(y + b, 0) = max(y, -b) + b, to the bit: NumPy has no vector loop for the maximum
            # of an array and a scalar, which takes three times as long (docs/LOG.md).
            xp.maximum(y, -b, out=y)
        xp.add(y, b, out=y)

    def affine_backward(
        self,
        dx: Array | None,
        dw: Array,
        db: Array,
        dy: Array,
        x: Array,
        w: Array,
        mask: Array | None,
    ) -> None:
        xp = self.xp
        xp.dot(x.T, dy, out=dw)
        dy.sum(axis=0, out=db)
        if dx is not None:
            xp.dot(dy, w.T, out=dx)
            if mask is not None:  # x > 0 says it all; the mask is only a place to write it
                xp.greater(x, 0, out=mask)
                xp.multiply(dx, mask, out=dx)

    def softmax_xent(
        self,
        dz: Array,
        losses: Array,
        hits: Array,
        z: Array,
        labels: Array,
        scratch: XentScratch,
        *,
        scale: float,
    ) -> None:
        xp, (identity, onehot, row, guess) = self.xp, scratch
        z.argmax(axis=1, out=guess)
        xp.equal(guess, labels, out=hits)
        z.max(axis=1, keepdims=True, out=row)
        xp.subtract(z, row, out=z)  # the largest logit becomes 0: exp can no longer overflow
        self._take(onehot, identity, labels)
        xp.multiply(z, onehot, out=dz)
        dz.sum(axis=1, out=losses)  # z[label]
        xp.exp(z, out=dz)
        dz.sum(axis=1, keepdims=True, out=row)
        xp.divide(dz, row, out=dz)  # softmax(z)
        xp.subtract(dz, onehot, out=dz)
        xp.multiply(dz, scale, out=dz)
        xp.log(row, out=row)
        xp.subtract(row[:, 0], losses, out=losses)

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

    def _add_scaled(self, y: Array, x: Array, scale: float, scratch: Array) -> None:
        """y += scale * x."""
        self.xp.multiply(x, scale, out=scratch)
        self.xp.add(y, scratch, out=y)

    def _take(self, out: Array, table: Array, rows: Array) -> None:
        """out = table[rows], for rows known to be in range."""
        if self.xp is numpy:
            # NumPy's default mode, "raise", buffers the whole result beside `out`.
            numpy.take(table, rows, axis=0, out=out, mode="clip")
        else:
            self.xp.take(table, rows, axis=0, out=out)
