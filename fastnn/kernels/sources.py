"""The CUDA C++ that the fused kernels are made of: elementwise bodies here, the rest in rows.cu.

Elementwise work is written as the bodies of CuPy's ElementwiseKernel, in which `i` is the element.
Kernels whose threads must meet are in rows.cu. Activations and losses come from formulas.py.
Nothing here needs CuPy, so all of it can be compiled and run elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import NamedTuple

from fastnn.kernels.formulas import ACTIVATIONS, CUDA_NAMES, LOSSES, Formula, in_cuda


class Elementwise(NamedTuple):
    """What `cupy.ElementwiseKernel` is made of. `T` is the network's dtype."""

    inputs: str
    outputs: str
    body: str
    name: str


# Dividing 64-bit numbers costs a GPU several times as much as 32-bit ones.
_ROW_AND_COLUMN = """
    const long long row = i <= 0x7fffffff ? (int)i / (int)width : i / width;
    const long long column = i - row * width;
"""

# The counted random numbers of fastnn.kernels, by the array `noise` that must be at hand.
_WORDS = """
    typedef unsigned long long Word;
    const auto mix = [](Word word) {
        word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9ull;
        word = (word ^ (word >> 27)) * 0x94D049BB133111EBull;
        return word ^ (word >> 31);
    };
    const auto word_of = [&](Word stream, Word number) {
        const Word golden = 0x9E3779B97F4A7C15ull;
        return mix(mix(noise[0] + golden * (stream + 1)) + golden * (number + 1));
    };
"""

_GATHER_INPUTS = (
    "raw S inputs, raw L labels, raw int64 rows, raw T offset, raw T factor, "
    "int64 width, int64 offset_stride, int64 factor_stride, int64 targets"
)

# Targets of a regression are rows of numbers, and the threads of a row of x share their copying.
_COPY_LABELS = """
    for (long long t = column; t < targets; t += width)
        labels_out[row * targets + t] = labels[source * targets + t];
"""

GATHER = Elementwise(
    _GATHER_INPUTS,
    "T x, raw L labels_out",
    _ROW_AND_COLUMN
    + """
    const long long source = rows[row];
    x = ((T)inputs[source * width + column] - offset[column * offset_stride])
        * factor[column * factor_stride];
    """
    + _COPY_LABELS,
    "fastnn_gather",
)

# Each pixel looks up where it was before its picture was mirrored and moved: (down, right).
GATHER_VARIED = Elementwise(
    f"{_GATHER_INPUTS}, raw uint64 noise, uint64 stream, "
    "int32 high, int32 wide, int32 channels, int32 shift, bool flip, int32 cutout",
    "T x, raw L labels_out",
    _ROW_AND_COLUMN
    + _WORDS
    + """
    const long long source = rows[row];
    const Word word = word_of(stream, noise[1] + row);
    const auto chosen = [&](int bits, int at, int choices) {
        return (int)(((word >> at) & ((1ull << bits) - 1)) * choices >> bits);
    };
    const int pixel = (int)column / channels, channel = (int)column - pixel * channels;
    const int at_down = pixel / wide, at_right = pixel - at_down * wide;
    const int down = at_down - (chosen(16, 0, 2 * shift + 1) - shift);
    int right = at_right - (chosen(16, 16, 2 * shift + 1) - shift);
    bool seen = 0 <= down && down < high && 0 <= right && right < wide;
    if (flip && chosen(1, 32, 2) == 1) right = wide - 1 - right;
    const int top = at_down - chosen(15, 33, high) + cutout / 2;
    const int left = at_right - chosen(15, 48, wide) + cutout / 2;
    if (0 <= top && top < cutout && 0 <= left && left < cutout) seen = false;
    const long long from = source * width + (down * wide + right) * channels + channel;
    x = ((seen ? (T)inputs[from] : (T)0) - offset[column * offset_stride])
        * factor[column * factor_stride];
    """
    + _COPY_LABELS,
    "fastnn_gather_varied",
)

TAKE = Elementwise(
    "raw T table, raw int64 rows, int64 width",
    "T out",
    _ROW_AND_COLUMN + "out = table[rows[row] * width + column];",
    "fastnn_take",
)

# `y < 0 ? 0 : y` keeps NaN, which a maximum would hide from the divergence guard.
BIAS = Elementwise(
    "raw T b, int64 width, bool relu",
    "T y",
    _ROW_AND_COLUMN
    + """
    y += b[column];
    if (relu) y = y < 0 ? (T)0 : y;
    """,
    "fastnn_bias",
)

RELU_BACKWARD = Elementwise("T x", "T dx", "if (!(x > 0)) dx = 0;", "fastnn_relu_backward")

# By given statistics. The first row notes the factors for the backward pass.
NORMALIZE = Elementwise(
    "T x, raw T mean, raw T variance, raw T gain, raw T shift, T eps, int64 width",
    "T y, T x_hat, raw T factor",
    _ROW_AND_COLUMN
    + """
    const T scale = 1 / sqrt(variance[column] + eps);
    const T normal = (x - mean[column]) * scale;
    if (row == 0) factor[column] = scale;
    x_hat = normal;
    y = gain[column] * normal + shift[column];
    """,
    "fastnn_normalize",
)

# A factor of 0 instead of a plain 0 passes NaN on. Without dropout no words are worked out.
_DROP = """
    if (threshold != 0)
        value *= word_of(stream, noise[1] * width + i) >= threshold ? scale : (T)0;
"""
_DROP_INPUTS = "raw uint64 noise, int64 width, uint64 stream, uint64 threshold, T scale"


def _activation(inputs: str, output: str, body: str, formula: Formula, name: str) -> Elementwise:
    """A kernel around one formula, which `body` may use as `value`."""
    constant = f"    [[maybe_unused]] const T c = (T){formula.c!r};\n"
    return Elementwise(
        f"{inputs}, {_DROP_INPUTS}",
        output,
        CUDA_NAMES + constant + _WORDS + body,
        f"fastnn_{name.replace('-', '_')}",
    )


ACTIVATE: Mapping[str, Elementwise] = {
    name: _activation(
        "T x, T skip",
        "T y",
        f"    T value = {in_cuda(formula.value)};{_DROP}    y = skip + value;\n",
        formula,
        name,
    )
    for name, formula in ACTIVATIONS.items()
}

ACTIVATE_BACKWARD: Mapping[str, Elementwise] = {
    name: _activation(
        "T dy, T x",
        "T dx",
        f"    T value = dy * ({in_cuda(formula.slope)});{_DROP}    dx = value;\n",
        formula,
        f"{name}_backward",
    )
    for name, formula in ACTIVATIONS.items()
}

SGD = Elementwise(
    "T g, raw T rates, T momentum, bool nesterov, T decay, int64 n_decay",
    "T p, T m",
    """
    const T slope = i < n_decay ? g + decay * p : g;
    T direction = slope;
    if (momentum != 0) {
        m = momentum * m + slope;
        direction = nesterov ? slope + momentum * m : m;
    }
    p -= rates[0] * direction;
    """,
    "fastnn_sgd",
)

ADAM = Elementwise(
    "T g, raw T rates, T beta1, T rest1, T beta2, T rest2, T decay, bool decoupled, int64 n_decay",
    "T p, T m, T v",
    """
    const bool decays = decay != 0 && i < n_decay;
    if (decays && decoupled) p *= rates[2];
    const T slope = decays && !decoupled ? g + decay * p : g;
    m = beta1 * m + rest1 * slope;
    v = beta2 * v + rest2 * slope * slope;
    p -= rates[0] * m / (sqrt(v) + rates[1]);
    """,
    "fastnn_adam",
)

RMSPROP = Elementwise(
    "T g, raw T rates, T beta2, T rest2, T eps, T decay, int64 n_decay",
    "T p, T v",
    """
    const T slope = i < n_decay ? g + decay * p : g;
    v = beta2 * v + rest2 * slope * slope;
    p -= rates[0] * slope / (sqrt(v) + eps);
    """,
    "fastnn_rmsprop",
)

# The sign of NaN is NaN.
LION = Elementwise(
    "T g, raw T rates, T beta1, T beta2, T rest2, int64 n_decay",
    "T p, T m",
    """
    const T blend = beta1 * (m - g) + g;
    const T sign = blend > 0 ? (T)1 : blend < 0 ? (T)-1 : blend;
    if (i < n_decay) p *= rates[1];
    p -= rates[0] * sign;
    m = beta2 * m + rest2 * g;
    """,
    "fastnn_lion",
)

AVERAGE = Elementwise(
    "T p, raw T rates", "T mean", "mean += rates[0] * (p - mean);", "fastnn_average"
)

ELEMENTWISE = (
    GATHER, GATHER_VARIED, TAKE, BIAS, RELU_BACKWARD, NORMALIZE, *ACTIVATE.values(),
    *ACTIVATE_BACKWARD.values(), SGD, ADAM, RMSPROP, LION, AVERAGE,
)  # fmt: skip

# Threads of a block in rows.cu, given to its compiler by these names: WARPS warps share a block
# where each has a row; (COLUMNS, SLICES) threads work on columns, 8 floats being one memory sector;
# BLOCK threads do everything else.
GEOMETRY = {"WARPS": 4, "COLUMNS": 8, "SLICES": 32, "BLOCK": 256}


def rows_source() -> str:
    """The CUDA C++ of rows.cu, after the functions that it takes from formulas.py."""
    rows = resources.files("fastnn.kernels").joinpath("rows.cu").read_text(encoding="utf-8")
    functions = (_branches("residual_loss_of", "value"), _branches("residual_slope_of", "slope"))
    return "\n".join([*functions, rows])


def _branches(name: str, part: str) -> str:
    """A function of (kind, x, c) with a branch for each of LOSSES, counted from 0."""
    lines = [f"__device__ Real {name}(int kind, Real x, Real c) {{", "    using T = Real;"]
    lines.append(CUDA_NAMES)
    for kind, formula in enumerate(LOSSES.values()):
        lines.append(f"    if (kind == {kind}) return {in_cuda(getattr(formula, part))};")
    return "\n".join([*lines, "    return x;", "}", ""])


def rows_options(dtype: str) -> tuple[str, ...]:
    """What the compiler of rows.cu is told, for networks of this dtype."""
    real = {"float32": "float", "float64": "double"}[dtype]
    return ("--std=c++17", f"-DReal={real}", *(f"-D{name}={n}" for name, n in GEOMETRY.items()))
