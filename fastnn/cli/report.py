"""`fastnn report`: a run as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastnn.cli import output
from fastnn.cli.options import Device, Json, Run, Threads
from fastnn.cli.saved import DataDir, TestData, open_with_data, place_beside
from fastnn.errors import ConfigError
from fastnn.training.layout import REPORT

if TYPE_CHECKING:
    from fastnn.data.examples import Dataset

_SUFFIXES = (".html", ".htm")


def report(
    run: Run,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help=f"where to write it [default: RUN/{REPORT}]"),
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="show it in a browser")] = False,
    data_dir: DataDir = None,
    test_data: TestData = None,
    device: Device = None,
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """Write all about RUN into one HTML file: figures, curves, examples, mistakes, settings.

    The file needs no network and no other file: it can be kept, mailed and printed.
    """
    with output.exit_codes(as_json=json):
        path = write_report(
            run, out, device=device, threads=threads, data_dir=data_dir, test_data=test_data,
            quiet=json,
        )  # fmt: skip
        if json:
            output.emit("done", {"report": str(path), "run": str(run)})
        else:
            print(path)
        if open_it:
            show(path)


def write_report(
    run: Path,
    out: Path | None = None,
    *,
    device: str | None = None,
    threads: int = 0,
    data_dir: str | None = None,
    test_data: Path | None = None,
    quiet: bool = False,
    data: Dataset | None = None,
) -> Path:
    """The report's path, once it is written there; `data` as in `open_with_data`."""
    from fastnn.analysis.report import render_report, require_packages
    from fastnn.training.checkpoint import write_atomically

    if out is not None and out.suffix.lower() not in _SUFFIXES:
        raise ConfigError(f"--out: {str(out)!r} must end with {' or '.join(_SUFFIXES)}")
    require_packages()
    path = out or place_beside(run, REPORT)
    opened, parts = open_with_data(
        run, device=device, threads=threads, data_dir=data_dir, test_data=test_data, quiet=quiet,
        or_validation=True, data=data,
    )  # fmt: skip
    # A folder's name need not be text: what is none of it becomes a question mark.
    write_atomically(path, render_report(opened, parts).encode("utf-8", "replace"))
    return path


def show(path: Path) -> None:
    """Open a file in the browser of this desktop, if there is one."""
    import webbrowser

    if not webbrowser.open(path.resolve().as_uri()):
        output.note(f"no browser could be started; open {path} yourself")
