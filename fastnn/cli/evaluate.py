"""`fastnn evaluate`: a saved network on the test part."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from fastnn.cli import output
from fastnn.cli.options import Device, Json, Run, Threads
from fastnn.cli.saved import open_saved
from fastnn.errors import DataError


def evaluate(
    run: Run,
    data_dir: Annotated[
        str | None, typer.Option("--data-dir", metavar="DIR", help="where the data set lies now")
    ] = None,
    test_data: Annotated[
        Path | None,
        typer.Option("--test-data", metavar="FILE", help="score this labelled file instead"),
    ] = None,
    device: Device = None,
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """Score the network of RUN on the test part of its data."""
    with output.exit_codes(as_json=json):
        from fastnn.cli.progress import download_bar
        from fastnn.data.source import read_labelled
        from fastnn.training.checkpoint import config_of
        from fastnn.training.run import load_data

        file, meta, predictor = open_saved(run, device or "auto", threads)
        config = config_of(meta, file)
        output.warn_if_untrained(meta)
        if test_data is not None:
            name = test_data.stem
            test = read_labelled(test_data, predictor.schema, label=config.label)
        else:
            config = replace(config, data_dir=data_dir or config.data_dir)
            with download_bar(quiet=json) as progress:
                data = load_data(config, warn=output.warn, progress=progress)
            if data.test is None:
                raise DataError(f"{data.name} has no test part; name a file with --test-data")
            if data.schema != predictor.schema:
                raise DataError(
                    f"{data.name} is no longer what the network was trained on: found "
                    f"{data.schema}, expected {predictor.schema}"
                )
            name, test = data.name, data.test
        score = predictor.evaluate(test)
        if json:
            output.emit("done", asdict(score) | {"dataset": name, "run": str(run)})
        else:
            figures = ", ".join(f"{key} {text}" for key, text in output.figures(score).items())
            print(f"{name}: {figures}, loss {score.loss:.4f} on {score.count:,} test examples")
