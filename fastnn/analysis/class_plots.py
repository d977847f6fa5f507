"""Charts of what a network says about classes: which it confuses, how sure of itself it may be.

Each function returns a matplotlib Figure, as in `plots`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastnn.analysis.embedding import Embedding
from fastnn.analysis.metrics import MANY
from fastnn.analysis.palette import (
    BLUE,
    FAINT,
    GREY,
    INK,
    PAPER,
    VERMILION,
    class_colour,
    class_marker,
)
from fastnn.analysis.style import (
    BODY,
    SMALL,
    TITLE,
    WIDTH,
    finished,
    fitted_apart,
    frame,
    new_figure,
)
from fastnn.analysis.wording import percent_text

if TYPE_CHECKING:
    from fastnn.analysis.evaluation import Evaluation

MOST_WRITTEN = 20  # classes up to which a confusion matrix has numbers in its cells

Codes = NDArray[np.integer]


def confusion(evaluation: Evaluation, *, note: str = "") -> Any:
    """Counts as numbers, shares of each true class as colour: right ones blue, mistakes red.

    Mistakes have a scale of their own, or the few that matter would be as pale as none.
    """
    counts = evaluation.confusion
    classes = len(counts)
    written = classes <= MOST_WRITTEN
    rates = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    own = np.eye(classes, dtype=bool)
    size = SMALL if written else 6.8
    names = fitted_apart(evaluation.class_names, 1.2 if written else 0.8, size)
    every = max(1, -(-classes // 50))  # names closer than that would touch
    title = f"{100 * evaluation.accuracy:.2f} % right: which classes are taken for which"
    paper = new_figure(WIDTH, title, note)
    panels = paper.subplot_mosaic(
        [["cells"] * 3, ["right", ".", "mistakes"]],
        height_ratios=(1, 0.022), width_ratios=(1, 0.12, 1),
    )  # fmt: skip
    axes = panels["cells"]
    worst = float(rates[~own].max()) or 1.0
    parts = (("right", own, BLUE, 1.0), ("mistakes", ~own, VERMILION, worst))
    for label, cells, colour, top in parts:
        image = axes.imshow(
            np.ma.masked_array(100 * rates, ~cells), cmap=_towards(colour), vmin=0, vmax=100 * top,
            label=label,
        )  # fmt: skip
        bar = paper.colorbar(image, cax=panels[label], orientation="horizontal")
        bar.set_label(f"{label}, % of the true class", size=SMALL, color=INK)
        bar.ax.tick_params(labelsize=SMALL, length=0, colors=FAINT)
        bar.outline.set_visible(False)
    if written:
        cell_size = TITLE if classes < 5 else SMALL if classes <= 12 else 6.8
        for i, j in zip(*np.nonzero(counts), strict=True):
            dark = rates[i, j] > (0.55 if i == j else 0.55 * worst)
            axes.text(
                j, i, f"{counts[i, j]:,}", ha="center", va="center", size=cell_size,
                color=PAPER if dark else INK, weight="bold" if i == j else "normal",
            )  # fmt: skip
    shown = range(0, classes, every)
    axes.set_xticks(shown, names[::every])
    if not (written and sum(map(len, names)) < 50):
        anchor = {"ha": "right", "rotation_mode": "anchor"} if written else {}
        for label in axes.get_xticklabels():
            label.set(rotation=45 if written else 90, **anchor)
    axes.set_yticks(shown, names[::every])
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    frame(axes, grid="")
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(labelsize=size, colors=INK)
    return finished(paper)


def calibration(evaluation: Evaluation, temperature: float | None = None, *, note: str = "") -> Any:
    """How often the network is right when it says it is so sure; below, how often it says so.

    With a temperature, which validation gave, before and after dividing the outputs by it.
    """
    from matplotlib.ticker import FuncFormatter, MultipleLocator, NullFormatter, NullLocator

    found = [("as trained", evaluation.calibration(), BLUE, "o")]
    if temperature is not None:
        label = f"temperature {temperature:.2f}"
        found.append((label, evaluation.calibration(temperature), VERMILION, "s"))
    title = f"Right {percent_text(evaluation.accuracy)} of the time, sure of itself "
    title += percent_text(float(evaluation.confidence.mean()))
    if any(((f.examples > 0) & (f.examples < MANY)).any() for _, f, *_ in found):
        note = f"{note}\nhollow: fewer than {MANY} examples"
    paper = new_figure(6.2, title, note)
    above, below = paper.subplots(2, sharex=True, height_ratios=(3.2, 1))
    above.plot([0, 100], [0, 100], color=GREY, linewidth=1, dashes=(4, 3))
    above.text(10, 4, "right as often as it is sure", color=FAINT, size=SMALL)
    bins, lines = len(found[0][1].examples), []
    width = 100 / bins / len(found)
    for place, (label, figures, colour, marker) in enumerate(found):
        sure, right = 100 * figures.confidence, 100 * figures.accuracy
        many, few = figures.examples >= MANY, (figures.examples > 0) & (figures.examples < MANY)
        text = f"{label}: expected calibration error {100 * figures.ece:.2f} %"
        look = {"color": colour, "marker": marker, "markersize": 5}
        lines += above.plot(sure[many], right[many], label=text, linewidth=1.8, **look)
        if few.any():
            above.plot(
                sure[few], right[few], linestyle="", fillstyle="none", clip_on=False, zorder=3,
                label=f"{label}, few examples", **look,
            )  # fmt: skip
        left = np.arange(bins) * 100 / bins + place * width
        below.bar(left, figures.examples, width * 0.9, align="edge", color=colour, label=label)
    above.set(xlim=(0, 100), ylim=(0, 103), ylabel="right, %")
    above.legend(
        handles=lines, loc="lower left", bbox_to_anchor=(-0.015, 1), frameon=False, fontsize=BODY,
        labelcolor=INK,
    )  # fmt: skip
    above.xaxis.set_major_locator(MultipleLocator(20))
    below.set_yscale("log")
    below.set_ylim(0.7, 1.6 * max(int(figures.examples.max()) for _, figures, *_ in found))
    below.yaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.0f}"))
    below.yaxis.set_minor_formatter(NullFormatter())
    below.yaxis.set_minor_locator(NullLocator())
    below.set(xlabel="how sure the network is of its answer, %", ylabel="examples")
    frame(above)
    frame(below)
    return finished(paper)


def embedding_map(
    embedded: Embedding,
    codes: Codes,
    class_names: Sequence[str],
    *,
    what: str = "The last hidden layer",
    note: str = "",
) -> Any:
    """Points (N, 2) with a colour and a shape a class, and its name at the middle of its points."""
    how = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}.get(embedded.method, embedded.method)
    paper = new_figure(6.4, f"{what} in the plane, by {how}", note)
    axes = paper.add_subplot()
    middles = {}
    size = float(np.clip(30000 / max(len(codes), 1), 6, 36))
    for code, name in enumerate(class_names):
        points = embedded.points[codes == code]
        if len(points):
            axes.scatter(
                *points.T, s=size, color=class_colour(code), marker=class_marker(code), alpha=0.6,
                linewidths=0, label=name,
            )  # fmt: skip
            middles[code] = np.median(points, axis=0)
    axes.set(xticks=[], yticks=[])
    axes.margins(0.04)
    few = len(class_names) <= MOST_WRITTEN
    places = _apart(axes, list(middles.values()), *((0.2, 0.045) if few else (0.11, 0.035)))
    size = BODY if few else 7.0
    short = fitted_apart(class_names, 1.4 if few else 0.7, size)
    for code, (x, y) in zip(middles, places, strict=True):
        axes.text(
            x, y, short[code], ha="center", va="center",
            size=size, color=INK,
            bbox={"boxstyle": "round,pad=0.25", "facecolor": PAPER, "edgecolor": class_colour(code),
                  "linewidth": 1.6, "alpha": 0.9},
        )  # fmt: skip
    frame(axes, grid="")
    axes.spines["bottom"].set_visible(False)
    return finished(paper)


def _towards(colour: str) -> Any:
    """A colour map from paper to this colour."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list(colour, [PAPER, colour])


def _apart(axes: Any, wanted: list[Any], width: float, height: float) -> list[tuple[float, float]]:
    """Places of labels so large (shares of the axes), moved up where they would cover others."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    wide, tall = width * (right - left), height * (top - bottom)
    placed: dict[int, tuple[float, float]] = {}
    for n in sorted(range(len(wanted)), key=lambda n: float(wanted[n][1])):
        x, y = map(float, wanted[n])
        for other_x, other_y in sorted(placed.values(), key=lambda place: place[1]):
            if abs(other_x - x) < wide and abs(other_y - y) < tall:
                y = other_y + tall
        placed[n] = (x, y)
    return [placed[n] for n in range(len(wanted))]
