"""Who gets what: results on stdout, everything else on stderr, errors as one line and a code."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from fastnn.errors import FastNNError

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = 1
BROKEN_PIPE = 141  # 128 + SIGPIPE, what a shell reports for `... | head`

_debug = False


def stderr_console() -> Console:
    """A console on stderr that respects NO_COLOR, TERM=dumb and files."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def note(text: str, style: str = "") -> None:
    """One line of progress, warning or explanation."""
    console = stderr_console()
    # A terminal gets whole words a line; a file gets the line as it is, for grep.
    console.print(text, style=style, markup=False, soft_wrap=not console.is_terminal)


def warn(text: str) -> None:
    """A warning that is hard to overlook, in colour or not."""
    note(f"WARNING: {text}", style="bold yellow")


def emit(event: str, values: Mapping[str, Any]) -> None:
    """One JSON line on stdout. JSON has no NaN: figures that are not finite become null."""
    line = {"schema": SCHEMA, "event": event}
    line |= {key: None if _not_finite(value) else value for key, value in values.items()}
    print(json.dumps(line), flush=True)


def percent(share: float | None) -> str:
    """0.8812 as "88.12 %"."""
    return "-" if share is None else f"{100 * share:.2f} %"


def number(value: float | None) -> str:
    """A loss with four decimals."""
    return "-" if value is None else f"{value:.4f}"


@contextmanager
def exit_codes(*, as_json: bool = False) -> Iterator[None]:
    """Turn fastnn's errors into a line on stderr and their exit code."""
    try:
        yield
        sys.stdout.flush()
    except FastNNError as error:
        if _debug:
            raise
        notes = "".join(f"\n{line}" for line in getattr(error, "__notes__", ()))
        if as_json:
            emit("error", {"code": error.exit_code, "message": f"{error}{notes}"})
        note(f"error: {error}{notes}", style="bold red")
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        note("interrupted", style="bold red")
        raise typer.Exit(130) from None
    except BrokenPipeError:  # whoever read stdout has left: not an error of ours
        _abandon_stdout()
        raise typer.Exit(BROKEN_PIPE) from None
    except OSError as error:  # reading is reported as DataError, so this is stdout on a full disk
        _abandon_stdout()
        note(f"error: {error}", style="bold red")
        raise typer.Exit(1) from None


def show_tracebacks() -> None:
    """`fastnn --debug`: let errors through with their traceback."""
    global _debug
    _debug = True


def _abandon_stdout() -> None:
    """Send what is still buffered to nowhere, or Python would fail once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _not_finite(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
