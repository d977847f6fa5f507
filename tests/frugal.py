"""A bound on the memory and the time that a file may cost its reader."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def frugal(limit: int = 8 << 20) -> Iterator[None]:
    """Fail if the block takes more memory than this, or more than two seconds."""
    started = time.perf_counter()
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < limit
    assert time.perf_counter() - started < 2
