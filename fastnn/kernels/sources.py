"""The CUDA C++ that the fused kernels are made of: elementwise bodies here, the rest in rows.cu.

Elementwise work is written as the bodies of CuPy's ElementwiseKernel, in which `i` is the element.
Kernels whose threads must meet are in rows.cu. Nothing here needs CuPy, so all of it can be
compiled and run elsewhere.
"""

from __future__ import annotations

from importlib import resources
from typing import NamedTuple


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

GATHER = Elementwise(
    "raw S inputs, raw L labels, raw int64 rows, raw T offset, raw T factor, "
    "int64 width, int64 offset_stride, int64 factor_stride",
    "T x, raw L labels_out",
    _ROW_AND_COLUMN
    + """
    const long long source = rows[row];
    x = ((T)inputs[source * width + column] - offset[column * offset_stride])
        * factor[column * factor_stride];
    if (column == 0) labels_out[row] = labels[source];
    """,
    "fastnn_gather",
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

ELEMENTWISE = (GATHER, BIAS, RELU_BACKWARD, SGD, ADAM)

# Threads of a block in rows.cu, given to its compiler by these names: WARPS warps share a block of
# softmax_xent; column_sums has (COLUMNS, SLICES) threads, 8 floats being one memory sector; BLOCK
# threads everything else.
GEOMETRY = {"WARPS": 4, "COLUMNS": 8, "SLICES": 32, "BLOCK": 256}


def rows_source() -> str:
    """The CUDA C++ of rows.cu."""
    return resources.files("fastnn.kernels").joinpath("rows.cu").read_text(encoding="utf-8")


def rows_options(dtype: str) -> tuple[str, ...]:
    """What the compiler of rows.cu is told, for networks of this dtype."""
    real = {"float32": "float", "float64": "double"}[dtype]
    return ("--std=c++17", f"-DReal={real}", *(f"-D{name}={n}" for name, n in GEOMETRY.items()))
