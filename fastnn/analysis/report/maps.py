"""Test examples in the plane, as the last hidden layer sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.analysis.embedding import embed, installed, richest
from fastnn.analysis.evaluation import Evaluation
from fastnn.analysis.opened import OpenedRun
from fastnn.analysis.report.charts import Frame, scatter_places
from fastnn.analysis.report.thumbnails import Sheet, sheet, sheet_room
from fastnn.rng import Stream, generator

POINTS = 1000  # t-SNE takes some seconds for them
NAMED = 20  # classes at most whose names stand in the map

_FRAME = Frame(720, 560, 8, 8, 712, 552)
_NAME_WIDTH, _NAME_HEIGHT = 80, 18
_TITLES = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}


@dataclass(frozen=True, slots=True)
class Point:
    """An example: its true class, the one that was said, and its row in the test part."""

    code: int
    predicted: int
    row: int


@dataclass(frozen=True, slots=True)
class Way:
    """One way to lay the examples out: their places, and where each class's name stands."""

    method: str
    title: str
    places: list[tuple[float, float]]
    names: list[tuple[tuple[float, float], int]]


@dataclass(frozen=True, slots=True)
class Embeddings:
    """All ways, of the same examples; `sheet` holds their pictures in order, if they have any."""

    frame: Frame
    ways: list[Way]
    points: list[Point]
    sheet: Sheet | None
    of: str  # what was laid out
    alone: str  # why PCA is the only way, where it is

    @property
    def codes(self) -> set[int]:
        """The classes that are to be seen."""
        return {point.code for point in self.points}

    @property
    def facts(self) -> list[tuple[int, int, int]]:
        """What the page's script says of each example."""
        return [(point.code, point.predicted, point.row) for point in self.points]

    @property
    def sheet_facts(self) -> dict[str, int] | None:
        """Where the script finds an example's picture."""
        if self.sheet is None:
            return None
        return {name: getattr(self.sheet, name) for name in ("columns", "width", "height")}


def embeddings(opened: OpenedRun, evaluation: Evaluation, inputs: NDArray[Any]) -> Embeddings:
    """A sample of the test examples by PCA, and by UMAP or t-SNE where these are installed."""
    predictor, room = opened.predictor, POINTS
    schema = predictor.schema
    if schema.picture is not None:
        room = min(room, sheet_room(schema.picture))
    rows = np.sort(generator(0, Stream.SAMPLE).permutation(evaluation.count)[:room])
    features = predictor.hidden(inputs[rows])
    codes = evaluation.codes[rows]
    methods = dict.fromkeys([richest(len(rows)), "pca"])
    found = [embed(features, method) for method in methods]
    hidden = len(predictor.model.sizes) > 2
    return Embeddings(
        _FRAME,
        [_way(way.method, scatter_places(way.points, _FRAME), codes) for way in found],
        [
            Point(*point)
            for point in zip(
                codes.tolist(), evaluation.predicted[rows].tolist(), rows.tolist(), strict=True
            )
        ],
        sheet(inputs[rows].reshape(-1, *schema.picture)) if schema.picture else None,
        f"the last hidden layer, {features.shape[1]} values" if hidden else "the scaled inputs",
        "" if len(found) > 1 else _alone(len(rows)),
    )


def _alone(examples: int) -> str:
    if installed():
        return f"By PCA: {examples} are too few for t-SNE or UMAP."
    return "By PCA; where scikit-learn or umap-learn is installed, by t-SNE or UMAP, too."


def _way(method: str, places: list[tuple[float, float]], codes: NDArray[np.integer]) -> Way:
    """With each class's name at the median of its places, unless they would be too many."""
    found, at = np.unique(codes), np.array(places)
    if len(found) > NAMED:
        return Way(method, _TITLES[method], places, [])
    medians = {code: np.median(at[codes == code], axis=0).tolist() for code in found.tolist()}
    names: list[tuple[tuple[float, float], int]] = []
    for code, (x, y) in sorted(medians.items(), key=lambda item: item[1][1]):
        x = min(max(x, _NAME_WIDTH / 2), _FRAME.width - _NAME_WIDTH / 2)
        for (other_x, other_y), _ in names:  # from the top down: below what it would cover
            if abs(x - other_x) < _NAME_WIDTH and y - other_y < _NAME_HEIGHT:
                y = other_y + _NAME_HEIGHT
        names.append(((round(x, 1), round(y, 1)), code))
    return Way(method, _TITLES[method], places, names)
