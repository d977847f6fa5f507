"""Which device computes, and with which array library: the only module that probes CuPy.

A `Backend` is a frozen value that is passed around. There is no current device and no global
switch: whoever holds arrays also holds the backend they live on.
"""

from __future__ import annotations

import importlib
import os
import platform
import re
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastnn.errors import ConfigError, DeviceError

# A NumPy array, or a CuPy array that behaves like one: CuPy ships no types to tell them apart.
Array = NDArray[Any]

# Vectorised loads and cuBLAS's fast paths want 256-byte boundaries; 64 floats are 256 bytes.
ALIGNMENT = 256

_INSTALL = (
    'pip install "cupy-cuda13x[ctk]" (driver 580 or newer), or "cupy-cuda12x[ctk]" for an older one'
)


@dataclass(frozen=True, slots=True)
class Backend:
    """A device and its array module `xp`; `reason` tells why this device was chosen."""

    name: Literal["cpu", "cuda"]
    index: int
    xp: ModuleType = field(repr=False)
    reason: str = field(default="asked for", compare=False)

    def __str__(self) -> str:
        return self.name if self.name == "cpu" else f"{self.name}:{self.index}"

    def asarray(self, host: ArrayLike, dtype: DTypeLike | None = None) -> Array:
        """The array on this device; no copy where it is there already with this dtype."""
        array: Array = self.xp.asarray(host, dtype=dtype)
        return array

    def zeros(self, size: int, dtype: DTypeLike) -> Array:
        """A vector of `size` zeros that starts on an `ALIGNMENT`-byte boundary."""
        itemsize = np.dtype(dtype).itemsize
        spare = ALIGNMENT // itemsize
        block: Array = self.xp.zeros(size + spare, dtype=dtype)
        address = block.ctypes.data if self.name == "cpu" else _device_address(block)
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

    def activate(self) -> AbstractContextManager[Any]:
        """Within this context, new arrays and kernels go to this device."""
        if self.name == "cpu":
            return nullcontext()
        device: AbstractContextManager[Any] = self.xp.cuda.Device(self.index)
        return device

    def describe(self) -> dict[str, str]:
        """Versions, processor and BLAS: what a record of a measurement needs to name."""
        facts = {
            "device": str(self),
            "python": platform.python_version(),
            "system": f"{platform.system()} {platform.machine()}",
            "numpy": np.__version__,
            "cores": str(usable_cores()),
            **blas_facts(),
        }
        if self.name == "cuda":
            runtime = self.xp.cuda.runtime
            properties = runtime.getDeviceProperties(self.index)
            facts |= {
                "gpu": properties["name"].decode(),
                "cupy": self.xp.__version__,
                "cuda_runtime": str(runtime.runtimeGetVersion()),
                "cuda_driver": str(runtime.driverGetVersion()),
            }
        return facts


def get_backend(device: str = "auto") -> Backend:
    """The backend for "auto", "cpu", "cuda" or "cuda:INDEX".

    `auto` takes a usable GPU, else the CPU, and says why in `Backend.reason`. An explicit "cuda"
    never falls back: what is missing is a `DeviceError` with the command that mends it.
    """
    match = re.fullmatch(r"auto|cpu|cuda(?::(\d+))?", device)
    if match is None:
        raise ConfigError(f"device: {device!r} is not one of auto, cpu, cuda, cuda:0, cuda:1, ...")
    if device == "cpu":
        return Backend("cpu", 0, np)
    if device == "auto":
        try:
            return _cuda(0, "auto: a usable GPU was found")
        except DeviceError as error:
            return Backend("cpu", 0, np, f"auto: {error.problem}")
    return _cuda(int(match[1] or 0), "asked for")


def usable_cores() -> int:
    """Processors this process may run on (its affinity mask, where the system has one)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def blas_facts() -> dict[str, str]:
    """Name, version, kernel architecture and thread count of the BLAS that NumPy uses."""
    from threadpoolctl import threadpool_info

    for library in threadpool_info():
        if library["user_api"] == "blas":
            return {
                "blas": f"{library['internal_api']} {library.get('version') or ''}".strip(),
                "blas_architecture": str(library.get("architecture") or "unknown"),
                "blas_threads": str(library["num_threads"]),
            }
    return {"blas": "unknown", "blas_architecture": "unknown", "blas_threads": "unknown"}


def _cuda(index: int, reason: str) -> Backend:
    cupy = _import_cupy()
    driver, count = _driver_and_count(cupy.cuda.runtime)
    if not driver:
        raise DeviceError(
            "CuPy is installed but this machine has no NVIDIA driver",
            "Install the driver (nvidia-smi must list the GPU), or use --device cpu",
        )
    if count == 0:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        hint = "" if visible is None else f" (CUDA_VISIBLE_DEVICES={visible!r} hides the others)"
        raise DeviceError(
            f"the NVIDIA driver sees no GPU{hint}",
            "Check nvidia-smi and CUDA_VISIBLE_DEVICES, or use --device cpu",
        )
    if index >= count:
        raise DeviceError(
            f"there is no device cuda:{index}: this machine has {count}",
            f"Use cuda:0 to cuda:{count - 1}" if count > 1 else "Use cuda:0",
        )
    backend = Backend("cuda", index, cupy, reason)
    try:
        with backend.activate():  # compiles and runs a kernel: finds missing headers and libraries
            backend.to_host(cupy.zeros(1) + 1)
    except Exception as error:  # CuPy lets RuntimeError, ImportError and its own types out
        raise DeviceError(
            f"the GPU cuda:{index} is there but cannot compute ({type(error).__name__}: {error})",
            f"Install CuPy with its CUDA libraries: {_INSTALL}",
        ) from error
    return backend


def _driver_and_count(runtime: Any) -> tuple[int, int]:
    """Version of the driver (0: none) and number of GPUs that it shows."""
    try:
        driver = int(runtime.driverGetVersion())
        return driver, int(runtime.getDeviceCount()) if driver else 0
    except RuntimeError as error:  # CUDARuntimeError
        if "NoDevice" in str(error):
            return driver, 0
        raise DeviceError(
            f"CUDA does not start: {error}",
            "Run nvidia-smi: it shows the driver and the GPUs; CUDA 13 needs driver 580 or newer",
        ) from error


def _import_cupy() -> ModuleType:
    """CuPy, or a DeviceError that tells "not installed" from "installed but broken"."""
    try:
        return importlib.import_module("cupy")
    except Exception as error:  # a broken wheel may raise anything, OSError included
        missing = isinstance(error, ModuleNotFoundError) and error.name == "cupy"
        cause = error
    if missing:
        raise DeviceError("CuPy is not installed", f"Install it with: {_INSTALL}")
    raise DeviceError(
        f"CuPy is installed but cannot be imported ({type(cause).__name__}: {cause})",
        f"Reinstall it: pip uninstall cupy-cuda12x cupy-cuda13x, then {_INSTALL}; if a cache "
        "folder is named, set CUPY_CACHE_DIR to one that can be written",
    ) from cause


def _device_address(array: Any) -> int:
    return int(array.data.ptr)
