"""Activations and regression losses, each written down once, as text that serves three languages.

A formula uses x, the constant c, numbers, arithmetic, and the functions exp, tanh, abs, where and
sigmoid. It is evaluated on whole arrays of NumPy or CuPy (`on_arrays`), becomes part of a CUDA
kernel (`in_cuda`), and of the loops that Numba compiles (`source_of_rows`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

from fastnn.backend import Array


class Formula(NamedTuple):
    """A function of x, its derivative, and the constant c that both may use."""

    value: str
    slope: str
    c: float = 0.0


# GELU is the approximation by tanh (Hendrycks & Gimpel, arXiv:1606.08415; PyTorch's
# approximate="tanh"), for NumPy has no error function: 0.5 x (1 + tanh u) = x sigmoid(2 u) with
# u = sqrt(2 / pi) (x + 0.044715 x^3), of which c is 2 sqrt(2 / pi).
ACTIVATIONS: Mapping[str, Formula] = {
    "relu": Formula("where(x < 0, 0, x)", "where(x > 0, 1, 0)"),
    "leaky-relu": Formula("where(x < 0, c * x, x)", "where(x > 0, 1, c)", 0.01),
    "gelu": Formula(
        "x * sigmoid(c * x * (1 + 0.044715 * x * x))",
        "sigmoid(c * x * (1 + 0.044715 * x * x)) * (1 + c * x * (1 + 0.134145 * x * x)"
        " * (1 - sigmoid(c * x * (1 + 0.044715 * x * x))))",
        1.5957691216057308,
    ),
    "silu": Formula("x * sigmoid(x)", "sigmoid(x) * (1 + x * (1 - sigmoid(x)))"),
    "tanh": Formula("tanh(x)", "1 - tanh(x) * tanh(x)"),
    "sigmoid": Formula("sigmoid(x)", "sigmoid(x) * (1 - sigmoid(x))"),
    "identity": Formula("x", "where(x < x, 0, 1)"),
}

# Of a residual x = output - target. Huber's c is the size up to which it is a square.
LOSSES: Mapping[str, Formula] = {
    "mse": Formula("x * x", "2 * x"),
    "mae": Formula("abs(x)", "where(x > 0, 1, where(x < 0, -1, x))"),
    "huber": Formula(
        "where(abs(x) < c, 0.5 * x * x, c * (abs(x) - 0.5 * c))",
        "where(x > c, c, where(x < -c, -c, x))",
        1.0,
    ),
}

_NUMBER = re.compile(r"\b\d+(\.\d+)?\b")


@cache
def on_arrays(text: str, xp: ModuleType) -> Callable[[Array, float], Array]:
    """The formula over arrays of `xp`, as a function of (x, c). Makes temporary arrays."""

    def sigmoid(x: Array) -> Array:
        """By tanh, which cannot overflow."""
        half: Array = 0.5 * xp.tanh(0.5 * x) + 0.5
        return half

    names = {"exp": xp.exp, "tanh": xp.tanh, "abs": xp.abs, "where": xp.where, "sigmoid": sigmoid}
    function = eval(f"lambda x, c, T: {_typed(text)}", names)
    return lambda x, c: function(x, x.dtype.type(c), x.dtype.type)


def in_cuda(text: str) -> str:
    """The formula as an expression in CUDA C++ of `T x` and `T c`, inside `CUDA_NAMES`."""
    return _typed(text).replace("abs(", "fabs(")


# What `in_cuda` needs to stand before it.
CUDA_NAMES = """
    [[maybe_unused]] const auto where = [](bool is, T yes, T no) { return is ? yes : no; };
    [[maybe_unused]] const auto sigmoid = [](T x) { return T(1) / (T(1) + exp(-x)); };
"""


def source_of_rows(name: str, part: str, table: Mapping[str, Formula]) -> str:
    """Python source of `name`(kind, out, times, row, c, T): a loop for each row of a table.

    out = times * formula(row), vectors; `kind` counts the table's rows from 0, T is a float type.
    A loop each, so that the choice among them is not made for every element.
    """
    lines = [f"def {name}(kind, out, times, row, c, T):"]
    for kind, formula in enumerate(table.values()):
        lines += [
            f"    if kind == {kind}:",
            "        for i in range(len(out)):",
            "            x = row[i]",
            f"            out[i] = times[i] * ({_typed(getattr(formula, part))})",
        ]
    return "\n".join([*lines, ""])


def kind_of(name: str, table: Mapping[str, Formula]) -> int:
    """The number of a row of a table."""
    return list(table).index(name)


def compiled_rows(compile_: Callable[..., Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """What `source_of_rows` says of both parts of both tables, each given to `compile_`."""
    found: dict[str, Any] = {"__name__": __name__, **names}
    for name, part, table in (
        ("activation", "value", ACTIVATIONS),
        ("activation_slope", "slope", ACTIVATIONS),
        ("residual_value", "value", LOSSES),
        ("residual_slope", "slope", LOSSES),
    ):
        exec(source_of_rows(name, part, table), found)
        found[name] = compile_(found[name])
    return found


def _typed(text: str) -> str:
    """The formula with its numbers as T(number), so that float32 stays float32."""
    return _NUMBER.sub(r"T(\g<0>)", text)
