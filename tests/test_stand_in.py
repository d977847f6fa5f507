"""The stand-in for a GPU refuses what a GPU refuses: else the tests that use it prove little."""

import gc

import numpy as np
import pytest

from fastnn.backend import get_backend
from fastnn.kernels.sources import RELU_BACKWARD
from tests.stand_in import compiled

REAL = ("-DReal=float",)


def launch(body, threads=(32,), blocks=1, options=REAL):
    source = f'extern "C" __global__ void k(Real* out) {{ {body} }}'
    out = np.zeros(64, np.float32)
    compiled.run_rows(source, options, "k", blocks, threads, [out])
    return out


def test_threads_of_a_warp_exchange_values():
    out = launch("out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, (Real)threadIdx.x, 1);")
    assert out[:4].tolist() == [1, 0, 3, 2]


def test_a_barrier_holds_everybody():
    out = launch(
        "__shared__ Real s[64]; s[threadIdx.x] = threadIdx.x; __syncthreads();"
        "out[threadIdx.x] = s[63 - threadIdx.x];",
        threads=(64,),
    )
    assert out.tolist() == list(range(63, -1, -1))


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("if (threadIdx.x < 20) __shfl_xor_sync(0xffffffffu, 1.f, 1);", "not all lanes"),
        (
            "if (threadIdx.x < 32) __syncthreads(); else __shfl_xor_sync(0xffffffffu, 1.f, 1);",
            "not all threads reach the barrier",
        ),
    ],
)
def test_threads_that_do_not_meet_are_found_out(tmp_path, body, complaint):
    """The stand-in ends the process, so it is asked in another one."""
    import subprocess
    import sys
    from pathlib import Path

    code = f"from tests.test_stand_in import launch; launch({body!r}, threads=(64,))"
    compiled.needs_compiler()
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent.parent,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode != 0
    assert complaint in answer.stderr


def test_a_raw_kernel_is_not_given_arrays_of_another_type():
    with pytest.raises(AssertionError, match="float64"):
        source = 'extern "C" __global__ void k(Real* out) { }'
        compiled.run_rows(source, REAL, "k", 1, (32,), [np.zeros(4)])


@pytest.fixture
def capture(gpu):
    """Begin to capture on fastnn's stream, when called."""
    gc.disable()
    with get_backend("cuda").activate():
        yield gpu.current.begin_capture
    gc.enable()


def test_products_are_refused_while_capturing(gpu, capture):
    a = gpu.ones((2, 2), np.float32)
    out = gpu.empty_like(a)
    capture()
    with pytest.raises(NotImplementedError, match="cuBLAS"):
        gpu.dot(a, a, out=out)


def test_allocations_and_plain_operations_are_found_while_capturing(gpu, capture):
    a = gpu.ones(3)
    capture()
    with pytest.raises(AssertionError, match="allocated"):
        gpu.zeros(3)
    with pytest.raises(AssertionError, match="captured step"):
        a += 0 * a
    with pytest.raises(RuntimeError, match="disallowed"):
        float(a[0])


def test_an_operation_that_writes_in_place_is_noted_and_replayed(gpu, capture):
    a, b = gpu.ones(3), gpu.ones(3)
    capture()
    gpu.add(a, b, out=a)
    graph = gpu.current.end_capture()
    assert gpu.asnumpy(a).tolist() == [1, 1, 1]
    for _ in range(2):
        graph.launch()
    assert gpu.asnumpy(a).tolist() == [3, 3, 3]


def test_an_input_that_lies_in_an_output_is_found_out(gpu):
    """CuPy would copy it, but for the very same object."""
    kernel, x, dx = gpu.ElementwiseKernel(*RELU_BACKWARD), gpu.ones(8, "f"), gpu.ones(4, "f")
    kernel(x[:4], dx)
    kernel(dx, dx)
    for part in (x[:4], x[1:5]):
        with pytest.raises(AssertionError, match="would be copied"):
            kernel(x[:4], part)
    with pytest.raises(AssertionError, match="would be copied"):
        gpu.noted(np.add, (x[:4], dx), x[2:6])


def test_only_a_null_of_64_bits_stands_for_no_array():
    """CuPy makes of None no pointer but a missing argument."""
    source = 'extern "C" __global__ void k(Real* out, const Real* in) { out[0] = in ? 1 : 2; }'
    out = np.zeros(1, np.float32)
    compiled.run_rows(source, REAL, "k", 1, (1,), [out, np.uint64(0)])
    assert out == 2
    for bad in (None, np.int32(0), np.uint64(8)):
        with pytest.raises(AssertionError, match="k:"):
            compiled.run_rows(source, REAL, "k", 1, (1,), [out, bad])


def test_a_graph_that_touches_freed_memory_is_found_out(gpu, capture):
    x, dx = gpu.ones(4, np.float32), gpu.ones(4, np.float32)
    capture()
    gpu.ElementwiseKernel(*RELU_BACKWARD)(x, dx)
    graph = gpu.current.end_capture()
    graph.launch()
    del x
    gc.collect()
    with pytest.raises(AssertionError, match="let go"):
        graph.launch()


def test_host_arrays_do_not_mix_with_device_arrays(gpu):
    a = gpu.ones(3)
    with pytest.raises(TypeError):
        a[...] = np.ones(3)
    with pytest.raises(TypeError):
        a + np.ones(3)
