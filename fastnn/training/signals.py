"""SIGINT and SIGTERM as a request to end a run well."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from fastnn.training.trainer import Trainer


@contextmanager
def signals_interrupt(trainer: Trainer) -> Iterator[None]:
    """SIGINT and SIGTERM end the run after the step under way; a second one ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        trainer.interrupt(number)

    kept = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
