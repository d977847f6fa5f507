"""Names and paths: which reader serves them, what replaces what, and how labels become codes."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fastnn.data import garments, source
from fastnn.data.examples import Dataset, Examples
from fastnn.data.source import load_dataset, read_inputs
from fastnn.errors import ConfigError, DataError
from tests.conftest import kind_of
from tests.idx_files import write_folder, write_idx

many = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network, no data of this machine, and garments that cost nothing."""
    monkeypatch.setenv("FASTNN_OFFLINE", "1")
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("FASTNN_DATA", raising=False)

    def draw(
        count: int, *, split: Literal["train", "test"], seed: int = 0
    ) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        images = np.zeros((count, 784), np.uint8)
        images[:, 0] = np.arange(count) % 251
        return images, (np.arange(count) % 10).astype(np.int32)

    monkeypatch.setattr(garments, "draw", draw)


@pytest.fixture
def fashion(monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """A stand-in for the named sets, which always loads."""
    images = np.arange(40 * 784, dtype=np.uint8).reshape(40, 784)
    part = Examples(images, (np.arange(40) % 10).astype(np.int32))
    data = Dataset("fashion-mnist", part, part, tuple("abcdefghij"), (28, 28))
    monkeypatch.setattr(source, "load_named", lambda known, **_: data)
    return data


def csv(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


# ---- names ---------------------------------------------------------------------------------------


def test_auto_is_fashion_mnist_where_it_can_be_had(fashion: Dataset) -> None:
    assert load_dataset() is fashion
    assert load_dataset("fashion-mnist") is fashion


def test_auto_says_so_when_it_is_not(tmp_path: Path) -> None:
    told: list[str] = []
    data = load_dataset("auto", warn=told.append)
    assert data.name == "garments"
    assert data.class_names == garments.CLASS_NAMES
    assert len(told) == 1
    assert "NOT Fashion-MNIST" in told[0]
    assert "FASTNN_OFFLINE" in told[0]
    assert "Put its four files into" in told[0]


def test_the_default_warning_points_at_the_caller() -> None:
    with pytest.warns(UserWarning, match="NOT Fashion-MNIST") as caught:
        load_dataset()
    assert caught[0].filename == __file__


def test_auto_reports_wrong_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path / "data")
    monkeypatch.setenv("FASTNN_DATA", str(folder))
    told: list[str] = []
    assert load_dataset(warn=told.append).name == "garments"
    assert f"{folder / 'train-images-idx3-ubyte.gz'}: a wrong file: found SHA-256" in told[0]


@pytest.mark.parametrize("name", ["auto", "fashion-mnist", "mnist"])
def test_what_is_asked_for_is_never_replaced(tmp_path: Path, name: str) -> None:
    def warn(text: str) -> None:
        raise AssertionError(text)

    if name != "auto":
        with pytest.raises(DataError, match="cannot be downloaded"):
            load_dataset(name, warn=warn)
    with pytest.raises(DataError, match="found no train-images"):
        load_dataset(name, data_dir=tmp_path, warn=warn)
    write_folder(tmp_path)
    with pytest.raises(DataError, match="a wrong file"):
        load_dataset(name, data_dir=tmp_path, warn=warn)


def test_garments_draws_as_many_as_asked() -> None:
    whole, part = load_dataset("garments"), load_dataset("garments", limit=300)
    assert len(whole.train.labels) == 60_000
    assert len(load_dataset("garments", limit=100_000).train.labels) == 60_000
    assert part.test is not None
    assert len(part.test.labels) == 10_000
    np.testing.assert_array_equal(part.train.inputs, whole.train.inputs[:300])


def test_a_limit_is_a_sample_of_all_else(fashion: Dataset) -> None:
    part = load_dataset("mnist", limit=20, seed=3)
    assert np.bincount(part.train.labels).tolist() == [2] * 10
    np.testing.assert_array_equal(part.train.inputs, fashion.limited(20, 3).train.inputs)
    assert load_dataset("mnist", limit=40) is fashion


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("fasion-mnist", "did you mean 'fashion-mnist'"),
        ("Garment", "did you mean 'garments'"),
        ("quite/elsewhere.csv", "expected auto, fashion-mnist, mnist, garments, or a folder"),
        ("x" * 5000, "no data set has this name"),
    ],
)
def test_unknown_names(name: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        load_dataset(name)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("garments", {"data_dir": Path("x")}),
        ("garments", {"test_data": Path("x.csv")}),
        ("mnist", {"label": "0"}),
        ("auto", {"test_data": Path("x.csv")}),
        ("auto", {"limit": 0}),
        ("folder", {"label": "0"}),
        ("folder", {"test_data": Path("folder")}),
        ("a.npz", {"label": "0"}),
        ("a.npz", {"data_dir": Path("folder")}),
    ],
)
def test_options_without_use_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "folder")
    np.savez("a.npz", x=np.eye(2), y=[0, 1])
    with pytest.raises(ConfigError, match=next(iter(options))):
        load_dataset(name, **options)


# ---- paths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".gz", ""])
def test_a_folder_of_idx_files(tmp_path: Path, ending: str) -> None:
    data = load_dataset(str(write_folder(tmp_path / "mine", ending=ending)))
    assert (data.name, data.shape, data.class_names) == ("mine", (4, 5), ("0", "1", "2"))
    assert data.test is not None
    assert data.train.inputs.shape == (12, 20)
    assert data.test.inputs.shape == (6, 20)


def test_faults_of_a_folder(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mine")
    images = folder / "t10k-images-idx3-ubyte.gz"
    write_idx(images, np.zeros((5, 4, 5), np.uint8))
    with pytest.raises(DataError, match=r"holds 5 images but .* holds 6 labels"):
        load_dataset(str(folder))
    write_idx(images, np.zeros((6, 4, 4), np.uint8))
    with pytest.raises(DataError, match=r"found 16 features \(shape \(4, 4\)\), expected 20"):
        load_dataset(str(folder))
    images.unlink()
    with pytest.raises(DataError, match="found no t10k-images"):
        load_dataset(str(folder))


def test_a_table_with_and_without_a_test_part(tmp_path: Path) -> None:
    train = csv(tmp_path / "Flowers.CSV", "label,x\nrose,1\nlily,2\nrose,3.5\n")
    test = csv(tmp_path / "test.csv", "label,x\nlily,7\n")
    data = load_dataset(str(train))
    assert (data.name, data.class_names, data.test) == ("Flowers", ("lily", "rose"), None)
    assert data.train.labels.tolist() == [1, 0, 1]
    data = load_dataset(str(train), test_data=test, label="label")
    assert data.test is not None
    assert data.test.labels.tolist() == [0]


@pytest.mark.parametrize(
    ("labels", "names", "codes"),
    [
        (["10", "9", "-1"], ("-1", "9", "10"), [2, 1, 0]),
        (["3.0", "3", "07"], ("3", "7"), [0, 0, 1]),
        (["10", "9", "b"], ("10", "9", "b"), [0, 1, 2]),
        (["07", "7", "b"], ("07", "7", "b"), [0, 1, 2]),
        (["1_0", "10", "b"], ("10", "1_0", "b"), [1, 0, 2]),
    ],
)
def test_the_order_of_classes(
    tmp_path: Path, labels: list[str], names: tuple[str, ...], codes: list[int]
) -> None:
    rows = "".join(f"{label},{row}\n" for row, label in enumerate(labels))
    path = csv(tmp_path / "a.csv", "y,x\n" + rows)
    data = load_dataset(str(path), test_data=path)
    assert data.test is not None
    assert data.class_names == names
    assert data.train.labels.dtype == np.int32
    assert data.train.labels.tolist() == data.test.labels.tolist() == codes


def test_labels_unknown_to_the_training_part(tmp_path: Path) -> None:
    train = csv(tmp_path / "train.csv", "y,x\n1,0\n2,0\n")
    test = csv(tmp_path / "test.csv", "y,x\n1,0\n2,0\nmany,0\n")
    with pytest.raises(DataError, match=r"test\.csv: row 4: found the label 'many', .*: 1, 2"):
        load_dataset(str(train), test_data=test)
    np.savez(tmp_path / "a.npz", x_train=np.eye(2), y_train=[5, 6], x_test=np.eye(2), y_test=[5, 7])
    with pytest.raises(DataError, match=r"a\.npz: row 1: found the label '7'"):
        load_dataset(str(tmp_path / "a.npz"))


def test_one_class_is_not_enough(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.csv: found one class, '1', expected two"):
        load_dataset(str(csv(tmp_path / "a.csv", "y,x\n1,0\n1.0,0\n")))


def test_arrays(tmp_path: Path) -> None:
    images = np.arange(4 * 6, dtype=np.uint8).reshape(4, 2, 3)
    np.savez(tmp_path / "one.npz", x=images, y=["b", "a", "b", "a"])
    np.savez(tmp_path / "two.npz", x=images[:1], y=["a"])
    data = load_dataset(str(tmp_path / "one.npz"), test_data=tmp_path / "two.npz")
    assert (data.shape, data.class_names) == ((2, 3), ("a", "b"))
    assert data.train.labels.tolist() == [1, 0, 1, 0]
    assert data.test is not None
    assert data.test.labels.tolist() == [0]
    np.save(tmp_path / "table.npy", np.array([[0.5, 1], [1.5, 0]]))
    table = load_dataset(str(tmp_path / "table.npy"), label="-1", test_data=tmp_path / "table.npy")
    assert table.train.labels.tolist() == [1, 0]


def test_faults_of_a_second_file(tmp_path: Path) -> None:
    one = csv(tmp_path / "one.csv", "a,1,2\nb,3,4\n")
    np.savez(
        tmp_path / "whole.npz",
        x_train=np.eye(2), y_train=[0, 1], x_test=np.eye(2), y_test=[0, 1],
    )  # fmt: skip
    np.savez(tmp_path / "part.npz", x=np.eye(2), y=[0, 1])
    for name, test_data, told in (
        (one, tmp_path / "part.npz", "expected a .csv file"),
        (one, csv(tmp_path / "two.csv", "a,1\n"), "found 1 features .* expected 2"),
        (tmp_path / "whole.npz", tmp_path / "part.npz", "holds a test part already"),
        (tmp_path / "part.npz", tmp_path / "whole.npz", "found two parts"),
    ):
        with pytest.raises(DataError, match=told):
            load_dataset(str(name), test_data=test_data)


@pytest.mark.parametrize(
    ("header", "found", "expected"),
    [
        ("label,y,x", "the column 'y'", "the column 'x'"),
        ("label,x,z", "the column 'z'", "the column 'y'"),
        ("label,x", "no more columns", "the column 'y'"),
        ("label,x,y,z", "the column 'z'", "no more columns"),
        ("x,y,id", "the column 'x'", "the column 'label'"),
        ("label,x,\x1b[31m", r"the column '\x1b[31m'", "the column 'y'"),
    ],
)
def test_both_files_have_the_same_columns(
    tmp_path: Path, header: str, found: str, expected: str
) -> None:
    train = csv(tmp_path / "train.csv", "label,x,y\n1,2,3\n2,5,6\n")
    row = ",".join("1" * len(header.split(",")))
    test = csv(tmp_path / "test.csv", f"{header}\n{row}\n")
    with pytest.raises(DataError) as caught:
        load_dataset(str(train), test_data=test)
    assert f"{test}: row 1: found {found}, expected {expected} as in training;" in str(caught.value)


def test_columns_that_agree(tmp_path: Path) -> None:
    train = csv(tmp_path / "train.csv", "label,x,y\na,2,3\nb,5,6\n")
    bare = csv(tmp_path / "bare.csv", "a,2,3\nb,5,6\n")
    label_last = csv(tmp_path / "last.csv", '\ufeffx ,"y",label\n2,3,a\n5,6,b\n')
    for one, other in ((train, train), (train, bare), (bare, train), (train, label_last)):
        data = load_dataset(str(one), test_data=other)
        assert data.test is not None
        np.testing.assert_array_equal(data.test.inputs, data.train.inputs)
        np.testing.assert_array_equal(data.test.labels, data.train.labels)


def test_both_parts_are_of_one_kind(tmp_path: Path) -> None:
    floats, pixels = np.eye(2), np.eye(2, dtype=np.uint8)
    path = tmp_path / "a.npz"
    np.savez(path, x_train=floats, y_train=[0, 1], x_test=pixels, y_test=[0, 1])
    data = load_dataset(str(path))
    assert data.test is not None
    assert data.test.inputs.dtype == np.float32
    np.savez(path, x_train=pixels, y_train=[0, 1], x_test=floats, y_test=[0, 1])
    with pytest.raises(DataError, match="expected bytes as in"):
        load_dataset(str(path))


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = csv(tmp_path / "a.txt", "1,2\n3,4\n")
    with pytest.raises(DataError, match=r"called \.txt, expected a folder of four IDX files, \."):
        load_dataset(str(path))


# ---- inputs to predict from ----------------------------------------------------------------------


def test_inputs_of_every_kind(tmp_path: Path) -> None:
    images = np.arange(3 * 4, dtype=np.uint8).reshape(3, 2, 2)
    flat = images.reshape(3, 4)
    np.save(tmp_path / "a.npy", images)
    np.savez(tmp_path / "a.npz", x=images)
    np.savetxt(tmp_path / "a.csv", flat, fmt="%d", delimiter=",")
    write_idx(tmp_path / "plain", images)
    write_idx(tmp_path / "packed.gz", images)
    for name in ("a.npy", "a.npz", "a.csv", "plain", "packed.gz"):
        for pixels, kind in ((True, np.uint8), (False, np.float32)):
            found = read_inputs(tmp_path / name, kind_of(4, pixels=pixels))
            assert found.dtype == kind
            np.testing.assert_array_equal(found, flat)
        with pytest.raises(DataError, match=r"found 4 .*expected 9"):
            read_inputs(tmp_path / name, kind_of(9, pixels=True))


@pytest.mark.parametrize("name", ["missing.csv", "missing", "."])
def test_inputs_that_are_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"cannot be read|a folder"):
        read_inputs(tmp_path / name, kind_of(4, pixels=True))


@many
@given(content=st.binary(max_size=60), name=st.sampled_from(["a", "a.csv", "a.npy", "a.npz"]))
def test_random_files_never_raise_anything_else(tmp_path: Path, content: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        load_dataset(str(path))
    with contextlib.suppress(DataError):
        read_inputs(path, kind_of(2, pixels=True))


def test_a_real_folder_is_the_named_set(real_data: Path) -> None:
    data = load_dataset(str(real_data / "fashion-mnist"), limit=1000)
    named = load_dataset("fashion-mnist", data_dir=real_data, limit=1000)
    np.testing.assert_array_equal(data.train.inputs, named.train.inputs)
    assert data.class_names == tuple("0123456789")
