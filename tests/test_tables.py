"""The CSV reader: layouts, kinds of features, and the place of the first bad cell."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastnn.data import tables
from fastnn.data.examples import Schema
from fastnn.data.tables import read_table, read_table_inputs
from fastnn.errors import DataError
from tests.conftest import kind_of

many = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

FLOWERS = "length,width,label\n5.1,3.5,setosa\n7,3.2,versicolor\n6.3,-3e-1,virginica\n"


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def kaggle(rows: list[list[object]], columns: int = 784) -> str:
    names = ",".join(f"pixel{i}" for i in range(1, columns + 1))
    return "\n".join([f"label,{names}", *(",".join(map(str, row)) for row in rows)]) + "\n"


def test_the_layout_of_kaggle(tmp_path: Path) -> None:
    rows = [[9, *[i % 256 for i in range(784)]], [0, *[255] * 784]]
    part = read_table(written(tmp_path, kaggle(rows)))
    assert part.inputs.dtype == np.uint8
    assert part.shape == (28, 28)
    assert part.first_row == 2
    np.testing.assert_array_equal(part.inputs, [row[1:] for row in rows])
    assert part.labels.tolist() == ["9", "0"]


def test_a_table_with_names_and_numbers(tmp_path: Path) -> None:
    part = read_table(written(tmp_path, FLOWERS))
    assert part.inputs.dtype == np.float32
    assert part.shape == (2,)
    np.testing.assert_array_equal(
        part.inputs, np.array([[5.1, 3.5], [7, 3.2], [6.3, -0.3]], np.float32)
    )
    assert part.labels.tolist() == ["setosa", "versicolor", "virginica"]
    assert part.columns == ("label", "length", "width")


@pytest.mark.parametrize(
    ("label", "labels"),
    [(None, "ab"), ("1", "35"), ("-1", "46"), ("-3", "ab"), ("2", "46")],
)
def test_the_label_column_by_number(tmp_path: Path, label: str | None, labels: str) -> None:
    text = "a,3,4\nb,5,6\n" if label in (None, "-3") else "1,3,4\n2,5,6\n"
    part = read_table(written(tmp_path, text), label=label)
    assert part.labels.tolist() == list(labels)
    assert part.inputs.shape == (2, 2)
    assert part.first_row == 1
    assert part.columns == ()


def test_the_label_column_by_name(tmp_path: Path) -> None:
    path = written(tmp_path, "first,second,third\n1,2,3\n4,5,6\n")
    assert read_table(path).labels.tolist() == ["1", "4"]
    assert read_table(path, label="second").labels.tolist() == ["2", "5"]
    assert read_table(path, label="-1").labels.tolist() == ["3", "6"]


@pytest.mark.parametrize("label", ["fourth", "3", "-4", ""])
def test_a_label_column_that_is_not_there(tmp_path: Path, label: str) -> None:
    path = written(tmp_path, "first,second,third\n1,2,3\n")
    with pytest.raises(DataError, match=r"table\.csv.*found.*expected"):
        read_table(path, label=label)


def test_a_label_name_needs_a_header(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'species': found no header"):
        read_table(written(tmp_path, "1,2\n3,4\n"), label="species")


def test_a_mark_of_utf8_is_no_part_of_a_name(tmp_path: Path) -> None:
    path = written(tmp_path, "\ufeffkind,x\na,1\nb,2\n")
    assert read_table(path, label="kind").labels.tolist() == ["a", "b"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n  \n\n"])
def test_ends_of_lines(tmp_path: Path, end: str) -> None:
    text = "\ufeff" + FLOWERS.strip().replace("\n", end.strip(" ")[:2] if "\r" in end else "\n")
    assert len(read_table(written(tmp_path, text + end)).labels) == 3
    assert len(read_table(written(tmp_path, text)).labels) == 3


def test_quoted_cells_and_names_in_utf8(tmp_path: Path) -> None:
    part = read_table(written(tmp_path, '"label","x"\n"Käse, ""alt""","1.5"\n#ü,2\n'))
    assert part.labels.tolist() == ['Käse, "alt"', "#ü"]
    np.testing.assert_array_equal(part.inputs, [[1.5], [2.0]])


@pytest.mark.parametrize(
    ("odd", "kind"), [("7", np.uint8), ("7.0", np.uint8), ("7.5", np.float32), ("-1", np.float32)]
)
def test_784_columns_are_bytes_if_all_values_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: str, kind: type
) -> None:
    monkeypatch.setattr(tables, "_BLOCK", 2000)  # one row a block
    rows = [",".join(["1", *["200"] * 784]) for _ in range(4)]
    rows[2] = rows[2][:-3] + odd
    part = read_table(written(tmp_path, "\n".join(rows)))
    assert part.inputs.dtype == kind
    assert part.shape == ((28, 28) if kind is np.uint8 else (784,))
    assert part.inputs[2, -1] == float(odd)
    assert (part.inputs[[0, 1, 3]] == 200).all()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ["empty", "expected"]),
        ("\n\n", ["empty"]),
        ("a,b\n", ["row 2", "a header and nothing after it"]),
        ("a,b\n\n", ["row 2", "nothing after it"]),
        ("1\n2\n", ["row 1", "one column", "expected a label"]),
        ("label,x,y\n1,2,3\n4,5\n", ["row 3", "found 2 columns", "expected 3"]),
        ("1,2,3\n4,5,6,7\n", ["row 2", "found 4 columns", "expected 3"]),
        ("1,2,3\n\n4,5,6\n", ["row 2", "empty row"]),
        ("label,x,y\n1,2,\n", ["row 2", "column 2 (y)", "an empty cell", "expected a number"]),
        ("label,x\n1,2\n2,two\n", ["row 3", "column 1 (x)", "found two", "a number"]),
        ("label,x\n1,\x1b[31m\n", ["row 2", "column 1 (x)", r"found '\x1b[31m'"]),
        ("label,x\n1,1_0\n", ["row 2", "column 1 (x)", "found 1_0", "a number"]),
        ("1,2\n2,nan\n", ["row 2", "column 1:", "found nan", "finite"]),
        ("1,2\n2,-inf\n", ["row 2", "column 1:", "found -inf", "finite"]),
        ("1,2\n2,1e39\n", ["row 2", "column 1:", "found 1e39", "finite 32-bit"]),
        ("label,x\n,2\n", ["row 2", "column 0 (label)", "an empty cell", "expected a label"]),
        ("label,x\n1.5,2\n", ["row 2", "column 0 (label)", "found 1.5", "whole number"]),
        ("label,x\nnan,2\n", ["row 2", "column 0 (label)", "found nan", "whole number"]),
        ('label,x\n"a\nb",2\n', ["row 2", "end of data"]),
        (b"label,x\nK\xe4se,2\n", ["row 2, character 2", "0xE4", "UTF-8"]),
        (b"\xff\xfel\0a\0,\0", ["row 1, character 1", "0xFF", "UTF-8"]),
        (kaggle([[1, 2, 3], [1, 2, 256]], 2), ["row 3", "(pixel2)", "256", "pixelN"]),
        (kaggle([[1, 2, 0.5]], 2), ["row 2", "column 2 (pixel2)", "0.5", "0 to 255"]),
        (kaggle([[1, 2, "x"]], 2), ["row 2", "column 2 (pixel2)", "found x", "0 to 255"]),
    ],
)
def test_each_fault_is_told_with_its_place(
    tmp_path: Path, text: str | bytes, told: list[str]
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(DataError) as caught:
        read_table(path)
    for words in [str(path), *told]:
        assert words in str(caught.value)


def test_rows_are_counted_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_BLOCK", 50)
    good = "label,x\n" + "".join(f"{i % 3},{i}\n" for i in range(100))
    assert read_table(written(tmp_path, good)).inputs.ravel().tolist() == list(range(100))
    with pytest.raises(DataError, match=r"row 102, column 1 \(x\): found \?"):
        read_table(written(tmp_path, good + "1,?\n"))


def test_a_row_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_LONGEST_ROW", 1000)
    with pytest.raises(DataError, match="row 2: found more than 1000 characters"):
        read_table(written(tmp_path, "a,b\n" + "1" * 2000))


def test_inputs_with_and_without_labels(tmp_path: Path) -> None:
    bare = written(tmp_path, "1,2\n3,4\n")
    np.testing.assert_array_equal(
        read_table_inputs(bare, kind_of(2, pixels=False)), np.array([[1, 2], [3, 4]], np.float32)
    )
    assert read_table_inputs(bare, kind_of(2, pixels=True)).dtype == np.uint8
    np.testing.assert_array_equal(read_table_inputs(bare, kind_of(1, pixels=False)), [[2], [4]])
    last = read_table_inputs(bare, kind_of(1, pixels=False), label="-1")
    np.testing.assert_array_equal(last, [[1], [3]])
    flowers = written(tmp_path, FLOWERS)
    assert read_table_inputs(flowers, kind_of(2, pixels=False)).shape == (3, 2)
    with pytest.raises(DataError, match="found 3 columns, expected 7, or 8 with a label"):
        read_table_inputs(flowers, kind_of(7, pixels=False))


def test_a_model_of_bytes_takes_no_fractions(tmp_path: Path) -> None:
    path = written(tmp_path, "1,2\n3,4.5\n")
    with pytest.raises(DataError, match=r"row 2, column 1: found 4\.5.*trained on bytes"):
        read_table_inputs(path, kind_of(2, pixels=True))


numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
names = st.text("abcÄ,\" '#.xyz", min_size=1).filter(lambda text: text.strip() == text)


@many
@given(rows=st.lists(st.tuples(names, numbers, numbers), min_size=1), at=st.integers(0, 2))
def test_what_was_written_is_read(
    tmp_path: Path, rows: list[tuple[str, float, float]], at: int
) -> None:
    lines = ["x" + ",y" * 2]
    for name, *values in rows:
        cells = [repr(value) for value in values]
        cells.insert(at, '"' + name.replace('"', '""') + '"')
        lines.append(",".join(cells))
    part = read_table(written(tmp_path, "\n".join(lines)), label=str(at))
    assert part.labels.tolist() == [row[0] for row in rows]
    np.testing.assert_array_equal(part.inputs, np.array([row[1:] for row in rows], np.float32))


@many
@given(content=st.binary(max_size=80) | st.text("0159.,-e\"'\n\r nai\0ä", max_size=80))
def test_random_content_never_raises_anything_else(tmp_path: Path, content: bytes | str) -> None:
    path = written(tmp_path, content)
    with contextlib.suppress(DataError):
        part = read_table(path)
        assert len(part.inputs) == len(part.labels)
        assert np.isfinite(part.inputs).all()
    with contextlib.suppress(DataError):
        assert read_table_inputs(path, kind_of(2, pixels=True)).shape[1] == 2


@many
@given(data=st.data(), byte=st.integers(0, 255))
def test_a_changed_or_cut_file_never_raises_anything_else(
    tmp_path: Path, data: st.DataObject, byte: int
) -> None:
    content = bytearray(FLOWERS.encode())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = byte
    for text in (bytes(content), bytes(content[:place])):
        with contextlib.suppress(DataError):
            read_table(written(tmp_path, text))


def test_a_header_may_hold_numbers_if_it_names_the_label(tmp_path: Path) -> None:
    path = tmp_path / "unnamed.csv"
    path.write_text("label,0,1\n0,1.5,2\n1,2,3\n")
    part = read_table(path)
    assert (part.first_row, part.columns) == (2, ("label", "0", "1"))
    assert part.labels.tolist() == ["0", "1"]
    path.write_text("1999,2000,grade\n1.5,2,a\n2,3,b\n")
    part = read_table(path, label="grade")
    assert part.labels.tolist() == ["a", "b"]
    assert part.inputs.shape == (2, 2)


# ---- numbers to predict --------------------------------------------------------------------------

HOUSES = "area,price,rooms,rent\n50,100.5,2,0.5\n80,-3e2,3,1\n"


@pytest.mark.parametrize(
    ("label", "targets", "columns"),
    [
        ("price", [[100.5], [-300]], ("price", "area", "rooms", "rent")),
        ("rent, price", [[0.5, 100.5], [1, -300]], ("rent", "price", "area", "rooms")),
        ("-1,1", [[0.5, 100.5], [1, -300]], ("rent", "price", "area", "rooms")),
        (None, [[50], [80]], ("area", "price", "rooms", "rent")),
    ],
)
def test_columns_of_numbers_to_predict(
    tmp_path: Path, label: str | None, targets: list[list[float]], columns: tuple[str, ...]
) -> None:
    part = read_table(written(tmp_path, HOUSES), label=label, numbers=True)
    assert part.labels.dtype == np.float32
    np.testing.assert_array_equal(part.labels, np.array(targets, np.float32))
    assert part.columns == columns
    found = dict(zip(columns[len(targets[0]) :], part.inputs.T.tolist(), strict=True))
    assert found["rooms"] == [2, 3]
    assert "price" not in found or label is None


@pytest.mark.parametrize(
    ("text", "label", "told"),
    [
        ("a,b\n1,2\n1,cheap\n", "b", r"row 3, column 1 \(b\): found cheap, expected a number"),
        ("a,b\n1,2\n1,nan\n", "b", r"row 3, column 1 \(b\): found nan, expected a finite"),
        ("a,b\n1,-inf\n", "b", r"row 2, column 1 \(b\): found -inf, expected a finite"),
        ("a,b\n1,\n", "b", r"row 2, column 1 \(b\): found an empty cell"),
        ("a,b\n1,2\n", "b,c", "found 0 columns called 'c'"),
        ("a,b,c\n1,2,3\n", "b,1", "'b,1': found one of them twice"),
        ("a,b\n1,2\n", "b,a", "found no other, expected at least one feature"),
        ("1,2\n3,4\n", "price", "no header row"),
        ("price,pixel0\n1.5,255\n2.5,7.5\n", "price", r"row 3, column 0: found 7\.5.*pixelN"),
    ],
)
def test_each_fault_of_numbers_is_told(tmp_path: Path, text: str, label: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        read_table(written(tmp_path, text), label=label, numbers=True)


def test_pictures_with_numbers_to_predict_are_bytes(tmp_path: Path) -> None:
    part = read_table(written(tmp_path, "age,pixel0\n1.5,255\n2.5,7\n"), numbers=True, label="age")
    assert part.inputs.dtype == np.uint8
    np.testing.assert_array_equal(part.labels, [[1.5], [2.5]])


def test_a_header_of_years_may_name_several_labels(tmp_path: Path) -> None:
    path = written(tmp_path, "1999,2000,price,rent\n1,2,3,4\n")
    part = read_table(path, label="rent,price", numbers=True)
    np.testing.assert_array_equal(part.labels, [[4, 3]])
    np.testing.assert_array_equal(part.inputs, [[1, 2]])


def test_inputs_of_a_model_of_numbers(tmp_path: Path) -> None:
    columns = ("rent", "price", "area", "rooms")
    schema = Schema((), (2,), False, columns, ("rent", "price"))
    expected = np.array([[50, 2], [80, 3]], np.float32)
    found = read_table_inputs(written(tmp_path, HOUSES), schema, label="rent,price")
    np.testing.assert_array_equal(found, expected)
    bare = written(tmp_path, "area,rooms\n50,2\n80,3\n")
    np.testing.assert_array_equal(read_table_inputs(bare, schema, label="rent,price"), expected)
    with pytest.raises(DataError, match="found the column 'rooms', expected the column 'area'"):
        read_table_inputs(written(tmp_path, "rooms,area\n2,50\n"), schema, label="rent,price")
    with pytest.raises(DataError, match="found 3 columns, expected 2, or 4 with the label columns"):
        read_table_inputs(written(tmp_path, "a,b,c\n2,5,1\n"), schema)
