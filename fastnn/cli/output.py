"""Who gets what: results on stdout, everything else on stderr, errors as one line and a code."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any
from unicodedata import category

import typer

from fastnn.analysis.wording import number_text, percent_text
from fastnn.errors import FastNNError

if TYPE_CHECKING:
    from rich.console import Console

    from fastnn.training.scoring import RegressionScore, Score

SCHEMA = 1
_JOINERS = "\u200c\u200d"
BROKEN_PIPE = 141  # 128 + SIGPIPE, what a shell reports for `... | head`

percent = percent_text

_debug = False


def stderr_console() -> Console:
    """A console on stderr that respects NO_COLOR, TERM=dumb and files.

    Where nobody reads stderr any more it falls silent: progress is no reason to end a training.
    """
    from rich.console import Console

    class Stderr(Console):
        def on_broken_pipe(self) -> None:
            self.quiet = True
            abandon(sys.stderr)

    return Stderr(stderr=True, highlight=False, emoji=False)


def note(text: str, style: str = "", *, wrap: bool = True) -> None:
    """One line of progress, warning or explanation.

    A terminal gets whole words a line, unless `wrap` is off because the line is meant to be copied;
    a file gets the line as it is, for grep.
    """
    console = stderr_console()
    whole = not (wrap and console.is_terminal)
    console.print(text, style=style, markup=False, soft_wrap=whole)


def warn(text: str) -> None:
    """A warning that is hard to overlook, in colour or not."""
    note(f"WARNING: {text}", style="bold yellow")


class Log(logging.Handler):
    """The library's log as notes on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        note(record.getMessage())


def warn_if_untrained(meta: Mapping[str, Any]) -> None:
    """Say so where a run ended before its first epoch did: its network is the random start."""
    if meta.get("epoch") == 0:
        warn("this network was never trained: its run has not finished an epoch")


def emit(event: str, values: Mapping[str, Any]) -> None:
    """One JSON line on stdout. JSON has no NaN: figures that are not finite become null."""
    line = {"schema": SCHEMA, "event": event}
    line |= {key: _finite(value) for key, value in values.items()}
    print(json.dumps(line, allow_nan=False), flush=True)


def stdout_width() -> int | None:
    """Columns of the terminal that stdout is; None where it is a file or a pipe."""
    from rich.console import Console

    console = Console()
    return console.width if console.is_terminal else None


def say(text: str) -> None:
    """A paragraph of the result on stdout; a terminal gets whole words a line."""
    width = stdout_width()
    if width is None:
        print(text)
        return
    from rich.console import Console
    from rich.text import Text

    for line in Text(text).wrap(Console(), width):
        print(line.plain.rstrip())


def one_line(name: str) -> str:
    """A name in any script as one line of a terminal: without breaks and control characters.

    Those that write from right to left over other text count among them; joiners, without which
    some scripts and emoji fall apart, do not. A name of nothing else is shown in quotes.
    """
    spaced = " ".join(name.split())
    kept = "".join(c for c in spaced if c in _JOINERS or category(c) not in ("Cc", "Cf", "Cs"))
    return kept or repr(name)


def figures(score: Score | RegressionScore) -> dict[str, str]:
    """What tells in a row how good a network is, by name: accuracy, or R2 and a lone RMSE."""
    if score.accuracy is not None:
        return {"accuracy": percent(score.accuracy)}
    rmse = {"RMSE": number_text(score.rmse[0])} if len(score.rmse) == 1 else {}
    return {"R2": f"{score.r2:.4f}", **rmse}


def loss_text(value: float | None) -> str:
    """A loss with four decimals."""
    return "-" if value is None else f"{value:.4f}"


@contextmanager
def exit_codes(*, as_json: bool = False) -> Iterator[None]:
    """Turn fastnn's errors into a line on stderr and their exit code."""
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except FastNNError as error:
        if _debug:
            raise
        notes = list(getattr(error, "__notes__", ()))
        if as_json:
            message = "\n".join([str(error), *notes])
            emit("error", {"code": error.exit_code, "message": message})
        note(f"error: {error}", style="bold red")
        for line in notes:
            note(line, style="bold", wrap=False)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        note("interrupted", style="bold red")
        raise typer.Exit(130) from None
    except MemoryError as error:
        note(
            f"error: not enough memory ({error}); a smaller --batch-size, --hidden or "
            "--limit-train needs less",
            style="bold red",
        )
        raise typer.Exit(1) from None
    except BrokenPipeError:  # whoever read stdout has left: not an error of ours
        abandon(sys.stdout)
        raise typer.Exit(BROKEN_PIPE) from None
    except OSError as error:  # a name that the system refuses, or else stdout on a full disk
        if error.filename is None:
            abandon(sys.stdout)
        where = error.filename or "stdout cannot be written"
        note(f"error: {where}: {error.strerror or error}", style="bold red")
        raise typer.Exit(1) from None


def show_tracebacks() -> None:
    """`fastnn --debug`: let errors through with their traceback."""
    global _debug
    _debug = True


def abandon(stream: IO[str] | None) -> None:
    """Send what is still buffered to nowhere, or Python would fail once more at exit."""
    if stream is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _finite(value: Any) -> Any:
    """The value with None for every number that is not finite, however deep it lies."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
