"""`fastnn predict`: class and probability for each row of a file, or the numbers predicted."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastnn.cli import output
from fastnn.cli.options import Device, Json, Run, Threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastnn.training.classifier import Classifier
    from fastnn.training.regressor import Regressor


def predict(
    run: Run,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="IDX, .csv, .npy or .npz")],
    label: Annotated[
        str | None,
        typer.Option("--label", metavar="COLUMN", help="label column to leave out of a table"),
    ] = None,
    device: Device = None,
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """Predict the rows of FILE with the network of RUN.

    Writes a CSV of index, class, name, probability to stdout; or of index and the numbers that the
    network was trained to predict, named as in training.

    FILE holds images (IDX), a table (.csv, with or without the label column of training), or arrays
    (.npy; .npz: x, X, images, inputs or features, else its x_test).
    """
    with output.exit_codes(as_json=json):
        from fastnn.analysis.opened import open_run
        from fastnn.data.source import read_inputs

        opened = open_run(run, device or "auto", threads)
        predictor = opened.predictor
        inputs = read_inputs(file, predictor.schema, label=label or opened.config.label)
        output.warn_if_untrained(opened.meta)
        rows = csv.writer(sys.stdout, lineterminator="\n")
        if not json:
            names = predictor.schema.targets or ("class", "name", "probability")
            rows.writerow(["index", *names])
        count = 0
        for count, (values, texts) in enumerate(_predictions(predictor, inputs), 1):
            if json:
                output.emit("prediction", {"index": count - 1, **values})
            else:
                rows.writerow([count - 1, *texts])
        if json:
            output.emit("done", {"count": count, "run": str(run)})


def _predictions(
    predictor: Classifier | Regressor, inputs: NDArray[Any]
) -> Iterator[tuple[dict[str, Any], list[object]]]:
    """Each prediction as the values of an event, and as the cells of a row."""
    from fastnn.training.regressor import Regressor

    if isinstance(predictor, Regressor):
        names = predictor.target_names
        for row in predictor.predict(inputs).reshape(len(inputs), len(names)).tolist():
            values = dict(zip(names, row, strict=True))
            yield {"values": values}, [f"{value:.9g}" for value in row]
        return
    probabilities = predictor.predict_proba(inputs)
    codes = probabilities.argmax(axis=1)
    for index, code in enumerate(codes.tolist()):
        name, probability = predictor.class_names[code], float(probabilities[index, code])
        values = {"class": code, "name": name, "probability": probability}
        yield values, [code, name, f"{probability:.6f}"]
