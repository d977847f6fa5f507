"""NumPy's BLAS: which it is, how many threads it may use here, and where its products lie.

Its thread pool is the only one that fastnn leaves running, and never beside threads of its own.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any


def facts() -> dict[str, str]:
    """Name, version, kernel architecture and thread count of the BLAS that NumPy uses."""
    library = _library()
    if library is None:
        return {"blas": "unknown", "blas_architecture": "unknown", "blas_threads": "unknown"}
    return {
        "blas": f"{library.internal_api} {library.version or ''}".strip(),
        "blas_architecture": str(getattr(library, "architecture", None) or "unknown"),
        "blas_threads": str(library.num_threads),
    }


def usable_cores() -> int:
    """Processors that this process may keep busy: its affinity mask, and its cgroup's quota.

    A container is often given the time of two cores on a machine that shows sixty-four.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _quota(Path("/sys/fs/cgroup")))))


def default_threads() -> int:
    """As many as BLAS was started with, which its environment variables set, if cores are there."""
    library = _library()
    started = usable_cores() if library is None else _started_with()
    return max(1, min(usable_cores(), started))


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """Within this context BLAS uses so many threads. Costs about 20 us."""
    library = _library()
    if library is None or library.num_threads == threads:
        yield
        return
    before = library.num_threads
    library.set_num_threads(threads)
    try:
        yield
    finally:
        library.set_num_threads(before)


def address_of(name: str) -> int | None:
    """Where Fortran's routine `name` ("sgemm") lies in NumPy's BLAS; None if it is not exported.

    NumPy's own wheels prefix and suffix the names; others leave them as they are.
    """
    library = _library()
    if library is None or sys.byteorder != "little":
        return None
    shared = ctypes.CDLL(library.filepath)
    for symbol in (f"scipy_{name}_64_", f"{name}_64_", f"scipy_{name}_", f"{name}_"):
        if hasattr(shared, symbol):
            return ctypes.cast(getattr(shared, symbol), ctypes.c_void_p).value
    return None


@cache
def _library() -> Any:
    """threadpoolctl's handle of NumPy's BLAS: the first that was loaded; None if it knows none."""
    import numpy  # noqa: F401 (loads it)
    from threadpoolctl import ThreadpoolController

    found = ThreadpoolController().select(user_api="blas").lib_controllers
    return found[0] if found else None


@cache
def _started_with() -> int:
    library = _library()
    count: int = library.num_threads
    return count


def _quota(root: Path) -> float:
    """Cores' worth of time that the control group grants; infinite if it sets no limit."""
    try:
        own = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return math.inf
    found = [math.inf]
    for line in own:
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2: this group and all above it
            group = root / path.lstrip("/")
            for folder in (group, *group.parents):
                if folder.is_relative_to(root):
                    found.append(_ratio(_words(folder / "cpu.max")))
        elif "cpu" in controllers.split(","):
            for folder in (root / "cpu" / path.lstrip("/"), root / "cpu"):
                quota = _words(folder / "cpu.cfs_quota_us")
                found.append(_ratio(quota + _words(folder / "cpu.cfs_period_us")))
    return min(found)


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").split()
    except OSError:
        return []


def _ratio(words: list[str]) -> float:
    """Quota over period; "max" or -1 stand for no limit."""
    try:
        quota, period = (int(word) for word in words)
    except ValueError:
        return math.inf
    return quota / period if quota > 0 < period else math.inf
