"""The named data sets: their files and checksums, and the places where these are looked for."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastnn.data.download import Progress, download
from fastnn.data.examples import Dataset, Examples
from fastnn.data.files import opened
from fastnn.data.idx import content_sha256, read_idx
from fastnn.errors import DataError

TRAIN_IMAGES = "train-images-idx3-ubyte.gz"
TRAIN_LABELS = "train-labels-idx1-ubyte.gz"
TEST_IMAGES = "t10k-images-idx3-ubyte.gz"
TEST_LABELS = "t10k-labels-idx1-ubyte.gz"
FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A published file: SHA-256 of what it holds and, where all mirrors agree, of the .gz file."""

    name: str
    content: str
    packed: str | None = None


@dataclass(frozen=True, slots=True)
class NamedSet:
    """A published data set: its title in prose, its classes, its files, and who serves them."""

    name: str
    title: str
    class_names: tuple[str, ...]
    files: tuple[KnownFile, ...]
    mirrors: tuple[str, ...]


FASHION_MNIST = NamedSet(
    name="fashion-mnist",
    title="Fashion-MNIST",
    class_names=(
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
        "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ),
    files=(
        KnownFile(
            TRAIN_IMAGES,
            content="c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            packed="3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        ),
        KnownFile(
            TRAIN_LABELS,
            content="bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            packed="a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        ),
        KnownFile(
            TEST_IMAGES,
            content="5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            packed="346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        ),
        KnownFile(
            TEST_LABELS,
            content="0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            packed="67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    ),
    mirrors=(
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    ),
)  # fmt: skip

MNIST = NamedSet(
    name="mnist",
    title="MNIST",
    class_names=tuple("0123456789"),
    files=(  # mirrors compress these files differently: only what they hold is the same
        KnownFile(
            TRAIN_IMAGES,
            content="ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        KnownFile(
            TRAIN_LABELS,
            content="65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        KnownFile(
            TEST_IMAGES,
            content="0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        KnownFile(
            TEST_LABELS,
            content="ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
)

NAMED_SETS = {known.name: known for known in (FASHION_MNIST, MNIST)}


def load_named(
    known: NamedSet, *, data_dir: Path | None = None, progress: Progress | None = None
) -> Dataset:
    """The checked data set from `data_dir`; else from the first place that has it whole.

    Those are $FASTNN_DATA, the cache, and the network, whose files stay in the cache.
    """
    folder = find_folder(known, data_dir)
    if folder is None:
        folder = cache_folder() / known.name
        _download(known, folder, progress)
    arrays = [read_known(known, file, find_file(folder, file.name)) for file in known.files]
    train, test = (
        Examples(images.reshape(len(images), -1), labels.astype(np.int32))
        for images, labels in (arrays[:2], arrays[2:])
    )
    return Dataset(known.name, train, test, known.class_names, arrays[0].shape[1:])


def read_known(
    known: NamedSet, file: KnownFile, path: Path, shown: str | None = None
) -> NDArray[np.uint8]:
    """The array in `path`, if this is the published file; `shown` is where it came from, if new."""
    advice = "" if shown else "; delete it and get it again, or point --data-dir elsewhere"
    shown = shown or str(path)
    with opened(path) as stream:
        is_packed = stream.read(2) == b"\x1f\x8b"
        stream.seek(0)
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    by_file = is_packed and file.packed is not None
    if by_file and digest == file.packed:
        return read_idx(path)
    try:
        array = read_idx(path)
        content = content_sha256(array)
    except DataError as error:
        raise DataError(
            f"{shown}: this is not {known.title}'s {file.name}: found SHA-256 {digest}, expected "
            f"{file.packed or file.content + ' of the content'}; it cannot be read as IDX "
            f"either ({str(error).replace(str(path), shown)}){advice}"
        ) from error
    if content == file.content and not by_file:
        return array
    found, expected = (digest, file.packed) if by_file else (content, file.content)
    told = "a wrong file"
    if content == file.content:
        told = "the right content, but compressed anew; the uncompressed file would be accepted"
    elif owner := _owner(content):
        told = f"this is {_called(*owner)}, not {_called(known, file)}"
        advice = advice and f"; name the folder of {known.title} with --data-dir or FASTNN_DATA"
    raise DataError(f"{shown}: {told}: found SHA-256 {found}, expected {expected}{advice}")


def find_folder(known: NamedSet, data_dir: Path | None = None) -> Path | None:
    """The first folder that has all four files, yet unchecked; of `data_dir` alone if given."""
    if data_dir is not None:
        for folder in (data_dir / known.name, data_dir):
            if not missing_files(folder):
                return folder
        inner = data_dir / known.name
        lacking = inner if inner.is_dir() else data_dir
        raise DataError(
            f"{lacking}: found no {', '.join(missing_files(lacking))}, "
            f"expected the four files of {known.title} (.gz or not)"
        )
    return next((folder for folder in _places(known) if not missing_files(folder)), None)


def cache_folder() -> Path:
    """Where downloads are kept: $FASTNN_CACHE_DIR, else the platform's folder for caches."""
    chosen = os.environ.get("FASTNN_CACHE_DIR")
    if chosen:
        return Path(chosen)
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("fastnn"))


def find_file(folder: Path, name: str) -> Path:
    """The file of this canonical name in `folder`, or the same without .gz if only that exists."""
    packed, plain = folder / name, folder / name.removesuffix(".gz")
    return plain if _is_file(plain) and not _is_file(packed) else packed


def missing_files(folder: Path) -> list[str]:
    """Which of the four canonical files are not in `folder`, neither with .gz nor without."""
    return [name for name in FILES if not _is_file(find_file(folder, name))]


def stem(name: str) -> str:
    """What people call a file: train-images for train-images-idx3-ubyte.gz."""
    return name.partition("-idx")[0]


def _places(known: NamedSet) -> Iterator[Path]:
    root = os.environ.get("FASTNN_DATA")
    if root:
        yield Path(root) / known.name
        if not _holds_another(known, Path(root)):
            yield Path(root)
    yield cache_folder() / known.name


def _holds_another(known: NamedSet, folder: Path) -> bool:
    """Whether a folder without the set's name is another set's: told by its smallest file."""
    path = find_file(folder, TEST_LABELS)
    try:
        owner = _owner(content_sha256(read_idx(path)))
    except DataError:
        return False  # missing or damaged: said where the files are read
    return owner is not None and owner[0] is not known


def _download(known: NamedSet, folder: Path, progress: Progress | None) -> None:
    by_name = {file.name: file for file in known.files}

    def check(path: Path, shown: str) -> None:
        read_known(known, by_name[Path(shown).name], path, shown)

    try:
        download(missing_files(folder), folder, known.mirrors, check=check, progress=progress)
    except DataError as error:
        looked = ", ".join(str(place) for place in _places(known))
        raise DataError(
            f"{known.title} is not in {looked} and cannot be downloaded: {error}. "
            f"Put its four files into {folder}, or name their folder with --data-dir or FASTNN_DATA"
        ) from error


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # in a folder that may not be searched
        return False


def _owner(content: str) -> tuple[NamedSet, KnownFile] | None:
    """The set and the file that hold this content."""
    for known in NAMED_SETS.values():
        for file in known.files:
            if file.content == content:
                return known, file
    return None


def _called(known: NamedSet, file: KnownFile) -> str:
    return f"{known.title}'s {stem(file.name)}"
