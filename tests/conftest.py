"""Fixtures that the whole suite shares: devices, a world without network, small data on disk."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fastnn.backend import Backend, get_backend
from fastnn.data.examples import Dataset, Examples, Schema
from fastnn.errors import DeviceError
from fastnn.kernels import cpu

REAL_DATA = os.environ.get("FASTNN_DATA")


@pytest.fixture
def without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if Numba were not installed."""
    monkeypatch.setattr(cpu, "compiled", lambda: "Numba is not installed (pip install numba)")


@pytest.fixture
def numba() -> None:
    """Numba, or a reason to skip."""
    kernels = cpu.compiled()
    if isinstance(kernels, str):
        pytest.skip(f"not tested with compiled kernels: {kernels}")


@pytest.fixture(params=["cpu", "numba", "stand-in", pytest.param("cuda", marks=pytest.mark.gpu)])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each device in turn, with the kernels that it has by itself.

    That is the CPU without and with Numba, the CUDA path on the host, and a GPU; what cannot be had
    here is skipped.
    """
    if request.param in ("cpu", "numba"):
        request.getfixturevalue("numba" if request.param == "numba" else "without_numba")
        return get_backend("cpu")
    if request.param == "stand-in":
        request.getfixturevalue("gpu")
        return get_backend("cuda")
    try:
        return get_backend(request.param)
    except DeviceError as error:
        pytest.skip(f"not tested on {request.param}: {error.problem}")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test downloads anything, reads this user's cache or follows this user's settings."""
    monkeypatch.setenv("FASTNN_OFFLINE", "1")
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "cache"))
    for name in ("FASTNN_DATA", "FASTNN_DEVICE", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def real_data() -> Path:
    """The folder of the real data sets, where FASTNN_DATA named one when the suite started."""
    if not REAL_DATA:
        pytest.skip("FASTNN_DATA does not point to the real data sets")
    return Path(REAL_DATA).resolve()


def blobs(count: int = 300, classes: int = 3, columns: int = 12, seed: int = 0) -> Dataset:
    """A small problem in bytes that a small network can learn: noisy copies of a row a class."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(40, 216, (classes, columns))
    parts = []
    for _ in range(2):
        labels = np.arange(count, dtype=np.int32) % classes
        noise = rng.normal(0, 25, (count, columns))
        inputs = np.clip(centres[labels] + noise, 0, 255).astype(np.uint8)
        parts.append(Examples(inputs, labels))
    names = tuple(f"class {n}" for n in range(classes))
    return Dataset("blobs", parts[0], parts[1], names, (columns,))


@pytest.fixture
def blob_data() -> Dataset:
    return blobs()


@pytest.fixture
def blob_file(tmp_path: Path) -> Path:
    """The same data as an .npz that the command line can be given."""
    data = blobs()
    assert data.test is not None
    path = tmp_path / "blobs.npz"
    np.savez(
        path,
        x_train=data.train.inputs, y_train=data.train.labels,
        x_test=data.test.inputs, y_test=data.test.labels,
    )  # fmt: skip
    return path


def kind_of(columns: int, *, pixels: bool, names: tuple[str, ...] = ()) -> Schema:
    """The schema of a model of so many inputs and two classes."""
    return Schema(("a", "b"), (columns,), pixels, names)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stand-in GPU, to be had as `get_backend("cuda")`; `gpu.lt` is its cuBLASLt."""
    from tests.stand_in.fake_cublaslt import ComputeType, CublasLt
    from tests.stand_in.fake_cupy import GPU

    gpu = GPU()
    gpu.lt = CublasLt(gpu)
    monkeypatch.setattr("fastnn.gpu._installed", lambda name: name == "cupy-cuda13x")
    monkeypatch.setitem(sys.modules, "cupy", gpu)
    monkeypatch.setitem(sys.modules, "nvmath.bindings.cublasLt", gpu.lt)
    blas = SimpleNamespace(ComputeType=ComputeType)
    monkeypatch.setitem(sys.modules, "nvmath.bindings.cublas", blas)
    return gpu
