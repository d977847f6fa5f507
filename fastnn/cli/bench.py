"""`fastnn bench`: throughput of fastnn and its peers, and a gate for regressions."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastnn.cli import output
from fastnn.cli.options import Device, Json
from fastnn.errors import CheckFailed, ConfigError, Interrupted, OutputError
from fastnn.training.config import PRECISIONS

if TYPE_CHECKING:
    from fastnn.bench.compare import Comparison
    from fastnn.bench.competitors import Entrant, Problem
    from fastnn.bench.record import Record


def bench(
    device: Device = None,
    batch_sizes: Annotated[
        str | None,
        typer.Option("--batch-sizes", metavar="N,N,...", help="default: eight from 32 to 16384"),
    ] = None,
    network: Annotated[
        str, typer.Option("--network", metavar="WIDTHS", help="inputs to classes, such as 20-32-2")
    ] = "784-512-256-10",
    peers: Annotated[
        str,
        typer.Option("--peers", metavar="NAMES", help="all, none, or of numpy,torch,jax,sklearn"),
    ] = "all",
    precision: Annotated[
        str, typer.Option("--precision", help="of products: float32, or on a GPU tf32")
    ] = "float32",
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="rounds per batch size")] = 7,
    memory: Annotated[
        bool, typer.Option("--memory", help="peak memory too, at the middle batch size")
    ] = False,
    json: Json = False,
    plot: Annotated[
        list[Path] | None,
        typer.Option("--plot", metavar="FILE", help=".png, .svg or .pdf; may be repeated"),
    ] = None,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="write the record, as .json")
    ] = None,
    compare: Annotated[
        Path | None, typer.Option("--compare", metavar="OLD.json", help="a record of --save")
    ] = None,
    fail_if: Annotated[
        str | None,
        typer.Option(
            "--fail-if", metavar="SHARE", help="exit 6 if fastnn is slower by more, such as 10%"
        ),
    ] = None,
) -> None:
    """Measure training throughput per batch size, beside every peer that is installed.

    On a CPU "fastnn" is the default, "fastnn fused" and "fastnn NumPy" are --kernels fused and
    reference; on a GPU likewise.
    """
    with output.exit_codes(as_json=json):
        from fastnn.bench import compare as comparing
        from fastnn.bench.competitors import Problem
        from fastnn.bench.record import load
        from fastnn.bench.roster import chosen_peers, devices, roster

        # All that can be refused is refused now: a measurement takes minutes.
        if fail_if is not None and compare is None:
            raise ConfigError("--fail-if needs --compare OLD.json to know what was fast enough")
        limit = None if fail_if is None else comparing.limit_of(fail_if)
        sizes, families = _sizes(batch_sizes), chosen_peers(peers)
        widths = _network(network)
        if precision not in PRECISIONS:
            raise ConfigError(f"precision: {precision!r} is not one of {', '.join(PRECISIONS)}")
        _check_places(save, plot or [])
        old = None if compare is None else load(compare)
        places, skipped = devices(device or "auto", precision)
        entrants, absent = roster(places, families, precision)
        if old is not None:
            judged = [e.key for e in entrants if limit is None or e.family == "fastnn"]
            comparing.require_common(old, sizes, judged)

        taking_part = dict.fromkeys(entrant.family for entrant in entrants)
        record = _new_record(places, precision, taking_part, skipped | absent)
        record.facts["network"] = network
        problem = Problem.drawn(widths, precision)
        try:
            _measure(record, entrants, problem, sizes, rounds, memory)
        finally:  # whatever ended it, what was measured is shown and kept
            comparison = None if old is None else comparing.compare(old, record)
            if record.batches:
                (_emit if json else _print)(record, comparison)
                _write(record, save, plot or [])
        if record.disagreements:
            raise CheckFailed("losses disagree. " + "; ".join(record.disagreements))
        if comparison is not None and limit is not None:
            comparison.check(limit)
            output.note(f"no path of fastnn is slower by more than {100 * limit:g} %")


def _new_record(
    places: Sequence[str], precision: str, families: Iterable[str], skipped: dict[str, str]
) -> Record:
    """A record of this machine; what may spoil the figures, and who is missing, go to stderr."""
    from fastnn.bench.facts import caveats, machine_facts
    from fastnn.bench.record import Record

    record = Record(machine_facts(places, precision, families), skipped=skipped)
    for warning in caveats(record.facts):
        output.warn(warning)
    for name, reason in record.skipped.items():
        output.note(f"{name}: not measured: {reason}")
    return record


def _measure(
    record: Record,
    entrants: Sequence[Entrant],
    problem: Problem,
    sizes: Sequence[int],
    rounds: int,
    memory: bool,
) -> None:
    """Fill the record; SIGINT and SIGTERM become `Interrupted`."""
    from fastnn.bench.memory import peak_memory
    from fastnn.bench.study import study

    before = signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        study(record, entrants, problem, sizes, rounds=rounds, say=output.note)
        if memory:
            middle = sizes[len(sizes) // 2]
            output.note(f"peak memory at batch {middle}")
            found = peak_memory(entrants, middle, problem, say=output.note)
            record.memory = {"batch": middle, "mebibytes": found}
    except (KeyboardInterrupt, _Terminated) as error:
        number = signal.SIGTERM if isinstance(error, _Terminated) else signal.SIGINT
        done = len(record.batches)
        sizes_done = "1 batch size was" if done == 1 else f"{done} batch sizes were"
        raise Interrupted(number, f"{sizes_done} measured until then") from None
    finally:
        signal.signal(signal.SIGTERM, before)


class _Terminated(BaseException):
    """SIGTERM arrived: no `except Exception` of a library may swallow it."""


def _raise_terminated(number: int, frame: object) -> None:
    raise _Terminated


def _network(text: str) -> tuple[int, ...]:
    try:
        widths = tuple(int(part) for part in text.split("-"))
    except ValueError:
        widths = ()
    if len(widths) < 2 or min(widths) < 1 or widths[-1] < 2 or max(widths) > 100_000:
        raise ConfigError(
            f"--network: {text!r} must be widths up to 100000 from inputs to two classes or more, "
            "such as 784-512-256-10"
        )
    return widths


def _sizes(text: str | None) -> list[int]:
    from fastnn.bench.competitors import EXAMPLES
    from fastnn.bench.study import BATCHES

    if text is None:
        return list(BATCHES)
    try:
        sizes = sorted({int(part) for part in text.split(",")})
    except ValueError:
        sizes = [0]
    if not 1 <= sizes[0] <= sizes[-1] <= EXAMPLES:
        raise ConfigError(
            f"--batch-sizes: {text!r} must be numbers from 1 to {EXAMPLES}, such as 32,128,512"
        )
    return sizes


def _check_places(save: Path | None, plots: Sequence[Path]) -> None:
    """Refuse files that could not be written, or not drawn."""
    from fastnn.analysis.style import require_matplotlib, suffix_of

    if save is not None and save.suffix.lower() != ".json":
        raise ConfigError(f"--save: {str(save)!r} must end with .json")
    for path in plots:
        suffix_of(path)
    if plots:
        require_matplotlib()
    for path in [*plots, *([save] if save else [])]:
        if path.is_dir():
            raise OutputError(f"{path}: is a folder; name a file in it")
        _try(path)


def _try(path: Path) -> None:
    """Write and remove a file as large as a picture beside `path`."""
    from fastnn.training.checkpoint import write_atomically

    probe = path.with_name(f".{path.name}.probe")
    try:
        write_atomically(probe, bytes(1 << 20))
    except OutputError as error:
        reason = getattr(error.__cause__, "strerror", None) or error
        raise OutputError(f"{path}: cannot be written ({reason}); nothing was measured") from error
    finally:
        if path.parent.is_dir():
            probe.unlink(missing_ok=True)


def _write(record: Record, save: Path | None, plots: Sequence[Path]) -> None:
    """Write what was asked for."""
    from fastnn.analysis.style import rendered, suffix_of
    from fastnn.bench.plot import figure
    from fastnn.training.checkpoint import write_atomically

    if save is not None:
        write_atomically(save, record.to_json().encode())
    for path in plots:
        write_atomically(path, rendered(figure(record), suffix_of(path)))
    written = [str(path) for path in [*([save] if save else []), *plots]]
    if written:
        output.note(f"written: {', '.join(written)}", wrap=False)


def _print(record: Record, comparison: Comparison | None) -> None:
    from fastnn.bench.crossover import crossover
    from fastnn.bench.facts import caption
    from fastnn.bench.table import throughput_table

    print("Examples a second: median, and half the inter-quartile range\n")
    print(throughput_table(record, width=shutil.get_terminal_size((100, 24)).columns))
    if sentence := crossover(record):
        print(f"\n{sentence}")
    if record.memory:
        print(f"\nPeak memory at batch {record.memory['batch']}, MiB beyond data and libraries")
        for name, mebibytes in record.memory["mebibytes"].items():
            print(f"{name:24} {mebibytes:8,.0f}")
    print(f"\n{caption(record.facts)}")
    if comparison is not None:
        print("\nMicroseconds a step, in the record compared with and now:")
        for change in comparison.changes:
            print(change)
        for line in (*comparison.left_out, *comparison.caveats):
            output.note(f"note: {line}")


def _emit(record: Record, comparison: Comparison | None) -> None:
    from fastnn.bench.crossover import crossover
    from fastnn.bench.record import throughput

    for name, reason in record.skipped.items():
        output.emit("skipped", {"name": name, "reason": reason})
    for batch, found in record.batches.items():
        for name, figure in found.items():
            speed = {"batch": batch, "name": name, "per_second": throughput(batch, figure.median)}
            output.emit("measured", speed | asdict(figure))
    for change in () if comparison is None else comparison.changes:
        output.emit("compared", asdict(change) | {"ratio": change.ratio})
    done: dict[str, Any] = {
        "facts": record.facts,
        "crossover": crossover(record),
        "memory": record.memory,
        "disagreements": record.disagreements,
    }
    if comparison is not None:
        done |= {"left_out": comparison.left_out, "caveats": comparison.caveats}
    output.emit("done", done)
