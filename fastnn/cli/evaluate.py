"""`fastnn evaluate`: a saved network on the test part."""

from __future__ import annotations

from dataclasses import asdict

from fastnn.cli import output
from fastnn.cli.options import Device, Json, Run, Threads
from fastnn.cli.saved import DataDir, TestData, open_with_data


def evaluate(
    run: Run,
    data_dir: DataDir = None,
    test_data: TestData = None,
    device: Device = None,
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """Score the network of RUN on the test part of its data."""
    with output.exit_codes(as_json=json):
        opened, data = open_with_data(
            run, device=device, threads=threads, data_dir=data_dir, test_data=test_data, quiet=json
        )
        score = opened.predictor.evaluate(data.test)
        if json:
            output.emit("done", asdict(score) | {"dataset": data.name, "run": str(run)})
        else:
            figures = ", ".join(f"{key} {text}" for key, text in output.figures(score).items())
            print(f"{data.name}: {figures}, loss {score.loss:.4f} on {score.count:,} test examples")
