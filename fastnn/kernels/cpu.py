"""Kernels for a CPU, fused into single passes that Numba compiles (`loops.py`): an optional extra.

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
from fastnn.kernels import XentScratch

_log = logging.getLogger("fastnn")


class Compiled:
    """The kernels as compiled loops, with products by NumPy's BLAS."""

    def __init__(self, loops: ModuleType, products: dict[np.dtype[Any], int]) -> None:
        self.loops = loops
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
    ) -> None:
        shift = np.zeros(1, x.dtype) if offset is None else offset
        self.loops.gather(x, labels_out, inputs, labels, rows, shift, factor)

    def affine(self, y: Array, mask: Array | None, x: Array, w: Array, b: Array) -> None:
        gemm, relu = self.products[y.dtype], mask is not None
        self.loops.affine(gemm, y, _rows(x), w, b, relu, self._whole(y))

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
        gemm, x, relu = self.products[dy.dtype], _rows(x), mask is not None
        self.loops.weights_backward(gemm, dw, dy, x, 0.0, self._whole(dw))
        self.loops.bias_backward(db, dy, 0.0, 0, len(db))
        if dx is not None:
            self.loops.inputs_backward(gemm, dx, dy, w, x, relu, self._whole(dx))

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
        self.loops.softmax_xent(dz, losses, hits, z, labels, scale)

    def sgd(
        self, p: Array, g: Array, m: Array, scratch: Array, rates: Array, *,
        momentum: float, nesterov: bool, decay: float, n_decay: int,
    ) -> None:  # fmt: skip
        loops = self.loops
        rule = loops.sgd_rule(m, momentum, nesterov, decay, n_decay)
        loops.update(rule, p, g, rates, 0, len(p))

    def adam(
        self, p: Array, g: Array, m: Array, v: Array, scratch: Array, rates: Array, *,
        beta1: float, beta2: float, decay: float, n_decay: int, decoupled: bool,
    ) -> None:  # fmt: skip
        loops = self.loops
        rule = loops.adam_rule(m, v, beta1, beta2, decay, decoupled, n_decay)
        loops.update(rule, p, g, rates, 0, len(p))


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
        kernels = Compiled(_loops(), products)
        _try_out(kernels)
    except Exception as error:  # a broken or unfit installation, or no place for its cache
        remedy = "reinstall numba"
        if isinstance(error, OSError) or "cannot cache" in str(error):
            remedy = "set NUMBA_CACHE_DIR to a folder that can be written"
        return f"Numba cannot be used ({type(error).__name__}: {error}); {remedy}"
    return kernels


def _loops() -> ModuleType:
    """The loops, with a place on disk for every version of their sources.

    Numba compiles anew when the file changes that a function stands in, but not when those do that
    the function calls.
    """
    import numba

    sources = (Path(__file__).with_name(name) for name in ("loops.py", "native.py"))
    digest = sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    given = numba.config.CACHE_DIR
    folder = Path(given or os.environ.get("FASTNN_CACHE_DIR") or user_cache_path("fastnn"))
    numba.config.CACHE_DIR = str(folder / "kernels" / digest)  # read when a function is decorated
    try:
        from fastnn.kernels import loops
    finally:
        numba.config.CACHE_DIR = given
    return loops


def _try_out(kernels: Compiled) -> None:
    """Everything that serves bytes and float32, once: compiled or loaded now, not while in use."""
    x, labels = np.zeros((1, 1), np.float32), np.zeros(1, np.int64)
    y, hits = np.zeros((1, 1), np.float32), np.zeros(1, bool)
    b, mask = y[0], kernels.new_mask(1, 1)
    kernels.gather(x, labels, np.zeros((1, 1), np.uint8), labels.copy(), labels.copy(), x, None, b)
    kernels.affine(y, mask, x, x, b)
    scratch = XentScratch(x, x, x, labels)
    kernels.softmax_xent(x, b, hits, y, labels, scratch, scale=1.0)


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
            if module == f"{__package__}.loops" and not self.said:
                self.said = True
                _log.warning("compiling kernels for this CPU; next time they come from the disk")

        def on_end(self, event: Any) -> None:
            pass

    event.register("numba:compile", Announcement())
