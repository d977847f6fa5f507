"""An epoch of training steps as one function that Numba compiles, run by a team of threads.

Each member computes a share of every kernel's output, and they meet where one needs what another
has made. They call BLAS on one thread each: its own pool, spinning on the same cores, would make
every step wait (docs/LOG.md has figures).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastnn.backend import Array
from fastnn.kernels import block_loops, native
from fastnn.kernels.counted import STREAM_AUGMENTATION, STREAM_BLOCKS, STREAM_INPUTS
from fastnn.kernels.loops import (
    Rule,
    affine,
    bias_backward,
    compiled,
    cut,
    gather,
    inputs_backward,
    part,
    share,
    shorten,
    softmax_xent,
    squares,
    take,
    update,
    weights_backward,
)

NO_NORM, LAYER, BATCH = range(3)


class Net(NamedTuple):
    """A network for `epoch`: flat vectors, and where each layer lies in them.

    One type for every network, so that one compilation serves all.
    """

    sizes: Array  # (L + 1,) int64: widths from inputs to outputs
    weights_at: Array  # (L,) int64: where w of each layer starts in params and grads
    biases_at: Array  # (L,) int64; -1 where there is none
    params: Array  # (P,)
    grads: Array  # (P,)
    outputs: Array  # (rows * sum of widths but the first,)
    gradients: Array  # the same


class Blocks(NamedTuple):
    """The hidden layers besides their affine part: one element each, or places in flat vectors."""

    plain: Array  # bool: affine and ReLU, and nothing of what follows
    activations: Array  # int64, the rows of formulas.ACTIVATIONS
    constants: Array  # their c
    norms: Array  # int64
    thresholds: Array  # uint64: words below it are dropped
    scales: Array  # 1 / (1 - dropout)
    skips: Array  # bool
    gains_at: Array  # int64, as all that follow
    shifts_at: Array
    means_at: Array
    variances_at: Array
    a: Array  # as Net.outputs: see blocks.Buffers
    n: Array
    da: Array
    factors: Array  # (L - 1, the larger of rows and widths)


class Source(NamedTuple):
    """All examples, and how they are scaled."""

    inputs: Array  # (N, D) uint8 or float
    labels: Array  # (N,)
    offset: Array  # (1,) or (D,)
    factor: Array  # (1,) or (D,)
    weights: Array  # (N,), or (0,)


class Variation(NamedTuple):
    """What happens to inputs while they are gathered: see `kernels.Augmentation`, and dropout."""

    height: int  # 0: pictures stay as they are
    width: int
    channels: int
    shift: int
    flip: bool
    cutout: int
    threshold: int  # uint64
    scale: float


class Page(NamedTuple):
    """What a block of rows is gathered into, and what its loss leaves behind."""

    x: Array  # (rows, D)
    labels: Array  # (rows,)
    weights: Array  # (rows,), or (0,)
    losses: Array  # (rows,)
    hits: Array  # (rows,) bool


class Limits(NamedTuple):
    """What the gradient is held to."""

    value: float  # of one element; 0 for any
    norm: float  # of all of it; 0 for any
    partial: Array  # (team,) float64, for its sum


@compiled
def forward(
    address: int, net: Net, blocks: Blocks | None, x: Array, key: int, position: int,
    team: native.Team, member: int,
) -> None:  # fmt: skip
    """Outputs of every layer for a block of rows, the first being the epoch's `position`-th."""
    rows, at, below = len(x), 0, x
    for layer in range(len(net.sizes) - 1):
        inputs, width = net.sizes[layer], net.sizes[layer + 1]
        w = _matrix(net.params, net.weights_at[layer], inputs, width)
        b = _bias(net, net.params, layer)
        y = _matrix(net.outputs, at, rows, width)
        hidden = layer < len(net.sizes) - 2
        if blocks is None or not hidden or blocks.plain[layer]:
            affine(address, y, below, w, b, hidden, part(y, member, team))
        else:
            a = _matrix(blocks.a, at, rows, width)
            affine(address, a, below, w, b, False, part(a, member, team))
            native.meet(team)
            _finish(net, blocks, layer, y, a, at, below, key, position, team, member)
        native.meet(team)
        below = y
        at += rows * width


@compiled
def _finish(
    net: Net, blocks: Blocks, layer: int, y: Array, a: Array, at: int, below: Array, key: int,
    position: int, team: native.Team, member: int,
) -> None:  # fmt: skip
    """A member's share of what follows x @ w + b in a block: rows, or columns of a batch norm."""
    rows, width = a.shape
    norm, n, tile = blocks.norms[layer], a, _share_of(blocks.norms[layer], a, member, team)
    if norm != NO_NORM:
        n = _matrix(blocks.n, at, rows, width)
        gain, shift = _vector(net, blocks.gains_at, layer), _vector(net, blocks.shifts_at, layer)
        if norm == LAYER:
            factor = blocks.factors[layer, :rows].reshape((rows, 1))
            block_loops.normalize_rows(n, a, factor, a, gain, shift, tile.top, tile.bottom)
        else:
            mean = _vector(net, blocks.means_at, layer)
            variance = _vector(net, blocks.variances_at, layer)
            factor = blocks.factors[layer, :width].reshape((1, width))
            block_loops.normalize_columns(
                n, a, factor, a, gain, shift, mean, variance, rows > 1, tile.left, tile.right
            )
    skips = blocks.skips[layer]
    block_loops.activate(
        y, n, below if skips else y, skips, key, position, blocks.activations[layer],
        blocks.constants[layer], blocks.thresholds[layer], blocks.scales[layer],
        STREAM_BLOCKS + layer, tile,
    )  # fmt: skip


@compiled
def backward(
    address: int, net: Net, blocks: Blocks | None, x: Array, keep: float, key: int, position: int,
    team: native.Team, member: int,
) -> None:  # fmt: skip
    """Gradients of every layer from the last one's dz; added to those there if `keep` is 1."""
    rows, depth = len(x), len(net.sizes) - 1
    at = rows * (net.sizes[1:].sum() - net.sizes[depth])
    for layer in range(depth - 1, -1, -1):
        inputs, width = net.sizes[layer], net.sizes[layer + 1]
        dy = _matrix(net.gradients, at, rows, width)
        da, relu, skips = dy, True, False
        first, last = share(width, member, team)
        if blocks is not None:
            relu = layer > 0 and blocks.plain[layer - 1]
            if layer < depth - 1 and not blocks.plain[layer]:
                skips = blocks.skips[layer]
                da = _matrix(blocks.da, at, rows, width)
                _finish_backward(net, blocks, layer, da, dy, at, keep, key, position, team, member)
                native.meet(team)
                if blocks.norms[layer] == LAYER:
                    _norm_backward(net, blocks, layer, at, rows, keep, first, last)
        dw = _matrix(net.grads, net.weights_at[layer], inputs, width)
        db = _bias(net, net.grads, layer)
        if len(db):
            bias_backward(db, da, keep, first, last)
        if layer == 0:
            weights_backward(address, dw, da, x, keep, part(dw, member, team))
        else:
            at -= rows * inputs
            below = _matrix(net.outputs, at, rows, inputs)
            weights_backward(address, dw, da, below, keep, part(dw, member, team))
            w = _matrix(net.params, net.weights_at[layer], inputs, width)
            dx = _matrix(net.gradients, at, rows, inputs)
            tile = part(dx, member, team)
            inputs_backward(address, dx, da, w, below, relu, tile)
            if blocks is not None and skips:
                block_loops.add(dx, dy, tile)
        native.meet(team)


@compiled
def _finish_backward(
    net: Net, blocks: Blocks, layer: int, da: Array, dy: Array, at: int, keep: float, key: int,
    position: int, team: native.Team, member: int,
) -> None:  # fmt: skip
    """A member's share of the way back from a block's output to x @ w + b.

    What went into the activation is overwritten by its gradient.
    """
    rows, width = da.shape
    norm, a = blocks.norms[layer], _matrix(blocks.a, at, rows, width)
    n = a if norm == NO_NORM else _matrix(blocks.n, at, rows, width)
    tile = _share_of(norm, a, member, team)
    block_loops.activate_backward(
        da if norm == NO_NORM else n, dy, n, key, position, blocks.activations[layer],
        blocks.constants[layer], blocks.thresholds[layer], blocks.scales[layer],
        STREAM_BLOCKS + layer, tile,
    )  # fmt: skip
    gain = _vector(net, blocks.gains_at, layer)
    if norm == LAYER:
        factor = blocks.factors[layer, :rows].reshape((rows, 1))
        block_loops.normalize_rows_backward(da, n, a, factor, gain, tile.top, tile.bottom)
    elif norm == BATCH:
        _norm_backward(net, blocks, layer, at, rows, keep, tile.left, tile.right)
        factor = blocks.factors[layer, :width].reshape((1, width))
        block_loops.normalize_columns_backward(
            da, n, a, factor, gain, rows > 1, tile.left, tile.right
        )


@compiled
def _norm_backward(
    net: Net, blocks: Blocks, layer: int, at: int, rows: int, keep: float, first: int, last: int
) -> None:
    """Gradients of gain and shift, columns first to last."""
    width, gain, shift = net.sizes[layer + 1], blocks.gains_at, blocks.shifts_at
    dn, x_hat = _matrix(blocks.n, at, rows, width), _matrix(blocks.a, at, rows, width)
    dgain = net.grads[gain[layer] : gain[layer] + width]
    dshift = net.grads[shift[layer] : shift[layer] + width]
    block_loops.gain_and_shift_backward(dgain, dshift, dn, x_hat, keep, first, last)


@compiled
def epoch(
    address: int, net: Net, blocks: Blocks | None, source: Source, variation: Variation | None,
    page: Page, rule: Rule, limits: Limits | None, smoothing: float, order: Array, batch: int,
    rates: Array, sums: Array, counts: Array, key: int, start: int, stop: int, team: native.Team,
    member: int,
) -> None:  # fmt: skip
    """Steps `start` to `stop` of an epoch: batch k is rows k*B to (k+1)*B of `order` (N,).

    Every member of the team calls this with the same arguments. `rates` (steps, K) has a row for
    each step of the epoch. `sums` and `counts` get a step's summed loss and hits. A batch larger
    than the page is worked in blocks. `key` is that of the epoch's random numbers.

    What is None is left out of the compiled code: a plain network's compiles in a fraction of the
    time.
    """
    block, classes, hidden = len(page.labels), net.sizes[-1], net.sizes[1:-1].sum()
    mine = share(len(net.params), member, team)
    for step in range(start, stop):
        rows = order[step * batch : (step + 1) * batch]
        loss, right = 0.0, 0
        for at in range(0, len(rows), block):
            some = rows[at : at + block]
            b, position = len(some), step * batch + at
            x, labels, weights = page.x[:b], page.labels[:b], page.weights[:b]
            losses, hits = page.losses[:b], page.hits[:b]
            z = _matrix(net.outputs, b * hidden, b, classes)
            dz = _matrix(net.gradients, b * hidden, b, classes)
            first, last = share(b, member, team)
            if variation is None:
                gather(
                    x[first:last], labels[first:last], source.inputs, source.labels,
                    some[first:last], source.offset, source.factor,
                )  # fmt: skip
            else:
                _vary(x, labels, source, variation, some, key, position, first, last)
            if len(source.weights):
                take(weights[first:last], source.weights, some[first:last])
            native.meet(team)
            forward(address, net, blocks, x, key, position, team, member)
            softmax_xent(
                dz[first:last], losses[first:last], hits[first:last], z[first:last],
                labels[first:last], weights[first:last], 1.0 / len(rows), smoothing,
            )  # fmt: skip
            native.meet(team)
            backward(address, net, blocks, x, 1.0 if at else 0.0, key, position, team, member)
            if member == 0:
                for r in range(b):
                    loss += losses[r]
                    right += hits[r]
        if native.dismissed(team):
            return
        if limits is not None:
            _clip(limits, net.grads, mine[0], mine[1], team, member)
        update(rule, net.params, net.grads, rates[step], mine[0], mine[1])
        if member == 0:
            sums[step] = loss
            counts[step] = right
        native.meet(team)


@compiled
def _vary(
    x: Array, labels: Array, source: Source, variation: Variation, rows: Array, key: int,
    position: int, first: int, last: int,
) -> None:  # fmt: skip
    """Rows first to last of a page, gathered and varied."""
    some = rows[first:last]
    if variation.height:
        block_loops.gather_varied(
            x[first:last], labels[first:last], source.inputs, source.labels, some, source.offset,
            source.factor, key, position + first, STREAM_AUGMENTATION, variation.height,
            variation.width, variation.channels, variation.shift, variation.flip, variation.cutout,
        )  # fmt: skip
    else:
        gather(
            x[first:last], labels[first:last], source.inputs, source.labels, some, source.offset,
            source.factor,
        )  # fmt: skip
    if variation.threshold != np.uint64(0):
        tile = native.Tile(first, last, 0, x.shape[1])
        block_loops.drop(
            x, key, position, STREAM_INPUTS, variation.threshold, variation.scale, tile
        )


@compiled
def _clip(limits: Limits, g: Array, first: int, last: int, team: native.Team, member: int) -> None:
    """A member's share of the gradient, cut and shortened."""
    if limits.value != 0:
        cut(g, limits.value, first, last)
    if limits.norm != 0:
        limits.partial[member] = squares(g, first, last)
        native.meet(team)
        shorten(g, limits.partial.sum(), limits.norm, first, last)


@compiled
def _share_of(norm: int, matrix: Array, member: int, team: native.Team) -> native.Tile:
    """The rows that are a member's own, or the columns where those belong together."""
    rows, columns = matrix.shape
    if norm == BATCH:
        left, right = share(columns, member, team)
        return native.Tile(0, rows, left, right)
    top, bottom = share(rows, member, team)
    return native.Tile(top, bottom, 0, columns)


@compiled
def _bias(net: Net, flat: Array, layer: int) -> Array:
    """A layer's bias or its gradient; no elements where there is none."""
    at = net.biases_at[layer]
    return flat[at : at + net.sizes[layer + 1]] if at >= 0 else flat[:0]


@compiled
def _vector(net: Net, places: Array, layer: int) -> Array:
    """A parameter of a hidden layer that has one number for each column."""
    return net.params[places[layer] : places[layer] + net.sizes[layer + 1]]


@compiled
def _matrix(flat: Array, start: int, rows: int, columns: int) -> Array:
    """A (rows, columns) view of a part of a vector."""
    return flat[start : start + rows * columns].reshape((rows, columns))
