"""Charts of a run: how it learned, and the numbers that it predicts.

Each function returns a matplotlib Figure, to be saved by `style.rendered`. `note` is the small
print below the title: which data, which part, which run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastnn.analysis.history import best_epoch
from fastnn.analysis.palette import BLUE, FAINT, GREY, INK, PAPER, PARTS, VERMILION
from fastnn.analysis.style import BODY, SMALL, WIDTH, finished, fitted, frame, new_figure, spread
from fastnn.errors import DataError

if TYPE_CHECKING:
    from fastnn.training.callbacks import EpochReport
    from fastnn.training.lr_find import RangeTest

MOST_TARGETS = 12  # of many numbers to predict, the first are drawn

Floats = NDArray[np.floating]


def curves(history: Sequence[EpochReport], *, note: str = "") -> Any:
    """Loss, accuracy and learning rate over the epochs; what lacks is left out."""
    if not history:
        raise DataError("there are no curves to draw: no epoch was finished")
    epochs = [report.epoch for report in history]
    rows: list[tuple[str, dict[str, Floats], float]] = [
        (
            "loss",
            {
                "train": _known([report.train_loss for report in history]),
                "valid": _known([report.valid_loss for report in history]),
            },
            2.3,
        ),
        (
            "accuracy, %",
            {
                "train": _known([report.train_accuracy for report in history], 100),
                "valid": _known([report.valid_accuracy for report in history], 100),
            },
            2.3,
        ),
        ("learning rate", {"": _known([report.learning_rate for report in history])}, 1.25),
    ]
    rows = [row for row in rows if not np.isnan(list(row[1].values())).all()]
    kept = best_epoch(history)
    best = None if kept is None else kept.epoch
    title = f"{len(history)} epoch" + ("s" if len(history) > 1 else "")
    if best is not None and len(history) > 1:
        title += f"; the best is epoch {best}"
    paper = new_figure(sum(row[2] for row in rows) + 0.3, title, note)
    all_axes = paper.subplots(
        len(rows), sharex=True, squeeze=False, height_ratios=[row[2] for row in rows]
    )[:, 0]
    for axes, (name, lines, _) in zip(all_axes, rows, strict=True):
        _over_epochs(axes, epochs, lines, best)
        axes.set_title(name, loc="left", size=BODY, color=INK)
    all_axes[-1].set_xlabel("epoch")
    all_axes[-1].set_ylim(bottom=0)  # a constant rate is a line, not a scale of rounding errors
    frame(all_axes[-1])
    return finished(paper)


def learning_rates(found: RangeTest, title: str) -> Any:
    """A learning-rate range test: loss over rate, and the rate that it suggests."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    paper = new_figure(3.9, title)
    axes = paper.add_subplot()
    axes.plot(found.rates, found.losses, color=GREY, linewidth=0.8, label="loss of the batch")
    axes.plot(found.rates, found.smoothed, color=BLUE, linewidth=2.2, label="smoothed")
    least = min(found.smoothed)
    axes.plot([found.rate_of_least], [least], "o", color=BLUE, markersize=5)
    axes.axvline(found.suggestion, color=VERMILION, linewidth=1.6)
    axes.annotate(
        f" {found.suggestion:.2g}", (found.suggestion, 1), xycoords=("data", "axes fraction"),
        xytext=(2, -4), textcoords="offset points", va="top", color=VERMILION, weight="bold",
    )  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    top = 1.5 * max(found.smoothed[: len(found.smoothed) // 2])  # what explodes leaves the picture
    axes.set_ylim(min(0.9 * least, 0.0) if least < 0 else 0.0, top)
    axes.set_xlim(found.rates[0], found.rates[-1])
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss")
    axes.legend(loc="lower left", frameon=False, fontsize=SMALL)
    frame(axes)
    return finished(paper)


def predicted(true: Floats, found: Floats, target_names: Sequence[str], *, note: str = "") -> Any:
    """Predicted over true numbers, both (N, T): a panel a target, and the line of no error."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    shown = min(len(target_names), MOST_TARGETS)
    if shown < len(target_names):
        note = f"{note}\nthe first {shown} of {len(target_names)} targets"
    across = min(shown, 2 if shown < 5 else 3)
    down = -(-shown // across)
    side = (WIDTH if across > 1 else 5.2) / across
    paper = new_figure(side * 1.05 * down, "Predicted and true numbers", note)
    panels = paper.subplots(down, across, squeeze=False).ravel()
    size = float(np.clip(12000 / max(len(true), 1), 3, 22))
    for axes, name, x, y in zip(panels, target_names, true.T, found.T, strict=False):
        low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
        edge = 0.04 * (high - low or 1.0)
        ends = (low - edge, high + edge)
        axes.plot(ends, ends, color=GREY, linewidth=1, dashes=(4, 3))
        axes.scatter(x, y, s=size, color=BLUE, alpha=0.5, linewidths=0)
        axes.set(xlim=ends, ylim=ends, xlabel="true", ylabel="predicted", box_aspect=1)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5))
            axis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.6g}"))
        varies = float(((x - x.mean()) ** 2).sum())
        r2 = f", R² {1 - float(((y - x) ** 2).sum()) / varies:.3f}" if varies else ""
        axes.set_title(f"{fitted(name, 0.6 * side, BODY)}{r2}", loc="left", size=BODY, color=INK)
        frame(axes)
    for axes in panels[shown:]:
        axes.remove()
    return finished(paper)


def column_norms(first: Floats, names: Sequence[str], *, most: int = 30, note: str = "") -> Any:
    """First-layer weights (I, O) of a table: each column's norm, greatest first."""
    norms = np.linalg.norm(first, axis=1)
    order = np.argsort(-norms, kind="stable")[:most]
    if len(order) < len(norms):
        note = f"{note}\nthe {len(order)} greatest of {len(norms)}"
    title = "Norm of each column's first-layer weights"
    paper = new_figure(0.24 * len(order) + 0.5, title, note)
    axes = paper.add_subplot()
    axes.barh(np.arange(len(order)), norms[order], color=BLUE, height=0.72)
    axes.set_yticks(np.arange(len(order)), [fitted(names[column], 2.2, SMALL) for column in order])
    axes.set_ylim(len(order) - 0.4, -0.6)
    for place, column in enumerate(order):
        axes.annotate(
            f"{norms[column]:.3g}", (norms[column], place), xytext=(4, 0), color=FAINT,
            textcoords="offset points", va="center", size=SMALL,
        )  # fmt: skip
    axes.margins(x=0.1)
    frame(axes, grid="")
    axes.tick_params(axis="y", colors=INK)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    return finished(paper)


def _over_epochs(axes: Any, epochs: list[int], lines: dict[str, Floats], best: int | None) -> None:
    """Lines over the epochs with their names at the ends, and where the best epoch was."""
    from matplotlib.patheffects import withStroke
    from matplotlib.ticker import MaxNLocator

    lines = {name: values for name, values in lines.items() if not np.isnan(values).all()}
    for name, values in lines.items():
        axes.plot(
            epochs, values, color=PARTS.get(name, INK), linewidth=2 if name == "valid" else 1.6,
            marker="o", markersize=4 if len(epochs) <= 30 else 0, label=name,
        )  # fmt: skip
    axes.margins(y=0.12)
    axes.set_xlim(min(epochs) - 0.3, max(epochs) + 0.3)
    axes.xaxis.set_major_locator(MaxNLocator(9, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    low, high = axes.get_ylim()
    ends = [float(values[~np.isnan(values)][-1]) for values in lines.values()]
    places = spread(ends, 0.11 * (high - low))
    for name, place in zip(lines, places, strict=True):
        axes.annotate(
            name, (1, place), xycoords=("axes fraction", "data"), xytext=(6, 0), va="center",
            textcoords="offset points", color=PARTS.get(name, INK), size=BODY, weight="bold",
        )  # fmt: skip
    if best is not None:
        axes.axvline(best, color=GREY, linewidth=1, dashes=(4, 3), zorder=1)
        if "valid" in lines:
            value = float(lines["valid"][epochs.index(best)])
            axes.plot([best], [value], "o", color=PARTS["valid"], markersize=8, label="best")
            late = epochs.index(best) > len(epochs) / 2
            axes.annotate(
                f"{value:.4g}", (best, value), xytext=(-7 if late else 7, 7), size=BODY,
                textcoords="offset points", ha="right" if late else "left", color=PARTS["valid"],
                weight="bold", path_effects=[withStroke(linewidth=3, foreground=PAPER)],
            )  # fmt: skip
    frame(axes)


def _known(values: list[float | None], factor: float = 1.0) -> Floats:
    """Figures of the epochs, NaN where there is none."""
    return factor * np.array([np.nan if value is None else value for value in values])
