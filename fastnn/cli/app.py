"""The `fastnn` command: collects the verbs."""

from __future__ import annotations

import io
import logging
import sys
import warnings
from typing import Annotated

import typer

from fastnn import __version__
from fastnn.cli import (
    bench,
    data,
    doctor,
    evaluate,
    info,
    lr_find,
    output,
    plot,
    predict,
    report,
    runs,
    train,
    tune,
)
from fastnn.cli.options import Sectioned

app = typer.Typer(
    name="fastnn",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: rich would take "[default: 10]" for markup and drop it
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 unexpected or output not writable, 2 usage or settings, "
    "3 data or checkpoint, 4 device, 5 diverged, 6 slower than bench --fail-if allows, losses that "
    "disagree or a --target-accuracy that was missed, 130 and 143 interrupted after saving, 141 "
    "nobody reads the output.",
)
app.command("train", cls=Sectioned)(train.train)
app.command("lr-find", cls=Sectioned)(lr_find.lr_find)
app.command("tune", cls=Sectioned)(tune.tune)
app.command("evaluate")(evaluate.evaluate)
app.command("predict")(predict.predict)
app.command("plot")(plot.plot)
app.command("report")(report.report)
app.add_typer(runs.app, name="runs")
app.add_typer(data.app, name="data")
app.command("bench")(bench.bench)
app.command("info")(info.info)
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Run the command line."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        # A name that the terminal's encoding lacks is no reason to lose the figures after it.
        sys.stdout.reconfigure(errors="backslashreplace")
    logging.getLogger("fastnn").addHandler(output.Log())
    warnings.showwarning = lambda message, *_: output.warn(str(message))
    try:
        try:
            app()
        finally:  # help may still lie in the buffer; the verbs have written theirs
            if sys.stdout is not None:
                sys.stdout.flush()
    except OSError as error:
        output.abandon(sys.stdout)
        sys.exit(output.BROKEN_PIPE if isinstance(error, BrokenPipeError) else 1)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fastnn {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks of errors")] = False,
) -> None:
    """Train multilayer perceptrons on a CPU or an NVIDIA GPU.

    \b
    fastnn train                           Fashion-MNIST, default network
    fastnn train --recipe adam-50 --json   published settings, JSON Lines
    fastnn tune space.toml --epochs 9      the best settings of many
    fastnn predict RUN images.csv          a CSV of class and probability
    """  # noqa: D301 - this backslash is the character that keeps click from joining the lines
    if debug:
        output.show_tracebacks()
