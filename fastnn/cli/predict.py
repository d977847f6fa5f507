"""`fastnn predict`: classes with probabilities, or numbers, for rows of a file or pictures."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastnn.cli import output
from fastnn.cli.options import Device, Json, Run, Threads
from fastnn.cli.predictions import SHOWN_ROWS, draw, numbers, ranked, write
from fastnn.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastnn.analysis.opened import OpenedRun
    from fastnn.data.examples import Schema
    from fastnn.training.classifier import Classifier

_BRIGHT_ON_BLACK = ("mnist", "fashion-mnist", "garments")


def predict(
    run: Run,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="IDX, .csv, .npy or .npz; or pictures (.png, .jpg, ...) and folders of them",
        ),
    ],
    label: Annotated[
        str | None,
        typer.Option("--label", metavar="COLUMN", help="label column to leave out of a table"),
    ] = None,
    invert: Annotated[
        bool, typer.Option("--invert", help="make bright what is dark: for ink on paper")
    ] = False,
    top_k: Annotated[
        int | None, typer.Option("--top-k", metavar="K", help="the K likeliest classes, ranked")
    ] = None,
    min_confidence: Annotated[
        float | None,
        typer.Option(
            "--min-confidence", metavar="P", help="no class where none has a probability of P"
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature",
            metavar="T",
            help="divide the outputs by T: above 1 is less sure; `fastnn evaluate` prints the one "
            "that fits the validation part [default: 1]",
        ),
    ] = None,
    show: Annotated[
        bool | None,
        typer.Option(
            "--show/--no-show",
            help=f"draw pictures (or the first {SHOWN_ROWS} rows of a file) beside bars of "
            "probabilities [default: pictures, in a terminal]",
            show_default=False,
        ),
    ] = None,
    device: Device = None,
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """Predict the rows of FILE, or pictures, with the network of RUN.

    Writes a CSV of index, class, name, probability to stdout; or of index and the numbers that the
    network was trained to predict, named as in training. With --top-k above 1 each index has K rows
    of index, rank, class, name, probability. Pictures have a column more, file.

    FILE holds images (IDX), a table (.csv, with or without the label column of training), or arrays
    (.npy; .npz: x, X, images, inputs or features, else its x_test). Pictures may be of any size, in
    grey or colour; they are fitted into that of training and keep their proportions. A digit for a
    network of MNIST should fill 20 of 28 pixels and stand in the middle, as there.
    """
    with output.exit_codes(as_json=json):
        asked = _Asked(top_k, min_confidence, temperature, show, json)
        asked.check()
        pictures = _are_pictures(files, label=label, invert=invert)
        from fastnn.analysis.opened import open_run
        from fastnn.data.source import read_inputs
        from fastnn.training.regressor import Regressor

        opened = open_run(run, device or "auto", threads)
        predictor = opened.predictor
        asked.check_against(predictor.schema)
        names = None
        if pictures:
            inputs, names = _read_pictures(files, opened, invert)
        else:
            inputs = read_inputs(files[0], predictor.schema, label=label or opened.config.label)
        output.warn_if_untrained(opened.meta)
        done: dict[str, Any] = {"count": len(inputs), "run": str(run)}
        if isinstance(predictor, Regressor):
            write(predictor.schema.targets, numbers(predictor, inputs), names, json)
        else:
            done |= _classify(predictor, inputs, names, asked)
        if json:
            output.emit("done", done)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What to say of each example; None is what was not asked for."""

    top_k: int | None
    min_confidence: float | None
    temperature: float | None
    show: bool | None
    json: bool

    def check(self) -> None:
        """ConfigError for values that are wrong for any network."""
        if self.show and self.json:
            raise ConfigError("--show draws for people and --json prints for programs: choose one")
        if self.min_confidence is not None and not 0 <= self.min_confidence <= 1:
            raise ConfigError(
                f"--min-confidence: {self.min_confidence} must be a probability from 0 to 1"
            )

    def check_against(self, schema: Schema) -> None:
        """ConfigError for what a network of this kind cannot say."""
        classes = len(schema.class_names)
        if not classes:
            options = {
                "--top-k": self.top_k, "--min-confidence": self.min_confidence,
                "--temperature": self.temperature, "--show": self.show or None,
            }  # fmt: skip
            given = [name for name, value in options.items() if value is not None]
            if given:
                raise ConfigError(
                    f"{', '.join(given)}: for networks that tell classes apart; this one predicts "
                    f"numbers ({', '.join(schema.targets)})"
                )
        elif self.top_k is not None and not 1 <= self.top_k <= classes:
            raise ConfigError(
                f"--top-k: {self.top_k} must be from 1 to {classes}, the classes of this network"
            )

    def draws(self, pictures: bool) -> bool:
        """Whether people are to see pictures and bars instead of a CSV."""
        if self.show is None:
            return pictures and not self.json and sys.stdout.isatty()
        return self.show


def _are_pictures(files: Sequence[Path], *, label: str | None, invert: bool) -> bool:
    """Whether FILE... are pictures; ConfigError where they are of two kinds, or options of none."""
    from fastnn.data.pictures import is_picture

    pictures = [file for file in files if is_picture(file)]
    data = [file for file in files if not is_picture(file)]
    if pictures and data:
        raise ConfigError(
            f"FILE: {pictures[0]} is a picture and {data[0]} a data file; predict them one after "
            "the other"
        )
    if len(data) > 1:
        raise ConfigError(
            f"FILE: {', '.join(map(str, data))}: only pictures may be several; predict data files "
            "one after the other"
        )
    if data and invert:
        raise ConfigError(f"--invert: for pictures only; {data[0]} is a data file")
    if pictures and label is not None:
        raise ConfigError(f"--label {label}: for tables only; {pictures[0]} is a picture")
    return bool(pictures)


def _read_pictures(
    paths: Sequence[Path], opened: OpenedRun, invert: bool
) -> tuple[NDArray[Any], list[str]]:
    """Inputs (N, D) and the files they are from."""
    from fastnn.data.pictures import (
        have_bright_borders,
        picture_files,
        read_pictures,
        require_pictures,
    )

    schema = opened.predictor.schema
    require_pictures(schema)
    files = picture_files(paths)
    inputs = read_pictures(files, schema, invert=invert)
    if opened.config.dataset in _BRIGHT_ON_BLACK:
        bright = have_bright_borders(inputs, schema.picture or ())
        names = [str(file) for file, is_bright in zip(files, bright, strict=True) if is_bright]
        if names:
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            what = "were bright on black already: leave --invert out for them" if invert else (
                f"have a bright background, but networks of {opened.config.dataset} learned bright "
                "on black; --invert turns it round"
            )  # fmt: skip
            output.note(f"note: {len(names)} of {len(files)} pictures {what} ({shown})")
    return inputs, [str(file) for file in files]


def _classify(
    classifier: Classifier, inputs: NDArray[Any], files: list[str] | None, asked: _Asked
) -> dict[str, int]:
    """Write or draw the classes; how many examples got none, where that was asked for."""
    temperature = 1.0 if asked.temperature is None else asked.temperature
    probabilities = classifier.predict_proba(inputs, temperature=temperature)
    least = asked.min_confidence or 0.0
    if asked.draws(files is not None):
        draw(classifier, probabilities, least, asked.top_k, inputs, files)
    else:
        k = asked.top_k or 1
        columns = ("class", "name", "probability")
        found = ranked(classifier, probabilities, least, k)
        write(columns if k == 1 else ("rank", *columns), found, files, asked.json)
    if asked.min_confidence is None:
        return {}
    abstained = sum(share < least for share in probabilities.max(axis=1).tolist())
    output.note(
        f"{abstained} of {len(inputs)} without a class: their likeliest has a probability below "
        f"{least:g}"
    )
    return {"abstained": abstained}
