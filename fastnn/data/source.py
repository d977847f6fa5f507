"""Which reader serves a name or a path, and how what it read becomes a `Dataset`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.data import garments
from fastnn.data.arrays import read_array_inputs, read_npy, read_npz
from fastnn.data.assembly import assembled, fitted
from fastnn.data.catalog import (
    FASHION_MNIST,
    NAMED_SETS,
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
    find_file,
    load_named,
    missing_files,
)
from fastnn.data.download import Progress
from fastnn.data.examples import Dataset, Examples, Schema
from fastnn.data.idx import looks_like_idx, read_idx, read_labelled_images
from fastnn.data.parts import Part
from fastnn.data.tables import read_table, read_table_inputs
from fastnn.errors import ConfigError, DataError, did_you_mean

DATASET_NAMES = ("auto", *NAMED_SETS, "garments")
_KINDS = "a folder of four IDX files, .csv, .npz or .npy"
_DRAWN = {"train": 60_000, "test": 10_000}


def load_dataset(
    name: str = "auto",
    *,
    data_dir: Path | None = None,
    test_data: Path | None = None,
    label: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    numbers: bool = False,
    warn: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """A data set by name (auto, fashion-mnist, mnist, garments) or by the path of a user's data.

    `auto` is Fashion-MNIST if it can be had, else garments, announced through `warn` (by default
    `warnings.warn`); whatever is asked for by name or in `data_dir` is never replaced. `test_data`
    is a second file of the same kind; `label` chooses the label column of a table; `limit` keeps at
    most so many training examples, sampled with `seed` (of garments, the first). Where labels are
    `numbers` to predict instead of classes, `label` may be several columns, separated by commas.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit {limit}: expected at least 1 training example, or none")
    if name in DATASET_NAMES and numbers:
        raise _only_classes(name)
    if name in DATASET_NAMES:
        _refuse(name, "files only", test_data=test_data, label=label)
    if name not in NAMED_SETS and name != "auto":
        _refuse(name, "named sets only", data_dir=data_dir)
    if name == "garments":
        return _garments(limit)
    if name == "auto":
        try:
            data = load_named(FASHION_MNIST, data_dir=data_dir, progress=progress)
        except DataError as error:
            if data_dir is not None:
                raise
            text = (
                "these are garments, drawn pictures that are NOT Fashion-MNIST: figures cannot be "
                f"compared with those published for it. Reason: {error}"
            )
            if warn is None:
                warnings.warn(text, stacklevel=2)
            else:
                warn(text)
            return _garments(limit)
    elif name in NAMED_SETS:
        data = load_named(NAMED_SETS[name], data_dir=data_dir, progress=progress)
    else:
        data = _load_path(_existing(name), test_data, label, numbers=numbers)
    return data if limit is None else data.limited(limit, seed)


def read_inputs(path: Path, schema: Schema, *, label: str | None = None) -> NDArray[Any]:
    """Inputs (N, D) to predict from: uint8 for a model of pixels, float32 for any other.

    IDX images are recognised by content; .csv, .npy and .npz by name. A column of labels is
    dropped where a table has one column more than the model. Of an .npz that holds a training and
    a test part, the test part is read.
    """
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return read_table_inputs(path, schema, label=label)
    if suffix in (".npz", ".npy"):
        return read_array_inputs(path, schema, label=label)
    if not looks_like_idx(path):
        raise DataError(
            f"{path}: found no data to predict from, expected IDX, .csv, .npz, .npy, or a picture "
            "that is called .png, .jpg, .bmp, .gif or .webp"
        )
    images = read_idx(path)
    inputs = images.reshape(len(images), -1)
    if inputs.shape[1] != schema.width:
        raise DataError(
            f"{path}: found {inputs.shape[1]} values in each example (shape {images.shape}), "
            f"expected {schema.width}"
        )
    return inputs if schema.pixels else inputs.astype(np.float32)


def read_labelled(path: Path, schema: Schema, *, label: str | None = None) -> Examples:
    """Labelled examples of a known kind from one .csv, .npz or .npy file."""
    part, more = _file_parts(path, label, numbers=bool(schema.targets))
    if more is not None:
        raise DataError(f"{path}: found two parts, expected one set of inputs and labels")
    return fitted(part, schema)


def _garments(limit: int | None) -> Dataset:
    # Example i is the same however many are drawn, so a limit only draws fewer. The seed of a run
    # does not reach this: a data set is the same for every run.
    count = min(limit or _DRAWN["train"], _DRAWN["train"])
    return Dataset(
        "garments",
        Examples(*garments.draw(count, split="train")),
        Examples(*garments.draw(_DRAWN["test"], split="test")),
        garments.CLASS_NAMES,
        garments.SHAPE,
    )


def _refuse(name: str, scope: str, **given: object) -> None:
    for option, value in given.items():
        if value is not None:
            raise ConfigError(f"{option} {value}: only for {scope}; {name} takes none")


def _only_classes(name: str) -> ConfigError:
    return ConfigError(
        f"dataset: {name} holds pictures of classes, but the loss is one of numbers; name a .csv, "
        ".npz or .npy file, or use the loss cross-entropy"
    )


def _existing(name: str) -> Path:
    path = Path(name)
    with suppress(OSError):  # a name too long to be a file's
        if name.strip() and path.exists():
            return path
    known = ", ".join(DATASET_NAMES)
    raise DataError(
        f"{name!r}: no data set has this name and no file this path; expected {known}, or {_KINDS}"
        f"{did_you_mean(name.lower(), DATASET_NAMES)}"
    )


def _load_path(path: Path, test_data: Path | None, label: str | None, *, numbers: bool) -> Dataset:
    if path.is_dir() and numbers:
        raise _only_classes(str(path))
    if path.is_dir():
        _refuse(str(path), ".csv, .npz and .npy files only", test_data=test_data, label=label)
        return assembled(path.resolve().name, *_folder_parts(path))
    suffix = path.suffix.lower()
    train, test = _file_parts(path, label, numbers=numbers)
    if test_data is not None:
        if test_data.suffix.lower() != suffix:
            raise DataError(f"{test_data}: expected a {suffix} file, as {path} is one")
        if test is not None:
            raise DataError(f"{path} holds a test part already; leave out {test_data}")
        data = assembled(path.stem, train, None, numbers=numbers)
        return replace(data, test=read_labelled(test_data, data.schema, label=label))
    return assembled(path.stem, train, test, numbers=numbers)


def _file_parts(path: Path, label: str | None, *, numbers: bool) -> tuple[Part, Part | None]:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        _refuse(str(path), ".csv and .npy files only", label=label)
        return read_npz(path, numbers=numbers)
    if suffix == ".npy":
        return read_npy(path, label=label, numbers=numbers), None
    if suffix == ".csv":
        return read_table(path, label=label, numbers=numbers), None
    raise DataError(f"{path}: found a file that is called {suffix or path.name}, expected {_KINDS}")


def _folder_parts(folder: Path) -> list[Part]:
    missing = missing_files(folder)
    if missing:
        raise DataError(f"{folder}: found no {', '.join(missing)}, expected these (.gz or not)")
    parts = []
    for images, labels in ((TRAIN_IMAGES, TRAIN_LABELS), (TEST_IMAGES, TEST_LABELS)):
        path = find_file(folder, images)
        pictures, names = read_labelled_images(path, find_file(folder, labels))
        inputs = pictures.reshape(len(pictures), -1)
        parts.append(Part(path, inputs, names, pictures.shape[1:], 0))
    return parts
