"""Which files a run folder holds, and who is writing there. Standard library only.

What lies in which file is told in `folder.py`; those who only look at runs need none of what it
imports.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastnn.errors import OutputError

BEST, LAST = "best.safetensors", "last.safetensors"
CONFIG, ENVIRONMENT, RESULT = "config.json", "environment.json", "result.json"
METRICS, METRICS_TABLE = "metrics.jsonl", "metrics.csv"
REPORT = "report.html"
# What `fastnn plot` calls its pictures where it is not told.
PLOTS = tuple(
    f"{what}.png"
    for what in (
        "curves", "confusion", "samples", "mistakes", "answers", "weights", "calibration",
        "embedding", "predicted",
    )
)  # fmt: skip
FILES = (CONFIG, ENVIRONMENT, METRICS, METRICS_TABLE, LAST, BEST, RESULT, REPORT, *PLOTS)

_ATTEMPTS, _PAUSE = 5, 0.01  # who only looks holds the lock for microseconds


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Keep other processes out of this folder; OutputError where one holds it already.

    Whether that was possible: only Unix has such locks, elsewhere nobody is kept out.
    """
    try:
        import fcntl
    except ImportError:
        yield False
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if attempt == _ATTEMPTS:
                    raise OutputError(
                        f"{path}: another process is training in this folder; wait for it, or "
                        "start a run of its own"
                    ) from None
                time.sleep(_PAUSE)
        yield True
    finally:
        os.close(descriptor)  # also gives the lock back


def is_held(path: Path) -> bool:
    """Whether somebody trains in this folder just now.

    Looking takes the lock for a moment, but shares it: those who look never see each other.
    """
    try:
        import fcntl
    except ImportError:
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(descriptor)
