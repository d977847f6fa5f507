"""docs/gradients.md: every activation, norm and loss, held against finite differences.

    python -m scripts.gradient_table > docs/gradients.md      (--json for one record a network)

Each network is small and float64. A difference across the kink of a ReLU, of mae or of huber would
be wrong by far more than rounding, so networks stay away from them: weights, biases and inputs are
drawn again until nothing that goes into an activation is nearer to 0 than `MARGIN`, a hundred times
`STEP`; and targets are set at fixed distances from the network's own outputs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from itertools import count, product
from typing import Any, NamedTuple

import numpy as np

from fastnn.backend import Array, Backend, get_backend
from fastnn.kernels import Kernels
from fastnn.kernels.formulas import ACTIVATIONS
from fastnn.kernels.reference import Reference
from fastnn.nn.blocks import NORMS, Block
from fastnn.nn.gradcheck import check_gradients
from fastnn.nn.model import MLP
from fastnn.nn.objective import LOSSES, Objective

LIMIT = 1e-6  # an error above it is a wrong gradient
STEP = 1e-5  # of the differences: near the third root of float64's rounding, where they are best
MARGIN = 100 * STEP
SIZES, ROWS = (4, 5, 5, 3), 7
RESIDUALS = (-2.3, -0.6, 0.4, 1.7)  # on both sides of mae's kink at 0 and of huber's at -1 and 1
WEIGHED = "smoothed, weighed"  # the cross-entropy, once more
COLUMNS = (LOSSES[0], WEIGHED, *LOSSES[1:])


class Case(NamedTuple):
    """A network to be checked; a `rich` one also has dropout, input dropout and residual paths."""

    activation: str
    norm: str
    column: str
    rich: bool = False

    @property
    def block(self) -> Block:
        if self.rich:
            return Block(self.activation, self.norm, dropout=0.3, residual=True)
        return Block(self.activation, self.norm)

    @property
    def objective(self) -> Objective:
        if self.column == WEIGHED:
            return Objective(smoothing=0.1)
        return Objective(self.column)


CASES = [
    Case(activation, norm, column, rich)
    for rich, activation, norm, column in product((False, True), ACTIVATIONS, NORMS, COLUMNS)
]


def worst_error(
    case: Case, backend: Backend, kernels: Kernels | None = None, rows: int = ROWS
) -> float:
    """The largest relative error of any parameter's gradient."""
    for seed in count():
        rng = np.random.default_rng(seed)
        model = MLP(
            SIZES, backend, rng=rng, blocks=[case.block] * 2, objective=case.objective,
            input_dropout=0.2 if case.rich else 0.0, kernels=kernels, dtype=np.float64,
        )  # fmt: skip
        for name in model.params:
            if not name.endswith("weight"):  # a variance must be above 0
                drawn = rng.uniform(0.5, 1.5, model.params[name].shape)
                model.params[name][...] = backend.asarray(drawn)
        x = backend.asarray(rng.normal(size=(rows, SIZES[0])))
        if _distance_from_kinks(model, x) > MARGIN:
            break
    labels = backend.asarray(np.arange(rows) % SIZES[-1])
    if not case.objective.classifies:
        outputs = backend.to_host(model.forward(x, model.workspace(rows), training=True))
        labels = backend.asarray(outputs - np.resize(RESIDUALS, outputs.shape))
    # In the columns of numbers rows are weighed as well: nothing else would check that.
    weights = None if case.column == LOSSES[0] else np.linspace(0.2, 1.8, rows)
    return check_gradients(model, x, labels, weights=weights, step=STEP).worst


def _distance_from_kinks(model: MLP, x: Array) -> float:
    """The least size of what goes into an activation."""
    ws, host, found = model.workspace(len(x)), model.backend.to_host, []
    model.forward(x, ws, training=True)
    for (w, *b), kept, y in zip(model.layers(model.params), ws.buffers, ws.outputs, strict=False):
        # Of a plain block its ReLU has overwritten them.
        inputs = host(x) @ host(w) + host(*b) if kept is None else host(kept.n)
        found.append(float(np.abs(inputs).min()))
        x = y
    return min(found)


def table(errors: Mapping[Case, float]) -> str:
    """All errors in Markdown: a line for each activation and norm, a column for each loss."""
    lines = [
        "# Gradients",
        "",
        "Backpropagation against central differences in float64 on networks of "
        f"{'-'.join(map(str, SIZES))}: the largest",
        "error of any parameter's gradient, relative to that gradient's largest element. Above "
        f"{LIMIT:g} it",
        "would be wrong. Made by `python -m scripts.gradient_table`, which tells how it avoids "
        "kinks.",
    ]
    for rich, title in (
        (False, "Affine, norm, activation"),
        (True, "With dropout 0.3, input dropout 0.2 and residual paths"),
    ):
        lines += ["", f"## {title}", "", f"| activation | norm | {' | '.join(COLUMNS)} |"]
        lines.append("|---|---|" + "---:|" * len(COLUMNS))
        for activation, norm in product(ACTIVATIONS, NORMS):
            found = (errors[Case(activation, norm, column, rich)] for column in COLUMNS)
            cells = " | ".join(f"{error:.1e}" for error in found)
            lines.append(f"| {activation} | {norm} | {cells} |")
    return "\n".join([*lines, "", f"The worst is {max(errors.values()):.1e}."])


def main() -> None:
    """Check every network; exit with status 1 if one gradient is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print records instead of a table")
    options = parser.parse_args()
    backend = get_backend("cpu")
    errors = {case: worst_error(case, backend, Reference(backend.xp)) for case in CASES}
    if options.json:
        records: list[dict[str, Any]] = [c._asdict() | {"error": e} for c, e in errors.items()]
        print(json.dumps(records, indent=1))
    else:
        print(table(errors))
    raise SystemExit(not max(errors.values()) <= LIMIT)


if __name__ == "__main__":
    main()
