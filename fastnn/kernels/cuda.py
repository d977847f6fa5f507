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
from fastnn.kernels import XentScratch
from fastnn.kernels.cublas import Epilogue, LtProducts, PlainProducts, bytes_of_bits
from fastnn.kernels.sources import (
    ADAM,
    BIAS,
    GATHER,
    GEOMETRY,
    RELU_BACKWARD,
    SGD,
    Elementwise,
    rows_options,
    rows_source,
)


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
    ) -> None:
        if offset is None:
            offset = self._zero(x.dtype)
        self._run(
            GATHER, inputs, labels, rows, offset, factor,
            x.shape[1], int(offset.size > 1), int(factor.size > 1), x, labels_out,
        )  # fmt: skip

    def affine(self, y: Array, mask: Array | None, x: Array, w: Array, b: Array) -> None:
        dot = self.products.dot
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
        db: Array,
        dy: Array,
        x: Array,
        w: Array,
        mask: Array | None,
    ) -> None:
        dot = self.products.dot
        if not dot(dw, x.T, dy, Epilogue.SUM_OF_B, db):
            dot(dw, x.T, dy)
            self._column_sums(db, dy)
        if dx is None:
            return
        noted = mask is not None and address_of(mask) in self._noted
        if noted and dot(dx, dy, w.T, Epilogue.CUT_BY_BITS, bits=mask):
            return
        dot(dx, dy, w.T)
        if mask is not None:
            self._run(RELU_BACKWARD, x, dx)

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
        rows, classes = z.shape
        if labels.dtype != np.int64:  # a raw kernel would read them as if they were
            labels = labels.astype(np.int64)
        self._launch(
            "softmax_xent", z.dtype, -(-rows // GEOMETRY["WARPS"]), (32, GEOMETRY["WARPS"]),
            dz, losses, hits, z, labels, np.int32(rows), np.int32(classes), z.dtype.type(scale),
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

    def turn_page(
        self, rows: Array, rates: Array, cursor: Array, order: Array, table: Array, *, batch: int
    ) -> None:
        """rows (B,) and rates (K,) of step number cursor[0] of an epoch.

        `order` (N,) is cut into batches of `batch` rows, of which the last may be smaller; `table`
        is (steps, K).
        """
        count, width = len(rows), table.shape[1]
        block = GEOMETRY["BLOCK"]
        self._launch(
            "turn_page", table.dtype, -(-max(count, width) // block), (block,),
            rows, rates, cursor, order, table, np.int32(batch), np.int32(count), np.int32(width),
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

    def _column_sums(self, sums: Array, dy: Array) -> None:
        rows, columns = dy.shape
        self._launch(
            "column_sums", dy.dtype, -(-columns // GEOMETRY["COLUMNS"]),
            (GEOMETRY["COLUMNS"], GEOMETRY["SLICES"]),
            sums, dy, np.int32(rows), np.int32(columns),
        )  # fmt: skip

    def _run(self, kernel: Elementwise, *arguments: object) -> None:
        _elementwise(self._xp, kernel)(*arguments)

    def _launch(
        self, name: str, dtype: DTypeLike, blocks: int, threads: tuple[int, ...], *args: object
    ) -> None:
        _function(self._xp, name, np.dtype(dtype).name)((blocks,), threads, args)


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
