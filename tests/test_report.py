"""The report as a file: what stands in it, what must not, and what it does without some parts."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import fastnn
from fastnn.analysis.evaluation import Evaluation
from fastnn.analysis.opened import load_run_data, open_run
from fastnn.analysis.report import charts, thumbnails
from fastnn.analysis.wording import number_text
from fastnn.cli.app import app
from tests.report_runs import NAMES, numbers, pictures, table, trained

pytest.importorskip("jinja2", reason="reports need Jinja2")
Image = pytest.importorskip("PIL.Image", reason="reports need Pillow")

VOID = {"meta", "link", "img", "br", "input", "line", "circle", "rect", "path", "use"}


class Page(HTMLParser):
    """The parts of a page, and that every tag is closed by its own."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data):
        if data.strip() and self._open[-1] not in ("style", "script"):
            self.texts.append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def decoded(uri: str) -> np.ndarray:
    """The pixels of a data URI."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))


def rendered(run: Path, data=None) -> str:
    from fastnn.analysis.report import render_report

    opened = open_run(run, "cpu")
    page = render_report(opened, load_run_data(opened, data=data, or_validation=True))
    return re.sub("</?bdi>", "", page)  # which sets names apart where letters run to the left


@pytest.fixture(scope="module")
def picture_run(tmp_path_factory):
    return trained(pictures(), tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def picture_html(picture_run):
    return rendered(picture_run, pictures())


def test_everything_is_in_the_file_and_nothing_is_loaded(picture_html):
    page = Page(picture_html)
    addresses = [
        value
        for _, attrs in page.tags
        for name, value in attrs.items()
        if name in ("src", "href", "action", "data", "poster", "srcset") and value
    ]
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert set(re.findall(r"url\((.{5})", picture_html)) <= {"data:"}
    assert "@import" not in picture_html
    (policy,) = [attrs["content"] for attrs in page.all("meta") if "http-equiv" in attrs]
    assert "default-src 'none'" in policy
    assert len(picture_html) < 5_000_000


def test_anchors_labels_and_names_resolve(picture_html):
    page = Page(picture_html)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in page.tags:
        if (attrs.get("href") or "").startswith("#"):
            assert attrs["href"][1:] in ids
        for reference in (attrs.get("aria-labelledby") or "").split():
            assert reference in ids
    assert all(attrs.get("alt") for attrs in page.all("img"))
    assert page.all("html")[0]["lang"] == "en"


def test_names_stay_text(picture_html):
    page = Page(picture_html)
    for name in NAMES:
        assert name in page.texts
    assert "pic & tures" in page.text
    (own,) = re.findall(r"<script>(.*?)</script>", picture_html, re.S)
    assert "alert" not in own
    assert len(page.all("script")) == 2 + len(page.all("figure")) - len(
        re.findall("<figure><img", picture_html)
    )
    for data in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', picture_html):
        json.loads(data)


def test_its_figures_are_those_of_the_evaluation(picture_run, picture_html):
    predictor = fastnn.load_predictor(picture_run, "cpu")
    e = Evaluation.of(predictor, pictures().test)
    cells = re.findall(r'<span class="count-of">(\d+)</span>', picture_html)
    assert list(map(int, cells)) == e.confusion.ravel().tolist()
    rates = re.findall(r'<span class="rate-of">([\d.]+)</span>', picture_html)
    shares = 100 * e.confusion / e.confusion.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(list(map(float, rates)), shares.ravel(), atol=0.051)
    assert f'<div class="big">{100 * e.accuracy:.2f} %</div>' in picture_html
    first = re.search(r'<ul class="cards first">(.*?)</ul>', picture_html, re.S)[1]
    numbers_shown = re.findall(r"#(\d+)</span>", first)
    assert numbers_shown == ["0", "1", "2", "3", "4"]
    wrong = np.flatnonzero(predictor.predict(pictures().test.inputs) != pictures().test.labels)
    shown = re.findall(r'<ul class="cards">(.*?)</ul>', picture_html, re.S)[0]
    rows = [int(row) for row in re.findall(r"#(\d+)</span>", shown)]
    assert rows and set(rows) <= set(wrong.tolist())
    sure = predictor.predict_proba(pictures().test.inputs).max(axis=1)[rows]
    assert (np.diff(sure) <= 1e-6).all()


def test_pictures_are_the_examples(picture_html):
    first = picture_html[picture_html.index('<ul class="cards first">') :]
    image = decoded(re.search(r'src="([^"]+)"', first)[1])
    assert np.array_equal(image.ravel(), pictures().test.inputs[0])


def test_every_figure_names_its_part(picture_html):
    page = Page(picture_html)
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", picture_html, re.S)
    of_test = [h for h in headings if "test · 240 images" in h]
    assert len(of_test) >= 6
    assert "validation · 24 images" in page.text
    assert "216" in page.texts  # what was learned from


def test_a_table_shows_its_values(tmp_path):
    html = rendered(trained(table(), tmp_path), table())
    page = Page(html)
    assert not page.all("img")
    first = re.search(r'<ul class="cards first">(.*?)</ul>', html, re.S)[1]
    value = table().test.inputs[0, 0]
    assert f"x0 {value:.4g}" in re.sub(r"\s+", " ", first)


def test_numbers_have_a_report_of_their_own(tmp_path):
    run = trained(numbers(), tmp_path, loss="mse")
    html = rendered(run, numbers())
    score = fastnn.load_predictor(run, "cpu").evaluate(numbers().test)
    assert f'<div class="big">{score.r2:.4f}</div>' in html
    assert "confusion" not in html.split("<body>")[1].lower()
    assert len(re.findall(r'<figure class="agreement">', html)) == 2
    for rmse in score.rmse:
        assert number_text(rmse) in html
    Page(html)


@pytest.mark.parametrize(
    "settings",
    [{"val": 0.0}, {"epochs": 0}, {"epochs": 1}, {"hidden": ()}, {"norm": "batch", "dropout": 0.2}],
    ids=str,
)
def test_runs_of_every_sort_have_one(settings, tmp_path):
    html = rendered(trained(pictures(), tmp_path, **settings), pictures())
    Page(html)
    if settings.get("val") == 0.0:
        assert "held nothing out" in html


def test_a_broken_run_folder_still_has_one(picture_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(picture_run, run)
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("\n".join(["{", lines[1], lines[2][:30]]))
    (run / "result.json").write_text("[1, 2")
    (run / "environment.json").unlink()
    Page(rendered(run, pictures()))


def test_without_a_test_part_the_validation_part_is_shown_and_named(tmp_path):
    data = pictures()
    alone = fastnn.Dataset("alone", data.train, None, data.class_names, data.shape)
    html = rendered(trained(alone, tmp_path), alone)
    assert "validation · 24 images" in html
    assert "test ·" not in html
    assert "Test images" not in html
    assert "No validation part" not in html
    assert "flatters the network" in html
    with pytest.raises(fastnn.DataError, match="no test part"):
        rendered(trained(alone, tmp_path, val=0.0), alone)


@pytest.mark.parametrize(("classes", "side"), [(10, 96), (300, 32)])
def test_pictures_that_nothing_can_make_smaller_fit(classes, side, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (1200, side, side, 3)).astype(np.uint8)
    y = np.arange(1200) % classes
    data = fastnn.dataset_from_arrays(x[:600], y[:600], x[600:], y[600:])
    html = rendered(trained(data, tmp_path, epochs=1), data)
    assert len(html) < 5_000_000
    assert ("With 300 classes" in html) == (classes == 300)
    assert ("Of the first 20 of 300 classes" in html) == (classes == 300)
    Page(html)


def test_a_linear_network_of_many_inputs_is_laid_out_quickly(tmp_path, monkeypatch):
    """By the smaller of both products: a (27648, 27648) one would take gigabytes and minutes."""
    eigh, sides = np.linalg.eigh, []
    monkeypatch.setattr(
        np.linalg, "eigh", lambda matrix: (sides.append(len(matrix)), eigh(matrix))[1]
    )
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (80, 40, 40)).astype(np.uint8)
    data = fastnn.dataset_from_arrays(x[:40], np.arange(40) % 2, x[40:], np.arange(40) % 2)
    rendered(trained(data, tmp_path, hidden=(), epochs=1), data)
    assert sides and max(sides) <= 40


def test_many_targets_fit(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 1000, 100))
    data = fastnn.dataset_from_arrays(x[:100], y[:100], x[100:], y[100:], numbers=True)
    html = rendered(trained(data, tmp_path, loss="mse", epochs=1), data)
    assert len(html) < 5_000_000
    assert "The first 12 of 100 targets" in html
    assert "of the 3 that it knows least" in html


def test_a_run_that_has_gone_on_is_not_told_by_its_first_result(tmp_path):
    class Stop(fastnn.Callback):
        def on_epoch_end(self, trainer, report):
            if report.epoch == 3:
                raise KeyboardInterrupt

    run = trained(pictures(), tmp_path, epochs=1, val=0.0)
    assert "accuracy, training" in rendered(run, pictures())
    with pytest.raises(KeyboardInterrupt):
        fastnn.resume(run, data=pictures(), epochs=5, callbacks=[Stop()])
    html = rendered(run, pictures())
    assert "accuracy, training" not in html
    assert "3 of 5 epochs, not finished" in html


def test_an_untrained_network_is_called_so(tmp_path):
    assert "never trained" in rendered(trained(pictures(), tmp_path, epochs=0), pictures())


def test_a_report_needs_something_to_report_on(tmp_path):
    table_file = tmp_path / "t.csv"
    table_file.write_text("a,label\n" + "".join(f"{n},{n % 2}\n" for n in range(40)))
    out = tmp_path / "runs"
    arguments = ["train", "--dataset", str(table_file), "--val", "0", "--out", str(out), "--report"]
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 2
    assert "--test-data" in answer.stderr
    assert not out.exists()


def test_weights_beside_other_files_leave_those_alone(picture_run, tmp_path):
    shutil.copy(picture_run / "best.safetensors", tmp_path / "mine.safetensors")
    (tmp_path / "report.html").write_text("precious")
    np.savez(
        tmp_path / "t.npz", x=pictures().test.inputs.reshape(-1, 9, 7), y=np.array(NAMES)[[0] * 240]
    )
    arguments = [
        "report",
        str(tmp_path / "mine.safetensors"),
        "--test-data",
        str(tmp_path / "t.npz"),
    ]
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 0, answer.stderr
    assert (tmp_path / "report.html").read_text() == "precious"
    assert (tmp_path / "mine-report.html").exists()


def test_command_line(blob_file, tmp_path):
    def invoke(*arguments, code=0):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
        return result

    quick = ("--epochs", "1", "--hidden", "8", "--device", "cpu", "--out", tmp_path, "--json")
    lines = invoke("train", "--dataset", blob_file, *quick, "--report").stdout.splitlines()
    done = json.loads(lines[-1])
    assert Path(done["report"]) == Path(done["run"]) / "report.html"
    first = Path(done["report"]).read_text()
    assert "blobs" in first
    other = tmp_path / "other.html"
    answer = invoke("report", done["run"], "--out", other, "--json")
    assert json.loads(answer.stdout)["report"] == str(other)
    assert other.exists()
    folder = tmp_path / "folder.html"
    folder.mkdir()
    assert "cannot be written" in invoke("report", done["run"], "--out", folder, code=1).stderr
    weights = Path(done["run"]) / "best.safetensors"
    before = weights.read_bytes()
    assert "must end with .html" in invoke("report", done["run"], "--out", weights, code=2).stderr
    assert weights.read_bytes() == before
    assert "no such file" in invoke("report", tmp_path / "nothing", code=3).stderr


@pytest.mark.parametrize(("module", "command"), [("jinja2", "jinja2"), ("PIL.Image", "pillow")])
def test_what_is_missing_is_said_at_once(module, command, blob_file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    out = tmp_path / "runs"
    answer = CliRunner().invoke(
        app, ["train", "--dataset", str(blob_file), "--out", str(out), "--report"]
    )
    assert answer.exit_code == 2
    assert f"pip install {command}" in answer.stderr.replace("\n", " ")
    assert not out.exists()


def test_ticks_have_digits_enough_to_differ():
    true = 1.7e9 + np.array([0.0, 1.0, 2.0])
    chart = charts.agreement_chart("t", true, true)
    texts = [x.text for x, _ in chart.ticks]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.11, 0.49, [0.1, 0.2, 0.3, 0.4, 0.5]),
        (-3.0, 12.0, [-5.0, 0.0, 5.0, 10.0, 15.0]),
        (0.001, 0.001, [0.0, 0.0005, 0.001, 0.0015, 0.002]),
        (0.0, 0.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
    ],
)
def test_round_numbers(low, high, expected):
    assert charts.round_numbers(low, high) == expected


def test_curves_keep_their_values_and_gaps():
    chart = charts.line_chart(
        "Loss", [1, 2, 3], {("a", "train"): [0.0, None, 1.0], ("b", "valid"): [None] * 3},
        write=str, best=3,
    )  # fmt: skip
    (line,) = chart.lines
    f = chart.frame
    assert line.marks == [(f.left, f.bottom), None, (f.right, f.top)]
    assert line.path.count("M") == 2
    assert chart.best == f.right


def test_sheets_hold_every_picture_in_order():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (7, 5, 4)).astype(np.uint8)
    found = thumbnails.sheet(images)
    whole = decoded(found.uri)
    for n, image in enumerate(images):
        row, column = divmod(n, found.columns)
        part = whole[
            row * found.height : (row + 1) * found.height,
            column * found.width : (column + 1) * found.width,
        ]
        assert np.array_equal(part, image)


def test_right_and_wrong_are_told_apart_class_by_class(picture_run, picture_html):
    data = pictures()
    said = fastnn.load_predictor(picture_run, "cpu").predict(data.test.inputs)
    table = picture_html[picture_html.index("Right and wrong, class by class") :]
    rows = re.findall(r'<tr><th scope="row">.*?</tr>', table[: table.index("</table>")], re.S)
    assert len(rows) == len(data.class_names)
    shown_of = {True: 0, False: 0}
    for code, row in enumerate(rows):
        right, wrong = re.findall(r"<td.*?</td>", row, re.S)
        for cell, expected in ((right, True), (wrong, False)):
            numbers_of = [int(n) for n in re.findall(r'number (\d+)"', cell)]
            shown_of[expected] += len(numbers_of)
            for n in numbers_of:
                assert data.test.labels[n] == code
                assert (said[n] == code) == expected
        captions = re.findall(r"<figcaption>(.*?)</figcaption>", wrong)
        shown = [data.class_names[said[int(n)]] for n in re.findall(r'number (\d+)"', wrong)]
        assert [unescape(caption) for caption in captions] == shown
    assert min(shown_of.values()) > 5


def test_the_temperature_is_that_of_the_validation_part(picture_run, picture_html):
    opened = open_run(picture_run, "cpu")
    data = load_run_data(opened, data=pictures())
    temperature = Evaluation.of(opened.predictor, data.valid).fitted_temperature()
    e = Evaluation.of(opened.predictor, data.test)
    before, after = (100 * e.calibration(t).ece for t in (1.0, temperature))
    assert f"{before:.2f}" != f"{after:.2f}"
    assert f"error: <strong>{before:.2f} %</strong>" in picture_html
    assert f"temperature <strong>{after:.2f} %</strong>" in picture_html
    assert f"divided by {temperature:.2f}" in picture_html


def test_the_map_shows_each_example_its_own_picture(picture_html):
    facts = json.loads(re.search(r'id="points">(.*?)</script>', picture_html)[1])
    sheet = decoded(re.search(r"background-image: url\((.*?)\)", picture_html)[1])
    height, width, columns = (facts["sheet"][name] for name in ("height", "width", "columns"))
    test = pictures().test
    for n, (code, _, row) in enumerate(facts["points"]):
        down, across = divmod(n, columns)
        cell = sheet[down * height :, across * width :][:height, :width]
        assert np.array_equal(cell.ravel(), test.inputs[row])
        assert code == test.labels[row]
    assert len(facts["points"]) == len(test.labels)


def test_scatter_keeps_left_and_right_above_and_below():
    frame = charts.Frame(100, 80, 0, 0, 100, 80)
    low, high, middle = charts.scatter_places(np.array([[0, 0], [2, 1], [1, 0.5]]), frame)
    assert low[0] < middle[0] < high[0]
    assert low[1] > middle[1] > high[1]  # y is down on a page
    assert middle == (50, 40)
    assert (high[0] - low[0]) / (low[1] - high[1]) == pytest.approx(2, rel=0.01)


def test_agreement_has_the_truth_along_x():
    chart = charts.agreement_chart("t", np.array([0.0, 10.0]), np.array([0.0, 0.0]))
    (x0, y0), (x1, y1) = chart.marks
    assert x1 > x0
    assert y1 == y0 == chart.frame.bottom


def test_bars_of_reliability_are_accuracies():
    found = Evaluation(
        ("a", "b"), np.array([0, 0, 1, 1]), np.log([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.3, 0.7]])
    ).calibration()
    chart = charts.reliability_chart(found, None)
    high = chart.frame.bottom - chart.frame.top
    assert [round(bar.height / high, 2) for bar in chart.bars] == [1.0, 0.67]  # at 0.7 and at 0.9
    assert chart.bars[1].share == pytest.approx(3 * chart.bars[0].share, abs=0.2)


def test_a_temperature_at_the_end_of_the_search_is_none(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    x = (labels[:, None] * 200 + rng.integers(0, 40, (200, 6))).astype(np.uint8)
    data = fastnn.dataset_from_arrays(x, labels, x, labels)
    html = rendered(trained(data, tmp_path, epochs=30), data)
    assert "every answer on the validation part is right" in html
    assert "divided by" not in html
    assert "With a temperature" not in html
