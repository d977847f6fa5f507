"""NVRTC, NVIDIA's run-time compiler, accepts every kernel for the GPUs it will meet.

Needs CuPy and NVIDIA's compiler and header wheels, but neither a GPU nor a driver: `make
test-cuda` installs them.
"""

from __future__ import annotations

import numpy as np
import pytest

from fastnn.kernels import sources
from tests.stand_in.compiled import CTYPES, kernel_parameters, parameters

ARCHITECTURES = ("sm_80", "sm_90")  # A100 and H100/H200


@pytest.fixture(scope="module")
def compile_cubin():
    """Compile CUDA C++ for an architecture: (cubin, warnings); fails with the compiler's log."""
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed: nothing for NVRTC to do")
    try:
        version = cupy.cuda.nvrtc.getVersion()
    except Exception as error:
        pytest.skip(f"NVRTC does not load ({type(error).__name__}: {error})")
    assert version >= (12, 0)

    def compile_for(source: str, options: tuple[str, ...], architecture: str):
        program = cupy.cuda.nvrtc.createProgram(source, "kernel.cu", [], [])
        try:
            cupy.cuda.nvrtc.compileProgram(program, [*options, f"-arch={architecture}"])
            return cupy.cuda.nvrtc.getCUBIN(program), cupy.cuda.nvrtc.getProgramLog(program)
        except cupy.cuda.nvrtc.NVRTCError:
            pytest.fail(cupy.cuda.nvrtc.getProgramLog(program))

    return compile_for


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_row_kernels(compile_cubin, dtype, architecture):
    options = sources.rows_options(dtype)
    cubin, warnings = compile_cubin(sources.rows_source(), options, architecture)
    assert warnings.strip("\0\n ") == ""
    names = kernel_parameters(sources.rows_source())
    assert {"softmax_xent", "batch_norm", "tally"} <= names.keys()
    for name in names:
        assert name.encode() in cubin


def test_a_mistake_is_found(compile_cubin):
    broken = sources.rows_source().replace("Real sum = 0;", "Real sum = nothing;")
    with pytest.raises(pytest.fail.Exception, match="nothing"):
        compile_cubin(broken, sources.rows_options("float32"), "sm_90")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("kernel", sources.ELEMENTWISE, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("real", ["float", "double"])
@pytest.mark.parametrize("source", ["unsigned char", "float"])
def test_elementwise_kernels(compile_cubin, kernel, real, source, architecture):
    """The body in the loop that CuPy would write around it."""
    types = {"T": real, "S": source, "L": "long long"}
    arguments, per_element = [], []
    declared = [(0, p) for p in parameters(kernel.inputs)]
    declared += [(1, p) for p in parameters(kernel.outputs)]
    for is_output, (raw, kind, name) in declared:
        kind = types.get(kind) or CTYPES.get(kind, kind)
        if raw:
            arguments.append(f"{kind}* {name}")
        else:
            arguments.append(f"{kind}* _{name}")
            const = "" if is_output else "const "
            per_element.append(f"{const}{kind}& {name} = _{name}[i];")
    named = "".join(f"using {letter} = {kind}; " for letter, kind in types.items())
    text = (
        f'{named}extern "C" __global__ void {kernel.name}(long long n, {", ".join(arguments)}) {{'
        "for (long long i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += blockDim.x) {"
        f"{' '.join(per_element)} {kernel.body} }} }}"
    )
    assert kernel.name.encode() in compile_cubin(text, ("--std=c++17",), architecture)[0]


@pytest.mark.parametrize("kernel", sources.ELEMENTWISE, ids=lambda kernel: kernel.name)
def test_cupy_itself_writes_a_kernel_around_each_body(compile_cubin, kernel):
    """The source that CuPy generates, by a private function: skipped where that has moved."""
    import cupy

    try:
        from cupy._core._carray import Indexer
        from cupy._core._kernel import _ArgInfo, _get_elementwise_kernel_code, _TypeMap
        from cupy._core._scalar import CScalar
        from cupy._core.core import assemble_cupy_compiler_options
    except ImportError as error:
        pytest.skip(f"this CuPy is arranged differently ({error})")
    built = cupy.ElementwiseKernel(*kernel, no_return=True)
    types = {"T": np.float32, "S": np.uint8, "L": np.int64}
    array, indexer, scalar = 1, 2, 3  # CuPy's numbers for the kinds of arguments
    infos, letters = [], {}
    declared = parameters(kernel.inputs) + parameters(kernel.outputs)
    arrays = {"g", "x", "x_hat", "dx", "dy", "skip", "y", "out", "p", "m", "v", "mean"}
    for raw, kind, name in declared:
        dtype = types.get(kind) or np.dtype(kind).type
        if kind in types:
            letters[kind] = dtype
        if raw or name in arrays:
            infos.append(_ArgInfo(array, cupy.ndarray, dtype, 1, True, True))
        else:
            infos.append(_ArgInfo(scalar, CScalar, dtype, 0, True, True))
    infos.append(_ArgInfo(indexer, Indexer, None, 1, True, True))
    source = _get_elementwise_kernel_code(
        tuple(infos),
        _TypeMap(tuple(letters.items())),
        built.params,
        built.operation,
        built.name,
        "",
    )
    options = tuple(assemble_cupy_compiler_options(()))
    headers = ["cupy/complex.cuh", "cupy/carray.cuh", "cupy/atomics.cuh", "cupy/math_constants.h"]
    source = "".join(f"#include <{header}>\n" for header in headers) + source
    options = (*options, "-ftz=true", "--device-as-default-execution-space")
    assert kernel.name.encode() in compile_cubin(source, options, "sm_90")[0]
