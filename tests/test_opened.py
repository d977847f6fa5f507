"""A run opened again: its network and history, and the data that it was made of."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn.analysis.opened import load_run_data, open_run, read_facts, read_history
from fastnn.backend import get_backend
from fastnn.data.source import load_dataset
from fastnn.errors import CheckpointError, DataError
from fastnn.training.build import build
from fastnn.training.predictor import BEST, LAST
from fastnn.training.run import load_data

CONFIG = fastnn.TrainConfig(hidden=(6,), epochs=2, batch_size=32, device="cpu", kernels="reference")


def recorded(tmp_path, **settings):
    """A result in a run folder, and the configuration that its file holds."""
    config = replace(CONFIG, **settings)
    return fastnn.train(config, data=load_data(config), out=tmp_path / "runs")


def picture_file(path, count=90):
    """An .npz of 4 x 4 pictures of two classes with a test part."""
    rng = np.random.default_rng(4)
    y = np.arange(count) % 2
    x = (rng.integers(0, 120, (count, 4, 4)) + 100 * y[:, None, None]).astype(np.uint8)
    np.savez(path, x_train=x, y_train=y, x_test=x[:30], y_test=y[:30])
    return str(path)


def number_file(path, count=80):
    rng = np.random.default_rng(4)
    x = rng.normal(size=(count, 3)).astype(np.float32)
    y = x @ np.array([[1.0, 10], [2, 0], [0, 5]], np.float32)
    np.savez(path, x_train=x, y_train=y, x_test=x[:30], y_test=y[:30])
    return str(path)


SETTINGS = {
    "as it is": {},
    "limited": {"limit_train": 40},
    "another seed and share": {"seed": 7, "val": 0.25},
    "mirrored": {"flip_test": True, "flip": True},
    "numbers": {"loss": "mse", "scaling": "standard"},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_validation_part_is_the_one_that_training_held_out(tmp_path, name):
    settings = dict(SETTINGS[name])
    make = number_file if "loss" in settings else picture_file
    settings["dataset"] = make(tmp_path / "data.npz")
    result = recorded(tmp_path, **settings)
    opened = open_run(result.folder)
    data = load_run_data(opened)

    config = replace(CONFIG, **settings)
    whole = load_data(config)
    parts = build(config, whole, get_backend("cpu"), [])
    np.testing.assert_array_equal(data.valid.inputs, parts.valid.inputs)
    np.testing.assert_array_equal(data.valid.labels, parts.valid.labels)
    np.testing.assert_array_equal(data.test.inputs, whole.test.inputs)
    assert (data.test_part, data.unvalidated) == ("test", "")
    # The network, too, is the one that was trained: it scores as it did.
    assert opened.predictor.evaluate(data.valid) == result.valid
    assert opened.predictor.evaluate(data.test) == result.test
    assert len(data.valid.labels) == round(config.val * len(whole.train.labels))


def test_without_validation_the_reason_is_told(tmp_path):
    result = recorded(tmp_path, dataset=picture_file(tmp_path / "data.npz"), val=0.0)
    data = load_run_data(open_run(result.folder))
    assert data.valid is None
    assert "held nothing out" in data.unvalidated


def test_other_training_data_under_the_same_name_are_noticed(tmp_path):
    file = picture_file(tmp_path / "data.npz")
    opened = open_run(recorded(tmp_path, dataset=file).folder)
    assert load_run_data(opened).valid is not None
    with np.load(file) as arrays:
        changed = dict(arrays)
    changed["x_train"][17, 2, 3] ^= 1  # one bit of one pixel
    np.savez(file, **changed)
    data = load_run_data(opened)
    assert data.valid is None
    assert "the training part of data is not the one that the run learned from" in data.unvalidated
    np.testing.assert_array_equal(data.test.inputs.reshape(-1, 4, 4), changed["x_test"])


def test_another_kind_of_data_is_refused(tmp_path):
    file = picture_file(tmp_path / "data.npz")
    opened = open_run(recorded(tmp_path, dataset=file).folder)
    with np.load(file) as arrays:
        renamed = {**arrays, "y_train": arrays["y_train"] + 3, "y_test": arrays["y_test"] + 3}
    np.savez(file, **renamed)
    with pytest.raises(DataError, match="no longer what the network was trained on"):
        load_run_data(opened)
    np.savez(file, x=renamed["x_train"], y=renamed["y_train"] - 3)
    with pytest.raises(DataError, match="no test part; name a file with --test-data"):
        load_run_data(opened)


def test_a_test_file_is_looked_at_even_where_the_data_are_gone(tmp_path):
    file = tmp_path / "data.npz"
    opened = open_run(recorded(tmp_path, dataset=picture_file(file)).folder)
    with np.load(file) as arrays:
        np.savez(tmp_path / "more.npz", x=arrays["x_test"][:9], y=arrays["y_test"][:9])
    data = load_run_data(opened, test_data=tmp_path / "more.npz")
    assert (data.name, data.test_part) == ("data", "more.npz")
    assert len(data.test.labels) == 9
    assert len(data.valid.labels) == 9  # a tenth of 90

    file.unlink()
    data = load_run_data(opened, test_data=tmp_path / "more.npz")
    assert len(data.test.labels) == 9
    assert data.valid is None
    assert str(file) in data.unvalidated
    with pytest.raises(DataError, match=r"data\.npz"):
        load_run_data(opened)


def test_data_given_in_memory_cannot_be_found_again(tmp_path, blob_data):
    result = fastnn.train(CONFIG, data=blob_data, out=tmp_path)
    with pytest.raises(DataError, match="blobs"):
        load_run_data(open_run(result.folder))
    np.savez(tmp_path / "more.npz", x=blob_data.test.inputs, y=blob_data.test.labels)
    # The class codes 0, 1, 2 of a file are not this network's class names.
    with pytest.raises(DataError, match="class"):
        load_run_data(open_run(result.folder), test_data=tmp_path / "more.npz")


def test_a_run_and_its_files_are_one(tmp_path):
    result = recorded(tmp_path, dataset=picture_file(tmp_path / "data.npz"))
    folder, x = result.folder, np.zeros((3, 16), np.uint8)
    opened = open_run(folder)
    assert (opened.file, opened.folder, opened.name) == (folder / BEST, folder, folder.name)
    assert open_run(folder / BEST).folder == folder
    assert open_run(folder / LAST).name == folder.name
    assert opened.history() == result.history
    assert opened.result() == json.loads((folder / "result.json").read_text())
    assert opened.config == replace(CONFIG, dataset=str(tmp_path / "data.npz"))

    shutil.copy(folder / BEST, tmp_path / "mine.safetensors")
    alone = open_run(tmp_path / "mine.safetensors")
    assert (alone.folder, alone.name) == (None, "mine.safetensors")
    assert (alone.history(), alone.result()) == ([], {})
    np.testing.assert_array_equal(alone.predictor.outputs(x), opened.predictor.outputs(x))
    assert len(load_run_data(alone).valid.labels) == 9

    (folder / BEST).unlink()
    assert open_run(folder).file == folder / LAST
    (folder / "config.json").unlink()  # the network's file holds it, too
    assert open_run(folder).name == folder.name
    (folder / LAST).unlink()
    with pytest.raises(CheckpointError, match="not a run"):
        open_run(folder)


def test_a_relative_folder_has_its_name(tmp_path, monkeypatch):
    result = recorded(tmp_path, dataset=picture_file(tmp_path / "data.npz"))
    monkeypatch.chdir(result.folder)
    assert open_run(Path()).name == result.folder.name


def test_what_is_damaged_in_a_history_is_left_out(tmp_path):
    result = recorded(tmp_path, dataset=picture_file(tmp_path / "data.npz"), epochs=3)
    path = result.folder / "metrics.jsonl"
    lines = path.read_text().splitlines()
    words = json.dumps(asdict(result.history[1]) | {"train_loss": "low"})
    less = json.dumps({"epoch": 2, "step": 9})
    more = json.dumps(asdict(result.history[1]) | {"of a later version": 1})
    damaged = [lines[0], "", "[1, 2]", words, less, "[" * 100_000, more, lines[2][:40]]
    path.write_bytes("\n".join(damaged).encode() + b"\xff\xfe")
    assert open_run(result.folder).history() == result.history[:2]
    path.unlink()
    assert open_run(result.folder).history() == []
    assert read_history(tmp_path) == []  # a folder

    facts = tmp_path / "result.json"
    for text in ("", "{", "[]", "7", '{"a": ' * 50_000):
        facts.write_text(text)
        assert read_facts(facts) == {}
    facts.write_text('{"seconds": 3}')
    assert read_facts(facts) == {"seconds": 3}


def test_data_dir_says_where_a_named_set_lies_now(tmp_path, real_data):
    config = replace(CONFIG, dataset="mnist", data_dir=str(real_data / "mnist"), limit_train=300)
    result = fastnn.train(config, data=load_data(config), out=tmp_path)
    whole = load_dataset("mnist", data_dir=real_data / "mnist")
    data = load_run_data(open_run(result.folder), data_dir=str(real_data / "mnist"))
    assert len(data.valid.labels) == 30
    np.testing.assert_array_equal(data.test.inputs, whole.test.inputs)
    with pytest.raises(DataError):
        load_run_data(open_run(result.folder), data_dir=str(tmp_path))
