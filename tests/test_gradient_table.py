"""The committed table of gradients holds every combination, and none of them is wrong."""

import sys
from itertools import product
from pathlib import Path

import pytest

from fastnn.kernels.formulas import ACTIVATIONS
from fastnn.nn.blocks import NORMS
from fastnn.nn.objective import LOSSES
from scripts import gradient_table
from scripts.gradient_table import CASES, COLUMNS, LIMIT

TABLE = (Path(__file__).parent.parent / "docs" / "gradients.md").read_text(encoding="utf-8")


def rows():
    """Cells of each line of both tables, title lines left out."""
    lines = [line for line in TABLE.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[0] != "activation"], cells[0]


def test_every_combination_has_its_cell_twice_and_no_gradient_is_wrong():
    found, head = rows()
    assert head == ["activation", "norm", *COLUMNS]
    assert set(LOSSES) <= set(head)
    assert [tuple(row[:2]) for row in found] == list(product(ACTIVATIONS, NORMS)) * 2
    assert all(0 < float(cell) <= LIMIT for row in found for cell in row[2:])
    assert sum(len(row) - 2 for row in found) == len(CASES)


def test_a_wrong_gradient_fails_the_script(monkeypatch, capsys):
    wrong = CASES[7]
    monkeypatch.setattr(sys, "argv", ["gradient_table"])
    monkeypatch.setattr(
        gradient_table, "worst_error", lambda case, *_: 2e-6 if case == wrong else 1e-9
    )
    with pytest.raises(SystemExit) as end:
        gradient_table.main()
    assert end.value.code == 1
    assert "The worst is 2.0e-06." in capsys.readouterr().out
