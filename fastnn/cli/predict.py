"""`fastnn predict`: class and probability for each row of a file."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Annotated

import typer

from fastnn.cli import output
from fastnn.cli.options import Device, Json, Run, Threads
from fastnn.cli.saved import open_saved


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

    Writes a CSV of index, class, name, probability to stdout.

    FILE holds images (IDX), a table (.csv, with or without the label column of training), or arrays
    (.npy; .npz: x, X, images, inputs or features, else its x_test).
    """
    with output.exit_codes(as_json=json):
        from fastnn.data.source import read_inputs
        from fastnn.training.checkpoint import config_of

        weights, meta, classifier = open_saved(run, device or "auto", threads)
        label = label or config_of(meta, weights).label
        inputs = read_inputs(file, classifier.schema, label=label)
        output.warn_if_untrained(meta)
        probabilities = classifier.predict_proba(inputs)
        codes = probabilities.argmax(axis=1)
        rows = csv.writer(sys.stdout, lineterminator="\n")
        if not json:
            rows.writerow(["index", "class", "name", "probability"])
        for index, code in enumerate(codes.tolist()):
            name, probability = classifier.class_names[code], float(probabilities[index, code])
            if json:
                values = {"index": index, "class": code, "name": name, "probability": probability}
                output.emit("prediction", values)
            else:
                rows.writerow([index, code, name, f"{probability:.6f}"])
        if json:
            output.emit("done", {"count": len(codes), "run": str(run)})
