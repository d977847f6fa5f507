"""Charts and sheets by their data: what is drawn where, and what is written beside it."""

from __future__ import annotations

import sys
from itertools import pairwise

import numpy as np
import pytest

from fastnn.analysis.evaluation import Evaluation
from fastnn.errors import ConfigError, DataError
from fastnn.training.callbacks import EpochReport

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

from fastnn.analysis import class_plots, plots, sheets
from fastnn.analysis.embedding import embed
from fastnn.analysis.palette import RIGHT, WRONG
from fastnn.analysis.style import DOTS, boxes_for_missing_letters, rendered

# What tables hold, and what pictures may not stumble over.
AWKWARD = ("Cost $\\frac$ and $y$", "<script>alert(1)</script>", "花 ☃ \U0001f9e5 a_b^c " * 9)


def epoch(number, **figures):
    values = {
        "epoch": number, "step": 10 * number, "learning_rate": 0.1 / number,
        "train_loss": 2 / number, "train_accuracy": None, "valid_loss": None,
        "valid_accuracy": None, "seconds": 1.0, "samples_per_second": 100.0,
    }  # fmt: skip
    return EpochReport(**values | figures)


def said(true, predicted, names=("a", "b", "c"), sure=3.0):
    """Outputs that predict these codes, each with the same confidence or one of its own."""
    outputs = np.zeros((len(true), len(names)))
    outputs[np.arange(len(true)), predicted] = sure
    return Evaluation(tuple(names), np.array(true), outputs)


@pytest.fixture
def three():
    """Seven right, three wrong: b as a, c as a, c as b."""
    return said([0, 1, 2, 0, 1, 2, 0, 1, 2, 2], [0, 1, 2, 0, 1, 2, 0, 0, 0, 1])


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (10, 4, 5), dtype=np.uint8)


def texts(paper):
    """All that is written, ticks included, without what is hidden."""
    from matplotlib.text import Text

    return [text.get_text() for text in paper.findobj(Text) if text.get_text()]


def drawn_images(paper):
    return [np.asarray(image.get_array()) for axes in paper.axes for image in axes.images]


def lines(axes):
    return {line.get_label(): line.get_xydata() for line in axes.lines}


def test_curves_hold_the_figures_of_the_epochs_and_mark_the_best():
    valid = [(0.9, 0.5), (0.7, 0.8), (0.6, 0.7)]
    history = [
        epoch(n, train_accuracy=n / 4, valid_loss=loss, valid_accuracy=accuracy)
        for n, (loss, accuracy) in enumerate(valid, 1)
    ]
    paper = plots.curves(history, note="data, run")
    loss, accuracy, rate = paper.axes
    assert lines(loss)["train"].tolist() == [[1, 2], [2, 1], [3, pytest.approx(2 / 3)]]
    assert lines(loss)["valid"].tolist() == [[1, 0.9], [2, 0.7], [3, 0.6]]
    assert lines(accuracy)["train"].tolist() == [[1, 25], [2, 50], [3, 75]]
    assert lines(accuracy)["valid"][:, 1] == pytest.approx([50, 80, 70])
    assert rate.lines[0].get_ydata() == pytest.approx([0.1, 0.05, 0.1 / 3])
    # The most accurate epoch, although a later one has less loss.
    assert lines(loss)["best"].tolist() == [[2, 0.7]]
    assert lines(accuracy)["best"][0] == pytest.approx([2, 80])
    assert [axes.get_title(loc="left") for axes in paper.axes] == [
        "loss", "accuracy, %", "learning rate",
    ]  # fmt: skip
    assert {"data, run", "3 epochs; the best is epoch 2"} <= set(texts(paper))


def test_the_marked_epoch_is_the_one_that_a_run_keeps(blob_data):
    from fastnn.training.config import TrainConfig
    from fastnn.training.run import train

    config = TrainConfig(
        hidden=(4,), epochs=8, learning_rate=0.05, device="cpu", kernels="reference"
    )
    result = train(config, data=blob_data)
    kept = plots.best_epoch(result.history)
    assert kept.epoch == result.best_epoch
    assert (result.valid.accuracy, result.valid.loss) == pytest.approx(
        (kept.valid_accuracy, kept.valid_loss)
    )


def test_curves_of_a_regression_have_no_accuracy_and_the_least_loss_is_best():
    history = [epoch(1, valid_loss=3.0), epoch(2, valid_loss=1.0), epoch(3, valid_loss=2.0)]
    paper = plots.curves(history)
    assert [axes.get_title(loc="left") for axes in paper.axes] == ["loss", "learning rate"]
    assert lines(paper.axes[0])["best"].tolist() == [[2, 1]]


def test_curves_without_validation_and_of_one_epoch():
    paper = plots.curves([epoch(1)])
    assert set(lines(paper.axes[0])) == {"train"}
    assert "1 epoch" in texts(paper)
    rendered(paper, ".svg")
    gap = [epoch(1, valid_loss=1.0), epoch(2), epoch(3, valid_loss=2.0)]
    ydata = lines(plots.curves(gap).axes[0])["valid"][:, 1]
    assert np.isnan(ydata).tolist() == [False, True, False]
    with pytest.raises(DataError, match="no epoch was finished"):
        plots.curves([])


def test_confusion_writes_counts_and_colours_rates(three):
    paper = class_plots.confusion(three)
    cells = paper.axes[0]
    right, mistakes = (image.get_array() for image in cells.images)
    assert right.compressed() == pytest.approx([100, 200 / 3, 50])  # of 3 a, 3 b and 4 c
    assert mistakes.filled(-1)[1, 0] == pytest.approx(100 / 3)
    assert mistakes.filled(-1)[2].tolist() == [25, 25, -1]
    assert cells.images[0].get_clim() == (0, 100)
    assert cells.images[1].get_clim() == (0, pytest.approx(100 / 3))
    written = {text.get_position(): text.get_text() for text in cells.texts}
    assert written == {
        (0, 0): "3", (1, 1): "2", (2, 2): "2", (0, 1): "1", (0, 2): "1", (1, 2): "1",
    }  # fmt: skip
    assert [label.get_text() for label in cells.get_xticklabels()] == ["a", "b", "c"]
    assert (cells.get_ylabel(), cells.get_xlabel()) == ("true class", "predicted class")
    assert any(text.startswith("70.00 % right") for text in texts(paper))


def test_confusion_of_many_classes_has_no_numbers_and_names_that_do_not_touch():
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    codes = np.arange(120) % 60
    paper = class_plots.confusion(said(codes, codes, [f"kind {n}" for n in range(60)]))
    cells = paper.axes[0]
    assert not cells.texts
    assert cells.images[0].get_array().shape == (60, 60)
    renderer = FigureCanvasAgg(paper).get_renderer()
    paper.draw(renderer)
    boxes = [label.get_window_extent(renderer) for label in cells.get_yticklabels()]
    assert len(boxes) == 30
    assert all(upper.y0 >= lower.y1 - 1 for upper, lower in pairwise(boxes))


def test_calibration_shows_bins_with_their_counts():
    sure = np.log(np.array([9.0] * 20 + [2.0] * 12 + [1.2] * 3))  # of two classes: 90 %, 2/3, 0.545
    codes = np.zeros(35, int)
    codes[[0, 1, 25, 26, 27, 34]] = 1
    outputs = np.stack([sure, np.zeros(35)], axis=1)
    paper = class_plots.calibration(Evaluation(("a", "b"), codes, outputs))
    above, below = paper.axes
    drawn = lines(above)
    key = next(label for label in drawn if label.startswith("as trained: "))
    assert drawn[key] == pytest.approx(np.array([[200 / 3, 75], [90, 90]]))
    assert drawn["as trained, few examples"] == pytest.approx(np.array([[100 * 6 / 11, 200 / 3]]))
    gaps = 12 * (0.75 - 2 / 3) + 3 * (2 / 3 - 6 / 11)
    assert key.endswith(f"calibration error {100 * gaps / 35:.2f} %")
    heights = [bar.get_height() for bar in below.patches]
    assert sorted(h for h in heights if h) == [3, 12, 20]
    assert len(heights) == 15


def test_calibration_with_a_temperature_shows_before_and_after(three):
    paper = class_plots.calibration(three, 3.0)
    above, below = paper.axes
    labels = [text.get_text() for text in above.get_legend().get_texts()]
    assert [label.split(":")[0] for label in labels] == ["as trained", "temperature 3.00"]
    assert len(below.patches) == 30
    rendered(paper, ".png")
    assert above.get_position().height > 0.4  # what is not drawn takes no room either
    confidence = np.exp(1) / (np.exp(1) + 2)
    assert lines(above)[labels[1]] == pytest.approx(np.array([[100 * confidence, 70]]))


def test_an_embedding_has_a_colour_and_a_shape_a_class_and_names_at_medians():
    rng = np.random.default_rng(0)
    codes = np.arange(90) % 3
    centres = np.array([[0, 0], [9, 0], [0, 9]])
    embedded = embed(centres[codes] + rng.normal(0, 0.2, (90, 2)), "pca")
    paper = class_plots.embedding_map(embedded, codes, ("a", "b", "absent in the middle"))
    (axes,) = paper.axes
    assert len(axes.collections) == 3
    for code, points in enumerate(axes.collections):
        assert points.get_offsets().data == pytest.approx(embedded.points[codes == code])
        label = axes.texts[code].get_position()
        assert label == pytest.approx(np.median(embedded.points[codes == code], axis=0))
    assert len({tuple(points.get_facecolor()[0]) for points in axes.collections}) == 3
    assert len({points.get_paths()[0].vertices.tobytes() for points in axes.collections}) == 3
    assert "The last hidden layer in the plane, by PCA" in texts(paper)


def test_names_in_an_embedding_cover_nothing_of_each_other():
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    codes = np.arange(200) % 10
    points = np.random.default_rng(0).normal(size=(200, 2))  # all medians near the middle
    paper = class_plots.embedding_map(
        embed(points, "pca"), codes, [f"class {n}" for n in range(10)]
    )
    renderer = FigureCanvasAgg(paper).get_renderer()
    paper.draw(renderer)
    boxes = [text.get_window_extent(renderer) for text in paper.axes[0].texts]
    assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[:n])


def test_no_two_of_110_classes_look_the_same():
    from fastnn.analysis.palette import class_colour, class_marker

    assert len({(class_colour(code), class_marker(code)) for code in range(110)}) == 110


def test_predicted_numbers_stand_over_true_ones():
    rng = np.random.default_rng(0)
    true = rng.normal(size=(50, 2)) * [1, 100]
    found = true + rng.normal(size=(50, 2))
    paper = plots.predicted(true, found, ("price", "rent $x$"))
    for target, axes in enumerate(paper.axes):
        (points,) = axes.collections
        assert points.get_offsets().data == pytest.approx(
            np.stack([true[:, target], found[:, target]], 1)
        )
        assert axes.get_xlim() == axes.get_ylim()
        residual = (
            np.var(found[:, target] - true[:, target])
            + np.mean(found[:, target] - true[:, target]) ** 2
        )
        r2 = 1 - residual / np.var(true[:, target])
        assert axes.get_title(loc="left").endswith(f", R² {r2:.3f}")


def test_only_the_first_of_many_targets_are_drawn_and_the_note_says_so():
    paper = plots.predicted(np.zeros((3, 14)), np.ones((3, 14)), [f"y{n}" for n in range(14)])
    assert len(paper.axes) == 12
    assert "the first 12 of 14 targets" in texts(paper)


def test_column_norms_are_in_order_with_their_names():
    first = np.array([[3.0, 4.0], [0.0, 1.0], [6.0, 8.0]])
    paper = plots.column_norms(first, ["age", "$rooms$", "area"])
    (axes,) = paper.axes
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([10, 5, 1])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["area", "age", "$rooms$"]
    few = plots.column_norms(first, ["age", "rooms", "area"], most=2)
    assert [bar.get_width() for bar in few.axes[0].patches] == pytest.approx([10, 5])
    assert "the 2 greatest of 3" in texts(few)


def test_samples_are_the_first_images_with_both_names_told_by_sign_and_colour(three, images):
    paper = sheets.samples(three, images, count=9)
    found = drawn_images(paper)
    assert len(found) == 9
    assert all(np.array_equal(a, b) for a, b in zip(found, images, strict=False))
    (axes,) = paper.axes
    captions = [(text.get_text(), text.get_color()) for text in axes.texts]
    assert captions[12][0] == "✓ a"
    assert captions[12][1] == RIGHT
    assert captions[14] == ("✗ a", WRONG)  # the eighth: a b, taken for an a
    assert captions[15][0] == "true: b"
    assert [text for text, _ in captions[1::2]] == [f"true: {'abc'[n % 3]}" for n in range(9)]
    assert "Predicted and true: 7 of the first 9 right" in texts(paper)
    assert len(drawn_images(sheets.samples(three, images, count=99))) == 10


def test_a_contact_sheet_has_a_row_a_class(images):
    codes = np.array([0, 1, 1, 0, 1, 0, 1, 1, 1, 1])
    paper = sheets.contact_sheet(images, codes, ("zero", "one", "none of them"), per_class=3)
    found = drawn_images(paper)
    expected = images[[0, 3, 5, 1, 2, 4]]
    assert [a.tolist() for a in found] == expected.tolist()
    (axes,) = paper.axes
    tops = [image.get_extent()[3] for image in axes.images]
    assert tops[:3] == [tops[0]] * 3
    assert tops[3:] == [tops[3]] * 3
    names = {text.get_text(): text.get_position()[1] for text in axes.texts}
    assert names["zero"] < tops[3] < names["one"] < names["none of them"]


def test_mistakes_come_surest_first_with_the_true_class_among_the_bars(images):
    names = ("a", "b", "c", "d", "e")
    outputs = np.tile([5.0, 4.0, 3.0, 2.0, 1.0], (10, 1))
    outputs[[3, 6], 0] = [7.0, 9.0]
    codes = np.zeros(10, int)
    codes[[2, 3, 6]] = [1, 4, 1]
    evaluation = Evaluation(names, codes, outputs)
    paper = sheets.mistakes(evaluation, images, count=2)
    found = drawn_images(paper)
    assert [a.tolist() for a in found] == images[[6, 3]].tolist()
    (axes,) = paper.axes
    written = [text.get_text() for text in axes.texts]
    named = [text for text in written if "%" not in text]
    assert named == ["#6", "✗ a", "✓ b", "c", "#3", "✗ a", "b", "✓ e"]
    shares = np.exp(outputs[6]) / np.exp(outputs[6]).sum()
    assert [text for text in written if "%" in text][:3] == [f"{100 * p:.1f} %" for p in shares[:3]]
    bars = [patch.get_width() for patch in axes.patches if not patch.get_linewidth()]
    room, filled = bars[0:6:2], bars[1:6:2]
    assert np.array(filled) / room == pytest.approx(shares[:3])
    assert "The 2 most confident of 3 mistakes" in texts(paper)


def test_without_mistakes_the_sheet_says_so(images):
    paper = sheets.mistakes(said([0, 1], [0, 1]), images[:2])
    assert "No mistakes" in texts(paper)
    rendered(paper, ".png")


def test_answers_are_right_ones_left_and_wrong_ones_right(three, images):
    paper = sheets.answers(three, images, per_class=2)
    (axes,) = paper.axes
    placed = [(np.asarray(i.get_array()).tolist(), i.get_extent()[0]) for i in axes.images]
    expected = [0, 3, 1, 4, 7, 2, 5, 8, 9]  # a: two right; b: two, one wrong; c: two, two wrong
    assert [pixels for pixels, _ in placed] == images[expected].tolist()
    middle = next(t.get_position()[0] for t in axes.texts if t.get_text().startswith("✗"))
    assert [x >= middle for _, x in placed] == [row in (7, 8, 9) for row in expected]
    below = [text.get_text() for text in axes.texts if text.get_color() == WRONG]
    assert below == ["✗ wrong, with what was predicted", "a", "a", "b"]
    assert [text.get_text() for text in axes.texts].count("none") == 1


def test_weights_share_a_scale_and_the_greatest_come_first():
    first = np.random.default_rng(0).normal(size=(20, 6)) * [1, 5, 2, 6, 3, 4]
    paper = sheets.weights(first, (4, 5), most=4)
    *found, scale = drawn_images(paper)
    assert [a.tolist() for a in found] == [first[:, n].reshape(4, 5).tolist() for n in (3, 1, 5, 4)]
    top = np.quantile(np.abs(first[:, [3, 1, 5, 4]]), 0.995)
    assert {image.get_clim() for image in paper.axes[0].images} == {(-top, top)}
    assert (scale.min(), scale.max()) == (-top, top)
    assert [text for text in texts(paper) if text.startswith("unit")] == [
        "unit 3", "unit 1", "unit 5", "unit 4",
    ]  # fmt: skip


def test_weights_of_colour_images_are_grey_where_they_are_zero():
    first = np.zeros((4 * 5 * 3, 2))
    first[0, 1], first[1, 1] = 2.0, -1.0
    named = sheets.weights(first, (4, 5, 3), names=("cat", "dog"))
    dog, cat = drawn_images(named)
    top = np.quantile(np.abs(first), 0.995)  # beyond it a weight has the full colour
    assert dog[0, 0] == pytest.approx([1.0, 0.5 - 1 / (2 * top), 0.5])
    assert (cat == 0.5).all()
    assert {"cat", "dog"} <= set(texts(named))


@pytest.mark.parametrize(
    ("shape", "dtype", "expected"),
    [((4, 5), "uint8", (2, 4, 5)), ((4, 5, 1), "uint8", (2, 4, 5)),
     ((2, 2, 3), "uint8", (2, 2, 2, 3)),
     ((20,), "uint8", None), ((4, 5), "float32", None), ((2, 2, 5), "uint8", None)],
)  # fmt: skip
def test_only_bytes_of_two_sides_are_images(shape, dtype, expected):
    inputs = np.zeros((2, int(np.prod(shape))), dtype)
    if expected is not None:
        assert sheets.as_images(inputs, shape).shape == expected
        return
    with pytest.raises(ConfigError, match=r"no images but .*expected bytes"):
        sheets.as_images(inputs, shape)


def every_picture(names):
    """One of each, of three classes with these names, without scikit-learn."""
    codes, found = np.arange(30) % 3, np.arange(30) * 2 % 3
    evaluation = said(codes, found, names)
    images = np.random.default_rng(0).integers(0, 256, (30, 6, 6, 3), dtype=np.uint8)
    note = " · ".join(names)
    yield plots.curves([epoch(1), epoch(2)], note=note)
    yield class_plots.confusion(evaluation, note=note)
    yield class_plots.calibration(evaluation, 2.0, note=note)
    points = embed(np.random.default_rng(0).normal(size=(30, 4)), "pca")
    yield class_plots.embedding_map(points, codes, names, note=note)
    yield plots.predicted(np.ones((5, 3)), np.ones((5, 3)), names, note=note)
    yield plots.column_norms(np.ones((3, 2)), names, note=note)
    yield sheets.samples(evaluation, images, note=note)
    yield sheets.contact_sheet(images, codes, names, note=note)
    yield sheets.mistakes(evaluation, images, note=note)
    yield sheets.answers(evaluation, images, note=note)
    yield sheets.weights(np.ones((36, 3)), (6, 6), names=names, note=note)


def test_awkward_names_stay_text_and_inside_the_paper():
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    for paper in every_picture(AWKWARD):
        rendered(paper, ".png")  # warnings are errors: a letter without a glyph is none
        assert b"<script" not in rendered(paper, ".svg")
        paper.set_dpi(DOTS)
        renderer = FigureCanvasAgg(paper).get_renderer()
        for text in paper.findobj(Text):
            if text.get_text() and text.get_visible():
                assert not text.get_parse_math()
        with boxes_for_missing_letters():
            inside = paper.get_tightbbox(renderer)
        width, height = paper.get_size_inches()
        assert inside.x0 >= 0
        assert inside.y0 >= 0
        assert inside.x1 <= width
        assert inside.y1 <= height


def test_nothing_of_pyplot_is_loaded():
    import subprocess

    code = (
        "from tests.test_plots import every_picture, rendered\nimport sys\n"
        "for paper in every_picture(('a', 'b', 'c')): rendered(paper, '.png')\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
