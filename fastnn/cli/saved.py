"""A saved run with its data, as the verbs that look at runs are asked for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastnn.cli import output
from fastnn.cli.progress import download_bar

if TYPE_CHECKING:
    from fastnn.analysis.opened import OpenedRun, RunData
    from fastnn.data.examples import Dataset

DataDir = Annotated[
    str | None, typer.Option("--data-dir", metavar="DIR", help="where the data set lies now")
]
TestData = Annotated[
    Path | None,
    typer.Option("--test-data", metavar="FILE", help="look at this labelled file instead"),
]


def place_beside(run: Path, name: str) -> Path:
    """Where a file about a run goes by itself: into its folder.

    Of a file of weights that lies in no run folder, beside it and called after it, since what else
    lies there is not the run's.
    """
    from fastnn.training.layout import CONFIG
    from fastnn.training.predictor import weights_file

    file = weights_file(run)
    if run.is_dir() or (file.parent / CONFIG).exists():
        return file.parent / name
    return file.with_name(f"{file.stem}-{name}")


def open_with_data(
    run: Path,
    *,
    device: str | None,
    threads: int,
    data_dir: str | None,
    test_data: Path | None,
    quiet: bool,
    or_validation: bool = False,
    data: Dataset | None = None,
) -> tuple[OpenedRun, RunData]:
    """The run and its data, as `load_run_data` reads them; a download is shown unless `quiet`.

    `data` is the run's data set, where it is in memory already.
    """
    from fastnn.analysis.opened import load_run_data, open_run

    opened = open_run(run, device or "auto", threads)
    output.warn_if_untrained(opened.meta)
    with download_bar(quiet) as progress:
        parts = load_run_data(
            opened, data=data, data_dir=data_dir, test_data=test_data, or_validation=or_validation,
            warn=output.warn, progress=progress,
        )  # fmt: skip
    return opened, parts
