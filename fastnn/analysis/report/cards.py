"""Single examples: what they look like, what they are, and what the network says they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from fastnn.analysis.evaluation import Evaluation
from fastnn.analysis.report.thumbnails import picture_uri
from fastnn.training.classifier import Classifier

VALUES = 8  # of a table's row that are shown


@dataclass(frozen=True, slots=True)
class Card:
    """One example: its picture or its values, what it is, and what the network says it is."""

    row: int
    true: str
    predicted: str
    right: bool
    bars: list[tuple[str, float, bool]]  # the likeliest classes: name, probability, is it true
    uri: str  # of its picture, empty for a row of a table
    values: list[tuple[str, float]]  # of a table's row


@dataclass(frozen=True, slots=True)
class Cards:
    """Makes cards of the rows of an evaluation."""

    evaluation: Evaluation
    inputs: NDArray[Any]
    classifier: Classifier

    def card(self, row: int) -> Card:
        e, schema = self.evaluation, self.classifier.schema
        names, p = e.class_names, e.probabilities[row]
        true = int(e.codes[row])
        uri, values = "", []
        if schema.picture is not None:
            uri = picture_uri(self.inputs[row].reshape(schema.picture))
        else:
            values = list(zip(schema.features[:VALUES], self.inputs[row].tolist(), strict=False))
        bars = [(names[code], float(p[code]), code == true) for code in e.worth_showing(row)]
        said, right = names[int(e.predicted[row])], bool(e.right[row])
        return Card(int(row), names[true], said, right, bars, uri, values)
