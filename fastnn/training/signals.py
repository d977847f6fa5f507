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

    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in kept.items():
            signal.signal(number, handler)

    def interrupt(number: int, frame: FrameType | None) -> None:
        restore()
        trainer.interrupt(number)

    for number, handler in kept.items():
        if handler != signal.SIG_IGN:  # a job in the background was told to ignore Ctrl-C
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        restore()
