"""`fastnn train`: from options to a recorded run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastnn.cli import output
from fastnn.cli.options import Json, layered, setting, widths
from fastnn.errors import ConfigError

if TYPE_CHECKING:
    from fastnn.data.examples import Dataset
    from fastnn.training.callbacks import Callback
    from fastnn.training.config import TrainConfig
    from fastnn.training.run import Result

# What may change in the middle of a run.
_RESUMABLE = {"epochs", "device", "threads", "kernels", "precision"}


def train(
    dataset: Annotated[str | None, setting("dataset", "--dataset", metavar="NAME_OR_PATH")] = None,
    data_dir: Annotated[str | None, setting("data_dir", "--data-dir", metavar="DIR")] = None,
    test_data: Annotated[str | None, setting("test_data", "--test-data", metavar="FILE")] = None,
    label: Annotated[str | None, setting("label", "--label", metavar="COLUMN")] = None,
    limit_train: Annotated[int | None, setting("limit_train", "--limit-train")] = None,
    val: Annotated[float | None, setting("val", "--val")] = None,
    scaling: Annotated[str | None, setting("scaling", "--scaling")] = None,
    hidden: Annotated[str | None, setting("hidden", "--hidden", metavar="WIDTHS")] = None,
    loss: Annotated[str | None, setting("loss", "--loss")] = None,
    epochs: Annotated[int | None, setting("epochs", "--epochs")] = None,
    batch_size: Annotated[int | None, setting("batch_size", "--batch-size")] = None,
    optimizer: Annotated[str | None, setting("optimizer", "--optimizer")] = None,
    learning_rate: Annotated[
        float | None, setting("learning_rate", "--lr", "--learning-rate")
    ] = None,
    momentum: Annotated[float | None, setting("momentum", "--momentum")] = None,
    nesterov: Annotated[bool | None, setting("nesterov", "--nesterov/--no-nesterov")] = None,
    beta1: Annotated[float | None, setting("beta1", "--beta1")] = None,
    beta2: Annotated[float | None, setting("beta2", "--beta2")] = None,
    eps: Annotated[float | None, setting("eps", "--eps")] = None,
    weight_decay: Annotated[float | None, setting("weight_decay", "--weight-decay")] = None,
    schedule: Annotated[str | None, setting("schedule", "--schedule")] = None,
    warmup: Annotated[int | None, setting("warmup", "--warmup")] = None,
    schedule_every: Annotated[int | None, setting("schedule_every", "--schedule-every")] = None,
    schedule_factor: Annotated[
        float | None, setting("schedule_factor", "--schedule-factor")
    ] = None,
    patience: Annotated[int | None, setting("patience", "--patience")] = None,
    seed: Annotated[int | None, setting("seed", "--seed")] = None,
    device: Annotated[str | None, setting("device", "--device", envvar="FASTNN_DEVICE")] = None,
    threads: Annotated[int | None, setting("threads", "--threads")] = None,
    kernels: Annotated[str | None, setting("kernels", "--kernels")] = None,
    precision: Annotated[str | None, setting("precision", "--precision")] = None,
    save_every: Annotated[int | None, setting("save_every", "--save-every")] = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", metavar="NAME_OR_FILE", help="settings with published figures"),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="settings as .toml or a run's config.json"),
    ] = None,
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
            help="go on with this run; only --epochs (which also stretches a schedule), --device, "
            "--threads, --kernels and --precision may change",
        ),
    ] = None,
    json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress on stderr")] = False,
) -> None:
    """Train a network and record the run in a new folder below --out.

    Settings count in this order: options, FASTNN_DEVICE, --config, --recipe, defaults.
    """
    given = {key: value for key, value in locals().items() if value is not None}
    for other in ("recipe", "config", "out", "name", "resume", "json", "quiet"):
        given.pop(other, None)
    with output.exit_codes(as_json=json):
        if hidden is not None:
            given["hidden"] = widths(hidden)
        if resume is None:
            settings = layered(recipe, config, given)
            result = _start(settings, out or Path("runs"), name, json, quiet)
        else:
            clash = {"recipe": recipe, "config": config, "out": out, "name": name}
            taken = [key for key, value in clash.items() if value is not None]
            taken += sorted(given.keys() - _RESUMABLE)
            if taken:
                raise ConfigError(
                    f"--resume takes its settings from the run: {', '.join(taken)} cannot be "
                    f"changed, only {', '.join(sorted(_RESUMABLE))}"
                )
            result = _resume(resume, given, json, quiet)
        if json:
            output.emit("done", result.summary())
        else:
            _print_summary(result)


def _start(config: TrainConfig, out: Path, name: str | None, as_json: bool, quiet: bool) -> Result:
    from fastnn.backend import get_backend
    from fastnn.kernels import kernels_for
    from fastnn.training.run import train as run_train

    # Before minutes go into data: a missing GPU, or what it lacks, is told at once.
    kernels_for(
        get_backend(config.device, threads=config.threads), config.kernels, config.precision
    )
    data = _load(config, quiet)
    callbacks = _callbacks(data, as_json, quiet)
    return run_train(config, data=data, out=out, name=name, callbacks=callbacks)


def _resume(run: Path, changes: Mapping[str, Any], as_json: bool, quiet: bool) -> Result:
    from fastnn.training.run import load_run, resume

    saved = load_run(run)
    data = _load(saved.config, quiet)
    callbacks = _callbacks(data, as_json, quiet)
    result = resume(saved, data=data, callbacks=callbacks, **changes)
    if len(result.history) == saved.epochs_done:
        output.note("this run was finished already: these are its figures; --epochs N adds more")
    return result


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


def _print_summary(result: Result) -> None:
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
    if result.test is None:
        output.note("no test part: give one with --test-data")
    print(f"run         {result.folder}")
