"""The loops that Numba compiles for this CPU: affine layers, losses and optimizers, one pass each.

Imported by `fastnn.kernels.cpu` alone, and only where Numba is installed. The equations are those
of `fastnn.kernels.Kernels`. Products are those of NumPy's BLAS, called through its address. What a
block needs besides its affine layer is in block_loops.py, the epoch made of all of it in epoch.py.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from fastnn.backend import Array
from fastnn.kernels import native

# Python's check for a zero divisor, which error_model="numpy" leaves out, would keep LLVM from
# vectorising. `contract` allows fused multiply-add; nothing that reorders sums or takes NaN for
# granted is allowed.
compiled = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
# Sums over a row or a vector in several lanes: the order depends on the length alone.
summing = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})

SGD, ADAM, RMSPROP, LION = range(4)

_LANES = 16  # shares of columns start at multiples of these: a cache line, and a vector, of floats


class Rule(NamedTuple):
    """An optimizer: which, its moments (not all have both), its constants, and the average."""

    kind: int
    m: Array
    v: Array
    average: Array
    averages: bool
    momentum: float
    nesterov: bool
    beta1: float
    beta2: float
    eps: float
    decay: float
    decoupled: bool
    n_decay: int


def rule(
    kind: int, m: Array, v: Array, *, average: Array | None = None, momentum: float = 0.0,
    nesterov: bool = False, beta1: float = 0.0, beta2: float = 0.0, eps: float = 0.0,
    decay: float = 0.0, decoupled: bool = False, n_decay: int = 0,
) -> Rule:  # fmt: skip
    """A `Rule` of Python's types, for every other would be compiled anew."""
    mean = m if average is None else average
    return Rule(
        int(kind), m, v, mean, average is not None, float(momentum), bool(nesterov), float(beta1),
        float(beta2), float(eps), float(decay), bool(decoupled), int(n_decay),
    )  # fmt: skip


@compiled
def share(count: int, member: int, team: native.Team) -> tuple[int, int]:
    """First and last (excluded) of `count` columns, rows or elements that are a member's own."""
    each = -(-count // (team.size * _LANES)) * _LANES
    return min(count, member * each), min(count, (member + 1) * each)


@compiled
def part(matrix: Array, member: int, team: native.Team) -> native.Tile:
    """The tile of a matrix that is a member's own: the longer side is shared.

    BLAS copies what it multiplies into an order of its own. Both factors of a tile are smaller
    where it is nearer to a square, so less is copied twice.
    """
    rows, columns = matrix.shape
    if rows > columns:
        top, bottom = share(rows, member, team)
        return native.Tile(top, bottom, 0, columns)
    left, right = share(columns, member, team)
    return native.Tile(0, rows, left, right)


@compiled
def gather(
    x: Array, labels_out: Array, inputs: Array, labels: Array, rows: Array,
    offset: Array, factor: Array,
) -> None:  # fmt: skip
    """x = (inputs[rows] - offset) * factor; labels_out = labels[rows]."""
    kind = x.dtype.type
    for b in range(len(rows)):
        row = min(max(rows[b], 0), len(inputs) - 1)  # as the reference does, and safe
        labels_out[b] = labels[row]
        for d in range(x.shape[1]):
            shift = offset[d] if len(offset) > 1 else offset[0]
            scale = factor[d] if len(factor) > 1 else factor[0]
            x[b, d] = (kind(inputs[row, d]) - shift) * scale


@compiled
def affine(
    address: int, y: Array, x: Array, w: Array, b: Array, relu: bool, tile: native.Tile
) -> None:
    """A tile of y = x @ w + b; with `relu`, of max(y, 0). Without a bias `b` has no elements."""
    if empty(tile):
        return
    native.gemm(address, False, False, x, w, 0, y, tile)
    if len(b) == 0:
        return
    zero, bias = y.dtype.type(0), b[tile.left : tile.right]
    for r in range(tile.bottom - tile.top):
        row = y[tile.top + r, tile.left : tile.right]
        if relu:
            for o in range(len(row)):
                value = row[o] + bias[o]
                row[o] = zero if value < zero else value  # NaN stays NaN
        else:
            for o in range(len(row)):
                row[o] += bias[o]


@compiled
def weights_backward(
    address: int, dw: Array, dy: Array, x: Array, keep: float, tile: native.Tile
) -> None:
    """A tile of dw = x.T @ dy; added to what is there if `keep` is 1."""
    if not empty(tile):
        native.gemm(address, True, False, x, dy, keep, dw, tile)


@compiled
def bias_backward(db: Array, dy: Array, keep: float, first: int, last: int) -> None:
    """Elements of db = dy summed over B; added to what is there if `keep` is 1."""
    sums = db[first:last]
    if keep == 0:
        sums[:] = 0
    for r in range(len(dy)):
        row = dy[r, first:last]
        for o in range(len(row)):
            sums[o] += row[o]


@compiled
def inputs_backward(
    address: int, dx: Array, dy: Array, w: Array, x: Array, relu: bool, tile: native.Tile
) -> None:
    """A tile of dx = dy @ w.T; with `relu`, 0 where x, its output, is 0."""
    if empty(tile):
        return
    native.gemm(address, False, True, dy, w, 0, dx, tile)
    if relu:
        zero = dx.dtype.type(0)
        for r in range(tile.bottom - tile.top):
            row = dx[tile.top + r, tile.left : tile.right]
            through = x[tile.top + r, tile.left : tile.right]
            for i in range(len(row)):
                row[i] = row[i] if through[i] > zero else zero


@compiled
def take(out: Array, table: Array, rows: Array) -> None:
    """out = table[rows]."""
    for b in range(len(rows)):
        out[b] = table[min(max(rows[b], 0), len(table) - 1)]  # as the reference does, and safe


@compiled
def softmax_xent(
    dz: Array, losses: Array, hits: Array, z: Array, labels: Array, weights: Array, scale: float,
    smoothing: float,
) -> None:  # fmt: skip
    """losses = logsumexp(z) - t . z; dz = scale * (softmax(z) - t); hits = argmax right.

    `weights` (B,) multiply losses and dz; they may have no elements.
    """
    kind, classes = z.dtype.type, z.shape[1]
    others = kind(smoothing / classes)  # what smoothing gives to every class
    own = kind(1 - smoothing)
    for r in range(z.shape[0]):
        label = min(max(labels[r], 0), classes - 1)  # as the reference does, and safe
        guess, top = 0, z[r, 0]
        for c in range(1, classes):
            if z[r, c] > top:
                guess, top = c, z[r, c]
        total = kind(0)
        for c in range(classes):
            dz[r, c] = np.exp(z[r, c] - top)
            total += dz[r, c]
        weight = weights[r] if len(weights) else kind(1)
        step = kind(scale) * weight
        factor = step / total
        loss = np.log(total) - own * (z[r, label] - top)
        for c in range(classes):
            dz[r, c] *= factor
        if smoothing != 0:
            for c in range(classes):
                loss -= others * (z[r, c] - top)
                dz[r, c] -= step * others
        dz[r, label] -= step * own
        losses[r] = weight * loss
        hits[r] = guess == label


@compiled
def sgd(
    p: Array, g: Array, m: Array, lr: float, momentum: float, nesterov: bool, decay: float
) -> None:
    """m = momentum * m + g; p -= lr * (g + momentum * m if nesterov else m); g has decay * p."""
    kind = p.dtype.type
    rate, friction, pull = kind(lr), kind(momentum), kind(decay)
    if momentum == 0:
        for i in range(len(p)):
            p[i] -= rate * (g[i] + pull * p[i])
        return
    for i in range(len(p)):
        slope = g[i] + pull * p[i]
        speed = friction * m[i] + slope
        m[i] = speed
        p[i] -= rate * (slope + friction * speed if nesterov else speed)


@compiled
def adam(
    p: Array, g: Array, m: Array, v: Array, size: float, eps: float, shrink: float,
    beta1: float, beta2: float, decay: float,
) -> None:  # fmt: skip
    """m, v, p in one pass; `decay` is L2's, `shrink` AdamW's factor (1 without)."""
    kind = p.dtype.type
    size, eps, shrink, decay = kind(size), kind(eps), kind(shrink), kind(decay)
    keep1, add1, keep2, add2 = kind(beta1), kind(1 - beta1), kind(beta2), kind(1 - beta2)
    for i in range(len(p)):
        slope = g[i] + decay * p[i]
        first = keep1 * m[i] + add1 * slope
        second = keep2 * v[i] + add2 * slope * slope
        m[i] = first
        v[i] = second
        p[i] = shrink * p[i] - size * first / (np.sqrt(second) + eps)


@compiled
def rmsprop(
    p: Array, g: Array, v: Array, lr: float, beta2: float, eps: float, decay: float
) -> None:
    """v = beta2 v + (1 - beta2) g^2; p -= lr g / (sqrt v + eps); g has decay * p."""
    kind = p.dtype.type
    rate, small, pull, keep, add = kind(lr), kind(eps), kind(decay), kind(beta2), kind(1 - beta2)
    for i in range(len(p)):
        slope = g[i] + pull * p[i]
        square = keep * v[i] + add * slope * slope
        v[i] = square
        p[i] -= rate * slope / (np.sqrt(square) + small)


@compiled
def lion(
    p: Array, g: Array, m: Array, lr: float, shrink: float, beta1: float, beta2: float
) -> None:
    """p = shrink p - lr sign(beta1 m + (1 - beta1) g); m = beta2 m + (1 - beta2) g."""
    kind = p.dtype.type
    rate, shrink = kind(lr), kind(shrink)
    keep1, keep2, add2 = kind(beta1), kind(beta2), kind(1 - beta2)
    for i in range(len(p)):
        # In the reference's order of operations: the sign is not to depend on rounding.
        way = (m[i] - g[i]) * keep1 + g[i]
        p[i] = shrink * p[i] - rate * np.sign(way)
        m[i] = keep2 * m[i] + add2 * g[i]


@compiled
def update(rule: Rule, p: Array, g: Array, rates: Array, first: int, last: int) -> None:
    """Update parameters first to last; decay acts on those before n_decay, the matrices."""
    middle = min(max(rule.n_decay, first), last)
    _update(rule, p, g, rates, rule.decay, first, middle)
    _update(rule, p, g, rates, 0.0, middle, last)
    if rule.averages:
        average(rule.average, p, rates[-1], first, last)


@compiled
def _update(
    rule: Rule, p: Array, g: Array, rates: Array, decay: float, first: int, last: int
) -> None:
    p, g, m, v = p[first:last], g[first:last], rule.m[first:last], rule.v[first:last]
    one = rates.dtype.type(1)
    if rule.kind == SGD:
        sgd(p, g, m, rates[0], rule.momentum, rule.nesterov, decay)
    elif rule.kind == RMSPROP:
        rmsprop(p, g, v, rates[0], rule.beta2, rule.eps, decay)
    elif rule.kind == LION:
        lion(p, g, m, rates[0], rates[1] if decay != 0 else one, rule.beta1, rule.beta2)
    else:
        shrink = rates[2] if rule.decoupled and decay != 0 else one
        l2 = 0.0 if rule.decoupled else decay
        adam(p, g, m, v, rates[0], rates[1], shrink, rule.beta1, rule.beta2, l2)


@compiled
def average(mean: Array, p: Array, rate: float, first: int, last: int) -> None:
    """mean += rate * (p - mean), elements first to last."""
    mean, p = mean[first:last], p[first:last]  # `range(first, last)` would not be vectorised
    for i in range(len(mean)):
        mean[i] += rate * (p[i] - mean[i])


@compiled
def cut(g: Array, value: float, first: int, last: int) -> None:
    """Elements first to last of g, cut to [-value, value]; NaN stays NaN."""
    most = g.dtype.type(value)
    g = g[first:last]
    for i in range(len(g)):
        g[i] = most if g[i] > most else (-most if g[i] < -most else g[i])


@summing
def squares(g: Array, first: int, last: int) -> float:
    """The sum of squares of elements first to last."""
    total = 0.0
    g = g[first:last]
    for i in range(len(g)):
        total += np.float64(g[i]) * np.float64(g[i])
    return total


@compiled
def shorten(g: Array, total: float, norm: float, first: int, last: int) -> None:
    """g *= min(1, norm / sqrt(total)), elements first to last; NaN stays NaN."""
    length = np.sqrt(total)
    factor = g.dtype.type(1.0 if length <= norm else norm / length)
    g = g[first:last]
    for i in range(len(g)):
        g[i] *= factor


@compiled
def empty(tile: native.Tile) -> bool:
    return tile.top == tile.bottom or tile.left == tile.right
