"""`fastnn plot`: one picture of a run, as a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastnn.analysis.wording import counted
from fastnn.cli import output
from fastnn.cli.options import Device, Json, Run, Threads
from fastnn.cli.saved import DataDir, TestData, open_with_data, place_beside
from fastnn.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from fastnn.analysis.opened import OpenedRun, RunData
    from fastnn.training.classifier import Classifier
    from fastnn.training.regressor import Regressor


@dataclass(frozen=True, slots=True)
class Kind:
    """A picture: what it can be made of, and which options it takes.

    `count` and `per_class` are the default and the most, since a picture has an end.
    """

    classes: bool = True  # there is one of networks that tell classes apart
    numbers: bool = False  # and of those that predict numbers
    count: tuple[int, int] | None = None
    per_class: tuple[int, int] | None = None
    method: bool = False


KINDS = {
    "curves": Kind(numbers=True),
    "confusion": Kind(),
    "samples": Kind(count=(20, 200), per_class=(12, 30)),
    "mistakes": Kind(count=(12, 200)),
    "answers": Kind(per_class=(4, 10)),
    "weights": Kind(numbers=True, count=(40, 400)),
    "calibration": Kind(),
    "embedding": Kind(count=(1500, 20000), method=True),
    "predicted": Kind(classes=False, numbers=True),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for, checked, or else what is usual."""

    what: str
    count: int
    per_class: int
    by_class: bool  # of pictures that take both
    method: str
    test: dict[str, Any]  # for `open_with_data`


def plot(
    run: Run,
    what: Annotated[str, typer.Option("--what", metavar="NAME", help=", ".join(KINDS))],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help=".png, .svg or .pdf [default: NAME.png in the run's folder]",
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option("--count", help="how many samples, mistakes, units or embedded examples"),
    ] = None,
    per_class: Annotated[
        int | None,
        typer.Option("--per-class", help="rows of samples or answers: so many of each class"),
    ] = None,
    method: Annotated[
        str | None, typer.Option("--method", help="of the embedding: auto, pca, tsne or umap")
    ] = None,
    data_dir: DataDir = None,
    test_data: TestData = None,
    device: Device = None,
    threads: Threads = 0,
    json: Json = False,
) -> None:
    """Draw one picture of RUN and print the file's name.

    \b
    curves        loss, accuracy and learning rate over the epochs
    confusion     which classes are taken for which
    samples       the first test images, predicted and true; --per-class: a contact sheet
    mistakes      the most confident mistakes, with probabilities
    answers       right and wrong answers of each class
    weights       the first layer, as images or by column of a table
    calibration   how sure the network is, and how often right
    embedding     the last hidden layer in the plane
    predicted     predicted over true numbers, of a regression

    All but curves and weights read the test part of the run's data; where there is none, the
    validation part, and say so.
    """  # noqa: D301 - this backslash is the character that keeps click from joining the lines
    with output.exit_codes(as_json=json):
        from fastnn.analysis.style import rendered, require_matplotlib, suffix_of
        from fastnn.training.checkpoint import write_atomically

        test = {"data_dir": data_dir, "test_data": test_data, "quiet": json}
        asked = _checked(
            what, count, per_class, method, test | {"device": device, "threads": threads}
        )
        path = out or place_beside(run, f"{what}.png")
        suffix = suffix_of(path)
        require_matplotlib()
        paper = _DRAWN[what](run, asked)
        write_atomically(path, rendered(paper, suffix))
        if json:
            output.emit("done", {"what": what, "file": str(path), "run": str(run)})
        else:
            print(path)


def _checked(
    what: str, count: int | None, per_class: int | None, method: str | None, test: dict[str, Any]
) -> Asked:
    """ConfigError where an option is unknown, or has no part in this picture."""
    from fastnn.analysis.embedding import METHODS

    if what not in KINDS:
        raise ConfigError(
            f"--what: {what!r} is not one of {', '.join(KINDS)}{did_you_mean(what, KINDS)}"
        )
    kind = KINDS[what]
    for option, value in (("count", count), ("per_class", per_class), ("method", method)):
        if value is None:
            continue
        flag, takes = "--" + option.replace("_", "-"), getattr(kind, option)
        if not takes:
            takers = [name for name, other in KINDS.items() if getattr(other, option)]
            raise ConfigError(f"{flag}: {what} takes none, only {', '.join(takers)}; leave it out")
        if isinstance(value, int) and not 1 <= value <= takes[1]:
            raise ConfigError(
                f"{flag}: {value} must be at least 1 and at most {takes[1]} for {what}"
            )
    if count is not None and per_class is not None:
        raise ConfigError("--count and --per-class ask for two kinds of sheets; leave one out")
    if method is not None and method not in METHODS:
        raise ConfigError(f"--method: {method!r} is not one of {', '.join(METHODS)}")
    by_class = per_class is not None or kind.count is None
    return Asked(
        what, count or _usual(kind.count), per_class or _usual(kind.per_class), by_class,
        method or "auto", test,
    )  # fmt: skip


def _usual(range_of: tuple[int, int] | None) -> int:
    return 0 if range_of is None else range_of[0]


def _opened(run: Path, asked: Asked) -> OpenedRun:
    """The run without its data."""
    from fastnn.analysis.opened import open_run

    opened = open_run(run, asked.test["device"] or "auto", asked.test["threads"])
    output.warn_if_untrained(opened.meta)
    _check_kind(opened.predictor, asked.what)
    return opened


def _opened_with_data(run: Path, asked: Asked) -> tuple[Any, RunData, str]:
    """The predictor, its data, and the note that names both."""
    opened, data = open_with_data(run, **asked.test, or_validation=True)
    _check_kind(opened.predictor, asked.what)
    part = f"{data.test_part} part" if data.test_part in ("test", "validation") else data.test_part
    note = f"{data.name}, {part}, {counted(len(data.test.labels), 'example')} · {opened.name}"
    return opened.predictor, data, note


def _check_kind(predictor: Classifier | Regressor, what: str) -> None:
    numbers = bool(predictor.schema.targets)
    possible = [name for name, kind in KINDS.items() if (kind.numbers if numbers else kind.classes)]
    if what not in possible:
        predicts = "numbers" if numbers else "classes"
        raise ConfigError(
            f"--what: {what} cannot be drawn, because this network predicts {predicts}; of these "
            f"there are {', '.join(possible)}"
        )


def _curves(run: Path, asked: Asked) -> Any:
    from fastnn.analysis.plots import curves

    opened = _opened(run, asked)
    if opened.folder is None:
        raise ConfigError(f"{run}: curves are drawn of a run folder, where metrics.jsonl lies")
    return curves(opened.history(), note=f"{Path(opened.config.dataset).name} · {opened.name}")


def _weights(run: Path, asked: Asked) -> Any:
    from fastnn.analysis import plots, sheets

    opened = _opened(run, asked)
    model, schema = opened.predictor.model, opened.predictor.schema
    first = model.backend.to_host(model.params["layers.0.weight"])
    note = f"{Path(opened.config.dataset).name} · {opened.name}"
    if schema.picture is None:
        return plots.column_norms(first, schema.features, most=asked.count, note=note)
    linear = len(model.sizes) == 2
    units = (schema.class_names or schema.targets) if linear else ()
    return sheets.weights(first, schema.picture, names=units, most=asked.count, note=note)


def _predicted(run: Path, asked: Asked) -> Any:
    from fastnn.analysis.plots import predicted

    predictor, data, note = _opened_with_data(run, asked)
    found = predictor.predict(data.test.inputs).reshape(data.test.labels.shape)
    return predicted(data.test.labels, found, predictor.target_names, note=note)


def _confusion(run: Path, asked: Asked) -> Any:
    from fastnn.analysis.class_plots import confusion
    from fastnn.analysis.evaluation import Evaluation

    predictor, data, note = _opened_with_data(run, asked)
    return confusion(Evaluation.of(predictor, data.test), note=note)


def _calibration(run: Path, asked: Asked) -> Any:
    from fastnn.analysis.class_plots import calibration
    from fastnn.analysis.evaluation import Evaluation, temperature_of, validation_of

    predictor, data, note = _opened_with_data(run, asked)
    fitted = temperature_of(validation_of(predictor, data), data.unvalidated)
    if fitted.value is None:
        output.note(f"no temperature was fitted: {fitted.why}")
    elif data.valid is not None:
        note += f"\ntemperature fitted on {len(data.valid.labels):,} validation examples"
    return calibration(Evaluation.of(predictor, data.test), fitted.value, note=note)


def _embedding(run: Path, asked: Asked) -> Any:
    from fastnn.analysis.class_plots import embedding_map
    from fastnn.analysis.embedding import embed, require_method

    require_method(asked.method)
    predictor, data, note = _opened_with_data(run, asked)
    features = predictor.hidden(data.test.inputs[: asked.count])
    if len(features) < len(data.test.labels):
        note += f"\nthe first {len(features):,} of them"
    output.note(f"placing {len(features):,} examples in the plane")  # t-SNE takes a while
    found = embed(features, asked.method)
    codes = data.test.labels[: asked.count]
    what = "The last hidden layer" if len(predictor.model.sizes) > 2 else "The network's inputs"
    return embedding_map(found, codes, predictor.class_names, what=what, note=note)


def _sheet(run: Path, asked: Asked) -> Any:
    """Of images; a table is refused before the network runs over it."""
    from fastnn.analysis import sheets
    from fastnn.analysis.evaluation import Evaluation

    predictor, data, note = _opened_with_data(run, asked)
    schema = predictor.schema
    try:
        images = sheets.as_images(data.test.inputs, schema.shape)
    except ConfigError as error:
        possible = [name for name, kind in KINDS.items() if kind.classes and name not in _SHEETS]
        raise ConfigError(
            f"--what: {asked.what} shows images, and {data.name} has none; of its examples there "
            f"are {', '.join(possible)}"
        ) from error
    if asked.what == "samples" and asked.by_class:
        return sheets.contact_sheet(
            images, data.test.labels, schema.class_names, per_class=asked.per_class, note=note
        )
    said = Evaluation.of(predictor, data.test)
    if asked.what == "answers":
        return sheets.answers(said, images, per_class=asked.per_class, note=note)
    draw: Callable[..., Any] = sheets.samples if asked.what == "samples" else sheets.mistakes
    return draw(said, images, count=asked.count, note=note)


_SHEETS = ("samples", "mistakes", "answers")

_DRAWN: dict[str, Callable[[Path, Asked], Any]] = {
    "curves": _curves,
    "confusion": _confusion,
    **dict.fromkeys(_SHEETS, _sheet),
    "weights": _weights,
    "calibration": _calibration,
    "embedding": _embedding,
    "predicted": _predicted,
}
