"""The loops that Numba compiles for this CPU: every kernel in one pass, and an epoch of them.

Imported by `fastnn.kernels.cpu` alone, and only where Numba is installed. The equations are those
of `fastnn.kernels.Kernels`. Products are those of NumPy's BLAS, called through its address.

An epoch is run by a team of threads that each compute a share of every kernel's output and meet
after it. They call BLAS on one thread each: its own pool, spinning on the same cores, would make
every step wait (docs/LOG.md has figures).
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
_compiled = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})

SGD, ADAM = 0, 1

_LANES = 16  # shares of columns start at multiples of these: a cache line, and a vector, of floats


class Net(NamedTuple):
    """A network for `epoch`: flat vectors, and where each layer lies in them.

    One type for every depth, so that one compilation serves all networks.
    """

    sizes: Array  # (L + 1,) int64: widths from inputs to classes
    weights_at: Array  # (L,) int64: where w of each layer starts in params and grads
    biases_at: Array  # (L,) int64
    params: Array  # (P,)
    grads: Array  # (P,)
    outputs: Array  # (rows * sum of widths but the first,)
    gradients: Array  # the same


class Source(NamedTuple):
    """All examples, and how they are scaled."""

    inputs: Array  # (N, D) uint8 or float
    labels: Array  # (N,)
    offset: Array  # (1,) or (D,)
    factor: Array  # (1,) or (D,)


class Page(NamedTuple):
    """What a block of rows is gathered into, and what its loss leaves behind."""

    x: Array  # (rows, D)
    labels: Array  # (rows,)
    losses: Array  # (rows,)
    hits: Array  # (rows,) bool


class Rule(NamedTuple):
    """An optimizer: which, its moments (SGD has no v), and its constants."""

    kind: int
    m: Array
    v: Array
    momentum: float
    nesterov: bool
    beta1: float
    beta2: float
    decay: float
    decoupled: bool
    n_decay: int


def sgd_rule(m: Array, momentum: float, nesterov: bool, decay: float, n_decay: int) -> Rule:
    """SGD's `Rule`."""
    # Python's types, for every other would be compiled anew.
    return Rule(SGD, m, m, float(momentum), bool(nesterov), 0.0, 0.0, float(decay), False, n_decay)


def adam_rule(
    m: Array, v: Array, beta1: float, beta2: float, decay: float, decoupled: bool, n_decay: int
) -> Rule:
    """Adam's and AdamW's `Rule`."""
    return Rule(
        ADAM, m, v, 0.0, False, float(beta1), float(beta2), float(decay), bool(decoupled), n_decay
    )


@_compiled
def share(count: int, member: int, team: native.Team) -> tuple[int, int]:
    """First and last (excluded) of `count` columns, rows or elements that are a member's own."""
    each = -(-count // (team.size * _LANES)) * _LANES
    return min(count, member * each), min(count, (member + 1) * each)


@_compiled
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


@_compiled
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


@_compiled
def affine(
    address: int, y: Array, x: Array, w: Array, b: Array, relu: bool, tile: native.Tile
) -> None:
    """A tile of y = x @ w + b; with `relu`, of max(y, 0)."""
    if _empty(tile):
        return
    native.gemm(address, False, False, x, w, 0, y, tile)
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


@_compiled
def weights_backward(
    address: int, dw: Array, dy: Array, x: Array, keep: float, tile: native.Tile
) -> None:
    """A tile of dw = x.T @ dy; added to what is there if `keep` is 1."""
    if not _empty(tile):
        native.gemm(address, True, False, x, dy, keep, dw, tile)


@_compiled
def bias_backward(db: Array, dy: Array, keep: float, first: int, last: int) -> None:
    """Elements of db = dy summed over B; added to what is there if `keep` is 1."""
    sums = db[first:last]
    if keep == 0:
        sums[:] = 0
    for r in range(len(dy)):
        row = dy[r, first:last]
        for o in range(len(row)):
            sums[o] += row[o]


@_compiled
def inputs_backward(
    address: int, dx: Array, dy: Array, w: Array, x: Array, relu: bool, tile: native.Tile
) -> None:
    """A tile of dx = dy @ w.T; with `relu`, 0 where x, its output, is 0."""
    if _empty(tile):
        return
    native.gemm(address, False, True, dy, w, 0, dx, tile)
    if relu:
        zero = dx.dtype.type(0)
        for r in range(tile.bottom - tile.top):
            row = dx[tile.top + r, tile.left : tile.right]
            through = x[tile.top + r, tile.left : tile.right]
            for i in range(len(row)):
                row[i] = row[i] if through[i] > zero else zero


@_compiled
def softmax_xent(
    dz: Array, losses: Array, hits: Array, z: Array, labels: Array, scale: float
) -> None:
    """losses = logsumexp(z) - z[label]; dz = scale * (softmax(z) - onehot); hits = argmax right."""
    for r in range(z.shape[0]):
        label = min(max(labels[r], 0), z.shape[1] - 1)  # as the reference does, and safe
        guess, top = 0, z[r, 0]
        for c in range(1, z.shape[1]):
            if z[r, c] > top:
                guess, top = c, z[r, c]
        total = z.dtype.type(0)
        for c in range(z.shape[1]):
            dz[r, c] = np.exp(z[r, c] - top)
            total += dz[r, c]
        factor = z.dtype.type(scale) / total
        for c in range(z.shape[1]):
            dz[r, c] *= factor
        dz[r, label] -= z.dtype.type(scale)
        losses[r] = np.log(total) - (z[r, label] - top)
        hits[r] = guess == label


@_compiled
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


@_compiled
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


@_compiled
def update(rule: Rule, p: Array, g: Array, rates: Array, first: int, last: int) -> None:
    """Update parameters first to last; decay acts on those before n_decay, the matrices."""
    middle = min(max(rule.n_decay, first), last)
    _update(rule, p, g, rates, rule.decay, first, middle)
    _update(rule, p, g, rates, 0.0, middle, last)


@_compiled
def _update(
    rule: Rule, p: Array, g: Array, rates: Array, decay: float, first: int, last: int
) -> None:
    p, g, m = p[first:last], g[first:last], rule.m[first:last]
    if rule.kind == SGD:
        sgd(p, g, m, rates[0], rule.momentum, rule.nesterov, decay)
        return
    shrink = rates[2] if rule.decoupled and decay != 0 else rates.dtype.type(1)
    l2 = 0.0 if rule.decoupled else decay
    v = rule.v[first:last]
    adam(p, g, m, v, rates[0], rates[1], shrink, rule.beta1, rule.beta2, l2)


@_compiled
def forward(address: int, net: Net, x: Array, team: native.Team, member: int) -> None:
    """Outputs of every layer for a block of rows."""
    rows, at, below = len(x), 0, x
    for layer in range(len(net.sizes) - 1):
        inputs, width = net.sizes[layer], net.sizes[layer + 1]
        w = _matrix(net.params, net.weights_at[layer], inputs, width)
        b = net.params[net.biases_at[layer] : net.biases_at[layer] + width]
        y = _matrix(net.outputs, at, rows, width)
        affine(address, y, below, w, b, layer < len(net.sizes) - 2, part(y, member, team))
        native.meet(team)
        below = y
        at += rows * width


@_compiled
def backward(address: int, net: Net, x: Array, keep: float, team: native.Team, member: int) -> None:
    """Gradients of every layer from the last one's dz; added to those there if `keep` is 1."""
    rows, depth = len(x), len(net.sizes) - 1
    at = rows * (net.sizes[1:].sum() - net.sizes[depth])
    for layer in range(depth - 1, -1, -1):
        inputs, width = net.sizes[layer], net.sizes[layer + 1]
        start, bias = net.weights_at[layer], net.biases_at[layer]
        dy = _matrix(net.gradients, at, rows, width)
        dw = _matrix(net.grads, start, inputs, width)
        db = net.grads[bias : bias + width]
        first, last = share(width, member, team)
        bias_backward(db, dy, keep, first, last)
        if layer == 0:
            weights_backward(address, dw, dy, x, keep, part(dw, member, team))
        else:
            at -= rows * inputs
            below = _matrix(net.outputs, at, rows, inputs)
            weights_backward(address, dw, dy, below, keep, part(dw, member, team))
            w = _matrix(net.params, start, inputs, width)
            dx = _matrix(net.gradients, at, rows, inputs)
            inputs_backward(address, dx, dy, w, below, True, part(dx, member, team))
        native.meet(team)


@_compiled
def epoch(
    address: int, net: Net, source: Source, page: Page, rule: Rule,
    order: Array, batch: int, rates: Array, sums: Array, counts: Array, start: int, stop: int,
    team: native.Team, member: int,
) -> None:  # fmt: skip
    """Steps `start` to `stop` of an epoch: batch k is rows k*B to (k+1)*B of `order` (N,).

    Every member of the team calls this with the same arguments. The last row of `rates` belongs to
    the epoch's last step. `sums` and `counts` get a step's summed loss and hits. A batch larger
    than the page is worked in blocks.
    """
    block, classes, hidden = len(page.labels), net.sizes[-1], net.sizes[1:-1].sum()
    opened = -(-len(order) // batch) - len(rates)
    mine = share(len(net.params), member, team)
    for step in range(start, stop):
        rows = order[step * batch : (step + 1) * batch]
        loss, right = 0.0, 0
        for at in range(0, len(rows), block):
            some = rows[at : at + block]
            b = len(some)
            x, labels = page.x[:b], page.labels[:b]
            losses, hits = page.losses[:b], page.hits[:b]
            z = _matrix(net.outputs, b * hidden, b, classes)
            dz = _matrix(net.gradients, b * hidden, b, classes)
            first, last = share(b, member, team)
            gather(
                x[first:last], labels[first:last], source.inputs, source.labels, some[first:last],
                source.offset, source.factor,
            )  # fmt: skip
            native.meet(team)
            forward(address, net, x, team, member)
            softmax_xent(
                dz[first:last], losses[first:last], hits[first:last], z[first:last],
                labels[first:last], 1.0 / len(rows),
            )  # fmt: skip
            native.meet(team)
            backward(address, net, x, 1.0 if at else 0.0, team, member)
            if member == 0:
                for r in range(b):
                    loss += losses[r]
                    right += hits[r]
        if native.dismissed(team):
            return
        update(rule, net.params, net.grads, rates[step - opened], mine[0], mine[1])
        if member == 0:
            sums[step] = loss
            counts[step] = right
        native.meet(team)


@_compiled
def _matrix(flat: Array, start: int, rows: int, columns: int) -> Array:
    """A (rows, columns) view of a part of a vector."""
    return flat[start : start + rows * columns].reshape((rows, columns))


@_compiled
def _empty(tile: native.Tile) -> bool:
    return tile.top == tile.bottom or tile.left == tile.right
