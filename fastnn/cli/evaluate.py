"""`fastnn evaluate`: a saved network on the test part."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated

import typer

from fastnn.cli import output
from fastnn.cli.options import Device, Json, Run
from fastnn.errors import DataError


def evaluate(
    run: Run,
    data_dir: Annotated[
        str | None, typer.Option("--data-dir", metavar="DIR", help="where the data set lies now")
    ] = None,
    test_data: Annotated[
        str | None, typer.Option("--test-data", metavar="FILE", help="another labelled test file")
    ] = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Score the network of RUN on the test part of the data it was trained with."""
    with output.exit_codes(as_json=json):
        from fastnn.cli.progress import download_bar
        from fastnn.training import checkpoint
        from fastnn.training.classifier import Classifier, weights_file
        from fastnn.training.run import load_data

        _, meta = checkpoint.load(weights_file(run))
        config = checkpoint.config_of(meta, run)
        classifier = Classifier.load(run, device or config.device)
        config = replace(
            config,
            data_dir=data_dir or config.data_dir,
            test_data=test_data or config.test_data,
        )
        with download_bar(quiet=json) as progress:
            data = load_data(config, warn=output.warn, progress=progress)
        if data.test is None:
            raise DataError(f"{data.name} has no test part; name a file with --test-data")
        if data.class_names != classifier.class_names:
            raise DataError(
                f"{data.name} now has the classes {', '.join(data.class_names)}; the network "
                f"was trained on {', '.join(classifier.class_names)}"
            )
        score = classifier.evaluate(data.test)
        if json:
            output.emit("done", asdict(score) | {"dataset": data.name, "run": str(run)})
        else:
            print(
                f"{data.name}: accuracy {output.percent(score.accuracy)}, loss {score.loss:.4f} "
                f"on {score.count:,} test examples"
            )
