"""One run in full, and several side by side: what `fastnn runs show` and `compare` print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastnn.analysis.runs import FIGURES, PARTS, USUAL
from fastnn.analysis.selection import plain_text
from fastnn.analysis.wording import number_text
from fastnn.cli import output
from fastnn.cli.output import one_line
from fastnn.cli.run_table import curve, epochs, started

if TYPE_CHECKING:
    from fastnn.analysis.comparison import Comparison
    from fastnn.analysis.runs import Run

_KEY = 15  # columns of what stands at the left
_LONGEST = max(map(len, (*USUAL, *FIGURES)))  # name of a setting or figure
_CURVE = 12


def print_run(run: Run, fingerprint: str | None, sizes: Mapping[str, int]) -> None:
    """Everything known about a run, on stdout."""
    print(one_line(f"{run.name}: {run.state}" + (f" ({run.problem})" if run.problem else "")))
    seconds = run.figures["seconds"]
    print(f"began {started(run)}, {epochs(run)} epochs in {seconds:.1f} s")
    rows = {part: part_figures(run, part) for part in PARTS}
    titles = {title for row in rows.values() for title in row}
    if titles:
        order = [title for title in ("loss", "accuracy", "R2", "RMSE") if title in titles]
        print(f"\n{'':{_KEY}}" + "".join(f"{title:>11}" for title in order))
        for part, row in rows.items():
            if row:
                cells = "".join(f"{row.get(title, '-'):>11}" for title in order if title != "RMSE")
                cells += f"  {row['RMSE']:>9}" if "RMSE" in row else ""
                print(f"{part:{_KEY}}{cells}")
    _print_curves(run)
    print("\nsettings that are not the defaults")
    changed = {key: value for key, value in run.settings.items() if value != USUAL.get(key)}
    _print_pairs({key: plain_text(value) for key, value in changed.items()})
    print("\nenvironment")
    _print_pairs(run.environment)
    print(f"\n{'fingerprint':{_KEY}}{one_line(fingerprint or '-')}\n")
    longest = max(map(len, sizes), default=0)
    for name, size in sizes.items():
        print(f"{one_line(name):{longest}}{bytes_text(size):>13}")


def part_figures(run: Run, part: str) -> dict[str, str]:
    """A part's figures in words."""
    found = {name: run.figures.get(f"{part}_{name}") for name in ("loss", "accuracy", "r2", "rmse")}
    words = {}
    if found["loss"] is not None:
        words["loss"] = output.loss_text(found["loss"])
    if found["accuracy"] is not None:
        words["accuracy"] = output.percent(found["accuracy"])
    if found["r2"] is not None:
        words["R2"] = f"{found['r2']:.4f}"
    if found["rmse"] is not None:
        words["RMSE"] = _numbers(found["rmse"])
    return words


def bytes_text(size: int) -> str:
    """1,536 as "1.5 KiB"."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= scale:
            return f"{size / scale:,.1f} {unit}"
    return f"{size} B"


def print_comparison(runs: Sequence[Run], found: Comparison, width: int) -> None:
    """What differs, a column a run; as many runs beside each other as fit."""

    def texts(row: Sequence[Any]) -> list[str]:
        return [one_line(plain_text(value)) for value in row]

    names = [_letters(n) for n in range(len(runs))]
    for name, run in zip(names, runs, strict=True):
        print(f"{name:3}{one_line(run.name)}: {run.state}, {epochs(run)} epochs")
    sections: list[tuple[str, dict[str, list[str]]]] = [
        ("settings", {key: texts(row) for key, row in found.settings.items()}),
        ("environment", {one_line(key): texts(row) for key, row in found.environment.items()}),
        (
            "figures (* best)" if found.best else "figures",
            {
                key: [
                    _figure(key, value) + (" *" if n in found.best.get(key, ()) else "  ")
                    for n, value in enumerate(row)
                ]
                for key, row in found.figures.items()
            },
        ),
        (
            "validation loss, each on a scale of its own",
            {"": [curve([report.valid_loss for report in run.history]) for run in runs]},
        ),
    ]
    for title, rows in sections:
        print(f"\n{title}")
        if not rows:
            print("  no difference")
            continue
        widths = [max(len(row[n]) for row in [names, *rows.values()]) for n in range(len(runs))]
        for first, last in _blocks(widths, width - _LONGEST):
            columns = range(first, last)
            print(_row("", names, columns, widths))
            for key, row in rows.items():
                print(_row(key, row, columns, widths))


def _print_curves(run: Run) -> None:
    """Sparklines with their first, best and last values."""
    if not run.history:
        return
    print(f"\n{'':{_KEY}}{'':{_CURVE}}  {'first':>9}  {'best':>9}  {'last':>9}")
    for title, name, best in (
        ("train loss", "train_loss", min),
        ("valid loss", "valid_loss", min),
        ("valid accuracy", "valid_accuracy", max),
        ("learning rate", "learning_rate", None),
    ):
        values = [getattr(report, name) for report in run.history]
        known = [value for value in values if value is not None]
        if known:
            ends = known[0], None if best is None else best(known), known[-1]
            texts = "".join(f"  {_figure(name, value):>9}" for value in ends)
            print(f"{title:{_KEY}}{curve(values, _CURVE):{_CURVE}}{texts}")


def _print_pairs(pairs: Mapping[str, Any]) -> None:
    width = max([_KEY - 1, *map(len, pairs)])
    for key, value in pairs.items():
        print(f"{one_line(key):{width}} {one_line(str(value))}")
    if not pairs:
        print("none")


def _figure(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name.endswith("accuracy"):
        return output.percent(value)
    if name.endswith("loss") or name.endswith("r2"):
        return output.loss_text(value)
    if name == "learning_rate":
        return f"{value:.2g}"
    return _numbers(value)


def _numbers(value: Any) -> str:
    return ", ".join(map(number_text, value if isinstance(value, list) else [value]))


def _letters(number: int) -> str:
    """A, B, ... Z, AA, AB, ..."""
    return (_letters(number // 26 - 1) if number >= 26 else "") + chr(ord("A") + number % 26)


def _blocks(widths: Sequence[int], room: int) -> list[tuple[int, int]]:
    """Spans of columns that fit beside each other, one column at least."""
    spans, first, used = [], 0, 0
    for n, width in enumerate(widths):
        if n > first and used + width + 2 > room:
            spans.append((first, n))
            first, used = n, 0
        used += width + 2
    return [*spans, (first, len(widths))]


def _row(key: str, texts: Sequence[str], columns: range, widths: Sequence[int]) -> str:
    cells = "".join(f"  {texts[n]:<{widths[n]}}" for n in columns)
    return f"{key:{_LONGEST}}{cells}".rstrip()


def folder_sizes(path: Path) -> dict[str, int]:
    """The files of a folder and their bytes, by name."""
    sizes = {}
    for file in sorted(path.iterdir()):
        with suppress(OSError):  # a temporary file that has just got its name
            sizes[file.name] = file.lstat().st_size
    return sizes
