"""What can be wrong with a GPU or its software, each with its own message and remedy."""

import sys
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

from fastnn import gpu as module
from fastnn.backend import get_backend
from fastnn.errors import DeviceError
from tests.test_cli import events, invoke


@pytest.fixture(autouse=True)
def one_wheel(monkeypatch):
    monkeypatch.setattr(module, "_installed", lambda name: name == "cupy-cuda13x")


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

    runtime = SimpleNamespace(
        driverGetVersion=lambda: driver, getDeviceCount=device_count,
        runtimeGetVersion=lambda: 13020,
    )  # fmt: skip
    cuda = SimpleNamespace(runtime=runtime, Device=lambda index: nullcontext())
    ndarray = type("ndarray", (), {})
    return SimpleNamespace(cuda=cuda, ndarray=ndarray, zeros=zeros, asnumpy=np.asarray)


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
    [OSError("strange"), ImportError("libcublas.so.13"), AttributeError("half a wheel")],
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
            fake_cupy(driver=12040, failure=RuntimeError("cudaErrorInsufficientDriver")),
            "cuda",
            "driver is too old: it supports CUDA 12.4, and the installed CuPy needs CUDA 13.2",
            "cupy-cuda12x",
        ),
        (
            fake_cupy(failure=RuntimeError("cudaErrorSystemNotReady")),
            "cuda",
            "CUDA does not start: cudaErrorSystemNotReady",
            "nvidia-smi",
        ),
        (
            fake_cupy(broken=ImportError("libnvrtc.so.13: cannot open")),
            "cuda",
            "NVRTC is missing (ImportError: libnvrtc.so.13",
            "cupy-cuda13x[ctk]",
        ),
        (
            fake_cupy(broken=RuntimeError("Failed to find CUDA headers")),
            "cuda",
            "the CUDA headers are missing (RuntimeError",
            "cupy-cuda13x[ctk]",
        ),
        (
            fake_cupy(broken=RuntimeError("something else")),
            "cuda",
            "cannot compute (RuntimeError: something else)",
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


def test_two_builds_of_cupy_at_once_are_refused_before_either_is_imported(monkeypatch):
    monkeypatch.setattr(module, "_installed", lambda name: name in ("cupy", "cupy-cuda13x"))
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy())
    with pytest.raises(DeviceError, match="2 builds of CuPy .*: cupy, cupy-cuda13x") as caught:
        get_backend("cuda")
    assert "pip uninstall cupy cupy-cuda13x" in caught.value.remedy


def test_installed_wheels_are_found_by_their_metadata(monkeypatch):
    monkeypatch.undo()
    assert module._installed("numpy")
    assert not module._installed("cupy-cuda99x")


def test_an_unwritable_kernel_cache_names_the_variable(monkeypatch):
    def broken(name):
        raise PermissionError(13, "Permission denied", "/home/somebody/.cupy/kernel_cache")

    monkeypatch.setattr(module.importlib, "import_module", broken)
    with pytest.raises(
        DeviceError, match=r"/home/somebody/.cupy/kernel_cache \(Permission denied\)"
    ) as caught:
        get_backend("cuda")
    assert "CUPY_CACHE_DIR" in caught.value.remedy


def named(name):
    """An exception that is known by its name alone."""
    return type(name, (Exception,), {})


class CUDARuntimeError(RuntimeError):
    """By its name, as CuPy's is told apart."""


class CUDADriverError(RuntimeError):
    pass


class CompileException(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "problem", "remedy"),
    [
        (CUDARuntimeError("cudaErrorIllegalAddress: an illegal"), "stopped working", "--resume"),
        (CUDARuntimeError("cudaErrorECCUncorrectable: x"), "stopped working", "nvidia-smi"),
        (CUDADriverError("CUDA_ERROR_ILLEGAL_ADDRESS: an illegal"), "stopped working", "--resume"),
        (CUDADriverError("CUDA_ERROR_LAUNCH_FAILED: x"), "stopped working", "--resume"),
        (CUDARuntimeError("cudaErrorLaunchFailure: x"), "stopped working", "--resume"),
        (CUDARuntimeError("cudaErrorMisalignedAddress: x"), "stopped working", "--resume"),
        (CUDARuntimeError("cudaErrorUnknown: x"), "stopped working", "--resume"),
        (named("cuBLASLtError")("x (CUBLAS_STATUS_EXECUTION_FAILED)"), "refused a call", "doctor"),
        (named("NVRTCError")("NVRTC_ERROR_COMPILATION (6)"), "cannot compute", "[ctk]"),
        (named("DynamicLibNotFoundError")("nvrtc"), "NVRTC is missing", "[ctk]"),
        (CUDARuntimeError("cudaErrorMemoryAllocation: x"), "out of memory", "--batch-size"),
        (CUDADriverError("CUDA_ERROR_OUT_OF_MEMORY: x"), "out of memory", "--batch-size"),
        (CUDADriverError("CUDA_ERROR_INVALID_VALUE: unknown"), "refused a call", "reference"),
        (CUDARuntimeError("cudaErrorInvalidValue: x"), "refused a call", "--kernels reference"),
        (CompileException("cannot open header x"), "headers are missing (Compile", "[ctk]"),
        (
            CompileException("nvrtc: error: invalid value for --gpu-architecture (-arch)"),
            "the CUDA compiler is older than this GPU (CompileException: nvrtc",
            "Update CuPy",
        ),
    ],
)
def test_errors_in_the_middle_of_work_are_explained(error, problem, remedy):
    meaning = module.explained(error)
    assert problem in meaning.problem
    assert remedy in meaning.remedy


def test_errors_of_other_kinds_are_left_alone():
    assert module.explained(ValueError("cudaErrorIllegalAddress")) is None


def doctor(monkeypatch, cupy, code):
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    found = events(invoke("doctor", "--json", code=code).stdout)
    return {finding["topic"]: finding for finding in found[:-1]}


def test_doctor_shows_a_fault_with_its_remedy(monkeypatch):
    broken = fake_cupy(broken=RuntimeError("Failed to find CUDA headers"))
    gpu = doctor(monkeypatch, broken, 1)["gpu"]
    assert gpu["state"] == "broken"
    assert "headers are missing" in gpu["text"]
    assert "pip install" in gpu["text"]


def test_doctor_takes_two_builds_for_broken_and_none_for_missing(monkeypatch):
    monkeypatch.setattr(module, "_installed", lambda name: name in ("cupy", "cupy-cuda12x"))
    assert doctor(monkeypatch, fake_cupy(), 1)["gpu"]["state"] == "broken"
    monkeypatch.setattr(module, "_installed", lambda name: False)
    assert doctor(monkeypatch, None, 0)["gpu"]["state"] == "missing"
    assert doctor(monkeypatch, fake_cupy(driver=0), 0)["gpu"]["state"] == "missing"


def test_doctor_tells_whether_steps_can_be_captured(gpu, monkeypatch):
    found = events(invoke("doctor", "--json").stdout)
    topics = {finding["topic"]: finding for finding in found[:-1]}
    assert topics["gpu"]["state"] == topics["cuda graphs"]["state"] == "ok"
    monkeypatch.setitem(sys.modules, "nvmath.bindings.cublasLt", None)
    found = events(invoke("doctor", "--json").stdout)
    topics = {finding["topic"]: finding for finding in found[:-1]}
    assert topics["cuda graphs"]["state"] == "missing"
    assert "pip install nvmath-python" in topics["cuda graphs"]["text"]
