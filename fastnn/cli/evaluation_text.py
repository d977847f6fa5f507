"""What `fastnn evaluate` says to people: headline, tables, confusion matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastnn.analysis.wording import counted, number_text
from fastnn.cli import output
from fastnn.cli.output import one_line, percent
from fastnn.cli.table import NARROWEST, print_table

if TYPE_CHECKING:
    from fastnn.analysis.evaluation import Evaluation, NumbersEvaluation
    from fastnn.analysis.opened import RunData

_MOST_CLASSES = 30  # of a matrix that a terminal is shown
_LONGEST_HEAD = 7  # cells of a name above its column; longer ones make way for codes


def print_classes(found: Evaluation, data: RunData, temperature: float | None) -> None:
    """Everything about a classifier, the most important first."""
    low, high = found.interval
    output.say(
        f"{one_line(data.name)}: accuracy {percent(found.accuracy)} (95 % interval "
        f"{100 * low:.2f} to {percent(high)}), loss {found.loss:.4f} on {_examples(found, data)}"
    )
    if found.top_k:
        output.say(", ".join(f"top {k} {percent(share)}" for k, share in found.top_k.items()))
    sure = f"expected calibration error {percent(found.calibration().ece)}"
    if temperature is not None and data.valid is not None:
        sure += (
            f"; at temperature {temperature:.3g}, fitted on {len(data.valid.labels):,} validation "
            f"examples, {percent(found.calibration(temperature).ece)} and loss "
            f"{found.loss_at(temperature):.4f}"
        )
    output.say(sure)
    print()
    _print_per_class(found)
    _print_confused(found)
    _print_confusion(found)


def print_numbers(numbers: NumbersEvaluation, data: RunData) -> None:
    """Everything about a regressor; errors are in the targets' own units."""
    output.say(
        f"{one_line(data.name)}: R2 {numbers.r2_text}, loss {numbers.loss:.4f} on "
        f"{_examples(numbers, data)}"
    )
    print()
    rows = [
        (one_line(name), [r2, number_text(row.rmse), number_text(row.mae)])
        for name, r2, row in zip(numbers.names, numbers.r2_texts, numbers.per_target, strict=True)
    ]
    print_table(("target", "R2", "RMSE", "MAE"), rows)


def _examples(found: Evaluation | NumbersEvaluation, data: RunData) -> str:
    if data.test_part in ("test", "validation"):
        return counted(found.count, f"{data.test_part} example")
    return f"{counted(found.count, 'example')} of {one_line(data.test_part)}"


def _print_per_class(found: Evaluation) -> None:
    from fastnn.analysis.metrics import macro

    named = [*map(one_line, found.class_names), "macro average"]
    rows = [
        (name, [percent(row.precision), percent(row.recall), percent(row.f1), f"{row.support:,}"])
        for name, row in zip(named, [*found.per_class, macro(found.per_class)], strict=True)
    ]
    print_table(("class", "precision", "recall", "F1", "support"), rows)


def _print_confused(found: Evaluation) -> None:
    pairs = found.most_confused()
    if not pairs:
        return
    print("\nmost confused")
    names = [one_line(name) for name in found.class_names]
    for pair in pairs:
        true = names[pair.true]
        output.say(
            f"{true} taken for {names[pair.taken_for]}: {pair.examples:,}, "
            f"{100 * pair.share:.1f} % of {true}"
        )


def _print_confusion(found: Evaluation) -> None:
    """The matrix, where it fits; a file gets it however wide it is."""
    from rich.cells import cell_len

    names, room = [one_line(name) for name in found.class_names], output.stdout_width()
    # Nothing is a dot, so that the mistakes can be seen.
    rows = [[f"{count}" if count else "." for count in row] for row in found.confusion.tolist()]

    def fits(heads: list[str]) -> bool:
        columns = zip(heads, *rows, strict=True)
        needed = NARROWEST + sum(1 + max(map(cell_len, column)) for column in columns)
        return room is None or (needed <= room and len(names) <= _MOST_CLASSES)

    heads = names
    if max(map(cell_len, names)) > _LONGEST_HEAD or not fits(names):
        heads = [str(code) for code in range(len(names))]
        names = [f"{code:>{len(heads[-1])}} {name}" for code, name in enumerate(names)]
    if not fits(heads):
        output.note(
            f"the confusion matrix of {len(names)} classes does not fit this terminal; a file gets "
            "it whole, and --csv and --json hold it, too"
        )
        return
    print()
    output.say("confusion: rows are true classes, columns what they were taken for")
    print_table(("", *heads), list(zip(names, rows, strict=True)), gap=1)
