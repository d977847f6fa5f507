"""Predicting from PNG, JPEG and the like: how they are read, what is printed, what is shown."""

from __future__ import annotations

import csv
import io
import re
import struct
import sys
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastnn.data.examples import Schema
from fastnn.errors import ConfigError, DataError
from tests.terminal import run_in_terminal
from tests.test_cli import events, invoke

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")

from fastnn.data import pictures  # noqa: E402 - after the reason to skip

GREY = Schema(("a", "b"), (28, 28), pixels=True)
COLOUR = Schema(("a", "b"), (8, 8, 3), pixels=True)
SHARE = re.compile(r"\d\.\d\d %$", re.M)
QUICK = ("--epochs", "2", "--hidden", "16", "--batch-size", "32", "--device", "cpu")


def drawn(seed: int = 0, height: int = 28, width: int = 28) -> np.ndarray:
    """A bright drawing on black."""
    picture = np.zeros((height, width), np.uint8)
    picture[4:-4, 4:-4] = np.random.default_rng(seed).integers(0, 256, (height - 8, width - 8))
    return picture


def saved(folder, name: str, image, **options):
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(folder / name, **options)
    return folder / name


def read(path, schema: Schema = GREY, **options) -> np.ndarray:
    return pictures.read_pictures([path], schema, **options)[0].reshape(schema.shape)


# ---- reading -------------------------------------------------------------------------------------


def test_a_grey_picture_of_the_right_size_is_its_bytes(tmp_path):
    assert np.array_equal(read(saved(tmp_path, "a.png", drawn())), drawn())
    assert np.array_equal(read(saved(tmp_path, "a.png", drawn()), invert=True), 255 - drawn())


@pytest.mark.parametrize("name", ["a.bmp", "a.gif", "a.webp", "a.PNG"])
def test_kinds_without_loss_are_read_alike(tmp_path, name):
    path = saved(tmp_path, name, drawn(), **({"lossless": True} if "webp" in name else {}))
    assert np.array_equal(read(path), drawn())


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("shade", [0, 255])
def test_every_mode_of_a_plain_picture_becomes_its_shade(tmp_path, mode, shade):
    """Black and white are the same in all of them; the sizes are larger, smaller, not square."""
    for size in ((28, 28), (300, 200), (3, 5)):
        if mode == "I;16":
            image = Image.fromarray(np.full(size[::-1], shade * 257, np.uint16))
        else:
            image = Image.new("L", size, shade).convert("RGB").convert(mode)
        path = saved(tmp_path, "a.jpg" if mode == "CMYK" else "a.png", image)
        assert np.all(read(path) == shade)
        assert np.all(read(path, COLOUR) == shade)
        assert np.all(read(path, invert=True) == 255 - shade)


def test_sixteen_bits_are_scaled_not_cut(tmp_path):
    path = saved(tmp_path, "a.png", drawn().astype(np.uint16) * 257)
    assert np.array_equal(read(path), drawn())


def test_animations_give_their_first_frame(tmp_path):
    frames = [Image.fromarray(drawn(seed)) for seed in range(3)]
    path = saved(tmp_path, "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert np.array_equal(read(path), drawn())


def test_halves_stay_halves_in_any_size(tmp_path):
    for factor in (1, 2, 3, 10):
        halves = np.zeros((28 * factor, 28 * factor), np.uint8)
        halves[:, 14 * factor :] = 200
        found = read(saved(tmp_path, "a.png", halves)).astype(int)
        assert np.all(found[:, :13] == 0)
        assert np.all(found[:, 15:] == 200)
        assert abs(found.mean() - 100) < 1


def test_nothing_is_skipped_when_a_picture_shrinks(tmp_path):
    """A comb of single columns keeps its mean: without antialiasing it would be black or white."""
    comb = np.zeros((280, 280), np.uint8)
    comb[:, ::10] = 255
    inner = read(saved(tmp_path, "a.png", comb))[4:-4, 4:-4]
    assert np.all(np.abs(inner.astype(float) - 25.5) < 5)


@pytest.mark.parametrize("shade", [0, 90])
def test_proportions_are_kept_and_the_rest_is_as_the_border(tmp_path, shade):
    wide = np.full((28, 56), shade, np.uint8)
    wide[7:21, 14:42] = 255
    found = read(saved(tmp_path, "a.png", wide))
    assert np.all(found[:7] == shade)
    assert np.all(found[21:] == shade)
    bright = np.argwhere(found > 200)
    assert bright.min(axis=0).tolist() == [11, 7]
    assert bright.max(axis=0).tolist() == [16, 20]


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (1, 1), (2, 28), (27, 29)])
def test_extreme_proportions(tmp_path, size):
    assert np.all(read(saved(tmp_path, "a.png", Image.new("L", size, 70))) == 70)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_equals_its_upright_twin(tmp_path, orientation):
    """Transpositions as the EXIF standard numbers them, undone here by NumPy."""
    stored = np.kron(
        np.array([[250, 30], [120, 0], [60, 200]], np.uint8), np.ones((8, 8), np.uint8)
    )
    upright = {
        1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1],
        5: stored.T, 6: np.rot90(stored, -1), 7: np.rot90(stored, 2).T, 8: np.rot90(stored),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = read(saved(tmp_path, "a.png", stored, exif=exif))
    assert np.array_equal(turned, read(saved(tmp_path, "b.png", np.ascontiguousarray(upright))))


def test_ink_on_nothing_lies_over_what_becomes_black(tmp_path):
    """Bright ink over black as it is; dark ink over white, which `invert` makes black."""
    ink = np.zeros((28, 28, 4), np.uint8)
    ink[10:18, 10:18, 3] = 255
    dark = saved(tmp_path, "dark.png", ink)
    ink[..., :3] = 255
    bright = saved(tmp_path, "bright.png", ink)
    expected = np.zeros((28, 28), np.uint8)
    expected[10:18, 10:18] = 255
    assert np.array_equal(read(bright), expected)
    assert np.array_equal(read(dark, invert=True), expected)
    half = saved(tmp_path, "half.png", Image.new("LA", (28, 28), (200, 128)))
    assert np.all(np.abs(read(half).astype(int) - 100) <= 1)


def test_a_palette_and_grey_may_be_transparent(tmp_path):
    grey = saved(tmp_path, "grey.png", np.full((28, 28), 180, np.uint8), transparency=180)
    assert np.all(read(grey) == 0)
    assert np.all(read(grey, invert=True) == 255)  # nothing is drawn there that could be dark
    image = Image.fromarray(drawn()).convert("P")
    image.putpalette([255, 255, 255] * 256)
    assert np.all(read(saved(tmp_path, "p.png", image)) == 255)
    assert np.all(read(saved(tmp_path, "p.png", image, transparency=bytes(256))) == 0)


def test_what_is_drawn_can_be_told_from_what_is_transparent(tmp_path):
    for ink in (0, 255):
        pixels = np.full((28, 28, 4), ink, np.uint8)
        pixels[..., 3] = 0
        pixels[10:18, 10:18, 3] = 255
        found = read(saved(tmp_path, f"{ink}.png", pixels)).reshape(28, 28)
        assert np.all(found[10:18, 10:18] == ink)
        assert np.all(found[0] == 255 - ink)


def test_colours_keep_their_order_and_become_grey_by_luma(tmp_path):
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[..., 0], picture[..., 1], picture[..., 2] = 250, 100, 10
    path = saved(tmp_path, "a.png", picture)
    assert np.array_equal(read(path, COLOUR), picture)
    # ITU-R BT.601: what a picture's brightness is to the eye.
    assert np.all(np.abs(read(path) - (0.299 * 250 + 0.587 * 100 + 0.114 * 10)) <= 1)


# ---- what cannot be read -------------------------------------------------------------------------


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises a picture of that size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def refused(path, content: bytes) -> str:
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError) as error:
            read(path)
    assert str(path) in str(error.value)
    return str(error.value)


def test_files_that_are_no_pictures_or_broken(tmp_path):
    good = saved(tmp_path, "good.png", drawn()).read_bytes()
    photo = saved(tmp_path, "good.jpg", drawn()).read_bytes()
    path = tmp_path / "bad.png"
    assert "not a picture" in refused(path, b"")
    assert "not a picture" in refused(path, b"index,class\n0,1\n")
    assert "not a picture" in refused(path, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    assert "damaged" in refused(path, good[: len(good) // 2])
    assert "damaged" in refused(path, photo[: len(photo) // 2])
    assert "damaged" in refused(path, good.replace(b"IDAT", b"IDAT\xff"))
    exif = saved(tmp_path, "exif.png", drawn(), exif=b"no EXIF").read_bytes()
    assert "damaged" in refused(path, exif)  # who knows which way is up?
    assert "too large" in refused(path, bomb(20_000, 20_000))
    assert "too large" in refused(path, bomb(10_000, 10_000))
    assert "not a picture" in refused(path, bomb(0, 10))


def test_what_is_not_a_file(tmp_path):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(DataError, match=r"folder\.png: this is a folder"):
        read(tmp_path / "folder.png")
    with pytest.raises(DataError, match=r"absent\.png: cannot be read"):
        read(tmp_path / "absent.png")


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("originals")
    images = {"a.png": drawn(), "a.jpg": drawn(), "a.gif": drawn(), "a.bmp": drawn()}
    return [saved(folder, name, image).read_bytes() for name, image in images.items()]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_the_bytes_are_it_is_a_picture_or_a_data_error(originals, tmp_path, data):
    content = bytearray(data.draw(st.sampled_from(originals)))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, min(len(content) - 1, 400)))] = data.draw(
            st.integers(0, 255)
        )
    path = tmp_path / "any.png"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            assert read(path).shape == (28, 28)
        except DataError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize(
    "schema",
    [
        Schema(("a", "b"), (784,), pixels=True),
        Schema(("a", "b"), (28, 28), pixels=False),
        Schema(("a", "b"), (4, 28, 28), pixels=True),
    ],
)
def test_networks_of_other_things_say_what_they_take(schema):
    with pytest.raises(ConfigError, match=r"this network takes .*, not pictures"):
        pictures.require_pictures(schema)


def test_without_pillow_the_command_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ConfigError, match="pip install pillow"):
        pictures.require_pictures(GREY)


# ---- the command line ----------------------------------------------------------------------------


NAMES = ("[red]boots[/red]", "\x1b[31mhat\x07", "上衣外套", "plain, with comma")


@pytest.fixture(scope="module")
def data_file(tmp_path_factory):
    """Pictures of four classes whose names are a terminal's nightmare."""
    path = tmp_path_factory.mktemp("data") / "names.npz"
    y = np.arange(200) % 4
    x = np.stack([np.clip(drawn(seed=code).astype(int) + code, 0, 255) for code in y.tolist()])
    labels = np.array(NAMES)[y]
    np.savez(path, x_train=x.astype(np.uint8), y_train=labels, x_test=x[:8].astype(np.uint8),
             y_test=labels[:8])  # fmt: skip
    return path


@pytest.fixture(scope="module")
def run(data_file, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return events(
        invoke("train", "--dataset", data_file, "--out", out, *QUICK, "--json").stdout
    )[-1]["run"]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """Three pictures, and what is none."""
    place = tmp_path / "pictures"
    place.mkdir()
    for number in range(3):
        saved(place, f"{2 - number}.png", drawn(seed=2 - number))
    (place / "notes.txt").write_text("no picture")
    (place / ".hidden.png").write_text("no picture")
    return place


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_pictures_are_predicted_as_the_same_rows_of_an_array_are(run, folder, tmp_path):
    np.save(tmp_path / "rows.npy", np.stack([drawn(seed) for seed in range(3)]))
    from_rows = rows(invoke("predict", run, tmp_path / "rows.npy").stdout)
    from_pictures = rows(invoke("predict", run, folder).stdout)
    assert list(from_pictures[0]) == ["index", "file", "class", "name", "probability"]
    assert [row.pop("file") for row in from_pictures] == [
        str(folder / f"{n}.png") for n in range(3)
    ]
    assert from_pictures == from_rows
    one, two = folder / "1.png", folder / "2.png"
    some = rows(invoke("predict", run, two, one).stdout)
    assert [row["file"] for row in some] == [str(two), str(one)]
    assert some[0]["probability"] == from_rows[2]["probability"]


def test_an_mnist_digit_as_png_is_its_idx_row(real_data, tmp_path):
    from fastnn.data.source import load_dataset
    from tests.idx_files import write_idx

    arguments = ("--dataset", "mnist", "--data-dir", real_data / "mnist", "--limit-train", "2000")
    done = invoke("train", *arguments, "--out", tmp_path, *QUICK, "--json")
    run = events(done.stdout)[-1]["run"]
    test = load_dataset("mnist", data_dir=real_data / "mnist").test.inputs[:4].reshape(-1, 28, 28)
    paths = [saved(tmp_path, f"{n}.png", digit) for n, digit in enumerate(test)]
    write_idx(tmp_path / "images", test)
    found = invoke("predict", run, *paths)
    assert found.stderr == ""  # black borders: no note
    expected = rows(invoke("predict", run, tmp_path / "images").stdout)
    assert [{**row, "file": None} for row in rows(found.stdout)] == [
        {**row, "file": None} for row in expected
    ]
    paper = [saved(tmp_path, f"{n}.png", 255 - digit) for n, digit in enumerate(test)]
    assert invoke("predict", run, *paper, "--invert").stdout == found.stdout
    told = invoke("predict", run, *paper).stderr
    assert "4 of 4 pictures have a bright background" in told
    assert "--invert" in told


def test_the_likeliest_classes_are_ranked(run, folder, tmp_path):
    from fastnn.training.classifier import Classifier

    p = Classifier.load(run).predict_proba(np.stack([drawn(seed) for seed in range(3)]))
    table = rows(invoke("predict", run, folder, "--top-k", 3).stdout)
    assert list(table[0]) == ["index", "file", "rank", "class", "name", "probability"]
    assert [(row["index"], row["rank"]) for row in table] == [
        (str(index), str(rank)) for index in range(3) for rank in (1, 2, 3)
    ]
    shares = np.array([float(row["probability"]) for row in table]).reshape(3, 3)
    np.testing.assert_allclose(shares, np.sort(p, axis=1)[:, :0:-1], atol=1e-6)
    assert all(
        p[int(row["index"]), int(row["class"])]
        == pytest.approx(float(row["probability"]), abs=1e-6)
        for row in table
    )
    *found, done = events(invoke("predict", run, folder, "--top-k", 3, "--json").stdout)
    assert done["count"] == 3
    for event, index in zip(found, range(3), strict=True):
        assert event["file"] == str(folder / f"{index}.png")
        best, *_ = event["top"]
        assert {key: event[key] for key in best} == best
        own = [row for row in table if row["index"] == str(index)]
        assert [guess["name"] for guess in event["top"]] == [row["name"] for row in own]
    plain = events(invoke("predict", run, folder, "--json").stdout)
    assert "top" not in plain[0]
    np.save(tmp_path / "rows.npy", drawn()[None])
    table = rows(invoke("predict", run, tmp_path / "rows.npy", "--top-k", 4).stdout)
    assert list(table[0]) == ["index", "rank", "class", "name", "probability"]
    assert sum(float(row["probability"]) for row in table) == pytest.approx(1, abs=1e-5)


def test_the_unsure_get_no_class(run, folder):
    everything = rows(invoke("predict", run, folder).stdout)
    shares = sorted(float(row["probability"]) for row in everything)
    assert shares[0] < shares[1]  # else there is no limit between them
    limit = (shares[0] + shares[1]) / 2
    result = invoke("predict", run, folder, "--min-confidence", limit)
    for before, after in zip(everything, rows(result.stdout), strict=True):
        unsure = float(before["probability"]) < limit
        assert after == (before | {"class": "", "name": ""} if unsure else before)
    assert "1 of 3 without a class" in result.stderr
    as_json = invoke("predict", run, folder, "--min-confidence", 1, "--top-k", 2, "--json")
    *found, done = events(as_json.stdout)
    assert done["abstained"] == 3
    assert all(event["class"] is event["name"] is None for event in found)
    assert all(event["probability"] == event["top"][0]["probability"] for event in found)
    assert "3 of 3" in as_json.stderr
    none = invoke("predict", run, folder, "--min-confidence", 0)
    assert rows(none.stdout) == everything
    assert "0 of 3" in none.stderr


def test_temperature_makes_it_less_sure(run, folder):
    cold, hot = (
        [float(row["probability"]) for row in rows(invoke("predict", run, folder, *more).stdout)]
        for more in ((), ("--temperature", "1e6"))
    )
    assert hot == pytest.approx([0.25] * 3, abs=1e-3)
    assert min(cold) > 0.26


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("PNG", "NPY"), 2, "one after the other"),
        (("NPY", "NPY"), 2, "only pictures may be several"),
        (("NPY", "--invert"), 2, "--invert: for pictures only"),
        (("PNG", "--label", "x"), 2, "--label x: for tables only"),
        (("PNG", "--top-k", "0"), 2, "--top-k: 0 must be from 1 to 4"),
        (("PNG", "--top-k", "5"), 2, "--top-k: 5 must be from 1 to 4"),
        (("PNG", "--min-confidence", "1.5"), 2, "--min-confidence: 1.5"),
        (("PNG", "--min-confidence", "nan"), 2, "--min-confidence: nan"),
        (("PNG", "--temperature", "0"), 2, "temperature: 0.0"),
        (("PNG", "--show", "--json"), 2, "choose one"),
        (("EMPTY",), 3, "holds no pictures"),
        (("BROKEN",), 3, "not a picture"),
        (("PNG", "BROKEN"), 3, "not a picture"),
        (("ABSENT",), 3, "cannot be read"),
    ],
)
def test_what_is_refused(run, folder, tmp_path, arguments, code, told):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    np.save(tmp_path / "rows.npy", drawn()[None])
    places = {
        "PNG": folder / "0.png", "NPY": tmp_path / "rows.npy", "EMPTY": tmp_path / "empty",
        "BROKEN": tmp_path / "broken.jpg", "ABSENT": tmp_path / "absent.png",
    }  # fmt: skip
    result = invoke("predict", run, *(places.get(word, word) for word in arguments), code=code)
    assert told in " ".join(result.stderr.split())


def test_a_regressor_names_files_and_refuses_what_needs_classes(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (60, 5, 4), dtype=np.uint8)
    np.savez(tmp_path / "numbers.npz", x=x, y=x.mean(axis=(1, 2)))
    arguments = ("--dataset", tmp_path / "numbers.npz", "--loss", "mse", "--out", tmp_path / "runs")
    run = events(invoke("train", *arguments, *QUICK, "--json").stdout)[-1]["run"]
    path = saved(tmp_path, "a.png", x[0])
    np.save(tmp_path / "rows.npy", x[:1])
    (row,) = rows(invoke("predict", run, path).stdout)
    (expected,) = rows(invoke("predict", run, tmp_path / "rows.npy").stdout)
    assert row.pop("file") == str(path)
    assert row == expected
    for option in (("--top-k", 2), ("--min-confidence", 0.5), ("--temperature", 2), ("--show",)):
        error = invoke("predict", run, path, *option, code=2).stderr
        assert option[0] in error
        assert "predicts numbers" in " ".join(error.split())


def test_a_network_of_a_table_takes_no_pictures(tmp_path, folder):
    table = tmp_path / "table.csv"
    table.write_text("a,b,label\n" + "".join(f"{n % 7},{n % 5},{n % 2}\n" for n in range(60)))
    done = invoke("train", "--dataset", table, "--out", tmp_path / "runs", *QUICK, "--json")
    run = events(done.stdout)[-1]["run"]
    error = " ".join(invoke("predict", run, folder, code=2).stderr.split())
    assert "takes 2 numbers for each example, not pictures" in error


# ---- shown to people -----------------------------------------------------------------------------


def shown(run, columns: int, *arguments: object, **environment: str):
    command = [sys.executable, "-m", "fastnn", "predict", str(run), *map(str, arguments)]
    return run_in_terminal(command, columns, "stdout", **environment)


@pytest.mark.parametrize("columns", [30, 60, 200])
@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_shows_pictures_beside_bars(run, folder, columns, environment):
    screen, raw, _ = shown(run, columns, folder, **environment)
    text = "\n".join(screen.text())  # feeding it has checked widths and control characters
    assert ("▀" in raw) is not bool(environment)
    best = [float(row["probability"]) for row in rows(invoke("predict", run, folder).stdout)]
    for share in best:
        assert f"{100 * share:.2f} %" in text
    assert len(SHARE.findall(text)) == 3 * 4
    if columns >= 60:
        for name in ("[red]boots[/red]"[:8], "[31mhat", "上衣外套"[:3], "plain, w"):
            assert text.count(name) == 3
        assert text.count("█") > 3
        assert "0.png" in text


def test_bars_are_as_long_as_probabilities(run, folder):
    screen, *_ = shown(run, 200, folder / "0.png", TERM="dumb")
    lines = [line for line in screen.text() if SHARE.search(line)]
    found = [(line.count("█"), float(line.split()[-2])) for line in lines]
    assert len(found) == 4
    for full, percent in found:
        assert full == pytest.approx(percent / 100 * 40, abs=1)


def test_a_terminal_without_unicode_gets_ascii(run, folder):
    _, raw, _ = shown(run, 80, folder / "0.png", PYTHONIOENCODING="ascii")
    assert "#" in raw
    assert "\\u4e0a" in raw  # a name is told as Python writes it, and its width is that of this


def test_a_pipe_gets_csv_and_so_does_a_terminal_that_is_asked_for_it(run, folder):
    plain = invoke("predict", run, folder, env={"FORCE_COLOR": "1"}).stdout
    assert rows(plain)[0]["index"] == "0"
    command = [sys.executable, "-m", "fastnn", "predict", run, str(folder / "0.png"), "--json"]
    *_, raw, _ = run_in_terminal(command, 400, "stdout")
    assert events(raw)[0]["file"].endswith("0.png")


def test_rows_of_a_file_are_shown_when_asked_for(run, tmp_path):
    np.save(tmp_path / "rows.npy", np.stack([drawn()] * 12))
    result = invoke("predict", run, tmp_path / "rows.npy", "--show", "--top-k", 2)
    assert result.stdout.count("row ") == 10
    assert len(SHARE.findall(result.stdout)) == 20
    assert "\x1b" not in result.stdout
    assert "the first 10 of 12 rows" in result.stderr
    unsure = invoke("predict", run, tmp_path / "rows.npy", "--show", "--min-confidence", 1)
    assert unsure.stdout.count("unsure: below 1") == 10


def test_large_and_coloured_pictures_are_drawn_smaller(monkeypatch):
    from rich.console import Console

    from fastnn.cli.guesses import print_guesses

    for height, width, *colours in ((64, 64), (50, 130, 3), (1, 1), (3, 200)):
        for columns in (20, 60, 200):
            out = io.StringIO()
            console = Console(
                file=out, width=columns, force_terminal=True, color_system="truecolor"
            )
            picture = np.full((height, width, *colours), 9, np.uint8)
            print_guesses(console, "title" * 30, picture, [("name" * 10, 0.7), ("b", 0.3)])
            text = re.sub(r"\x1b\[[\d;]*m", "", out.getvalue())
            assert max(map(len, text.splitlines())) <= columns
            assert len(SHARE.findall(text)) == 2
            assert "rgb" not in text
            assert "38;2;9;9;9" in out.getvalue()
