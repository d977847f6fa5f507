"""Matrix products of row-major arrays on a GPU, in a form that a CUDA graph may capture.

CuPy 14 refuses cuBLAS calls while a stream is capturing. cuBLASLt takes stream, algorithm and
workspace with each call, so nothing stands against it, and it can finish a product with a bias, a
ReLU or a sum over the batch (an *epilogue*) while the result is still in registers. It is called
through NVIDIA's own binding, `nvmath.bindings.cublasLt`.
"""

from __future__ import annotations

import importlib
from enum import Enum
from typing import Any, NamedTuple

import numpy as np

from fastnn.backend import ALIGNMENT, Array, Backend, address_of

WORKSPACE = 32 << 20  # bytes; what NVIDIA recommends for Hopper
_CANDIDATES = 8  # algorithms asked for, best first
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


_WITH_VECTOR = (
    Epilogue.BIAS, Epilogue.RELU_BIAS, Epilogue.RELU_BIAS_BITS, Epilogue.SUM_OF_B,
)  # fmt: skip
_WITH_BITS = (Epilogue.RELU_BIAS_BITS, Epilogue.CUT_BY_BITS)


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
    What cuBLASLt cannot do without an epilogue goes to `xp.dot`.
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
        self._backend = backend
        # Made by the first product: not all who hold kernels multiply, an optimizer does not.
        self._workspace: Array | None = None
        self._plans: dict[_Key, _Plan | None] = {}
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
        plan = None
        if out.dtype == np.float32:
            plan = self._plan(out, a, b, epilogue)
        if plan is not None and self._multiply(plan, out, a, b, vector, bits):
            return True
        if epilogue is Epilogue.NONE:
            self._xp.dot(a, b, out=out)
            return True
        return False

    def _plan(self, out: Array, a: Array, b: Array, epilogue: Epilogue) -> _Plan | None:
        m, n = out.shape
        key = _Key(
            m, n, a.shape[1], not a.flags.c_contiguous, not b.flags.c_contiguous, epilogue,
            alignments=(_alignment(b), _alignment(a), _alignment(out)),
        )  # fmt: skip
        if key not in self._plans:
            self._plans[key] = _Plan.find(self._lt, self._handle, self._compute, key)
        return self._plans[key]

    def _multiply(
        self, plan: _Plan, out: Array, a: Array, b: Array, vector: Array | None, bits: Array | None
    ) -> bool:
        """Whether the library took the call; if not, the plan is not tried again.

        Some releases refuse at the call what their heuristics proposed (13.3: M or N = 1).
        """
        if self._workspace is None:
            self._workspace = self._backend.zeros(WORKSPACE, np.uint8)
        plan.point(vector, bits)
        first, second, result = plan.layouts
        try:
            self._lt.matmul(
                self._handle, plan.operation, self._one.ctypes.data,
                address_of(b), first, address_of(a), second,
                self._zero.ctypes.data, address_of(out), result, address_of(out), result,
                plan.algorithm, address_of(self._workspace), WORKSPACE,
                self._cuda.get_current_stream().ptr,
            )  # fmt: skip
        except self._lt.cuBLASLtError as error:
            if error.status not in _UNSUPPORTED:
                raise
            self._plans[plan.key] = None
            return False
        return True


class _Key(NamedTuple):
    """What a product must share with another to share its plan."""

    m: int
    n: int
    k: int
    a_transposed: bool
    b_transposed: bool
    epilogue: Epilogue
    alignments: tuple[int, int, int]  # of b, a and out, in bytes


class _Plan:
    """Descriptors and algorithm of one kind of product; they live as long as the process.

    cuBLASLt is column-major, and a row-major matrix read column by column is its transpose. So
    out = a @ b is asked for as out^T = b^T a^T: b comes first, nothing is moved.
    """

    def __init__(self, lt: Any, compute: int, key: _Key) -> None:
        self.key = key
        self._lt = lt
        self._attributes = lt.MatmulDescAttribute
        self.operation: int = lt.matmul_desc_create(compute, _R_32F)
        self.set("TRANSA", int(key.b_transposed), np.int32)
        self.set("TRANSB", int(key.a_transposed), np.int32)
        self.set("EPILOGUE", int(lt.Epilogue[key.epilogue.value]), np.uint32)
        if key.epilogue in _WITH_BITS:
            self.set("EPILOGUE_AUX_LD", 8 * bytes_of_bits(key.n), np.int64)
        first = (key.k, key.n) if key.b_transposed else (key.n, key.k)
        second = (key.m, key.k) if key.a_transposed else (key.k, key.m)
        self.layouts = tuple(
            lt.matrix_layout_create(_R_32F, rows, columns, rows)
            for rows, columns in (first, second, (key.n, key.m))
        )
        self.algorithm = 0  # its address, in `_found`
        self._found: Any = None

    @classmethod
    def find(cls, lt: Any, handle: int, compute: int, key: _Key) -> _Plan | None:
        """The plan that cuBLASLt thinks fastest, or None where it has no algorithm."""
        if key.epilogue is Epilogue.CUT_BY_BITS and key.k == 1:
            return None  # not supported, says NVIDIA's own wrapper, which refuses it too
        plan = cls(lt, compute, key)
        # The heuristics want to see the pointers that the epilogue needs; any address will do.
        if key.epilogue in _WITH_VECTOR:
            plan.set("BIAS_POINTER", ALIGNMENT, np.uint64)
        if key.epilogue in _WITH_BITS:
            plan.set("EPILOGUE_AUX_POINTER", ALIGNMENT, np.uint64)
        found, count = lt.MatmulHeuristicResult(_CANDIDATES), np.zeros(1, np.int32)
        wishes = plan.wishes()
        try:
            lt.matmul_algo_get_heuristic(
                handle, plan.operation, *plan.layouts, plan.layouts[2], wishes,
                _CANDIDATES, found.ptr, count.ctypes.data,
            )  # fmt: skip
        except lt.cuBLASLtError as error:
            if error.status not in _UNSUPPORTED:
                raise
        finally:
            lt.matmul_preference_destroy(wishes)
        for number in range(int(count[0])):
            if found[number].state == 0 and not _splits_wrongly(lt, found[number].ptr, key.k):
                plan.algorithm, plan._found = found[number].ptr, found
                return plan
        return None

    def wishes(self) -> int:
        """What the heuristics are told: workspace, and how the operands are aligned."""
        wishes: int = self._lt.matmul_preference_create()
        limits: dict[str, tuple[int, type[np.generic]]] = {
            "MAX_WORKSPACE_BYTES": (WORKSPACE, np.uint64)
        }
        for operand, alignment in zip("ABC", self.key.alignments, strict=True):
            limits[f"MIN_ALIGNMENT_{operand}_BYTES"] = (alignment, np.uint32)
        limits["MIN_ALIGNMENT_D_BYTES"] = limits["MIN_ALIGNMENT_C_BYTES"]
        for name, (value, dtype) in limits.items():
            box = np.array([value], dtype)
            attribute = self._lt.MatmulPreferenceAttribute[name]
            self._lt.matmul_preference_set_attribute(wishes, attribute, box.ctypes.data, box.nbytes)
        return wishes

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


def _splits_wrongly(lt: Any, algorithm: int, k: int) -> bool:
    """Whether an algorithm is one that, before CUDA 13.4 update 1, could sum over K wrongly.

    Algorithm 66 with a K that its split does not divide (CUDA release notes, cuBLAS 13.4U1).
    """
    numbers = []
    for name in ("ID", "SPLITK_NUM"):
        box, written = np.zeros(1, np.int32), np.zeros(1, np.uint64)
        attribute = lt.MatmulAlgoConfigAttribute[name]
        lt.matmul_algo_config_get_attribute(
            algorithm, attribute, box.ctypes.data, box.nbytes, written.ctypes.data
        )
        numbers.append(int(box[0]))
    identity, splits = numbers
    return identity == 66 and splits > 1 and k % splits != 0


def bytes_of_bits(width: int) -> int:
    """Bytes of one row of `bits`: cuBLASLt wants rows of whole 128 bits."""
    return -(-width // 128) * 16


def _alignment(array: Any) -> int:
    """The largest power of two that divides the address, 256 at most."""
    address = address_of(array)
    return min(address & -address, ALIGNMENT)
