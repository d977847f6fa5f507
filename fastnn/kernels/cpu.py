"""Kernels for a CPU, fused into single passes that Numba compiles: an optional extra.

The loops are in loops.py, block_loops.py and epoch.py.

Compiled for the machine they run on; Numba keeps the result on disk.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from platformdirs import user_cache_path

from fastnn import blas
from fastnn.backend import Array
from fastnn.kernels import Augmentation, XentScratch
from fastnn.kernels.counted import STREAM_AUGMENTATION, dropped_below
from fastnn.kernels.formulas import ACTIVATIONS, LOSSES, kind_of

# What is compiled, or becomes part of it.
SOURCES = (
    "loops.py", "elementary.py", "block_loops.py", "epoch.py", "native.py", "formulas.py",
    "counted.py", "reference.py", "__init__.py",
)  # fmt: skip

_log = logging.getLogger("fastnn")


class Compiled:
    """The kernels as compiled loops, with products by NumPy's BLAS."""

    def __init__(
        self,
        loops: ModuleType,
        block_loops: ModuleType,
        epoch: ModuleType,
        products: dict[np.dtype[Any], int],
    ) -> None:
        self.loops, self.block_loops, self.epoch = loops, block_loops, epoch
        self.products = products  # addresses of gemm, by dtype

    def _whole(self, matrix: Array) -> Any:
        """The tile that is all of a matrix."""
        rows, columns = matrix.shape
        return self.loops.native.Tile(0, rows, 0, columns)

    def new_mask(self, batch: int, width: int) -> Array:
        """Nothing to note: where a ReLU's output is 0, it let nothing through."""
        return np.empty((batch, 0), bool)

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
        less = np.zeros(1, x.dtype) if offset is None else offset
        if augmentation is None:
            self.loops.gather(x, labels_out, inputs, labels, rows, less, factor)
            return
        self.block_loops.gather_varied(
            x, labels_out, inputs, labels, rows, less, factor, noise[0], noise[1],
            STREAM_AUGMENTATION, *augmentation,
        )  # fmt: skip

    def take(self, out: Array, table: Array, rows: Array) -> None:
        self.loops.take(out, table, rows)

    def affine(self, y: Array, mask: Array | None, x: Array, w: Array, b: Array | None) -> None:
        gemm, relu = self.products[y.dtype], mask is not None
        bias = w[0, :0] if b is None else b
        self.loops.affine(gemm, y, _rows(x), w, bias, relu, self._whole(y))

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
        gemm, x, relu = self.products[dy.dtype], _rows(x), mask is not None
        self.loops.weights_backward(gemm, dw, dy, x, 0.0, self._whole(dw))
        if db is not None:
            self.loops.bias_backward(db, dy, 0.0, 0, len(db))
        if dx is not None:
            self.loops.inputs_backward(gemm, dx, dy, w, x, relu, self._whole(dx))

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
        loops, rows, columns = self.block_loops, *x.shape
        if axis == 1:
            loops.normalize_rows(y, x_hat, factor, x, gain, shift, 0, rows)
            return
        if running is None:  # nothing is kept of the batch's statistics
            running, track = (np.empty_like(gain), np.empty_like(gain)), True
        loops.normalize_columns(y, x_hat, factor, x, gain, shift, *running, track, 0, columns)

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
        loops, rows, columns = self.block_loops, *dx.shape
        loops.gain_and_shift_backward(dgain, dshift, dy, x_hat, 0.0, 0, columns)
        if axis == 1:
            loops.normalize_rows_backward(dx, dy, x_hat, factor, gain, 0, rows)
        else:
            own = axis is not None
            loops.normalize_columns_backward(dx, dy, x_hat, factor, gain, own, 0, columns)

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
        self.block_loops.activate(
            y, x, y if skip is None else skip, skip is not None, noise[0], noise[1],
            *constants_of(activation), *shares_of(dropout), stream, self._whole(y),
        )  # fmt: skip

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
        self.block_loops.activate_backward(
            dx, dy, x, noise[0], noise[1], *constants_of(activation), *shares_of(dropout), stream,
            self._whole(dx),
        )  # fmt: skip

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
        share = losses[:0] if weights is None else weights
        self.loops.softmax_xent(dz, losses, hits, z, labels, share, scale, float(smoothing))

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
        share = losses[:0] if weights is None else weights
        self.block_loops.residual_loss(
            dz, losses, z, targets, share, kind_of(loss, LOSSES), float(c), scale
        )

    def sgd(
        self, p: Array, g: Array, m: Array, scratch: Array, rates: Array, *,
        momentum: float, nesterov: bool, decay: float, n_decay: int,
    ) -> None:  # fmt: skip
        rule = self.loops.rule(
            self.loops.SGD, m, m, momentum=momentum, nesterov=nesterov, decay=decay,
            n_decay=n_decay,
        )  # fmt: skip
        self.loops.update(rule, p, g, rates, 0, len(p))

    def adam(
        self, p: Array, g: Array, m: Array, v: Array, scratch: Array, rates: Array, *,
        beta1: float, beta2: float, decay: float, n_decay: int, decoupled: bool,
    ) -> None:  # fmt: skip
        rule = self.loops.rule(
            self.loops.ADAM, m, v, beta1=beta1, beta2=beta2, decay=decay, decoupled=decoupled,
            n_decay=n_decay,
        )  # fmt: skip
        self.loops.update(rule, p, g, rates, 0, len(p))

    def rmsprop(
        self, p: Array, g: Array, v: Array, scratch: Array, rates: Array, *,
        beta2: float, eps: float, decay: float, n_decay: int,
    ) -> None:  # fmt: skip
        rule = self.loops.rule(
            self.loops.RMSPROP, v, v, beta2=beta2, eps=eps, decay=decay, n_decay=n_decay
        )
        self.loops.update(rule, p, g, rates, 0, len(p))

    def lion(
        self, p: Array, g: Array, m: Array, scratch: Array, rates: Array, *,
        beta1: float, beta2: float, decay: float, n_decay: int,
    ) -> None:  # fmt: skip
        rule = self.loops.rule(
            self.loops.LION, m, m, beta1=beta1, beta2=beta2, decay=decay, n_decay=n_decay
        )
        self.loops.update(rule, p, g, rates, 0, len(p))

    def clip(self, g: Array, scratch: Array, *, value: float, norm: float) -> None:
        loops, whole = self.loops, len(g)
        if value:
            loops.cut(g, float(value), 0, whole)
        if norm:
            loops.shorten(g, loops.squares(g, 0, whole), float(norm), 0, whole)

    def average(self, mean: Array, p: Array, scratch: Array, rates: Array) -> None:
        self.loops.average(mean, p, rates[0], 0, len(p))


def constants_of(activation: str) -> tuple[int, float]:
    """An activation as compiled code knows it: its row in the table, and its c."""
    return kind_of(activation, ACTIVATIONS), ACTIVATIONS[activation].c


def shares_of(dropout: float) -> tuple[Any, float]:
    """Words below the first are dropped, what is kept is multiplied by the second."""
    return dropped_below(dropout), 1 / (1 - dropout)


@cache
def compiled() -> Compiled | str:
    """The kernels, or why they are not to be had here, with the remedy."""
    if find_spec("numba") is None:
        return "Numba is not installed (pip install numba)"
    found = {np.dtype(t): blas.address_of(n) for t, n in (("f4", "sgemm"), ("f8", "dgemm"))}
    products = {dtype: address for dtype, address in found.items() if address is not None}
    if len(products) < len(found):
        return f"compiled code cannot call NumPy's BLAS ({blas.facts()['blas']})"
    try:
        import numba

        if numba.config.DISABLE_JIT:
            return "Numba is told not to compile (unset NUMBA_DISABLE_JIT)"
        _announce_compilation()
        kernels = Compiled(*_loops(), products)
        _try_out(kernels)
    except Exception as error:  # a broken or unfit installation, or no place for its cache
        remedy = "reinstall numba"
        if isinstance(error, OSError) or "cannot cache" in str(error):
            remedy = "set NUMBA_CACHE_DIR to a folder that can be written"
        return f"Numba cannot be used ({type(error).__name__}: {error}); {remedy}"
    return kernels


def _loops() -> tuple[ModuleType, ModuleType, ModuleType]:
    """The loops, those of blocks, and the epoch, with a place on disk for every version of them.

    Numba compiles anew when the file changes that a function stands in, but not when those do that
    the function calls.
    """
    import numba

    sources = (Path(__file__).with_name(name) for name in SOURCES)
    digest = sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    given = numba.config.CACHE_DIR
    folder = Path(given or os.environ.get("FASTNN_CACHE_DIR") or user_cache_path("fastnn"))
    numba.config.CACHE_DIR = str(folder / "kernels" / digest)  # read when a function is decorated
    try:
        from fastnn.kernels import block_loops, epoch, loops
    finally:
        numba.config.CACHE_DIR = given
    return loops, block_loops, epoch


def _try_out(kernels: Compiled) -> None:
    """Everything that serves bytes and float32, once: compiled or loaded now, not while in use."""
    x, labels = np.zeros((1, 1), np.float32), np.zeros(1, np.int64)
    y, hits = np.zeros((1, 1), np.float32), np.zeros(1, bool)
    b, mask = y[0], kernels.new_mask(1, 1)
    rows, noise = labels.copy(), np.zeros(2, np.uint64)
    kernels.gather(
        x, labels, np.zeros((1, 1), np.uint8), labels.copy(), rows, x, None, b, noise,
        augmentation=None,
    )  # fmt: skip
    kernels.affine(y, mask, x, x, b)
    scratch = XentScratch(x, x, x, labels)
    kernels.softmax_xent(x, b, hits, y, labels, None, scratch, scale=1.0, smoothing=0.0)


def give_way_address() -> int:
    """Where the system's "let another thread run" lies: sched_yield, or Windows' SwitchToThread."""
    if sys.platform == "win32":
        function = ctypes.windll.kernel32.SwitchToThread
    else:
        function = ctypes.CDLL(None).sched_yield
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    return address


def _rows(x: Array) -> Array:
    """What a caller passes in may be a strided view; products want whole rows."""
    return np.ascontiguousarray(x)


def _announce_compilation() -> None:
    """Log it when Numba begins to compile, which takes seconds: not when it loads from disk."""
    from numba.core import event

    class Announcement(event.Listener):  # type: ignore[misc]
        said = False

        def on_start(self, event: Any) -> None:
            module = event.data["dispatcher"].py_func.__module__
            if module.startswith(__package__) and not self.said:
                self.said = True
                _log.warning("compiling kernels for this CPU; next time they come from the disk")

        def on_end(self, event: Any) -> None:
            pass

    event.register("numba:compile", Announcement())
