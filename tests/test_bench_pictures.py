"""A record as a table and as a picture: the data that is shown, and labels that can be read."""

from dataclasses import replace

import pytest

from fastnn.analysis.style import rendered
from fastnn.bench import plot
from fastnn.bench.table import markdown, throughput_table
from tests.bench_doubles import figure, record

RECORD = record(
    {
        100: {
            "fastnn": figure(1000.0),
            "JAX": figure(2000.0, family="jax"),
            "fused (cuda)": figure(500.0, device="cuda:0"),
        },
        200: {"fastnn": figure(1000.0), "fused (cuda)": figure(500.0, device="cuda:0")},
    }
)


def test_the_table_shows_throughput_and_spread():
    lines = throughput_table(RECORD, width=80).splitlines()
    assert lines[0].split() == ["batch", "100", "200"]
    assert lines[1].split() == ["fastnn", "100,000", "±10%", "200,000", "±10%"]
    assert lines[2].split() == ["JAX", "50,000", "±10%", "-"]
    assert throughput_table(record({}), width=80) == ""


def test_a_wide_table_continues_below():
    text = throughput_table(RECORD, width=30)
    assert len(text.split("\n\n")) == 2
    assert max(map(len, text.splitlines())) <= 30


def test_the_markdown_table_marks_the_fastest():
    lines = markdown(RECORD).splitlines()
    assert lines[0] == "| batch | fastnn | JAX | fused (cuda) |"
    assert lines[2:] == ["| 100 | 100.0 | 50.0 | **200.0** |", "| 200 | 200.0 |  | **400.0** |"]


def test_the_caption_names_the_network():
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    tiny = replace(RECORD, facts=RECORD.facts | {"network": "20-32-2"})
    for found, expected in ((RECORD, "784-512-256-10, Adam"), (tiny, "20-32-2, Adam")):
        (note,) = (t.get_text() for t in plot.figure(found).texts if "Adam" in t.get_text())
        assert note.startswith(expected)


def test_lines_hold_what_is_drawn():
    ours, jax, fused = plot.lines(RECORD)
    assert (ours.label, ours.family, ours.device) == ("fastnn", "fastnn", "cpu")
    assert (ours.batches, ours.median) == ([100, 200], [100_000, 200_000])
    assert ours.lower[0] == pytest.approx(100_000 / 1.1)  # from the upper quartile of the time
    assert ours.upper[0] == pytest.approx(100_000 / 0.9)
    assert jax.batches == [100]
    assert fused.device == "cuda"


@pytest.fixture
def paper():
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    return plot.figure(RECORD)


def test_the_figure_draws_these_lines_with_error_bars(paper):
    (axes,) = paper.axes
    bars = {container.get_label(): container for container in axes.containers}
    assert list(bars) == ["fastnn", "JAX", "fused (cuda)"]
    line, _, (segments,) = bars["fastnn"]
    assert line.get_xydata().tolist() == [[100, 100_000], [200, 200_000]]
    low, high = segments.get_segments()[0][:, 1]
    assert (low, high) == (pytest.approx(100_000 / 1.1), pytest.approx(100_000 / 0.9))
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_legend() is None


def test_labels_stand_at_the_ends_and_cover_nothing(paper):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    (axes,) = paper.axes
    renderer = FigureCanvasAgg(paper).get_renderer()
    paper.draw(renderer)
    # An annotation's own extent holds its leader, too.
    boxes = {text.get_text(): Text.get_window_extent(text, renderer) for text in axes.texts}
    assert set(boxes) == {"fastnn", "JAX", "fused (cuda)"}
    frame = axes.get_window_extent(renderer)
    for name, box in boxes.items():
        assert box.x0 > frame.x1
        assert box.x1 < paper.bbox.x1
        assert not any(box.overlaps(other) for key, other in boxes.items() if key != name)


def test_the_caption_names_machine_and_versions(paper):
    caption = " ".join(text.get_text().replace("\n", " ") for text in paper.texts)
    for part in ("A Chip, 2 cores", "openblas 0.3 (Zen kernels, 2 threads)", "PyTorch 2.13"):
        assert part in caption


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_pictures_are_files_of_their_kind_and_repeatable(paper, suffix, start):
    drawn = rendered(paper, suffix)
    assert drawn.startswith(start)
    assert drawn == rendered(plot.figure(RECORD), suffix)
