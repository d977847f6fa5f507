"""`fastnn train`: from options to a recorded run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastnn.analysis.wording import number_text
from fastnn.cli import output
from fastnn.cli.network import print_parts, print_settings
from fastnn.cli.options import ConfigFile, Json, Recipe, as_settings, layered, with_settings
from fastnn.cli.report import write_report
from fastnn.cli.table import print_table
from fastnn.errors import CheckFailed, ConfigError

if TYPE_CHECKING:
    from fastnn.data.examples import Dataset
    from fastnn.training.callbacks import Callback
    from fastnn.training.config import TrainConfig
    from fastnn.training.run import Result

# What may change in the middle of a run.
_RESUMABLE = {"epochs", "max_time", "target_accuracy", "device", "threads", "kernels", "precision"}


@with_settings()
def train(
    given: Mapping[str, Any],
    recipe: Recipe = None,
    config: ConfigFile = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="where run folders go [default: runs]"),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="end of the run folder's name [default: dataset]")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume",
            metavar="RUN",
            help="go on with this run; only --epochs and --max-time (which also stretch a "
            "schedule), --device, --threads, --kernels and --precision may change",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="show network, steps and memory; train and write nothing"),
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="write RUN/report.html at the end (see fastnn report)")
    ] = False,
    json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress on stderr")] = False,
) -> None:
    """Train a network and record the run in a new folder below --out.

    Settings count in this order: options, FASTNN_DEVICE, --config, --recipe, defaults.
    """
    with output.exit_codes(as_json=json):
        if report:
            from fastnn.analysis.report import require_packages

            require_packages()  # before minutes go into training
        if dry_run:
            if resume is not None:
                raise ConfigError("--dry-run is for a new run; `fastnn info RUN` shows an old one")
            _show_plan(layered(recipe, config, given), json, quiet)
            return
        if resume is None:
            settings = layered(recipe, config, given)
            result, data = _start(settings, out or Path("runs"), name, json, quiet, report)
            target = settings.target_accuracy
        else:
            clash = {"recipe": recipe, "config": config, "out": out, "name": name}
            taken = [key for key, value in clash.items() if value is not None]
            taken += sorted(given.keys() - _RESUMABLE)
            if taken:
                raise ConfigError(
                    f"--resume takes its settings from the run: {', '.join(taken)} cannot be "
                    f"changed, only {', '.join(sorted(_RESUMABLE))}"
                )
            result, target, data = _resume(resume, as_settings(given), json, quiet)
        files: dict[str, str] = {}
        try:
            if report and result.folder is not None:
                device, threads = given.get("device"), given.get("threads", 0)
                written = write_report(
                    result.folder, device=device, threads=threads, quiet=quiet or json, data=data
                )
                files["report"] = str(written)
        finally:  # a report that cannot be written does not take the figures along
            if json:
                output.emit("done", result.summary() | files)
            else:
                _print_summary(result, files)
        _check_target(target, result)


def _show_plan(config: TrainConfig, as_json: bool, quiet: bool) -> None:
    """What training would do, on stdout."""
    from fastnn.backend import get_backend
    from fastnn.training.plan import plan

    backend = get_backend(config.device, threads=config.threads)
    found = plan(config, _load(config, quiet), backend)
    if as_json:
        output.emit("done", found.summary() | {"config": config.to_dict()})
        return
    parts = [
        f"{count:,} {use}"
        for count, use in (
            (found.learn, "examples to learn from"),
            (found.valid, "to validate on"),
            (found.test, "to test"),
        )
        if count
    ]
    print(f"{found.dataset} on {backend} ({backend.reason}): {', '.join(parts)}\n")
    print_parts(found.parts)
    print(f"\n{'memory':16} {sum(found.memory.values()) / 2**20:10,.1f} MiB")
    for use, size in found.memory.items():
        if size:
            print(f"  {use:14} {size / 2**20:10,.1f}")
    print(f"\nsteps            {found.steps_per_epoch:,} an epoch, {found.steps:,} in all")
    print(
        f"a step           {found.batch_size:,} examples, {found.step_flops / 1e9:,.3g} GFLOPs "
        "forward and backward\n"
    )
    print_settings(config.to_dict())


def _start(
    config: TrainConfig, out: Path, name: str | None, as_json: bool, quiet: bool, report: bool
) -> tuple[Result, Dataset]:
    from fastnn.backend import get_backend
    from fastnn.kernels import kernels_for
    from fastnn.training.run import train as run_train

    # Before minutes go into data: a missing GPU, or what it lacks, is told at once.
    kernels_for(
        get_backend(config.device, threads=config.threads), config.kernels, config.precision
    )
    data = _load(config, quiet)
    if report and data.test is None and not config.val:
        raise ConfigError(
            "report: there would be nothing to report on: give a test part with --test-data, or "
            "hold out a validation part with --val 0.1"
        )
    callbacks = _callbacks(data, as_json, quiet)
    return run_train(config, data=data, out=out, name=name, callbacks=callbacks), data


def _resume(
    run: Path, changes: Mapping[str, Any], as_json: bool, quiet: bool
) -> tuple[Result, float, Dataset]:
    """The result, the target accuracy of the run, and its data."""
    from fastnn.training.run import load_run, resume

    saved = load_run(run)
    data = _load(saved.config, quiet)
    callbacks = _callbacks(data, as_json, quiet)
    result = resume(saved, data=data, callbacks=callbacks, **changes)
    if len(result.history) == saved.epochs_done:
        output.note(
            "this run was finished already: these are its figures; --epochs N adds more, "
            "and --max-time T if its time is over"
        )
    return result, changes.get("target_accuracy", saved.config.target_accuracy), data


def _check_target(target: float, result: Result) -> None:
    """CheckFailed where a target accuracy was asked for and never reached."""
    if not target:
        return
    reached = max((report.valid_accuracy or 0.0 for report in result.history), default=0.0)
    if reached < target:
        raise CheckFailed(
            f"target_accuracy: the best validation accuracy is {output.percent(reached)}, and "
            f"{output.percent(target)} was asked for; the run is kept in {result.folder}"
        )


def _load(config: TrainConfig, quiet: bool) -> Dataset:
    from fastnn.cli.progress import download_bar
    from fastnn.training.run import load_data

    with download_bar(quiet) as progress:
        return load_data(config, warn=output.warn, progress=progress)


def _callbacks(data: Dataset, as_json: bool, quiet: bool) -> list[Callback]:
    from fastnn.cli.events import Events
    from fastnn.cli.progress import Progress

    callbacks: list[Callback] = []
    if as_json:
        callbacks.append(Events(data))
    if not quiet:
        callbacks.append(Progress(data, output.stderr_console()))
    return callbacks


def _print_summary(result: Result, files: Mapping[str, str]) -> None:
    """The final figures as a small table on stdout."""
    epochs = len(result.history)
    plural = "" if epochs == 1 else "s"
    print(
        f"{result.dataset}: {epochs} epoch{plural} in {result.seconds:.1f} s "
        f"({result.device}, {result.kernels} kernels)"
    )
    headings = "  ".join(f"{name:>9}" for name in output.figures(result.train))
    print(f"{'':10}  {'loss':>8}  {headings}  {'examples':>8}")
    for part, score in (("train", result.train), ("valid", result.valid), ("test", result.test)):
        if score is not None:
            figures = "  ".join(f"{text:>9}" for text in output.figures(score).values())
            print(f"{part:10}  {score.loss:8.4f}  {figures}  {score.count:8,}")
    _print_errors_by_target(result)
    if result.test is None:
        output.note("no test part: give one with --test-data")
    if result.best_epoch is not None and epochs > 1:
        print(f"kept        epoch {result.best_epoch}, the best in validation")
    print(f"run         {result.folder}")
    for name, path in files.items():
        print(f"{name:10}  {path}")


def _print_errors_by_target(result: Result) -> None:
    """RMSE in their own units, where there are several targets: one has its column above."""
    from fastnn.training.scoring import RegressionScore

    names = [output.one_line(name) for name in result.predictor.schema.targets]
    scores = {"train": result.train, "valid": result.valid, "test": result.test}
    errors = {
        part: [number_text(error) for error in score.rmse]
        for part, score in scores.items()
        if isinstance(score, RegressionScore)
    }
    if len(names) > 1:
        rows = list(zip(names, zip(*errors.values(), strict=True), strict=True))
        print_table(("RMSE", *errors), rows)
