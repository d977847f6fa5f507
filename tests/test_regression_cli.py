"""The command line where numbers are predicted: a table with two label columns, from end to end."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.test_cli import events, invoke

QUICK = ("--loss", "mse", "--hidden", "16", "--epochs", "60", "--batch-size", "16", "--lr", "0.01",
         "--device", "cpu", "--scaling", "standard")  # fmt: skip
LABELS = ("--label", "price,rent")


def houses(path: Path, count: int, seed: int, *, labels: bool = True) -> Path:
    """Two prices that are linear in three features, the label columns apart from each other."""
    rng = np.random.default_rng(seed)
    area, rooms, age = (
        rng.uniform(20, 200, count),
        rng.integers(1, 8, count),
        rng.uniform(0, 90, count),
    )
    price = 1e5 + 2000 * area + 5000 * rooms - 300 * age
    rent = 100 + 8 * area + 20 * rooms
    columns = {"price": price, "area": area, "rooms": rooms, "rent": rent, "age": age}
    if not labels:
        del columns["price"], columns["rent"]
    rows = np.column_stack(list(columns.values()))
    np.savetxt(path, rows, delimiter=",", header=",".join(columns), comments="", fmt="%.9g")
    return path


@pytest.fixture
def run(tmp_path):
    train = houses(tmp_path / "houses.csv", 300, 0)
    test = houses(tmp_path / "more.csv", 50, 1)
    result = invoke(
        "train", "--dataset", train, "--test-data", test, *LABELS, *QUICK, "--out",
        tmp_path / "runs", "--json", "-q",
    )  # fmt: skip
    return events(result.stdout)[-1]["run"]


def test_training_reports_r2_and_rmse(tmp_path):
    train = houses(tmp_path / "houses.csv", 300, 0)
    arguments = ("train", "--dataset", train, *LABELS, *QUICK, "--out", tmp_path / "runs")
    result = invoke(*arguments)
    assert re.search(r"^ +loss +R2 +examples$", result.stdout, re.M)
    figures = r" +\d\.\d{4} +0\.9\d{3} +"
    assert re.search(rf"^train{figures}270$", result.stdout, re.M)
    assert re.search(rf"^valid{figures}30$", result.stdout, re.M)
    assert re.search(r"^RMSE +train +valid$", result.stdout, re.M)
    price, rent = (
        [float(cell) for cell in re.search(rf"^{name} +(.*)$", result.stdout, re.M)[1].split()]
        for name in ("price", "rent")
    )
    assert len(price) == len(rent) == 2
    assert min(price) > 50 * max(rent)  # in their own units, about 150,000 and 1,000
    assert "300 examples, 2 targets (price, rent)" in result.stderr
    line = next(line for line in result.stderr.splitlines() if line.startswith("epoch  1/60"))
    assert "val 0." in line or "val 1." in line
    assert "acc" not in line
    first, *epochs, done = events(invoke(*arguments, "--json").stdout)
    assert first["sizes"] == [3, 16, 2]
    assert [epoch["train_accuracy"] for epoch in epochs] == [None] * 60
    assert done["train_r2"] > 0.95
    assert done["valid_accuracy"] is None
    assert done["test_r2"] is None
    assert len(done["valid_rmse"]) == 2


def test_evaluate_and_predict_agree(run, tmp_path):
    expected = json.loads(Path(run, "result.json").read_text())
    (done,) = events(invoke("evaluate", run, "--json").stdout)
    assert (done["r2"], done["rmse"]) == (expected["test_r2"], expected["test_rmse"])
    assert done["accuracy"] is None
    assert done["count"] == 50
    assert done["loss"] == pytest.approx(expected["test_loss"], rel=1e-6)
    more = tmp_path / "more.csv"
    (again,) = events(invoke("evaluate", run, "--test-data", more, "--json").stdout)
    assert again["rmse"] == done["rmse"]

    text = invoke("predict", run, more).stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == ["index", "price", "rent"]
    truth = np.loadtxt(more, delimiter=",", skiprows=1)[:, [0, 3]]
    found = np.array([[float(row["price"]), float(row["rent"])] for row in rows])
    errors = np.sqrt(np.mean((found - truth) ** 2, axis=0))
    assert errors == pytest.approx(done["rmse"], rel=1e-3)
    bare = houses(tmp_path / "bare.csv", 50, 1, labels=False)
    assert invoke("predict", run, bare).stdout == text
    *predictions, last = events(invoke("predict", run, bare, "--json").stdout)
    assert last["count"] == 50
    assert predictions[3]["index"] == 3
    assert predictions[3]["values"] == pytest.approx(
        {"price": found[3, 0], "rent": found[3, 1]}, rel=1e-8
    )


def test_info_names_the_targets(run):
    text = invoke("info", run).stdout
    assert re.search(r"^targets +price, rent$", text, re.M)
    assert re.search(r"^ +1  affine +16 +2 +34 ", text, re.M)
    assert "softmax" not in text
    (done,) = events(invoke("info", run, "--json").stdout)
    assert (done["targets"], done["classes"]) == (["price", "rent"], [])


def test_resume_goes_on(run):
    *_, done = events(invoke("train", "--resume", run, "--epochs", "61", "--json").stdout)
    assert done["epochs"] == 61
    assert done["test_r2"] > 0.95


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            "price,area\n1,2\n3,4\ncheap,5\n",
            "row 4, column 0 (price): found cheap, expected a number",
        ),
        ("price,area\n1,2\nnan,5\n", "row 3, column 0 (price): found nan, expected a finite"),
        ("area,rooms\n1,2\n", "found 0 columns called 'price'"),
    ],
)
def test_bad_targets_have_their_code_and_row(tmp_path, content, told):
    path = tmp_path / "houses.csv"
    path.write_text(content)
    arguments = ("--label", "price", "--out", tmp_path / "runs", *QUICK)
    result = invoke("train", "--dataset", path, *arguments, code=3)
    assert told in " ".join(result.stderr.split())
    assert not (tmp_path / "runs").exists()


def test_a_loss_of_numbers_needs_numbers(tmp_path):
    result = invoke(
        "train", "--dataset", "fashion-mnist", "--loss", "mse", "--out", tmp_path, code=2
    )
    assert "fashion-mnist holds pictures of classes" in " ".join(result.stderr.split())
    result = invoke("train", "--loss", "cosine", "--out", tmp_path, code=2)
    assert "loss: 'cosine' must be one of cross-entropy, mse" in " ".join(result.stderr.split())


def test_a_test_file_with_other_columns_is_refused(run, tmp_path):
    (tmp_path / "other.csv").write_text("price,rooms,area,rent,age\n1,2,3,4,5\n")
    result = invoke("evaluate", run, "--test-data", tmp_path / "other.csv", code=3)
    assert "found the column 'rooms', expected the column 'area'" in " ".join(result.stderr.split())
