"""What compiled code reaches outside itself: BLAS by address, and the other threads of a team."""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba import njit, types
from numba.core.cgutils import alloca_once_value
from numba.core.errors import TypingError
from numba.extending import intrinsic

from fastnn.backend import Array

_PATIENCE = 4096  # looks at a counter, some 50 us, before a waiting thread offers its core
_DISMISSED = 1 << 62


class Team(NamedTuple):
    """Who else works on this epoch, and where to meet."""

    size: int
    counter: Array  # (1,) int64: how often anybody has arrived at a meeting
    give_way: int  # address of the system's sched_yield


class Tile(NamedTuple):
    """The rows from top to bottom and columns from left to right of a matrix, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int


@njit(cache=True, nogil=True)
def meet(team: Team) -> None:
    """Wait until every member of the team has come here as often as this one."""
    if team.size == 1:
        return
    arrived = _arrive(team.counter)
    if arrived >= _DISMISSED:
        return
    wanted = -(-arrived // team.size) * team.size
    looks = 0
    while _arrived(team.counter) < wanted:
        looks += 1
        if looks > _PATIENCE:
            _call(team.give_way)


def dismiss(team: Team) -> None:
    """Let everybody pass this meeting and all that follow: one of the team will not come."""
    team.counter[0] = _DISMISSED


@njit(cache=True, nogil=True)
def dismissed(team: Team) -> bool:
    """Whether meetings have lost their meaning: what was computed since is not to be used."""
    return team.size > 1 and _arrived(team.counter) >= _DISMISSED


@intrinsic
def gemm(context, address, transposed_a, transposed_b, a, b, keep, out, tile):
    """A tile of out = keep * out + op(a) @ op(b), all row-major, by BLAS.

    `address` is that of Fortran's sgemm or dgemm, which are column-major: so they are asked for the
    transpose, op(b).T @ op(a).T. They take every argument by reference; so one call serves 32-bit
    and 64-bit integers (on little-endian machines the low half comes first).
    """
    for array in (a, b, out):
        if array.layout != "C" or array.ndim != 2 or array.dtype != out.dtype:
            raise TypingError(f"products need C-contiguous matrices of one dtype, not {array}")
    signature = types.void(types.intp, types.boolean, types.boolean, a, b, out.dtype, out, tile)

    def generate(context, builder, signature, arguments):
        address, t_a, t_b, _, _, keep, _, edges = arguments
        top, bottom, left, right = (builder.extract_value(edges, n) for n in range(4))
        pointer = ir.IntType(8).as_pointer()
        scalar = context.get_value_type(out.dtype)

        def matrix(position: int) -> tuple[Any, Any, Any]:
            array = context.make_array(signature.args[position])(
                context, builder, arguments[position]
            )
            return array.data, *(builder.extract_value(array.shape, axis) for axis in (0, 1))

        def letter(flag: Any) -> Any:
            return builder.select(flag, ir.IntType(8)(ord("T")), ir.IntType(8)(ord("N")))

        a_data, a_rows, a_columns = matrix(3)
        b_data, _, b_columns = matrix(4)
        c_data, _, c_columns = matrix(6)
        inner = builder.select(t_a, a_rows, a_columns)
        a_skip = builder.select(t_a, top, builder.mul(top, a_columns))
        b_skip = builder.select(t_b, builder.mul(left, b_columns), left)
        c_skip = builder.add(builder.mul(top, c_columns), left)
        wanted = [
            letter(t_b), letter(t_a), builder.sub(right, left), builder.sub(bottom, top), inner,
            scalar(1.0), builder.gep(b_data, [b_skip]), b_columns,
            builder.gep(a_data, [a_skip]), a_columns,
            keep, builder.gep(c_data, [c_skip]), c_columns,
        ]  # fmt: skip
        passed = [
            value if isinstance(value.type, ir.PointerType) else alloca_once_value(builder, value)
            for value in wanted
        ]
        passed = [builder.bitcast(value, pointer) for value in passed]
        kind = ir.FunctionType(ir.VoidType(), [pointer] * len(passed))
        builder.call(builder.inttoptr(address, kind.as_pointer()), passed)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _arrive(context, counter):
    """Add one to counter[0], seen by all threads in one order; returns how many have arrived."""

    def generate(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        before = builder.atomic_rmw("add", array.data, ir.IntType(64)(1), "seq_cst")
        return builder.add(before, ir.IntType(64)(1))

    return types.int64(counter), generate


@intrinsic
def _arrived(context, counter):
    """counter[0] as it is now; what others wrote before they arrived is visible afterwards."""

    def generate(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.load_atomic(array.data, "seq_cst", 8)

    return types.int64(counter), generate


@intrinsic
def _call(context, address):
    """Call the C function int f(void) at `address`."""

    def generate(context, builder, signature, arguments):
        kind = ir.FunctionType(ir.IntType(32), [])
        builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), [])
        return context.get_dummy_value()

    return types.void(types.intp), generate
