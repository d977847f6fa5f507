"""The named sets: the order of places, checksums, and wrong files called by their names."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from fastnn.data import catalog
from fastnn.data.catalog import (
    FILES,
    NAMED_SETS,
    TEST_LABELS,
    TRAIN_IMAGES,
    KnownFile,
    NamedSet,
    find_file,
    load_named,
    missing_files,
)
from fastnn.data.idx import content_sha256, read_idx
from fastnn.errors import DataError
from tests.idx_files import write_folder


def described(folder: Path, name: str, *, packed: bool) -> NamedSet:
    """The data set in a folder as a published one."""
    files = tuple(
        KnownFile(
            file,
            content=content_sha256(read_idx(folder / file)),
            packed=hashlib.sha256((folder / file).read_bytes()).hexdigest() if packed else None,
        )
        for file in FILES
    )
    return NamedSet(name, name.title(), tuple("abc"), files, ("https://mirror.invalid/",))


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder "data" is FASTNN_DATA and "cache" the cache; both are still to be made."""
    monkeypatch.setenv("FASTNN_OFFLINE", "1")
    monkeypatch.setenv("FASTNN_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def small(places: Path) -> NamedSet:
    """A data set whose packed files are known, as Fashion-MNIST's are."""
    return described(write_folder(places / "origin"), "small", packed=True)


@pytest.mark.parametrize("inner", ["", "small"])
@pytest.mark.parametrize("place", ["given", "data", "cache"])
def test_each_place_is_looked_at(small: NamedSet, places: Path, place: str, inner: str) -> None:
    inner = "small" if place == "cache" else inner
    write_folder(places / place / inner)
    data = load_named(small, data_dir=places / "given" if place == "given" else None)
    assert (data.name, data.shape, data.class_names) == ("small", (4, 5), ("a", "b", "c"))
    assert data.train.inputs.shape == (12, 20)
    assert data.train.labels.dtype == np.int32
    assert data.test is not None
    assert data.test.labels.tolist() == [0, 1, 2, 0, 1, 2]


def test_the_first_whole_place_counts(small: NamedSet, places: Path) -> None:
    write_folder(places / "data" / "small")
    write_folder(places / "cache" / "small", train=24)  # would fail its checksum
    assert len(load_named(small).train.labels) == 12
    (places / "data" / "small" / TEST_LABELS).unlink()
    with pytest.raises(DataError, match=r"cache.*expected"):
        load_named(small)


def test_a_given_folder_is_the_only_place(small: NamedSet, places: Path) -> None:
    write_folder(places / "data")
    given = write_folder(places / "given")
    (given / TRAIN_IMAGES).unlink()
    (given / TEST_LABELS).unlink()
    with pytest.raises(DataError) as caught:
        load_named(small, data_dir=given)
    assert f"{given}: found no {TRAIN_IMAGES}, {TEST_LABELS}, expected" in str(caught.value)
    with pytest.raises(DataError, match="found no train-images"):
        load_named(small, data_dir=places / "nowhere")


def test_uncompressed_files_are_accepted(small: NamedSet, places: Path) -> None:
    folder = write_folder(places / "data", ending="")
    assert missing_files(folder) == []
    assert find_file(folder, TRAIN_IMAGES).name == "train-images-idx3-ubyte"
    assert len(load_named(small).train.labels) == 12


def test_a_wrong_file_is_never_used(small: NamedSet, places: Path) -> None:
    folder = write_folder(places / "given")
    path = folder / TRAIN_IMAGES
    content = bytearray(path.read_bytes())
    content[4] ^= 1  # the time stamp in gzip's header: what it holds stays right
    path.write_bytes(content)
    found = hashlib.sha256(content).hexdigest()
    with pytest.raises(DataError) as caught:
        load_named(small, data_dir=folder)
    assert f"{path}: the right content, but compressed anew" in str(caught.value)
    assert f"found SHA-256 {found}, expected {small.files[0].packed}" in str(caught.value)

    write_folder(folder, train=24)
    with pytest.raises(DataError, match=r"given/train-images.*: a wrong file: found SHA-256"):
        load_named(small, data_dir=folder)

    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError) as caught:
        load_named(small, data_dir=folder)
    found = hashlib.sha256(b"<html>not found</html>").hexdigest()
    assert f"found SHA-256 {found}, expected {small.files[0].packed}" in str(caught.value)


def test_content_alone_counts_where_mirrors_differ(places: Path) -> None:
    known = described(write_folder(places / "given"), "small", packed=False)
    path = places / "given" / TRAIN_IMAGES
    content = bytearray(path.read_bytes())
    content[4] ^= 1
    path.write_bytes(content)
    assert len(load_named(known, data_dir=places / "given").train.labels) == 12
    write_folder(places / "given", test=9)
    with pytest.raises(DataError) as caught:
        load_named(known, data_dir=places / "given")
    found = content_sha256(read_idx(places / "given" / "t10k-images-idx3-ubyte.gz"))
    assert f"found SHA-256 {found}, expected {known.files[2].content}" in str(caught.value)


def test_another_known_file_is_called_by_its_name(
    small: NamedSet, places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = described(write_folder(places / "given", train=24), "other", packed=False)
    monkeypatch.setattr(catalog, "NAMED_SETS", {"small": small, "other": other})
    with pytest.raises(DataError, match="this is Other's train-images, not Small's train-images"):
        load_named(small, data_dir=places / "given")
    folder = write_folder(places / "given")
    (folder / TRAIN_IMAGES).write_bytes((folder / TEST_LABELS).read_bytes())
    with pytest.raises(DataError, match="this is Small's t10k-labels, not Small's train-images"):
        load_named(small, data_dir=folder)


def test_what_is_missing_is_downloaded_into_the_cache(
    small: NamedSet, places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = places / "cache" / "small"
    write_folder(cache)
    (cache / TRAIN_IMAGES).unlink()

    def download(names, folder, mirrors, *, check, progress):
        assert (names, folder, mirrors) == ([TRAIN_IMAGES], cache, small.mirrors)
        part = folder / "part"
        part.write_bytes(b"wrong")
        with pytest.raises(DataError, match=f"mirror/{TRAIN_IMAGES}: this is not Small's") as told:
            check(part, f"https://mirror/{TRAIN_IMAGES}")
        assert str(part) not in str(told.value)
        (places / "origin" / TRAIN_IMAGES).rename(part)
        check(part, f"https://mirror/{TRAIN_IMAGES}")
        part.rename(folder / TRAIN_IMAGES)
        progress(TRAIN_IMAGES, 1, 2)

    monkeypatch.setattr(catalog, "download", download)
    seen: list[tuple[object, ...]] = []
    data = load_named(small, progress=lambda *step: seen.append(step))
    assert len(data.train.labels) == 12
    assert seen == [(TRAIN_IMAGES, 1, 2)]


def test_what_to_do_without_a_network(small: NamedSet, places: Path) -> None:
    with pytest.raises(DataError) as caught:
        load_named(small)
    message = str(caught.value)
    assert "and cannot be downloaded" in message
    assert "FASTNN_OFFLINE" in message
    assert f"Put its four files into {places / 'cache' / 'small'}" in message


def test_the_default_cache_is_the_platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    from platformdirs import user_cache_dir

    monkeypatch.delenv("FASTNN_CACHE_DIR", raising=False)
    assert catalog.cache_folder() == Path(user_cache_dir("fastnn"))


def test_the_tables_are_whole() -> None:
    digests = set()
    for known in NAMED_SETS.values():
        assert tuple(file.name for file in known.files) == FILES
        assert len(known.class_names) == 10
        assert all(mirror.startswith("https://") and mirror[-1] == "/" for mirror in known.mirrors)
        for file in known.files:
            digests |= {file.content, file.packed or file.content}
    assert len(digests) == 12
    assert all(len(digest) == 64 for digest in digests)


@pytest.mark.parametrize(
    ("name", "mean", "deviation"), [("fashion-mnist", 0.2860, 0.3530), ("mnist", 0.1307, 0.3081)]
)
def test_the_real_sets(real_data: Path, name: str, mean: float, deviation: float) -> None:
    data = load_named(NAMED_SETS[name], data_dir=real_data)
    assert data.test is not None
    assert data.shape == (28, 28)
    for examples, count in ((data.train, 60_000), (data.test, 10_000)):
        assert examples.inputs.shape == (count, 784)
        assert len(np.bincount(examples.labels)) == 10
    assert abs(data.train.inputs.mean() / 255 - mean) < 5e-5
    assert abs(data.train.inputs.std() / 255 - deviation) < 5e-5


def test_real_mnist_is_not_taken_for_fashion_mnist(real_data: Path) -> None:
    with pytest.raises(DataError, match="this is MNIST's train-images, not Fashion-MNIST's"):
        load_named(NAMED_SETS["fashion-mnist"], data_dir=real_data / "mnist")
