"""Choosing a device: `auto` says why, an explicit device works or names what is missing."""

import numpy as np
import pytest

from fastnn.backend import ALIGNMENT, get_backend
from fastnn.errors import ConfigError, DeviceError


def test_cpu_is_numpy():
    cpu = get_backend("cpu")
    assert (cpu.name, cpu.xp, str(cpu)) == ("cpu", np, "cpu")


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:-1", "cuda:x", "", "CPU", "cuda:0 "])
def test_unknown_device_is_a_config_error(device):
    with pytest.raises(ConfigError, match="device"):
        get_backend(device)


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


def test_auto_prefers_a_usable_gpu_and_says_so(gpu):
    chosen = get_backend("auto")
    assert (chosen.name, str(chosen)) == ("cuda", "cuda:0")
    assert "usable GPU" in chosen.reason


def test_work_on_a_gpu_is_ordered_with_what_is_around_it(gpu):
    """Two streams: the inner one waits for the outer, then the outer for the inner."""
    backend = get_backend("cuda")
    gpu.history.clear()
    with backend.activate(), backend.activate():  # entering twice adds nothing
        assert gpu.current is backend.stream
        assert gpu.current.non_blocking
    assert gpu.history.pop(0) == "device"  # its stream can be entered on that device only
    (before, first), (wait_inside, second), (after, third), (wait_outside, fourth) = [
        (entry[0], entry[1:]) for entry in gpu.history if entry != "device"
    ]
    assert (before, wait_inside, after, wait_outside) == ("record", "wait", "record", "wait")
    outer, inner = first[0], second[0]
    assert outer != inner
    assert (third[0], fourth[0]) == (inner, outer)
    assert first[1] == second[1]
    assert third[1] == fourth[1]


def test_an_error_that_is_not_the_gpus_passes_unchanged(gpu):
    with pytest.raises(ZeroDivisionError), get_backend("cuda").activate():
        raise ZeroDivisionError


def test_out_of_memory_names_what_was_asked_for_and_what_is_free(gpu):
    backend = get_backend("cuda")
    gpu.free = 1000
    with pytest.raises(DeviceError) as caught, backend.activate():
        backend.xp.empty(4096, np.float32)
    assert "16,384 bytes were asked for, 1,000 of" in caught.value.problem
    assert "smaller --batch-size" in caught.value.remedy
    assert "stream" in caught.value.remedy


def test_free_memory_is_known_on_a_gpu_only(gpu):
    assert get_backend("cpu").free_bytes() is None
    gpu.free, gpu.pooled = 12345, 5  # the pool's own free memory can be had, too
    assert get_backend("cuda").free_bytes() == 12350


def test_a_large_array_is_uploaded_in_pieces(gpu, monkeypatch):
    monkeypatch.setattr("fastnn.backend._PIECE", 50)
    host = np.arange(77).reshape(11, 7).astype(np.uint8)
    backend = get_backend("cuda")
    gpu.counts.clear()
    for dtype in (None, np.float32):
        moved = backend.asarray(host, dtype)
        assert moved.dtype == (dtype or host.dtype)
        assert np.array_equal(gpu.asnumpy(moved), host)
    assert gpu.counts["transfers"] == 2 * (2 + 1)  # 7 rows and 4, and the look at them


def test_synchronize_waits_for_the_stream(gpu):
    backend = get_backend("cuda")
    with backend.activate():
        gpu.history.clear()
        backend.synchronize()
    assert gpu.history[0] == "synchronize"


def test_how_much_is_free_may_stay_unknown(gpu, monkeypatch):
    def gone():
        raise RuntimeError("the device does not answer")

    backend = get_backend("cuda")
    monkeypatch.setattr(gpu.cuda.runtime, "memGetInfo", gone)
    gpu.free = 0
    with pytest.raises(DeviceError, match="how much is free it does not say"), backend.activate():
        gpu.ones(4)


def test_a_gpu_that_others_have_filled_is_not_taken_for_a_broken_one(gpu):
    gpu.free = 0
    with pytest.raises(DeviceError, match="out of memory on the GPU: 8 bytes were asked for, 0 of"):
        get_backend("cuda")
