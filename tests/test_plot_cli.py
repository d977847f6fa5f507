"""`fastnn plot`: each picture from a run folder, and what is said where there is none to draw."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from fastnn.cli.plot import KINDS
from fastnn.training.layout import PLOTS
from tests.conftest import blobs
from tests.test_cli import QUICK, events, invoke, plain
from tests.test_regression_cli import LABELS, houses
from tests.test_regression_cli import QUICK as NUMBERS

needs_matplotlib = pytest.mark.usefixtures("matplotlib")


@pytest.fixture(scope="module")
def matplotlib():
    return pytest.importorskip("matplotlib", reason="matplotlib is not installed")


def trained(folder: Path, *arguments: object) -> Path:
    result = invoke("train", *arguments, "--out", folder / "runs", "--json", "-q")
    return Path(events(result.stdout)[-1]["run"])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A run on images of three classes, 3 x 4 pixels."""
    folder = tmp_path_factory.mktemp("pictures")
    data = blobs()
    np.savez(
        folder / "images.npz",
        x_train=data.train.inputs.reshape(-1, 3, 4), y_train=data.train.labels,
        x_test=data.test.inputs.reshape(-1, 3, 4), y_test=data.test.labels,
    )  # fmt: skip
    return trained(folder, "--dataset", folder / "images.npz", *QUICK)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    data = blobs(columns=2)
    for name, part in (("train.csv", data.train), ("test.csv", data.test)):
        rows = [f"{row[0] / 7},{row[1]},{label}" for row, label in zip(*part[:2], strict=True)]
        (folder / name).write_text("\n".join(["length,width,label", *rows]))
    arguments = ("--dataset", folder / "train.csv", "--test-data", folder / "test.csv")
    return trained(folder, *arguments, *QUICK)


@pytest.fixture(scope="module")
def regression(tmp_path_factory):
    folder = tmp_path_factory.mktemp("houses")
    train, test = houses(folder / "a.csv", 100, 0), houses(folder / "b.csv", 20, 1)
    quick = ["2" if word == "60" else word for word in NUMBERS]
    return trained(folder, "--dataset", train, "--test-data", test, *LABELS, *quick)


@pytest.fixture
def drawn(monkeypatch):
    """The figures that the verb draws, before they become bytes."""
    from fastnn.analysis import style

    papers, rendered = [], style.rendered

    def keep(paper, suffix):
        papers.append(paper)
        return rendered(paper, suffix)

    monkeypatch.setattr(style, "rendered", keep)
    return papers


def texts(paper):
    from matplotlib.text import Text

    return [text.get_text() for text in paper.findobj(Text) if text.get_text()]


def test_a_run_folder_knows_its_pictures_as_its_own():
    assert set(PLOTS) == {f"{what}.png" for what in KINDS}


@needs_matplotlib
@pytest.mark.parametrize("what", [name for name, kind in KINDS.items() if kind.classes])
def test_each_picture_of_classes_is_one_command_away(pictures, tmp_path, what, drawn):
    out = tmp_path / f"{what}.png"
    method = ("--method", "pca") if KINDS[what].method else ()
    result = invoke("plot", pictures, "--what", what, "--out", out, *method)
    assert result.stdout == f"{out}\n"
    assert out.read_bytes().startswith(b"\x89PNG")
    (note,) = (text for text in texts(drawn[0]) if pictures.name in text)
    assert note.startswith("images")
    assert ("test part, 300 examples" in note) == (what not in ("curves", "weights"))


@needs_matplotlib
@pytest.mark.parametrize("what", [name for name, kind in KINDS.items() if kind.numbers])
def test_each_picture_of_numbers_is_one_command_away(regression, tmp_path, what):
    out = tmp_path / "p.svg"
    invoke("plot", regression, "--what", what, "--out", out)
    assert out.read_bytes().startswith(b"<?xml")


@needs_matplotlib
def test_the_first_five_test_images_with_predicted_and_true_labels(pictures, tmp_path, drawn):
    from fastnn.training.classifier import Classifier

    invoke("plot", pictures, "--what", "samples", "--count", "5", "--out", tmp_path / "five.png")
    test = blobs().test
    (axes,) = drawn[0].axes
    shown = [np.asarray(image.get_array()) for image in axes.images]
    assert np.array_equal(shown, test.inputs[:5].reshape(5, 3, 4))
    predicted = Classifier.load(pictures).predict(test.inputs[:5])
    written = [text.get_text() for text in axes.texts]
    assert [text.split()[-1] for text in written[::2]] == [str(code) for code in predicted]
    assert written[1::2] == [f"true: {code}" for code in test.labels[:5]]


@needs_matplotlib
def test_a_contact_sheet_has_so_many_of_each_class(pictures, tmp_path, drawn):
    out = tmp_path / "sheet.pdf"
    invoke("plot", pictures, "--what", "samples", "--per-class", "7", "--out", out)
    assert out.read_bytes().startswith(b"%PDF")
    assert len(drawn[0].axes[0].images) == 21


@needs_matplotlib
def test_predicted_numbers_are_those_of_predict(regression, tmp_path, drawn):
    invoke("plot", regression, "--what", "predicted", "--out", tmp_path / "p.png")
    more = regression.parent.parent / "b.csv"
    lines = invoke("predict", regression, more).stdout.splitlines()[1:]
    found = np.array([[float(cell) for cell in line.split(",")[1:]] for line in lines])
    truth = np.loadtxt(more, delimiter=",", skiprows=1)[:, [0, 3]]
    for target, axes in enumerate(drawn[0].axes):
        expected = np.stack([truth[:, target], found[:, target]], axis=1)
        assert np.allclose(axes.collections[0].get_offsets().data, expected, rtol=1e-5)


@needs_matplotlib
def test_curves_are_the_runs_metrics(pictures, tmp_path, drawn):
    invoke("plot", pictures, "--what", "curves", "--out", tmp_path / "p.png")
    metrics = [json.loads(line) for line in (pictures / "metrics.jsonl").read_text().splitlines()]
    (train,) = (line for line in drawn[0].axes[0].lines if line.get_label() == "train")
    assert train.get_ydata().tolist() == [line["train_loss"] for line in metrics]


@needs_matplotlib
def test_weights_of_a_table_have_its_columns_names(table, regression, tmp_path, drawn):
    for run, columns in ((table, {"length", "width"}), (regression, {"area", "rooms", "age"})):
        invoke("plot", run, "--what", "weights", "--out", tmp_path / "p.png")
        labels = {label.get_text() for label in drawn[-1].axes[0].get_yticklabels()}
        assert labels == columns


@needs_matplotlib
def test_curves_and_weights_need_no_data(pictures, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(pictures, moved)
    config = json.loads((moved / "config.json").read_text())
    hidden = Path(config["dataset"]).rename(tmp_path / "hidden.npz")
    try:
        for what in ("curves", "weights"):
            invoke("plot", moved, "--what", what)
            assert (moved / f"{what}.png").exists()  # where it lies if nothing else is said
        invoke("plot", moved, "--what", "confusion", code=3)
        test = blobs().test
        np.savez(tmp_path / "others.npz", x=test.inputs.reshape(-1, 3, 4), y=test.labels)
        others = ("--test-data", tmp_path / "others.npz")
        invoke("plot", moved, "--what", "confusion", *others, "--out", tmp_path / "c.png")
    finally:
        hidden.rename(config["dataset"])


@needs_matplotlib
def test_json_names_the_file(pictures, tmp_path):
    out = tmp_path / "p.png"
    result = invoke("plot", pictures, "--what", "curves", "--out", out, "--json")
    (done,) = events(result.stdout)
    assert (done["what"], done["file"], done["run"]) == ("curves", str(out), str(pictures))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--what", "confusoin"], "'confusoin' is not one of curves, confusion, samples"),
        (["--what", "confusoin"], "did you mean 'confusion'"),
        (["--what", "curves", "--out", "a.gif"], "'a.gif' must end with .png, .svg, .pdf"),
        (["--what", "curves", "--count", "3"], "--count: curves takes none, only samples,"),
        (["--what", "mistakes", "--per-class", "3"], "--per-class: mistakes takes none"),
        (["--what", "samples", "--method", "pca"], "--method: samples takes none, only embedding"),
        (["--what", "samples", "--count", "0"], "--count: 0 must be at least 1"),
        (
            ["--what", "samples", "--count", "201"],
            "--count: 201 must be at least 1 and at most 200",
        ),
        (["--what", "samples", "--count", "5", "--per-class", "5"], "leave one out"),
        (["--what", "embedding", "--method", "lda"], "'lda' is not one of auto, pca, tsne, umap"),
        ([], "--what"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_the_run_is_opened(arguments, words, tmp_path):
    result = invoke("plot", tmp_path / "absent", *arguments, code=2)
    assert words in plain(result.stderr)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_matplotlib_is_said_before_the_run_is_opened(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = invoke("plot", tmp_path / "absent", "--what", "curves", "--out", "p.png", code=2)
    assert "pip install matplotlib" in result.stderr


@needs_matplotlib
def test_what_a_network_cannot_show_is_refused_with_what_it_can(
    pictures, table, regression, tmp_path
):
    out = ("--out", tmp_path / "p.png")
    result = invoke("plot", regression, "--what", "confusion", *out, code=2)
    assert "this network predicts numbers; of these there are curves, weights, predicted" in plain(
        result.stderr
    )
    result = invoke("plot", pictures, "--what", "predicted", *out, code=2)
    assert "this network predicts classes" in result.stderr
    for what in ("samples", "mistakes", "answers"):
        result = invoke("plot", table, "--what", what, *out, code=2)
        assert f"{what} shows images, and train has none" in result.stderr
    alone = shutil.copy(pictures / "best.safetensors", tmp_path / "alone.safetensors")
    result = invoke("plot", alone, "--what", "curves", *out, code=2)
    assert "run folder" in result.stderr
    assert not (tmp_path / "p.png").exists()


@needs_matplotlib
def test_a_run_without_validation_is_calibrated_without_a_temperature(tmp_path, blob_file, drawn):
    run = trained(tmp_path, "--dataset", blob_file, *QUICK, "--val", "0")
    result = invoke("plot", run, "--what", "calibration", "--out", tmp_path / "p.png")
    assert "held nothing out" in plain(result.stderr)
    assert not any("temperature" in text for text in texts(drawn[0]))
