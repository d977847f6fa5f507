"""Which device computes, and with which array library.

A `Backend` is a frozen value that is passed around. There is no current device and no global
switch: whoever holds arrays also holds the backend they live on.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastnn import blas
from fastnn.errors import ConfigError, DeviceError
from fastnn.gpu import cuda_version, explained, usable_cupy

# A NumPy array, or a CuPy array that behaves like one: CuPy ships no types to tell them apart.
Array = NDArray[Any]

# Vectorised loads and cuBLAS's fast paths want 256-byte boundaries; 64 floats are 256 bytes.
ALIGNMENT = 256

_PIECE = 64 << 20  # bytes of an upload at a time


@dataclass(frozen=True, slots=True)
class Backend:
    """A device and its array module `xp`; `reason` tells why this device was chosen.

    `threads` is how many CPU threads may work at once: in BLAS, or fastnn's own.
    """

    name: Literal["cpu", "cuda"]
    index: int
    xp: ModuleType = field(repr=False)
    reason: str = field(default="asked for", compare=False)
    threads: int = field(default_factory=blas.default_threads, compare=False)

    def __str__(self) -> str:
        return self.name if self.name == "cpu" else f"{self.name}:{self.index}"

    def asarray(self, host: ArrayLike, dtype: DTypeLike | None = None) -> Array:
        """The array on this device; no copy where it is there already with this dtype."""
        if self.name == "cuda" and isinstance(host, np.ndarray) and host.nbytes > _PIECE:
            return self._moved_in_pieces(host, dtype)
        array: Array = self.xp.asarray(host, dtype=dtype)
        return array

    def _moved_in_pieces(self, host: Array, dtype: DTypeLike | None) -> Array:
        """CuPy would stage the whole in page-locked memory, and keep that until the end."""
        array: Array = self.xp.empty(host.shape, host.dtype if dtype is None else dtype)
        rows = max(1, _PIECE * len(host) // host.nbytes)
        for first in range(0, len(host), rows):
            array[first : first + rows] = self.xp.asarray(host[first : first + rows])
        return array

    def zeros(self, size: int, dtype: DTypeLike) -> Array:
        """A vector of `size` zeros that starts on an `ALIGNMENT`-byte boundary."""
        itemsize = np.dtype(dtype).itemsize
        spare = ALIGNMENT // itemsize
        block: Array = self.xp.zeros(size + spare, dtype=dtype)
        address = block.ctypes.data if self.name == "cpu" else address_of(block)
        start = -address % ALIGNMENT // itemsize
        return block[start : start + size]

    def to_host(self, array: Array) -> Array:
        """The array as NumPy's; on a GPU this waits until it is computed."""
        if self.name == "cpu":
            return np.asarray(array)
        host: Array = self.xp.asnumpy(array)
        return host

    def synchronize(self) -> None:
        """Wait until the device has done all that it was given (a CPU always has)."""
        if self.name == "cuda":
            self.xp.cuda.get_current_stream().synchronize()

    @contextmanager
    def activate(self) -> Iterator[None]:
        """Within this context, new arrays and kernels go to this device and to fastnn's stream.

        An error of the GPU leaves it as a `DeviceError` with a remedy.
        """
        if self.name == "cpu":
            with blas.limited(self.threads):
                yield
            return
        try:
            with self.xp.cuda.Device(self.index), _on_stream(self.stream, self.xp.cuda):
                yield
        except Exception as error:
            if (meaning := explained(error)) is None:
                raise
            raise meaning from error

    @property
    def stream(self) -> Any:
        """The CUDA stream that all work on this device goes to (there is none on a CPU)."""
        return _work_stream(self.xp, self.index)

    def free_bytes(self) -> int | None:
        """Device memory that can still be had; None on a CPU, where the system swaps or kills."""
        if self.name == "cpu":
            return None
        with self.xp.cuda.Device(self.index):
            free: int = self.xp.cuda.runtime.memGetInfo()[0]
            return free + int(self.xp.get_default_memory_pool().free_bytes())

    def describe(self) -> dict[str, str]:
        """Versions, processor and BLAS: what a record of a measurement needs to name."""
        facts = {
            "device": str(self),
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "numpy": np.__version__,
            "cores": str(blas.usable_cores()),
            **blas.facts(),
            "threads": str(self.threads),
        }
        if self.name == "cuda":
            runtime = self.xp.cuda.runtime
            properties = runtime.getDeviceProperties(self.index)
            facts |= {
                "gpu": properties["name"].decode(),
                "cupy": self.xp.__version__,
                "cuda_runtime": cuda_version(runtime.runtimeGetVersion()),
                "cuda_driver": cuda_version(runtime.driverGetVersion()),  # the newest it runs
            }
        return facts


def get_backend(device: str = "auto", *, threads: int = 0) -> Backend:
    """The backend for "auto", "cpu", "cuda" or "cuda:INDEX".

    `auto` takes a usable GPU, else the CPU, and says why in `Backend.reason`. An explicit "cuda"
    never falls back: what is missing is a `DeviceError` with the command that mends it. `threads`
    bounds the CPU threads, as do the cores that this process may use; 0 stands for as many as
    NumPy's BLAS was started with.
    """
    match = re.fullmatch(r"auto|cpu|cuda(?::(\d+))?", device)
    if match is None:
        raise ConfigError(f"device: {device!r} is not one of auto, cpu, cuda, cuda:0, cuda:1, ...")
    if threads < 0:
        raise ConfigError(f"threads: {threads} must be at least 0")
    threads = min(threads, blas.usable_cores()) or blas.default_threads()
    if device == "cpu":
        return Backend("cpu", 0, np, threads=threads)
    if device == "auto":
        try:
            return _cuda(0, "auto: a usable GPU was found", threads)
        except DeviceError as error:
            return Backend("cpu", 0, np, f"auto: {error.problem}", threads)
    return _cuda(int(match[1] or 0), "asked for", threads)


def address_of(array: Any) -> int:
    """Where a device array's memory begins."""
    return int(array.data.ptr)


def _cuda(index: int, reason: str, threads: int) -> Backend:
    return Backend("cuda", index, usable_cupy(index), reason, threads)


@cache
def _work_stream(xp: ModuleType, index: int) -> Any:
    """The one stream of a device that all of fastnn's work on it goes to.

    Non-blocking: it does not wait for the legacy default stream, and may be captured. One process
    should train in one thread at a time on a device: what another thread sends to this stream
    while a step is captured would become part of that step.
    """
    with xp.cuda.Device(index):
        return xp.cuda.Stream(non_blocking=True)


@contextmanager
def _on_stream(stream: Any, cuda: Any) -> Iterator[None]:
    """Make `stream` current, ordered after what the caller's stream holds and before what follows.

    So arrays may be handed in and out of the context without a thought for streams.
    """
    outer = cuda.get_current_stream()
    if outer == stream:
        yield
        return
    stream.wait_event(outer.record())
    with stream:
        yield
    outer.wait_event(stream.record())
