"""Checkpoints: exact round trip, whole or not at all, and clear about what is not one."""

import json
import os

import numpy as np
import pytest
from safetensors.numpy import save_file

from fastnn.errors import CheckpointError, OutputError
from fastnn.training import checkpoint


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.safetensors"


def test_round_trip_is_exact(path):
    arrays = {"a": np.array([1.5, np.pi], np.float32), "b/c": np.arange(6).reshape(2, 3)[:, ::2]}
    checkpoint.save(path, arrays, {"note": "ü", "deep": {"x": [1, None, 0.1]}})
    loaded, meta = checkpoint.load(path)
    assert loaded.keys() == arrays.keys()
    for name in arrays:
        assert loaded[name].dtype == arrays[name].dtype
        assert np.array_equal(loaded[name], arrays[name])
    assert (meta["note"], meta["deep"]) == ("ü", {"x": [1, None, 0.1]})
    assert list(path.parent.iterdir()) == [path]


def test_missing_file(path):
    with pytest.raises(CheckpointError, match="no such file"):
        checkpoint.load(path)


@pytest.mark.parametrize("cut", [0, 1, 7, 8, 20, 100, -1])
def test_truncated_files_are_refused(path, cut):
    checkpoint.save(path, {"a": np.zeros(50)}, {})
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CheckpointError, match="state.safetensors"):
        checkpoint.load(path)


def test_foreign_safetensors_are_told_apart(path):
    save_file({"a": np.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="not one that fastnn wrote"):
        checkpoint.load(path)


@pytest.mark.parametrize("text", ["not json", "{}", '{"format": null}', "[]"])
def test_damaged_metadata(path, text):
    save_file({"a": np.zeros(3)}, path, metadata={"fastnn": text})
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(path)


def test_a_newer_format_asks_for_an_update(path):
    newer = json.dumps({"format": checkpoint.FORMAT + 1})
    save_file({"a": np.zeros(3)}, path, metadata={"fastnn": newer})
    with pytest.raises(CheckpointError, match="update fastnn"):
        checkpoint.load(path)


@pytest.mark.parametrize("moment", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_whole_and_nothing_else(path, monkeypatch, moment):
    checkpoint.save(path, {"a": np.ones(3)}, {})
    before = path.read_bytes()

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    if moment == "fsync":
        monkeypatch.setattr(checkpoint.os, "fsync", full)
    elif moment == "replace":
        monkeypatch.setattr(checkpoint.Path, "replace", full)
    else:
        monkeypatch.setattr(checkpoint.Path, "open", full)
    with pytest.raises(OutputError, match="No space left on device.*untouched"):
        checkpoint.save(path, {"a": np.zeros(3)}, {})
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_missing_folder_is_an_output_error(tmp_path):
    with pytest.raises(OutputError, match="nowhere"):
        checkpoint.save(tmp_path / "nowhere" / "x.safetensors", {"a": np.zeros(1)}, {})


def test_file_and_folder_are_both_synced(path, monkeypatch):
    synced = []
    sync = os.fsync
    monkeypatch.setattr(checkpoint.os, "fsync", lambda number: synced.append(sync(number)))
    checkpoint.save(path, {"a": np.ones(3)}, {})
    assert len(synced) == 2


def test_what_a_link_leads_to_is_written(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    checkpoint.write_atomically(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_stays_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    checkpoint.write_atomically(pipe, b"through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert pipe.is_fifo()


def test_a_read_only_file_is_left_alone(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_bytes(b"kept")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anything
    with pytest.raises(OutputError, match="read-only"):
        checkpoint.write_atomically(file, b"new")
    assert file.read_bytes() == b"kept"
