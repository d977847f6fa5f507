"""What this GPU and these libraries can do: epilogues, products in a graph, launches, ceilings."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import numpy as np

from fastnn.backend import Array, Backend
from fastnn.bench.competitors import SIZES
from fastnn.kernels.cublas import Epilogue, LtProducts, bytes_of_bits
from fastnn.kernels.cuda import graph_of
from scripts.gpu.timing import elapsed_us, in_graph_us


def probe(
    backend: Backend, *, batches: tuple[int, ...] = (128, 8192), cube: int = 8192
) -> dict[str, Any]:
    """Every product of the default network in both precisions, with and without its epilogue."""
    found: dict[str, Any] = {"capture of cupy.matmul": _capture_of_matmul(backend)}
    found["launches"] = _launches(backend)
    for precision in ("float32", "tf32"):
        products = LtProducts(backend, precision)
        found[precision] = {
            "ceiling TFLOP/s": _ceiling(backend, products, cube),
            "products": {str(b): _products(backend, products, precision, b) for b in batches},
        }
    rows = [
        row
        for p in ("float32", "tf32")
        for b in found[p]["products"].values()
        for row in b.values()
    ]
    found["ok"] = all(row["error"] is None or row["error"] <= row["allowed"] for row in rows)
    return found


def _products(backend: Backend, products: LtProducts, precision: str, batch: int) -> Any:
    """Support, microseconds in a graph, and the largest error against float64."""
    rng = np.random.default_rng(0)
    rows: dict[str, Any] = {}

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape, np.float32)

    for layer, (i, o) in enumerate(pairwise(SIZES)):
        x, w, b, dy = normal(batch, i), normal(i, o), normal(o), normal(batch, o)
        plan: list[tuple[str, Array, Array, Epilogue, Array | None]] = []
        forward = [Epilogue.NONE, Epilogue.BIAS]
        if o != SIZES[-1]:
            forward += [Epilogue.RELU_BIAS, Epilogue.RELU_BIAS_BITS]
        plan += [("y", x, w, epilogue, b) for epilogue in forward]
        plan += [("dw", x.T, dy, epilogue, b) for epilogue in (Epilogue.NONE, Epilogue.SUM_OF_B)]
        if layer:
            plan += [("dx", dy, w.T, e, None) for e in (Epilogue.NONE, Epilogue.CUT_BY_BITS)]
        for name, left, right, epilogue, vector in plan:
            rows[f"layer {layer} {name} {epilogue.name}"] = _product(
                backend, products, precision, left, right, epilogue, vector
            )
    return rows


def _product(
    backend: Backend,
    products: LtProducts,
    precision: str,
    left: Array,
    right: Array,
    epilogue: Epilogue,
    vector: Array | None,
) -> dict[str, Any]:
    m, n = left.shape[0], right.shape[1]
    a, b = (_upload(backend, x) for x in (left, right))
    out = backend.xp.empty((m, n), np.float32)
    device_vector = None if vector is None else backend.asarray(vector)
    bits = backend.xp.full((m, bytes_of_bits(n)), 255, np.uint8)  # lets everything through

    def call() -> bool:
        return products.dot(out, a, b, epilogue, device_vector, bits)

    if not call():
        return {"supported": False, "us": None, "error": None, "allowed": None}
    expected = left.astype(np.float64) @ right
    if epilogue in (Epilogue.BIAS, Epilogue.RELU_BIAS, Epilogue.RELU_BIAS_BITS):
        assert vector is not None
        expected += vector
    if epilogue in (Epilogue.RELU_BIAS, Epilogue.RELU_BIAS_BITS):
        expected = np.maximum(expected, 0)
    error = float(np.abs(backend.to_host(out) - expected).max())
    if epilogue is Epilogue.SUM_OF_B:
        assert device_vector is not None
        sums = right.sum(axis=0, dtype=np.float64)
        error = max(error, float(np.abs(backend.to_host(device_vector) - sums).max()))
    # Each product of a sum may be off by its size times the unit of its factors' mantissas.
    size = max((np.abs(left) @ np.abs(right)).max(), np.abs(right).sum(axis=0).max())
    allowed = float(size) * (2**-9 if precision == "tf32" else 2**-19)
    return {"supported": True, "us": in_graph_us(backend, call), "error": error, "allowed": allowed}


def _upload(backend: Backend, matrix: Array) -> Array:
    """On the device, as the same view: a transpose stays one."""
    if matrix.flags.c_contiguous:
        return backend.asarray(matrix)
    return backend.asarray(matrix.T).T


def _ceiling(backend: Backend, products: LtProducts, cube: int) -> float:
    """What the largest product reaches: the bound for all others."""
    a, b, out = (backend.xp.ones((cube, cube), np.float32) for _ in range(3))
    us = elapsed_us(backend, lambda: products.dot(out, a, b), 5)
    return 2 * cube**3 / us / 1e6


def _launches(backend: Backend) -> dict[str, float]:
    """Microseconds of an empty kernel: as a node of a graph, launched by CuPy, and of a replay."""
    nothing = backend.xp.RawKernel('extern "C" __global__ void nothing() {}', "nothing")
    found = {}

    def call() -> None:
        nothing((1,), (32,), ())

    call()
    for nodes in (10, 100, 1000):

        def chain(nodes: int = nodes) -> None:
            for _ in range(nodes):
                call()

        graph = graph_of(backend.xp, chain)
        found[f"node of {nodes}"] = elapsed_us(backend, graph.launch, 20) / nodes
    single = graph_of(backend.xp, call)
    for name, launch in (("host, a launch", call), ("host, a replay", single.launch)):
        began = time.perf_counter()
        for _ in range(1000):
            launch()
        found[name] = (time.perf_counter() - began) * 1e3
        backend.synchronize()
    return found


def _capture_of_matmul(backend: Backend) -> str:
    """CuPy 14 refuses; a later one may not."""
    a = backend.xp.ones((8, 8), np.float32)
    out = a.copy()
    backend.xp.dot(a, a, out=out)  # starts cuBLAS, which a capture would not like either
    backend.synchronize()
    try:
        graph_of(backend.xp, lambda: backend.xp.dot(a, a, out=out))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "allowed"
