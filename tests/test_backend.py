"""Choosing a device: `auto` says why, an explicit device works or names what is missing."""

import sys
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

from fastnn import backend as module
from fastnn.backend import ALIGNMENT, get_backend
from fastnn.errors import ConfigError, DeviceError


def fake_cupy(*, driver=13000, count=1, failure=None, broken=None):
    """A stand-in with what `get_backend` asks of CuPy, and faults that it may have."""

    def device_count() -> int:
        if failure is not None:
            raise failure
        if count == 0:  # CuPy checks the status of the call: it never returns 0
            raise RuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
        return count

    def zeros(size: int):
        if broken is not None:
            raise broken
        return np.zeros(size)

    runtime = SimpleNamespace(driverGetVersion=lambda: driver, getDeviceCount=device_count)
    cuda = SimpleNamespace(runtime=runtime, Device=lambda index: nullcontext())
    ndarray = type("ndarray", (), {})
    return SimpleNamespace(cuda=cuda, ndarray=ndarray, zeros=zeros, asnumpy=np.asarray)


@pytest.fixture
def without_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)


def test_cpu_is_numpy():
    cpu = get_backend("cpu")
    assert (cpu.name, cpu.xp, str(cpu)) == ("cpu", np, "cpu")


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:-1", "cuda:x", "", "CPU", "cuda:0 "])
def test_unknown_device_is_a_config_error(device):
    with pytest.raises(ConfigError, match="device"):
        get_backend(device)


def test_explicit_cuda_without_cupy_names_the_pip_command(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError("No module named 'cupy'", name="cupy")

    monkeypatch.setattr(module.importlib, "import_module", missing)
    with pytest.raises(DeviceError, match="not installed") as caught:
        get_backend("cuda")
    assert 'pip install "cupy-cuda13x[ctk]"' in caught.value.remedy


def test_auto_without_cupy_is_the_cpu_and_says_why(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError("No module named 'cupy'", name="cupy")

    monkeypatch.setattr(module.importlib, "import_module", missing)
    chosen = get_backend("auto")
    assert chosen.name == "cpu"
    assert "CuPy is not installed" in chosen.reason


@pytest.mark.parametrize(
    "cause",
    [OSError("read-only cache"), ImportError("libcublas.so.13"), AttributeError("half a wheel")],
)
def test_broken_cupy_is_told_apart_with_its_reason(monkeypatch, cause):
    def broken(name):
        raise cause

    monkeypatch.setattr(module.importlib, "import_module", broken)
    with pytest.raises(DeviceError, match="cannot be imported") as caught:
        get_backend("cuda")
    assert str(cause) in str(caught.value)
    assert get_backend("auto").name == "cpu"


def test_a_missing_dependency_of_cupy_is_broken_not_absent(monkeypatch):
    def broken(name):
        raise ModuleNotFoundError("No module named 'fastrlock'", name="fastrlock")

    monkeypatch.setattr(module.importlib, "import_module", broken)
    with pytest.raises(DeviceError, match="fastrlock"):
        get_backend("cuda")


@pytest.mark.parametrize(
    ("cupy", "device", "problem", "remedy"),
    [
        (fake_cupy(driver=0), "cuda", "no NVIDIA driver", "Install the driver"),
        (fake_cupy(count=0), "cuda", "sees no GPU", "nvidia-smi"),
        (fake_cupy(count=1), "cuda:1", "no device cuda:1: this machine has 1", "Use cuda:0"),
        (fake_cupy(count=3), "cuda:7", "this machine has 3", "cuda:0 to cuda:2"),
        (
            fake_cupy(failure=RuntimeError("cudaErrorInsufficientDriver")),
            "cuda",
            "cudaErrorInsufficientDriver",
            "nvidia-smi",
        ),
        (
            fake_cupy(broken=ImportError("libnvrtc.so.13")),
            "cuda",
            "cannot compute (ImportError: libnvrtc.so.13)",
            "cupy-cuda13x[ctk]",
        ),
    ],
)
def test_each_fault_has_its_own_message(monkeypatch, cupy, device, problem, remedy):
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    with pytest.raises(DeviceError) as caught:
        get_backend(device)
    assert problem in caught.value.problem
    assert remedy in caught.value.remedy


def test_hidden_devices_are_mentioned(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(count=0))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with pytest.raises(DeviceError, match="CUDA_VISIBLE_DEVICES='7'"):
        get_backend("cuda")


def test_auto_prefers_a_usable_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(count=2))
    chosen = get_backend("auto")
    assert (chosen.name, str(chosen)) == ("cuda", "cuda:0")
    assert "usable GPU" in chosen.reason


@pytest.mark.parametrize("size", [1, 63, 64, 65, 1000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_zeros_start_on_the_promised_boundary(size, dtype):
    vector = get_backend("cpu").zeros(size, dtype)
    assert vector.shape == (size,)
    assert vector.dtype == dtype
    assert not vector.any()
    assert vector.ctypes.data % ALIGNMENT == 0


def test_describe_names_blas_and_versions(backend):
    facts = backend.describe()
    assert facts["numpy"] == np.__version__
    assert int(facts["cores"]) >= 1
    assert facts["blas_threads"].isdigit()
    assert facts["device"] == str(backend)
