"""The style that all pictures share, and the bytes that they become."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from fastnn.analysis import style
from fastnn.errors import ConfigError


@pytest.mark.parametrize(
    ("wanted", "placed"),
    [
        ([], []),
        ([5.0], [5.0]),
        ([1.0, 3.0, 9.0], [1.0, 3.0, 9.0]),
        ([1.0, 1.0], [0.5, 1.5]),
        ([9.0, 1.1, 1.0], [9.0, 1.55, 0.55]),
        ([1.0, 1.2, 2.0], [0.4, 1.4, 2.4]),
    ],
)
def test_labels_are_moved_apart_and_no_further_than_needed(wanted, placed):
    assert style.spread(wanted, 1.0) == pytest.approx(placed)


def test_spread_keeps_the_order_and_the_gap():
    wanted = [0.0, 0.1, 0.2, 1.15, 1.2, 5.0, 5.05, 5.1, 4.9, 0.05]
    placed = style.spread(wanted, 0.3)
    in_order = [place for _, place in sorted(zip(wanted, placed, strict=True))]
    assert all(b - a > 0.3 - 1e-9 for a, b in pairwise(in_order))


def test_pictures_have_known_suffixes():
    assert style.suffix_of(Path("a.PNG")) == ".png"
    with pytest.raises(ConfigError, match=r"'a\.bmp' must end with \.png"):
        style.suffix_of(Path("a.bmp"))


def test_a_missing_matplotlib_is_named_with_its_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match="pip install matplotlib"):
        style.require_matplotlib()


def made():
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    paper = style.new_figure(2.0, "A title", "a note\nin two lines")
    paper.add_subplot().plot([1, 2], [3, 4], label="$\\frac$")
    return style.finished(paper)


@pytest.fixture
def paper():
    return made()


@pytest.mark.parametrize(
    ("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")]
)
def test_a_picture_is_of_its_kind_and_the_same_bytes_each_time(suffix, start):
    first = style.rendered(made(), suffix)
    assert first.startswith(start)
    assert style.rendered(made(), suffix) == first


def test_title_and_note_stand_above_the_axes_and_inside_the_paper(paper):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(paper).get_renderer()
    paper.draw(renderer)
    boxes = {text.get_text(): text.get_window_extent(renderer) for text in paper.texts}
    assert list(boxes) == ["A title", "a note", "in two lines"]
    top = paper.axes[0].get_tightbbox(renderer).y1
    for above, below in pairwise([paper.bbox.y1, *(box.y0 for box in boxes.values()), top]):
        assert above > below


def test_settings_of_matplotlib_stay_as_they_were(paper):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    style.rendered(paper, ".svg")
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    "name", ["short", "W" * 300, "i" * 300, "花" * 80, "two\nlines\tand\x00more"]
)
def test_names_are_cut_to_the_room_that_there_is(paper, name):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    paper.set_dpi(style.DOTS)
    fitted = style.fitted(name, 1.0, 9)
    text = paper.text(0, 0, fitted, size=9)
    with style.boxes_for_missing_letters():
        width = text.get_window_extent(FigureCanvasAgg(paper).get_renderer()).width / paper.dpi
    assert width < 1.02
    assert width > 0.75 or fitted == name == "short"
    assert ("…" in fitted) == (name != "short")
    assert fitted.isprintable()


def test_importing_analysis_loads_neither_numpy_nor_matplotlib():
    code = (
        "import fastnn.analysis, sys\n"
        "print([name for name in ('numpy', 'matplotlib') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip() == "[]", answer.stderr


def test_public_names_of_analysis_load_and_are_those_for_type_checkers():
    import ast

    from fastnn import analysis

    tree = ast.parse(Path(analysis.__file__).read_text(encoding="utf-8"))
    declared = {
        (alias.asname, node.module)
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert declared == {(n, f"fastnn.analysis.{home}") for n, home in analysis._HOME_OF.items()}
    for name in analysis.__all__:
        assert getattr(analysis, name).__doc__
        assert name in dir(analysis)
    with pytest.raises(AttributeError, match="no_such_thing"):
        analysis.no_such_thing  # noqa: B018 - the look-up is the test
