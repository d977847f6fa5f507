"""Finding a usable NVIDIA GPU through CuPy, and what each failure means for the user.

CuPy lets errors of many kinds out: its own, CUDA's, the loader's, the file system's. Here each
becomes a `DeviceError` that says what is wrong and which command mends it. Nothing else in fastnn
imports CuPy.
"""

from __future__ import annotations

import importlib
import os
from importlib import metadata
from types import ModuleType
from typing import Any

from fastnn.errors import DeviceError

INSTALL = (
    'pip install "cupy-cuda13x[ctk]" nvmath-python (driver 580 or newer; for an older one '
    '"cupy-cuda12x[ctk]")'
)

# Builds that all provide the module `cupy`.
_WHEELS = ("cupy", "cupy-cuda11x", "cupy-cuda12x", "cupy-cuda13x", "cupy-rocm-5-0")

# What CUDA reports once a device has stopped answering: nothing runs in this process any more. The
# runtime says cudaErrorIllegalAddress, the driver CUDA_ERROR_ILLEGAL_ADDRESS: see `_plain`.
_LOST = (
    "illegaladdress", "launchfailure", "launchfailed", "eccuncorrectable", "devicesunavailable",
    "deviceunavailable", "hardwarestackerror", "illegalinstruction", "misalignedaddress",
    "deviceuninitialized", "unknown", "assert", "launchtimeout", "contextisdestroyed",
)  # fmt: skip
_CUDA_ERRORS = ("CUDARuntimeError", "CUDADriverError", "cuBLASLtError", "CUBLASError")


def usable_cupy(index: int) -> ModuleType:
    """CuPy, after a small kernel was compiled and run on device `index`; else DeviceError."""
    _refuse_two_wheels()
    cupy = _import_cupy()
    driver, count = _driver_and_count(cupy.cuda.runtime)
    if not driver:
        raise DeviceError(
            "CuPy is installed but this machine has no NVIDIA driver",
            "Install the driver (nvidia-smi must list the GPU), or use --device cpu",
            absent=True,
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
    try:
        with cupy.cuda.Device(index):
            cupy.asnumpy(cupy.zeros(1) + 1)
    except Exception as error:  # RuntimeError, ImportError, OSError and types of CuPy's own
        raise (explained(error) or _cannot_compute(error, index)) from error
    return cupy


def explained(error: Exception) -> DeviceError | None:
    """What an error in the middle of work on a GPU means, or None if it is not the GPU's."""
    kind, text = type(error).__name__, str(error)
    name = _plain(text) if kind in _CUDA_ERRORS else ""
    if kind == "OutOfMemoryError" or name in ("memoryallocation", "outofmemory"):
        return _out_of_memory(error)
    if name in _LOST:
        return DeviceError(
            f"the GPU stopped working ({text})",
            "Look at nvidia-smi and the system log; what was saved is kept, and a run goes on from "
            "it with --resume",
        )
    if kind in _CUDA_ERRORS:
        return DeviceError(
            f"the GPU refused a call ({kind}: {text})",
            "Run fastnn doctor; --kernels reference uses the fewest features of the GPU",
        )
    if kind in ("CompileException", "NVRTCError", "DynamicLibNotFoundError"):
        return _cannot_compute(error, None)
    return None


def _plain(text: str) -> str:
    """The name at the front of CUDA's message, in one spelling for runtime and driver."""
    name = text.partition(":")[0].lower().replace("_", "")
    return name.removeprefix("cuda").removeprefix("error")


def _out_of_memory(error: Exception) -> DeviceError:
    """CuPy's error knows what was asked for; the device knows what is free."""
    asked = getattr(error, "_size", None)
    wanted = "memory" if asked is None else f"{asked:,} bytes"
    try:
        free, total = importlib.import_module("cupy").cuda.runtime.memGetInfo()
        state = f"{free:,} of {total:,} bytes are free"
    except Exception:  # the device is in no state to answer
        state = "how much is free it does not say"
    return DeviceError(
        f"out of memory on the GPU: {wanted} were asked for, {state}",
        "Use a smaller --batch-size or smaller --hidden, end other programs on this GPU, or let "
        "the data stream (they do where they are larger than half of the free memory)",
    )


def _cannot_compute(error: Exception, index: int | None) -> DeviceError:
    """A GPU is there, but CuPy lacks something to compile or run a kernel with."""
    kind, text = type(error).__name__, str(error).strip().splitlines()
    first = text[0] if text else kind
    where = "the GPU" if index is None else f"the GPU cuda:{index}"
    lower = first.lower()
    reason, remedy = "", f"Install CuPy with its CUDA libraries: {INSTALL}"
    if kind == "DynamicLibNotFoundError" or "libnvrtc" in lower:
        reason = ": the CUDA compiler library NVRTC is missing"
    elif "header" in lower:
        reason = ": the CUDA headers are missing"
    elif "arch" in lower:
        reason = ": the CUDA compiler is older than this GPU"
        remedy = f"Update CuPy and its CUDA libraries: {INSTALL}"
    return DeviceError(f"{where} is there but cannot compute{reason} ({kind}: {first})", remedy)


def _refuse_two_wheels() -> None:
    """Two of CuPy's wheels overwrite each other's files, and which one is imported is chance."""
    names = [name for name in _WHEELS if _installed(name)]
    if len(names) > 1:
        raise DeviceError(
            f"{len(names)} builds of CuPy are installed at once: {', '.join(names)}",
            f"Remove all, then install one: pip uninstall {' '.join(names)}; {INSTALL}",
        )


def _installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _driver_and_count(runtime: Any) -> tuple[int, int]:
    """Version of the driver (0: none) and number of GPUs that it shows."""
    driver = 0
    try:
        driver = int(runtime.driverGetVersion())
        return driver, int(runtime.getDeviceCount()) if driver else 0
    except RuntimeError as error:  # CUDARuntimeError
        if "NoDevice" in str(error):
            return driver, 0
        if driver and "InsufficientDriver" in str(error):
            built = int(runtime.runtimeGetVersion())
            raise DeviceError(
                f"the NVIDIA driver is too old: it supports CUDA {cuda_version(driver)}, and the "
                f"installed CuPy needs CUDA {cuda_version(built)}",
                "Update the driver (580 or newer for CUDA 13), or install the older build: "
                'pip uninstall cupy-cuda13x, then pip install "cupy-cuda12x[ctk]"',
            ) from error
        raise DeviceError(
            f"CUDA does not start: {error}",
            "Run nvidia-smi: it shows the driver and the GPUs; CUDA 13 needs driver 580 or newer",
        ) from error


def cuda_version(number: int) -> str:
    """CUDA's 12040 as "12.4"."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _import_cupy() -> ModuleType:
    """CuPy, or a DeviceError that tells "not installed" from "installed but broken"."""
    try:
        return importlib.import_module("cupy")
    except Exception as error:  # a broken wheel may raise anything
        cause = error
    if isinstance(cause, ModuleNotFoundError) and cause.name == "cupy":
        raise DeviceError("CuPy is not installed", f"Install it with: {INSTALL}", absent=True)
    if isinstance(cause, OSError) and not isinstance(cause, ImportError) and cause.filename:
        raise DeviceError(
            f"CuPy cannot use its folder of compiled kernels, {cause.filename} ({cause.strerror})",
            "Set CUPY_CACHE_DIR to a folder that can be written",
        ) from cause
    raise DeviceError(
        f"CuPy is installed but cannot be imported ({type(cause).__name__}: {cause})",
        f"Reinstall it: pip uninstall cupy-cuda12x cupy-cuda13x, then {INSTALL}; if a cache "
        "folder is named, set CUPY_CACHE_DIR to one that can be written",
    ) from cause
