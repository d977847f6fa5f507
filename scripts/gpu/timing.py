"""Device time of launches, measured inside a CUDA graph so that Python costs nothing."""

from __future__ import annotations

from collections.abc import Callable

from fastnn.backend import Backend
from fastnn.kernels.cuda import graph_of

COPIES, REPLAYS = 50, 20  # of a launch in its graph, and of the graph


def elapsed_us(backend: Backend, launch: Callable[[], object], repeats: int) -> float:
    """Microseconds of device time for one `launch`, over so many in a row."""
    cuda = backend.xp.cuda
    stream = cuda.get_current_stream()
    begin, end = cuda.Event(), cuda.Event()
    launch()
    stream.synchronize()
    begin.record(stream)
    for _ in range(repeats):
        launch()
    end.record(stream)
    end.synchronize()
    return float(cuda.get_elapsed_time(begin, end)) * 1e3 / repeats


def in_graph_us(backend: Backend, call: Callable[[], object]) -> float:
    """Microseconds of one call as a node among copies of it in a graph."""
    call()  # compiles, chooses algorithms
    graph = graph_of(backend.xp, lambda: [call() for _ in range(COPIES)])
    return elapsed_us(backend, graph.launch, REPLAYS) / COPIES
