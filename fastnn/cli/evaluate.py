"""`fastnn evaluate`: a saved network on the test part, in every figure worth knowing."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from math import isnan
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastnn.cli import output
from fastnn.cli.options import Device, Json, Run, Threads
from fastnn.cli.saved import DataDir, TestData, open_with_data
from fastnn.errors import ConfigError

if TYPE_CHECKING:
    from fastnn.analysis.evaluation import Evaluation, NumbersEvaluation
    from fastnn.analysis.opened import RunData
    from fastnn.training.classifier import Classifier


def evaluate(
    run: Run,
    data_dir: DataDir = None,
    test_data: TestData = None,
    device: Device = None,
    threads: Threads = 0,
    json: Json = False,
    csv: Annotated[
        bool, typer.Option("--csv", help="a row for each class or target, as CSV on stdout")
    ] = False,
) -> None:
    """Score the network of RUN on the test part of its data; without one, on its validation part.

    Of classes: accuracy, loss, calibration, each class's precision and recall, and what was taken
    for what. The temperature, by which outputs are divided to say how sure the network may be, is
    fitted on the part that the run held out for validation. Of numbers: loss and each target's
    errors.
    """
    with output.exit_codes(as_json=json):
        if json and csv:
            raise ConfigError("--json and --csv: both want stdout for themselves; give one of them")
        from fastnn.analysis.evaluation import Evaluation, NumbersEvaluation
        from fastnn.training.regressor import Regressor

        opened, data = open_with_data(
            run, device=device, threads=threads, data_dir=data_dir, test_data=test_data, quiet=json,
            or_validation=True,
        )  # fmt: skip
        if data.test_part == "validation":
            output.warn(
                f"{data.name} has no test part, so these are figures of the validation part, which "
                "chose the epoch that is kept; name a file with --test-data"
            )
        about = {"dataset": data.name, "run": str(run), "part": data.test_part}
        if isinstance(opened.predictor, Regressor):
            numbers = NumbersEvaluation.of(opened.predictor, data.test)
            if csv:
                _write(("target", "r2", "rmse", "mae"), _target_rows(numbers))
            elif json:
                output.emit("done", _values_of_numbers(numbers) | about)
            else:
                from fastnn.cli.evaluation_text import print_numbers

                print_numbers(numbers, data)
            return
        found = Evaluation.of(opened.predictor, data.test)
        if csv:
            predicted = (f"predicted {name}" for name in found.class_names)
            heads = ("class", "name", "precision", "recall", "f1", "support", *predicted)
            _write(heads, _class_rows(found))
            return
        temperature = _temperature(opened.predictor, data)
        if json:
            output.emit("done", _values(found, data, temperature) | about)
        else:
            from fastnn.cli.evaluation_text import print_classes

            print_classes(found, data, temperature)


def _temperature(classifier: Classifier, data: RunData) -> float | None:
    """Fitted on the validation part; None, and a note that says why, where there is none."""
    from fastnn.analysis.evaluation import temperature_of, validation_of

    found = temperature_of(validation_of(classifier, data), data.unvalidated)
    if found.value is None:
        output.note(f"no temperature is fitted: {found.why}")
    return found.value


def _values(found: Evaluation, data: RunData, temperature: float | None) -> dict[str, Any]:
    """All figures of a classifier as plain values."""
    from fastnn.analysis.metrics import macro

    names = found.class_names
    figures = zip(names, found.per_class, strict=True)
    return {
        "loss": found.loss,
        "accuracy": found.accuracy,
        "accuracy_interval": found.interval,
        "count": found.count,
        "top_k": found.top_k,
        "per_class": [{"name": name, **row._asdict()} for name, row in figures],
        "macro": macro(found.per_class)._asdict(),
        "confusion": found.confusion.tolist(),
        "most_confused": [
            {**pair._asdict(), "true": names[pair.true], "taken_for": names[pair.taken_for]}
            for pair in found.most_confused()
        ],
        "ece": found.calibration().ece,
        "temperature": temperature,
        "ece_at_temperature": temperature and found.calibration(temperature).ece,
        "loss_at_temperature": temperature and found.loss_at(temperature),
        "valid_count": None if data.valid is None else len(data.valid.labels),
    }


def _values_of_numbers(numbers: NumbersEvaluation) -> dict[str, Any]:
    """All figures of a regressor as plain values."""
    figures = zip(numbers.names, numbers.per_target, strict=True)
    return {
        "loss": numbers.loss,
        "r2": numbers.r2,
        "rmse": [row.rmse for row in numbers.per_target],
        "count": numbers.count,
        "accuracy": None,
        "per_target": [{"name": name, **row._asdict()} for name, row in figures],
    }


def _class_rows(found: Evaluation) -> Iterable[list[Any]]:
    """Each class's code, name and figures, and how often it was taken for every class."""
    for code, (name, figures) in enumerate(zip(found.class_names, found.per_class, strict=True)):
        cells = [None if isnan(figure) else figure for figure in figures]  # an empty cell
        yield [code, name, *cells, *found.confusion[code].tolist()]


def _target_rows(numbers: NumbersEvaluation) -> Iterable[list[Any]]:
    for name, figures in zip(numbers.names, numbers.per_target, strict=True):
        yield [name, *figures]


def _write(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    # All texts in quotes: with "\n" as the end of a line, csv would leave a name's "\r" bare.
    table = csv.writer(sys.stdout, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    table.writerow(heads)
    table.writerows(rows)
