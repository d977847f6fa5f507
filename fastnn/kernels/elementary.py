"""Elementary functions that LLVM can vectorise, and the formulas that Numba compiles with them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

from fastnn.kernels.formulas import compiled_rows
from fastnn.kernels.loops import compiled


def exp(x: Any) -> Any:
    """e^x, which compiled code gets from below."""
    return np.exp(x)


@overload(exp)
def _exp(x):
    """In float32 a polynomial that LLVM vectorises, which it cannot do to a call of the C library.

    x = k ln 2 + r with |r| <= ln 2 / 2 and a polynomial of degree 6 for e^r (Taylor's, whose rest
    is below half a unit in the last place there); 2^k is put together as bits. Within 3 units in
    the last place; 0 below -86.6, where results are less than 2.5e-38.
    """
    if x != types.float32:
        return lambda x: np.exp(x)

    f, i = np.float32, np.int32
    log2e, ln2_high, ln2_low = f(1.4426950408889634), f(0.693359375), f(-2.12194440e-4)
    c6, c5, c4, c3 = f(1 / 720), f(1 / 120), f(1 / 24), f(1 / 6)
    half, one, least, most = f(0.5), f(1), f(-86.6), f(88.7)
    bias, mantissa, infinity = i(127), i(23), f(np.inf)

    def implementation(x):
        inside = min(max(x, least), most)
        k = np.floor(inside * log2e + half)
        r = (inside - k * ln2_high) - k * ln2_low
        p = ((((c6 * r + c5) * r + c4) * r + c3) * r + half) * r + one
        # Twice the half of 2^k: at its largest, k is one more than an exponent can say.
        power = i((i(k) - i(1) + bias) << mantissa).view(f)
        y = (p * r + one) * power * f(2)
        y = f(0) if x < least else y
        y = infinity if x > most else y
        return x if x != x else y

    return implementation


def tanh(x: Any) -> Any:
    """The hyperbolic tangent, which compiled code gets from below."""
    return np.tanh(x)


@overload(tanh)
def _tanh(x):
    """In float32 by `exp`, or near 0, where that cancels, a polynomial (Cephes' coefficients)."""
    if x != types.float32:
        return lambda x: np.tanh(x)

    f = np.float32
    one, two, near = f(1), f(2), f(0.625)
    c9, c7 = f(-5.70498872745e-3), f(2.06390887954e-2)
    c5, c3, c1 = f(-5.37397155531e-2), f(1.33314422036e-1), f(-3.33332819422e-1)

    def implementation(x):
        z = x * x
        small = x + x * z * ((((c9 * z + c7) * z + c5) * z + c3) * z + c1)
        large = one - two / (exp(two * abs(x)) + one)
        large = -large if x < f(0) else large
        return small if abs(x) < near else large

    return implementation


@compiled
def where(condition: bool, yes: float, no: float) -> float:
    """yes if the condition holds, else no."""
    return yes if condition else no


@compiled
def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)) in the type of x."""
    one = type(x)(1)
    return one / (one + exp(-x))


# Made from text, they have no file by which Numba could find them on disk; what calls them has.
_rows = compiled_rows(
    njit(nogil=True, error_model="numpy", fastmath={"contract"}),
    {"where": where, "sigmoid": sigmoid, "exp": exp, "tanh": tanh, "abs": abs},
)
activation, activation_slope = _rows["activation"], _rows["activation_slope"]
residual_value, residual_slope = _rows["residual_value"], _rows["residual_slope"]
