"""A stand-in for `nvmath.bindings.cublasLt`: the documented column-major arithmetic, in NumPy.

Written from cuBLASLt's documentation: D (m, n) = op(A) op(B), all column by column with a leading
dimension; the bias has m elements; an auxiliary bit belongs to row i, column j at j * ld + i;
BGRADA sums op(A) over k into the bias pointer.
"""

from __future__ import annotations

import ctypes
import weakref
from enum import IntEnum
from itertools import count
from types import SimpleNamespace
from typing import ClassVar

import numpy as np

MatmulDescAttribute = IntEnum(
    "MatmulDescAttribute",
    {"TRANSA": 3, "TRANSB": 4, "EPILOGUE": 7, "BIAS_POINTER": 8, "EPILOGUE_AUX_POINTER": 11,
     "EPILOGUE_AUX_LD": 12},
)  # fmt: skip
MatmulPreferenceAttribute = IntEnum(
    "MatmulPreferenceAttribute",
    {"MAX_WORKSPACE_BYTES": 1, "MIN_ALIGNMENT_A_BYTES": 5, "MIN_ALIGNMENT_B_BYTES": 6,
     "MIN_ALIGNMENT_C_BYTES": 7, "MIN_ALIGNMENT_D_BYTES": 8},
)  # fmt: skip
MatmulAlgoConfigAttribute = IntEnum("MatmulAlgoConfigAttribute", {"ID": 0, "SPLITK_NUM": 2})
Epilogue = IntEnum(
    "Epilogue",
    {"DEFAULT": 1, "BIAS": 4, "RELU_BIAS": 6, "RELU_AUX_BIAS": 134, "DRELU": 136, "BGRADA": 256},
)
ComputeType = IntEnum("ComputeType", {"COMPUTE_32F": 68, "COMPUTE_32F_FAST_TF32": 77})
_WIDTHS = {"TRANSA": 4, "TRANSB": 4, "EPILOGUE": 4, "BIAS_POINTER": 8, "EPILOGUE_AUX_POINTER": 8,
           "EPILOGUE_AUX_LD": 8}  # fmt: skip


class cuBLASLtError(Exception):  # noqa: N801 - its name
    def __init__(self, status):
        super().__init__(f"status {status}")
        self.status = status


class Results:
    """An array of heuristic results, 96 bytes each, at an address of its own while it lives."""

    alive: ClassVar[weakref.WeakValueDictionary[int, Results]] = weakref.WeakValueDictionary()
    addresses = count(4096, 1 << 20)
    states: list[int]

    def __init__(self, size):
        self.size, self.ptr = size, next(self.addresses)
        self.alive[self.ptr] = self

    def __getitem__(self, number):
        assert number < self.size
        return SimpleNamespace(ptr=self.ptr + 96 * number, state=self.states[number])

    @classmethod
    def number_at(cls, address):
        """Which result lies at an address; those that were let go are found out."""
        for first, results in cls.alive.items():
            if first <= address < first + 96 * results.size:
                return (address - first) // 96
        raise AssertionError("an algorithm whose memory was let go")


class CublasLt:
    """One instance stands for the module; `supported` are the epilogues that the GPU has."""

    def __init__(self, gpu, supported=frozenset(Epilogue)):
        self.gpu, self.supported = gpu, set(supported)
        self.MatmulDescAttribute, self.Epilogue = MatmulDescAttribute, Epilogue
        self.MatmulPreferenceAttribute = MatmulPreferenceAttribute
        self.MatmulAlgoConfigAttribute = MatmulAlgoConfigAttribute
        self.cuBLASLtError = cuBLASLtError
        self._numbers, self._things = count(1), {}
        self.searches = 0
        self.algorithms = [(0, 1, 1)]  # state, ID and SPLITK_NUM of each that is proposed
        self.used = []  # which of them each product was given
        self.refused, self.refusal = 0, 15
        self.refuses = lambda m, n, k, epilogue: False  # at the call, of what was proposed

    def _new(self, thing):
        number = next(self._numbers)
        self._things[number] = thing
        return number

    def create(self):
        return self._new("handle")

    def matmul_desc_create(self, compute, scale_type):
        assert scale_type == 0
        return self._new({"compute": int(compute)})

    def matmul_desc_set_attribute(self, operation, attribute, pointer, size):
        name = MatmulDescAttribute(attribute).name
        assert size == _WIDTHS[name], f"{name} has {_WIDTHS[name]} bytes, not {size}"
        self._things[operation][name] = int.from_bytes(ctypes.string_at(pointer, size), "little")

    def matrix_layout_create(self, kind, rows, columns, ld):
        assert kind == 0 and ld >= rows
        return self._new((rows, columns, ld))

    def matmul_preference_create(self):
        return self._new({})

    def matmul_preference_set_attribute(self, preference, attribute, pointer, size):
        name = MatmulPreferenceAttribute(attribute).name
        assert size == (8 if name == "MAX_WORKSPACE_BYTES" else 4)
        self._things[preference][name] = int.from_bytes(ctypes.string_at(pointer, size), "little")

    def matmul_preference_destroy(self, preference):
        del self._things[preference]

    def MatmulHeuristicResult(self, size):
        return Results(size)

    def matmul_algo_config_get_attribute(self, algorithm, attribute, pointer, size, written):
        assert size == 4
        identity, splits = self.algorithms[Results.number_at(algorithm)][1:]
        value = identity if attribute == MatmulAlgoConfigAttribute.ID else splits
        ctypes.c_int32.from_address(pointer).value = value

    def matmul_algo_get_heuristic(self, handle, operation, a, b, c, d, wish, wanted, found, number):
        assert self._things[handle] == "handle" and c == d and found in Results.alive
        self._things[operation]["wish"] = dict(self._things[wish])
        assert self.gpu.current.recording is None, "heuristics inside a capture"
        self.searches += 1
        settings = self._things[operation]
        if settings["EPILOGUE"] not in self.supported:
            raise cuBLASLtError(15)
        self._shape(settings, *(self._things[x] for x in (a, b, d)))
        Results.states = [state for state, _, _ in self.algorithms]
        ctypes.c_int32.from_address(number).value = min(wanted, len(self.algorithms))

    def _shape(self, settings, a, b, d):
        m, k = a[:2][::-1] if settings["TRANSA"] else a[:2]
        k2, n = b[:2][::-1] if settings["TRANSB"] else b[:2]
        assert not (settings["EPILOGUE"] == Epilogue.DRELU and k == 1), "DRELU with K = 1"
        assert (m, n) == d[:2] and k == k2, f"op(A) {m, k}, op(B) {k2, n}, D {d[:2]}"
        if settings["EPILOGUE"] in (Epilogue.RELU_AUX_BIAS, Epilogue.DRELU):
            assert settings["EPILOGUE_AUX_LD"] % 128 == 0 and settings["EPILOGUE_AUX_LD"] >= m
        return m, n, k

    def matmul(
        self, handle, operation, alpha, a, a_layout, b, b_layout, beta, c, c_layout, d, d_layout,
        algorithm, workspace, workspace_size, stream,
    ):  # fmt: skip
        assert ctypes.c_float.from_address(alpha).value == 1
        assert ctypes.c_float.from_address(beta).value == 0
        chosen = Results.number_at(algorithm)
        assert self.algorithms[chosen][0] == 0 and c == d and stream == self.gpu.current.ptr
        self.used.append(chosen)
        settings = dict(self._things[operation])  # read at the call, as cuBLASLt does
        layouts = tuple(self._things[x] for x in (a_layout, b_layout, d_layout))
        m, n, k = self._shape(settings, *layouts)
        epilogue = Epilogue(settings["EPILOGUE"])
        wish = settings["wish"]
        for operand, address in (("A", a), ("B", b), ("C", c), ("D", d)):
            best = min(address & -address, 256)
            assert wish[f"MIN_ALIGNMENT_{operand}_BYTES"] == best, f"alignment of {operand}"
        assert wish["MAX_WORKSPACE_BYTES"] == workspace_size
        assert workspace_size <= self.gpu.memory_at(workspace)().nbytes
        if self.refuses(m, n, k, epilogue):
            self.refused += 1
            raise cuBLASLtError(self.refusal)
        touched = {"a": a, "b": b, "d": d, "workspace": workspace}
        if epilogue not in (Epilogue.DEFAULT, Epilogue.DRELU):
            touched["bias"] = settings["BIAS_POINTER"]
        if "EPILOGUE_AUX_LD" in settings:
            touched["bits"] = settings["EPILOGUE_AUX_POINTER"]
        owners = {name: self.gpu.memory_at(address) for name, address in touched.items()}
        self.gpu.counts[f"matmul {epilogue.name}"] += 1

        def run():
            for name, owner in owners.items():
                assert owner() is not None, f"a graph touches memory of {name} that was let go"
            matrices = [
                _at(address, np.float32, ld * columns).reshape(columns, ld).T[:rows]
                for address, (rows, columns, ld) in zip((a, b, d), layouts, strict=True)
            ]
            op_a = matrices[0].T if settings["TRANSA"] else matrices[0]
            op_b = matrices[1].T if settings["TRANSB"] else matrices[1]
            if settings["compute"] == ComputeType.COMPUTE_32F_FAST_TF32:
                op_a, op_b = _tf32(op_a), _tf32(op_b)
            result = op_a @ op_b
            if "BIAS" in epilogue.name:
                result = result + _at(settings["BIAS_POINTER"], np.float32, m)[:, None]
            if "EPILOGUE_AUX_LD" in settings:
                ld = settings["EPILOGUE_AUX_LD"]
                bits = _at(settings["EPILOGUE_AUX_POINTER"], np.uint8, ld * n // 8).reshape(n, -1)
            if epilogue is Epilogue.RELU_AUX_BIAS:
                positive = np.zeros((n, ld), bool)
                positive[:, :m] = result.T > 0
                bits[...] = np.packbits(positive, axis=1)
            if "RELU_" in epilogue.name:
                result = np.maximum(result, 0)
            if epilogue is Epilogue.DRELU:
                result = result * np.unpackbits(bits, axis=1)[:, :m].T
            if epilogue is Epilogue.BGRADA:
                _at(settings["BIAS_POINTER"], np.float32, m)[...] = op_a.sum(axis=1)
            matrices[2][...] = result

        self.gpu.current.do(run)


def _at(address, dtype, size):
    """The memory at an address as an array."""
    kind = np.ctypeslib.as_ctypes_type(dtype) * size
    return np.ctypeslib.as_array(kind.from_address(address))


def _tf32(matrix):
    """Cut to the 10 bits of mantissa that tensor cores read."""
    return (np.ascontiguousarray(matrix).view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)
