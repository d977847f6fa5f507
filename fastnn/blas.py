"""NumPy's BLAS: which it is, how many threads it may use here, and where its products lie.

Whoever computes in threads of its own limits it to one first: two pools on the same cores fight.
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
from threading import Lock
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
    quota = _quota(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
    return max(1, math.ceil(min(cores, quota)))


def default_threads() -> int:
    """As many as BLAS has outside of fastnn's own limits, if there are cores for them.

    That respects BLAS's environment variables, and a limit that the caller has set.
    """
    library = _library()
    cores = usable_cores()
    return cores if library is None else max(1, min(cores, _limits.outside(library)))


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """Within this context BLAS uses at most so many threads.

    Its thread count is one for the whole process, so the least of all limits in force counts,
    whichever thread entered them and in whatever order they end. Costs a few microseconds.
    """
    library = _library()
    if library is None:
        yield
        return
    _limits.add(threads, library)
    try:
        yield
    finally:
        _limits.remove(threads, library)


class _Limits:
    """The limits in force, and the thread count that comes back when there are none."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside: list[int] = []
        self._outside = 0

    def outside(self, library: Any) -> int:
        with self._lock:
            return self._outside if self._inside else int(library.num_threads)

    def add(self, threads: int, library: Any) -> None:
        with self._lock:
            if not self._inside:
                self._outside = library.num_threads
            self._inside.append(threads)
            _set(library, min(self._outside, *self._inside))

    def remove(self, threads: int, library: Any) -> None:
        with self._lock:
            self._inside.remove(threads)
            _set(library, min([self._outside, *self._inside]))


_limits = _Limits()


def _set(library: Any, threads: int) -> None:
    if library.num_threads != threads:
        library.set_num_threads(threads)
        # threadpoolctl 3.8 lets only the thread that came first set OpenBLAS's count, until it
        # lets go; the others would be ignored without a word.
        getattr(library, "clear_controlling_thread", lambda: None)()


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
    """threadpoolctl's handle of NumPy's BLAS; None if it knows none.

    That is the one among NumPy's own files, else the first that was loaded.
    """
    import numpy
    from threadpoolctl import ThreadpoolController

    home = Path(numpy.__file__).parent
    own = (str(home), str(home.with_name("numpy.libs")))
    found = [
        library
        for library in ThreadpoolController().select(user_api="blas").lib_controllers
        if library.num_threads is not None
    ]
    found.sort(key=lambda library: not library.filepath.startswith(own))
    return found[0] if found else None


def _quota(groups: Path, root: Path) -> float:
    """Cores' worth of time that the control groups listed in a file grant; infinite without one."""
    try:
        own = groups.read_text(encoding="utf-8").splitlines()
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
