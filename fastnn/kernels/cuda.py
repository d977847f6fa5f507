"""The kernels of `fastnn.kernels.Kernels` fused for CuPy: a step in few launches.

Their sources are in sources.py and rows.cu, products in cublas.py. The module imports without CuPy:
kernels are compiled at their first call and then kept by CuPy on disk.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastnn.backend import Array, Backend, address_of
from fastnn.errors import DeviceError
from fastnn.kernels import Augmentation, XentScratch
from fastnn.kernels.counted import STREAM_AUGMENTATION, dropped_below
from fastnn.kernels.cublas import Epilogue, LtProducts, PlainProducts, bytes_of_bits
from fastnn.kernels.formulas import LOSSES, kind_of
from fastnn.kernels.reference import EPS, MOMENTUM
from fastnn.kernels.sources import (
    ACTIVATE,
    ACTIVATE_BACKWARD,
    ADAM,
    AVERAGE,
    BIAS,
    GATHER,
    GATHER_VARIED,
    GEOMETRY,
    LION,
    NORMALIZE,
    RELU_BACKWARD,
    RMSPROP,
    SGD,
    TAKE,
    Elementwise,
    rows_options,
    rows_source,
)

# A null pointer for a raw kernel, passed by value. (None would be no argument at all to CuPy.)
_NULL = np.uint64(0)


def fused_for(backend: Backend, *, must_capture: bool, precision: str) -> Fused:
    """The fused kernels for a GPU, with the best products that are installed.

    A DeviceError where `precision` or `must_capture` ask for what this GPU or installation lacks.
    """
    if precision == "tf32":
        capability = int(backend.xp.cuda.Device(backend.index).compute_capability)
        if capability < 80:
            raise DeviceError(
                f"precision tf32 needs a GPU of compute capability 8.0, {backend} has "
                f"{capability / 10}",
                "Use --precision float32",
            )
    remedy = "Install it with: pip install nvmath-python"
    with backend.activate():
        try:
            return Fused(backend.xp, LtProducts(backend, precision))
        except ModuleNotFoundError:
            reason = "nvmath-python is not installed"
        except Exception as error:  # libraries fail in many ways; products work without this one
            first = str(error).partition("\n")[0]
            reason = f"cuBLASLt does not start: {type(error).__name__}: {first}"
            remedy = "Run fastnn doctor, and reinstall nvmath-python and CuPy with [ctk]"
    if precision != "float32":
        raise DeviceError(f"precision {precision} needs cuBLASLt; {reason}", remedy)
    if must_capture:
        raise DeviceError(f"a captured step needs cuBLASLt; {reason}", remedy)
    return Fused(backend.xp, PlainProducts(backend.xp, f"{reason}. {remedy}"))


def graph_of(xp: ModuleType, body: Callable[[], object]) -> Any:
    """What `body` launches onto the current stream, as a CUDA graph; nothing of it runs.

    The graph keeps no reference to memory or kernels: whoever holds it must hold them, too.
    """
    stream = xp.cuda.get_current_stream()
    with _no_collection():
        stream.begin_capture()
        try:
            body()
        finally:  # a capture that was begun must be ended, also after a failure
            graph = stream.end_capture()
    return graph


class Fused:
    """The kernels over CuPy. All work goes to the current stream, and nothing is read back."""

    def __init__(self, xp: ModuleType, products: LtProducts | PlainProducts) -> None:
        self._xp = xp
        self.products = products
        self._noted: set[int] = set()  # masks that hold bits, by address
        self._zeros: dict[np.dtype[Any], Array] = {}

    @property
    def why_not_captured(self) -> str | None:
        """What keeps a step from becoming a CUDA graph, or None."""
        return self.products.why_not_captured

    def new_mask(self, batch: int, width: int) -> Array:
        mask: Array = self._xp.zeros((batch, bytes_of_bits(width)), np.uint8)
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
        if offset is None:
            offset = self._zero(x.dtype)
        given = (
            inputs, labels, rows, offset, factor, x.shape[1], int(offset.size > 1),
            int(factor.size > 1), labels_out.size // len(rows),
        )  # fmt: skip
        if augmentation is None:
            self._run(GATHER, *given, x, labels_out)
            return
        how = augmentation
        self._run(
            GATHER_VARIED, *given, noise, STREAM_AUGMENTATION, how.height, how.width, how.channels,
            how.shift, how.flip, how.cutout, x, labels_out,
        )  # fmt: skip

    def take(self, out: Array, table: Array, rows: Array) -> None:
        self._run(TAKE, table, rows, out.size // len(rows), out)

    def affine(self, y: Array, mask: Array | None, x: Array, w: Array, b: Array | None) -> None:
        dot = self.products.dot
        if b is None:
            dot(y, x, w)
            return
        if mask is None:
            if not dot(y, x, w, Epilogue.BIAS, b):
                self._product_then_bias(y, x, w, b, relu=False)
            return
        if dot(y, x, w, Epilogue.RELU_BIAS_BITS, b, mask):
            self._noted.add(address_of(mask))
            return
        self._noted.discard(address_of(mask))
        if not dot(y, x, w, Epilogue.RELU_BIAS, b):
            self._product_then_bias(y, x, w, b, relu=True)

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
        dot = self.products.dot
        if db is None:
            dot(dw, x.T, dy)
        elif not dot(dw, x.T, dy, Epilogue.SUM_OF_B, db):
            dot(dw, x.T, dy)
            self._by_columns("column_sums", dy, db, dy)
        if dx is None:
            return
        noted = mask is not None and address_of(mask) in self._noted
        if noted and dot(dx, dy, w.T, Epilogue.CUT_BY_BITS, bits=mask):
            return
        dot(dx, dy, w.T)
        if mask is not None:
            self._run(RELU_BACKWARD, x, dx)

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
        if running is not None and not track:
            self._run(NORMALIZE, x, *running, gain, shift, EPS, x.shape[1], y, x_hat, factor)
            return
        real = x.dtype.type
        if axis == 1:
            self._by_rows("layer_norm", x, y, x_hat, factor, x, gain, shift, real(EPS))
            return
        self._by_columns(
            "batch_norm", x, y, x_hat, factor, *(running or (_NULL, _NULL)), x, gain, shift,
            real(EPS), real(MOMENTUM),
        )  # fmt: skip

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
        of_rows = axis == 1
        self._by_columns(
            "batch_norm_backward", dy, _NULL if of_rows else dx, dgain, dshift, dy, x_hat, factor,
            gain, np.int32(axis is None),
        )  # fmt: skip
        if of_rows:
            self._by_rows("layer_norm_backward", dy, dx, dy, x_hat, factor, gain)

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
        drop = _drop(x.shape[1], dropout, stream)
        self._run(ACTIVATE[activation], x, 0 if skip is None else skip, noise, *drop, y)

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
        drop = _drop(x.shape[1], dropout, stream)
        self._run(ACTIVATE_BACKWARD[activation], dy, x, noise, *drop, dx)

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
        real = z.dtype.type
        self._by_rows(
            "softmax_xent", z, dz, losses, hits, z, _as(np.int64, labels),
            _NULL if weights is None else _as(z.dtype, weights), real(scale), real(smoothing),
        )  # fmt: skip

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
        real = z.dtype.type
        self._by_rows(
            "residual_loss", z, dz, losses, z, _as(z.dtype, targets),
            _NULL if weights is None else _as(z.dtype, weights),
            np.int32(kind_of(loss, LOSSES)), real(c), real(scale / z.shape[1]),
        )  # fmt: skip

    def sgd(
        self, p: Array, g: Array, m: Array, scratch: Array, rates: Array, *,
        momentum: float, nesterov: bool, decay: float, n_decay: int,
    ) -> None:  # fmt: skip
        self._run(SGD, g, rates, momentum, nesterov, decay, n_decay if decay else 0, p, m)

    def adam(
        self, p: Array, g: Array, m: Array, v: Array, scratch: Array, rates: Array, *,
        beta1: float, beta2: float, decay: float, n_decay: int, decoupled: bool,
    ) -> None:  # fmt: skip
        self._run(
            ADAM, g, rates, beta1, 1 - beta1, beta2, 1 - beta2, decay, decoupled, n_decay, p, m, v
        )

    def rmsprop(
        self, p: Array, g: Array, v: Array, scratch: Array, rates: Array, *,
        beta2: float, eps: float, decay: float, n_decay: int,
    ) -> None:  # fmt: skip
        self._run(RMSPROP, g, rates, beta2, 1 - beta2, eps, decay, n_decay if decay else 0, p, v)

    def lion(
        self, p: Array, g: Array, m: Array, scratch: Array, rates: Array, *,
        beta1: float, beta2: float, decay: float, n_decay: int,
    ) -> None:  # fmt: skip
        self._run(LION, g, rates, beta1, beta2, 1 - beta2, n_decay if decay else 0, p, m)

    def clip(self, g: Array, scratch: Array, *, value: float, norm: float) -> None:
        block, count, real = GEOMETRY["BLOCK"], np.int32(len(g)), g.dtype.type
        blocks = min(-(-len(g) // block), block)  # each leaves its part of the sum in `scratch`
        grid = (g.dtype, blocks, (block,))
        self._launch("clip_values", *grid, g, scratch, count, real(value))
        if norm:
            self._launch("clip_norm", *grid, g, scratch, count, np.int32(blocks), real(norm))

    def average(self, mean: Array, p: Array, scratch: Array, rates: Array) -> None:
        self._run(AVERAGE, p, rates, mean)

    def turn_page(
        self,
        rows: Array,
        rates: Array,
        noise: Array,
        cursor: Array,
        order: Array,
        table: Array,
        *,
        batch: int,
    ) -> None:
        """rows (B,), rates (K,) and noise[1] of step number cursor[0] of an epoch.

        `order` (N,) is cut into batches of `batch` rows, of which the last may be smaller; `table`
        is (steps, K). noise[1] is how many examples come before the step.
        """
        count, width = len(rows), table.shape[1]
        block = GEOMETRY["BLOCK"]
        self._launch(
            "turn_page", table.dtype, -(-max(count, width) // block), (block,),
            rows, rates, noise, cursor, order, table,
            np.int32(batch), np.int32(count), np.int32(width),
        )  # fmt: skip

    def tally(
        self, loss_slots: Array, hit_slots: Array, cursor: Array, losses: Array, hits: Array
    ) -> None:
        """Sums of losses and hits (B,) into slot cursor[0] of each (steps,); then cursor += 1."""
        self._launch(
            "tally", losses.dtype, 1, (GEOMETRY["BLOCK"],),
            loss_slots, hit_slots, cursor, losses, hits, np.int32(len(losses)),
        )  # fmt: skip

    def _zero(self, dtype: np.dtype[Any]) -> Array:
        """The offset (1,) where nothing is to be subtracted."""
        if dtype not in self._zeros:
            self._zeros[dtype] = self._xp.zeros(1, dtype)
        return self._zeros[dtype]

    def _product_then_bias(self, y: Array, x: Array, w: Array, b: Array, *, relu: bool) -> None:
        self.products.dot(y, x, w)
        self._run(BIAS, b, y.shape[1], relu, y)

    def _run(self, kernel: Elementwise, *arguments: object) -> None:
        _elementwise(self._xp, kernel)(*arguments)

    def _by_rows(self, name: str, of: Array, *args: object) -> None:
        """A kernel with a warp for each row of `of` (B, O), whose shape ends its arguments."""
        rows, columns = of.shape
        warps = GEOMETRY["WARPS"]
        self._launch(
            name, of.dtype, -(-rows // warps), (32, warps),
            *args, np.int32(rows), np.int32(columns),
        )  # fmt: skip

    def _by_columns(self, name: str, of: Array, *args: object) -> None:
        """A kernel with a row of threads for each of `of`'s columns, the arguments likewise."""
        rows, columns = of.shape
        width = GEOMETRY["COLUMNS"]
        self._launch(
            name, of.dtype, -(-columns // width), (width, GEOMETRY["SLICES"]),
            *args, np.int32(rows), np.int32(columns),
        )  # fmt: skip

    def _launch(
        self, name: str, dtype: DTypeLike, blocks: int, threads: tuple[int, ...], *args: object
    ) -> None:
        _function(self._xp, name, np.dtype(dtype).name)((blocks,), threads, args)


def _as(dtype: DTypeLike, array: Array) -> Array:
    """The array in the dtype that a raw kernel takes it for, whatever it is."""
    return array if array.dtype == dtype else array.astype(dtype)


def _drop(width: int, dropout: float, stream: int) -> tuple[int, int, np.uint64, float]:
    """What a kernel needs to know to drop: the words below a threshold, which 0 has none of."""
    return width, stream, dropped_below(dropout), 1 / (1 - dropout)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the garbage collector from destroying an older graph while one is captured."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


# Compiled once a process and never let go: a captured graph keeps no reference to its kernels.
@cache
def _elementwise(xp: ModuleType, kernel: Elementwise) -> Any:
    return xp.ElementwiseKernel(*kernel, no_return=True)


@cache
def _function(xp: ModuleType, name: str, dtype: str) -> Any:
    return _module(xp, dtype).get_function(name)


@cache
def _module(xp: ModuleType, dtype: str) -> Any:
    return xp.RawModule(code=rows_source(), options=rows_options(dtype))
