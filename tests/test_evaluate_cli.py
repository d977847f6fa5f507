"""`fastnn evaluate`: the same figures as text, JSON and CSV, for names of any kind."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len

from fastnn.analysis.opened import load_run_data, open_run
from fastnn.cli import output
from fastnn.training.classifier import Classifier
from tests.test_cli import QUICK, events, invoke
from tests.test_regression_cli import houses
from tests.test_regression_cli import run as regression_run  # noqa: F401 - a fixture

LEARNING = (*QUICK, "--epochs", "20", "--lr", "0.01")
ODD_NAMES = (
    "\x07",
    'a, "b"',
    "line\nbreak",
    "lone\rreturn",
    "[red]毛衣[/]",
    "\x1b[31mred",
    "שמלה",
    "T-shirt/top",
)


def labelled_file(path: Path, names: tuple[str, ...], each: int = 30, spread: float = 40) -> Path:
    """An .npz of bytes: noisy copies of a row for each name, which overlap."""
    rng = np.random.default_rng(len(names))
    centres = rng.integers(60, 196, (len(names), 6))
    codes = np.arange(each * len(names)) % len(names)
    parts = {}
    for part in ("train", "test"):
        noisy = centres[codes] + rng.normal(0, spread, (len(codes), 6))
        parts[f"x_{part}"] = np.clip(noisy, 0, 255).astype(np.uint8)
        parts[f"y_{part}"] = np.array(names)[codes] if isinstance(names[0], str) else codes
    np.savez(path, **parts)
    return path


def trained(dataset: Path, out: Path, *options: object) -> str:
    arguments = ("--dataset", dataset, "--out", out, *LEARNING, *options, "--json", "-q")
    return events(invoke("train", *arguments).stdout)[-1]["run"]


@pytest.fixture
def run(tmp_path):
    """A run over four classes that it confuses now and then."""
    names = ("bag", "coat", "dress", "shirt")
    return trained(labelled_file(tmp_path / "four.npz", names, spread=70), tmp_path / "runs")


@pytest.fixture
def odd_run(tmp_path):
    return trained(labelled_file(tmp_path / "odd.npz", ODD_NAMES), tmp_path / "runs")


def predicted(run, tmp_path):
    """Every test example's true name, the name said and its probability, as `predict` has them."""
    (data,) = tmp_path.glob("*.npz")
    with np.load(data) as arrays:
        truth = arrays["y_test"].tolist()
        np.save(tmp_path / "x.npy", arrays["x_test"])
    rows = csv.DictReader(io.StringIO(invoke("predict", run, tmp_path / "x.npy").stdout))
    return [
        (name, row["name"], float(row["probability"]))
        for name, row in zip(truth, rows, strict=True)
    ]


def test_json_has_every_figure(run, tmp_path):
    (done,) = events(invoke("evaluate", run, "--json").stdout)
    rows = predicted(run, tmp_path)
    pairs = Counter((true, said) for true, said, _ in rows)
    names = [row["name"] for row in done["per_class"]]
    assert names == ["bag", "coat", "dress", "shirt"]
    assert done["confusion"] == [[pairs[true, said] for said in names] for true in names]
    hits = sum(pairs[name, name] for name in names)
    assert 50 < hits < 118  # some are wrong, or this test would see nothing
    assert (done["accuracy"], done["count"]) == (hits / 120, 120)
    low, high = done["accuracy_interval"]
    assert low < done["accuracy"] < high
    for row in done["per_class"]:
        own, said = pairs[row["name"], row["name"]], sum(p[1] == row["name"] for p in rows)
        assert row["support"] == 30
        assert row["recall"] == pytest.approx(own / 30)
        assert row["precision"] == pytest.approx(own / said)
    assert done["macro"]["recall"] == pytest.approx(hits / 120)  # classes of one size
    (true, said), most = max(
        ((pair, count) for pair, count in pairs.items() if pair[0] != pair[1]), key=lambda p: p[1]
    )
    worst = done["most_confused"][0]
    assert (worst["examples"], worst["share"]) == (most, most / 30)
    assert pairs[worst["true"], worst["taken_for"]] == most
    assert worst["true"] != worst["taken_for"]
    assert set(done["top_k"]) == {"2", "3"}
    assert done["accuracy"] <= done["top_k"]["2"] <= done["top_k"]["3"] <= 1
    assert (done["event"], done["dataset"], done["run"]) == ("done", "four", run)
    assert (done["part"], done["valid_count"]) == ("test", 12)

    gaps = [[] for _ in range(15)]  # the definition, from the probabilities that predict prints
    for true, said, probability in rows:
        gaps[math.ceil(probability * 15) - 1].append((true == said) - probability)
    assert done["ece"] == pytest.approx(sum(abs(sum(gap)) for gap in gaps) / 120, abs=1e-5)


def test_accuracy_and_loss_are_those_of_the_run(run):
    (done,) = events(invoke("evaluate", run, "--json").stdout)
    result = json.loads(Path(run, "result.json").read_text())
    assert done["accuracy"] == result["test_accuracy"]
    assert done["loss"] == pytest.approx(result["test_loss"], rel=1e-6)


def test_the_temperature_is_best_on_the_validation_part(run):
    (done,) = events(invoke("evaluate", run, "--json").stdout)
    opened = open_run(Path(run))
    data, temperature = load_run_data(opened), done["temperature"]

    def loss(part, at):
        p = opened.predictor.predict_proba(part.inputs, temperature=at)
        return float(-np.log(p[np.arange(len(p)), part.labels]).mean())

    at_best = loss(data.valid, temperature)
    assert at_best < min(loss(data.valid, temperature * 1.1), loss(data.valid, temperature / 1.1))
    assert done["loss_at_temperature"] == pytest.approx(loss(data.test, temperature), rel=1e-5)
    assert done["loss"] == pytest.approx(loss(data.test, 1), rel=1e-5)
    assert done["ece_at_temperature"] != done["ece"]


def test_the_network_runs_once_over_each_part(run, monkeypatch):
    original, rows = Classifier.outputs, []

    def counted(self, inputs):
        rows.append(len(inputs))
        return original(self, inputs)

    monkeypatch.setattr(Classifier, "outputs", counted)
    for option, expected in (([], [120, 12]), (["--json"], [120, 12]), (["--csv"], [120])):
        rows.clear()
        invoke("evaluate", run, *option)
        assert rows == expected


def test_text_tells_people_the_same(run):
    (done,) = events(invoke("evaluate", run, "--json").stdout)
    result = invoke("evaluate", run)
    first, top, sure, *_ = result.stdout.splitlines()
    assert first.startswith(f"four: accuracy {100 * done['accuracy']:.2f} % (95 % interval ")
    assert first.endswith(f", loss {done['loss']:.4f} on 120 test examples")
    assert top == ", ".join(f"top {k} {100 * done['top_k'][k]:.2f} %" for k in ("2", "3"))
    assert f"fitted on 12 validation examples, {100 * done['ece_at_temperature']:.2f} %" in sure
    for name, row in [(r["name"], r) for r in done["per_class"]] + [
        ("macro average", done["macro"])
    ]:
        figures = [f"{100 * row[key]:.2f} %" for key in ("precision", "recall", "f1")]
        line = " +".join(map(re.escape, [name, *figures, str(row["support"])]))
        assert re.search(rf"^{line}$", result.stdout, re.M), name
    worst = done["most_confused"][0]
    assert (
        f"\n{worst['true']} taken for {worst['taken_for']}: {worst['examples']}, "
        f"{100 * worst['share']:.1f} % of {worst['true']}\n"
    ) in result.stdout
    *_, head, bag, coat, dress, shirt = result.stdout.splitlines()
    assert head.split() == ["bag", "coat", "dress", "shirt"]
    matrix = [[int(cell.replace(".", "0")) for cell in line.split()[1:]]
              for line in (bag, coat, dress, shirt)]  # fmt: skip
    assert matrix == done["confusion"]
    assert result.stderr == ""


def test_csv_holds_names_of_any_kind(odd_run):
    (done,) = events(invoke("evaluate", odd_run, "--json").stdout)
    result = invoke("evaluate", odd_run, "--csv")
    head, *rows = csv.reader(io.StringIO(result.stdout, newline=""))
    names = sorted(ODD_NAMES)
    assert head[:6] == ["class", "name", "precision", "recall", "f1", "support"]
    assert head[6:] == [f"predicted {name}" for name in names]
    assert [row[1] for row in rows] == names
    for code, (row, expected) in enumerate(zip(rows, done["per_class"], strict=True)):
        assert row[0] == str(code)
        figures = [expected[key] for key in ("precision", "recall", "f1", "support")]
        assert [float(cell) if cell else None for cell in row[2:6]] == figures
        assert [int(cell) for cell in row[6:]] == done["confusion"][code]
    assert result.stderr == ""


@pytest.mark.parametrize("columns", [None, 60, 200])
def test_text_holds_names_of_any_kind(odd_run, columns):
    env = {} if columns is None else {"FORCE_COLOR": "1", "COLUMNS": str(columns)}
    text = invoke("evaluate", odd_run, env=env).stdout
    assert "\x1b" not in text
    assert "\r" not in text
    lines = text.splitlines()
    if columns is not None:
        assert max(map(cell_len, lines)) <= columns
    table = lines[lines.index("") + 1 :][: len(ODD_NAMES) + 2]
    assert [line.split("  ")[0].rstrip() for line in table] == [
        "class", "'\\x07'", "[31mred", "T-shirt/top", "[red]毛衣[/]", 'a, "b"', "line break",
        "lone return", "שמלה", "macro average",
    ]  # fmt: skip
    assert len({cell_len(line) for line in table}) == 1  # one right edge, whatever the script


@pytest.mark.parametrize(("classes", "columns", "fits"), [(12, 60, True), (25, 60, False),
                                                          (20, 200, True), (31, 400, False),
                                                          (31, None, True)])  # fmt: skip
def test_the_matrix_is_shown_where_it_fits(tmp_path, classes, columns, fits):
    letters = [chr(97 + n // 26) + chr(97 + n % 26) for n in range(classes)]
    names = tuple(f"毛衣 {two}, which is longer than a terminal has room for" for two in letters)
    run = trained(labelled_file(tmp_path / "d.npz", names, 10), tmp_path / "runs")
    env = {} if columns is None else {"FORCE_COLOR": "1", "COLUMNS": str(columns)}
    result = invoke("evaluate", run, env=env)
    told = "does not fit this terminal" in " ".join(result.stderr.split())
    assert told == (not fits)
    last = result.stdout.splitlines()[-1]
    assert (len(re.findall(r" (\d+|\.)(?= |$)", last)) == classes) == fits
    if columns is not None:
        assert max(map(cell_len, result.stdout.splitlines())) <= columns


def test_a_class_without_examples_has_no_recall(run, tmp_path):
    with np.load(tmp_path / "four.npz") as arrays:
        kept = arrays["y_test"] != "coat"
        np.savez(tmp_path / "part.npz", x=arrays["x_test"][kept], y=arrays["y_test"][kept])
    arguments = ("evaluate", run, "--test-data", tmp_path / "part.npz")

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    done = json.loads(invoke(*arguments, "--json").stdout, parse_constant=refuse)
    assert done["per_class"][1]["recall"] is None
    assert done["per_class"][1]["support"] == 0
    assert done["macro"]["recall"] == pytest.approx(done["accuracy"])  # over the three that occur
    assert done["part"] == "part.npz"
    text = invoke(*arguments).stdout
    assert re.match(r"four: accuracy .* on 90 examples of part\.npz$", text.splitlines()[0])
    assert re.search(r"^coat +[\d.]+ % +- +[\d.]+ % +0$", text, re.M)
    row = list(csv.DictReader(io.StringIO(invoke(*arguments, "--csv").stdout)))[1]
    assert (row["name"], row["recall"], row["support"]) == ("coat", "", "0")


def test_without_validation_there_is_no_temperature(tmp_path):
    run = trained(labelled_file(tmp_path / "d.npz", ("a", "b")), tmp_path / "runs", "--val", "0")
    result = invoke("evaluate", run, "--json")
    (done,) = events(result.stdout)
    keys = ("temperature", "ece_at_temperature", "loss_at_temperature", "valid_count")
    assert [done[key] for key in keys] == [None] * 4
    assert done["top_k"] == {}
    assert 0 <= done["ece"] <= 1
    assert "held nothing out for validation (val 0)" in " ".join(result.stderr.split())
    text = invoke("evaluate", run).stdout
    assert "temperature" not in text
    assert "top 2" not in text
    assert re.search(r"^expected calibration error [\d.]+ %$", text, re.M)


def test_one_of_json_and_csv(run):
    for place in (run, "absent"):  # told before anything is read
        error = invoke("evaluate", place, "--json", "--csv", code=2)
        assert "give one of them" in error.stderr
        (event,) = events(error.stdout)
        assert (event["event"], event["code"]) == ("error", 2)


def test_numbers_are_told_by_the_name_of_their_target(regression_run, tmp_path):  # noqa: F811
    (done,) = events(invoke("evaluate", regression_run, "--json").stdout)
    result = json.loads(Path(regression_run, "result.json").read_text())
    price, rent = done["per_target"]
    assert (price["name"], rent["name"]) == ("price", "rent")
    assert [price["rmse"], rent["rmse"]] == done["rmse"] == result["test_rmse"]
    assert (price["r2"] + rent["r2"]) / 2 == pytest.approx(done["r2"])
    assert 0 < price["mae"] <= price["rmse"]
    assert (done["part"], done["dataset"]) == ("test", "houses")

    text = invoke("evaluate", regression_run).stdout
    assert re.match(r"houses: R2 0\.9\d+, loss 0\.\d+ on 50 test examples\n\ntarget ", text)
    for row in (price, rent):
        cells = f"{row['r2']:.4f}", f"{row['rmse']:.4g}", f"{row['mae']:.4g}"
        assert re.search(rf"^{row['name']} +{' +'.join(map(re.escape, cells))}$", text, re.M)

    head, *rows = csv.reader(io.StringIO(invoke("evaluate", regression_run, "--csv").stdout))
    assert head == ["target", "r2", "rmse", "mae"]
    assert [row[0] for row in rows] == ["price", "rent"]
    assert [float(cell) for cell in rows[1][1:]] == [rent["r2"], rent["rmse"], rent["mae"]]


def test_one_target_has_its_error_in_the_table_of_training(tmp_path):
    table = houses(tmp_path / "houses.csv", 100, 0)
    options = ("--loss", "mse", "--label", "price", "--out", tmp_path / "runs", *QUICK)
    text = invoke("train", "--dataset", table, *options).stdout
    assert re.search(r"^ +loss +R2 +RMSE +examples$", text, re.M)
    assert not re.search(r"^RMSE", text, re.M)


def test_an_event_has_null_for_what_is_not_finite_however_deep(capsys):
    deep = {"list": [1.5, math.nan, [math.inf]], "pair": (-math.inf, "NaN"), "none": None}
    output.emit("done", {"loss": math.nan, "rate": np.float64("nan"), "inner": {"deep": deep}})
    line = json.loads(capsys.readouterr().out)
    assert line["loss"] is line["rate"] is None
    assert line["inner"]["deep"] == {
        "list": [1.5, None, [None]], "pair": [None, "NaN"], "none": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("T-shirt/top", "T-shirt/top"),
        (" two\n\tlines\r\n", "two lines"),
        ("\x1b[31mred\x07", "[31mred"),
        ("a\u202eb\u2066c\ufeff", "abc"),  # would write from right to left over what follows
        ("\U0001f468\u200d\U0001f469", "\U0001f468\u200d\U0001f469"),  # a joiner makes two one
        ("क्\u200dष", "क्\u200dष"),
        ("毛衣 שמלה é", "毛衣 שמלה é"),
        ("", "''"),
        ("\x00", r"'\x00'"),
        ("\ud800x", "x"),  # half a character, which no terminal takes
    ],
)
def test_names_become_one_line_without_control_characters(name, shown):
    assert output.one_line(name) == shown


def test_fashion_mnist_as_it_was_scored(tmp_path, real_data):
    options = ("--data-dir", real_data / "fashion-mnist", "--limit-train", 2000)
    run = trained("fashion-mnist", tmp_path / "runs", *options)
    (done,) = events(invoke("evaluate", run, "--json").stdout)
    result = json.loads(Path(run, "result.json").read_text())
    assert (done["accuracy"], done["count"]) == (result["test_accuracy"], 10_000)
    assert done["loss"] == pytest.approx(result["test_loss"], rel=1e-6)
    assert (done["valid_count"], set(done["top_k"])) == (200, {"2", "3", "5"})


ONCE = ("--epochs", "1", "--hidden", "4", "--device", "cpu", "--json")


def test_without_a_test_part_the_validation_part_is_scored_and_named(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("a,label\n" + "".join(f"{n % 7},{n % 2}\n" for n in range(80)))
    run = events(invoke("train", "--dataset", table, "--out", tmp_path, *ONCE).stdout)[-1]
    result = invoke("evaluate", run["run"], "--json")
    (done,) = events(result.stdout)
    assert (done["part"], done["count"]) == ("validation", 8)
    assert done["accuracy"] == run["valid_accuracy"]
    assert done["temperature"] is None
    assert "no test part" in " ".join(result.stderr.split())
    assert "8 validation examples" in invoke("evaluate", run["run"]).stdout


def test_a_file_of_another_kind_is_told_what_was_expected(tmp_path):
    table, other = tmp_path / "t.csv", tmp_path / "other.csv"
    table.write_text(
        "size,weight,kind\n" + "".join(f"{n},{n % 5},{'ab'[n % 2]}\n" for n in range(40))
    )
    other.write_text("x,y\n1.5,2.5\n")
    given = ("--dataset", table, "--label", "kind", "--out", tmp_path)
    run = events(invoke("train", *given, *ONCE).stdout)[-1]["run"]
    said = " ".join(invoke("evaluate", run, "--test-data", other, code=3).stderr.split())
    assert "trained on the columns size, weight" in said
    assert "in kind" in said
