"""Matrix products of row-major arrays on a GPU, in a form that a CUDA graph may capture.

CuPy 14 refuses cuBLAS calls while a stream is capturing. cuBLASLt takes stream, algorithm and
workspace with each call, so nothing stands against it, and it can finish a product with a bias, a
ReLU or a sum over the batch (an *epilogue*) while the result is still in registers. It is called
through NVIDIA's own binding, `nvmath.bindings.cublasLt`.
"""

from __future__ import annotations

import importlib
from enum import Enum
from typing import Any

import numpy as np

from fastnn.backend import ALIGNMENT, Array, Backend, address_of
from fastnn.errors import DeviceError

WORKSPACE = 32 << 20  # bytes; what NVIDIA recommends for Hopper
_UNSUPPORTED = (7, 15)  # CUBLAS_STATUS_INVALID_VALUE and _NOT_SUPPORTED
_R_32F = 0  # CUDA_R_32F


class Epilogue(Enum):
    """What happens to a product before it is stored, by cuBLASLt's name for it."""

    NONE = "DEFAULT"
    BIAS = "BIAS"  # out += vector
    RELU_BIAS = "RELU_BIAS"  # out = max(out + vector, 0)
    RELU_BIAS_BITS = "RELU_AUX_BIAS"  # the same, and bit k of row b of `bits` tells if it was > 0
    CUT_BY_BITS = "DRELU"  # out = 0 where its bit is 0
    SUM_OF_B = "BGRADA"  # vector = sum of b over its rows, on the way


class PlainProducts:
    """Products by `xp.dot`: for what cuBLASLt is not there for, and never inside a capture."""

    def __init__(self, xp: Any, why_not_captured: str) -> None:
        self._xp = xp
        self.why_not_captured: str | None = why_not_captured

    def dot(
        self,
        out: Array,
        a: Array,
        b: Array,
        epilogue: Epilogue = Epilogue.NONE,
        vector: Array | None = None,
        bits: Array | None = None,
    ) -> bool:
        """out = a @ b without an epilogue; with one, do nothing and return False."""
        if epilogue is not Epilogue.NONE:
            return False
        self._xp.dot(a, b, out=out)
        return True


class LtProducts:
    """Products by cuBLASLt, float32 in and out, in `precision` float32 or tf32 between.

    An operand is a C-contiguous matrix or the transpose (`.T`) of one. A shape's algorithm is
    looked up once, at its first use, and kept: the same call computes the same bits every time.
    """

    why_not_captured: str | None = None

    def __init__(self, backend: Backend, precision: str) -> None:
        self._lt: Any = importlib.import_module("nvmath.bindings.cublasLt")
        blas: Any = importlib.import_module("nvmath.bindings.cublas")
        compute = blas.ComputeType
        self._compute = (
            compute.COMPUTE_32F_FAST_TF32 if precision == "tf32" else compute.COMPUTE_32F
        )
        self._xp = backend.xp
        self._cuda = backend.xp.cuda
        self._handle: int = self._lt.create()
        self._workspace: Array = backend.zeros(WORKSPACE, np.uint8)
        self._plans: dict[tuple[object, ...], _Plan | None] = {}
        self._one, self._zero = np.ones(1, np.float32), np.zeros(1, np.float32)

    def dot(
        self,
        out: Array,
        a: Array,
        b: Array,
        epilogue: Epilogue = Epilogue.NONE,
        vector: Array | None = None,
        bits: Array | None = None,
    ) -> bool:
        """out (M, N) = a @ b, finished by the epilogue; False where the GPU has no kernel for it.

        `vector` is (N,); `bits` holds, for each of M rows, N bits padded to whole 16 bytes.
        """
        if out.dtype != np.float32:
            if epilogue is Epilogue.NONE:
                self._xp.dot(a, b, out=out)
                return True
            return False
        lies = tuple(_alignment(address_of(x)) for x in (b, a, out))
        key = (out.shape, a.shape[1], _transposed(a), _transposed(b), epilogue, lies)
        if key not in self._plans:
            self._plans[key] = _Plan.find(self._lt, self._handle, self._compute, key)
        plan = self._plans[key]
        if plan is None:
            if epilogue is Epilogue.NONE:
                raise DeviceError(
                    f"cuBLASLt has no algorithm for a product of {a.shape} and {b.shape}",
                    "Use --kernels reference",
                )
            return False
        plan.point(vector, bits)
        first, second, result = plan.layouts
        self._lt.matmul(
            self._handle, plan.operation, self._one.ctypes.data,
            address_of(b), first, address_of(a), second,
            self._zero.ctypes.data, address_of(out), result, address_of(out), result,
            plan.algorithm.ptr, address_of(self._workspace), WORKSPACE,
            self._cuda.get_current_stream().ptr,
        )  # fmt: skip
        return True


class _Plan:
    """Descriptors and algorithm of one kind of product; lives as long as the process may use it.

    cuBLASLt is column-major, and a row-major matrix read column by column is its transpose. So
    out = a @ b is asked for as out^T = b^T a^T: b comes first, nothing is moved.
    """

    def __init__(self, lt: Any, compute: int, key: tuple[Any, ...]) -> None:
        (m, n), k, a_transposed, b_transposed, epilogue, _ = key
        self._lt = lt
        self._attributes = lt.MatmulDescAttribute
        self.operation: int = lt.matmul_desc_create(compute, _R_32F)
        self.set("TRANSA", int(b_transposed), np.int32)
        self.set("TRANSB", int(a_transposed), np.int32)
        self.set("EPILOGUE", int(lt.Epilogue[epilogue.value]), np.uint32)
        if epilogue in (Epilogue.RELU_BIAS_BITS, Epilogue.CUT_BY_BITS):
            self.set("EPILOGUE_AUX_LD", 8 * bytes_of_bits(n), np.int64)
        first = (k, n) if b_transposed else (n, k)
        second = (m, k) if a_transposed else (k, m)
        self.layouts = tuple(
            lt.matrix_layout_create(_R_32F, rows, columns, rows)
            for rows, columns in (first, second, (n, m))
        )
        self.algorithm: Any = None

    @classmethod
    def find(cls, lt: Any, handle: int, compute: int, key: tuple[Any, ...]) -> _Plan | None:
        """The plan that cuBLASLt thinks fastest, or None where it has no algorithm."""
        plan = cls(lt, compute, key)
        # The heuristics want to see the pointers that the epilogue needs; any address will do.
        plan.set("BIAS_POINTER", ALIGNMENT, np.uint64)
        if key[4] in (Epilogue.RELU_BIAS_BITS, Epilogue.CUT_BY_BITS):
            plan.set("EPILOGUE_AUX_POINTER", ALIGNMENT, np.uint64)
        wishes = lt.matmul_preference_create()
        limits: dict[str, tuple[int, type[np.generic]]] = {
            "MAX_WORKSPACE_BYTES": (WORKSPACE, np.uint64)
        }
        for operand, alignment in zip("ABC", key[5], strict=True):
            limits[f"MIN_ALIGNMENT_{operand}_BYTES"] = (alignment, np.uint32)
        limits["MIN_ALIGNMENT_D_BYTES"] = limits["MIN_ALIGNMENT_C_BYTES"]
        for name, (value, dtype) in limits.items():
            box = np.array([value], dtype)
            attribute = lt.MatmulPreferenceAttribute[name]
            lt.matmul_preference_set_attribute(wishes, attribute, box.ctypes.data, box.nbytes)
        found, count = lt.MatmulHeuristicResult(), np.zeros(1, np.int32)
        try:
            lt.matmul_algo_get_heuristic(
                handle, plan.operation, *plan.layouts, plan.layouts[2], wishes,
                1, found.ptr, count.ctypes.data,
            )  # fmt: skip
        except lt.cuBLASLtError as error:
            if error.status not in _UNSUPPORTED:
                raise
        finally:
            lt.matmul_preference_destroy(wishes)
        plan.algorithm = found
        return plan if count[0] else None

    def point(self, vector: Array | None, bits: Array | None) -> None:
        """Tell where the epilogue's operands lie; read at the call, so plans may be shared."""
        if vector is not None:
            self.set("BIAS_POINTER", address_of(vector), np.uint64)
        if bits is not None:
            self.set("EPILOGUE_AUX_POINTER", address_of(bits), np.uint64)

    def set(self, name: str, value: int, dtype: type[np.generic]) -> None:
        box = np.array([value], dtype)
        attribute = self._attributes[name]
        self._lt.matmul_desc_set_attribute(self.operation, attribute, box.ctypes.data, box.nbytes)


def bytes_of_bits(width: int) -> int:
    """Bytes of one row of `bits`: cuBLASLt wants rows of whole 128 bits."""
    return -(-width // 128) * 16


def _transposed(matrix: Array) -> bool:
    """Whether the matrix is the `.T` of a C-contiguous one (a vector-like one is both: no)."""
    return not matrix.flags.c_contiguous


def _alignment(address: int) -> int:
    """The largest power of two that divides the address, 256 at most."""
    return min(address & -address, ALIGNMENT)
