"""What a person sees while waiting: a live bar in a terminal, one line an epoch elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastnn.cli.output import loss_text, note, percent, stderr_console
from fastnn.training.callbacks import Callback, EpochReport

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.progress import TaskID
    from rich.text import Text

    from fastnn.data.examples import Dataset
    from fastnn.training.trainer import Trainer

_REFRESH = 8  # a second


class Progress(Callback):
    """Prints each epoch; in a terminal also draws the epoch under way.

    The bar costs the loop nothing: rich's own thread reads `trainer.position` when it redraws.
    """

    def __init__(self, data: Dataset, console: Console) -> None:
        self._data = data
        self._console = console
        self._live: Live | None = None
        self._began = time.monotonic()
        self._first_epoch = 0.0  # where this process took over, in epochs

    def on_fit_start(self, trainer: Trainer) -> None:
        model = trainer.model
        data, network = self._data, "-".join(map(str, model.sizes))
        names = data.targets or data.class_names
        kind = "targets" if data.targets else "classes"
        named = "" if len(names) > 12 else f" ({', '.join(names)})"
        of = f" of column {data.columns[0]!r}" if data.columns and not data.targets else ""
        self._say(f"{data.name} on {model.backend} ({model.backend.reason})")
        self._say(f"{len(data.train.labels):,} examples, {len(names)} {kind}{of}{named}")
        steps = f", {trainer.path} steps" if model.backend.name == "cuda" else ""
        self._say(f"network {network}, {model.parameters:,} parameters{steps}")
        if trainer.epoch or trainer.position:
            self._say(f"resumed after epoch {trainer.epoch}, step {trainer.position}")
        self._began = time.monotonic()
        self._first_epoch = trainer.epoch + trainer.position / trainer.steps_per_epoch
        if self._console.is_terminal:
            from rich.live import Live

            self._live = Live(
                get_renderable=lambda: self._bar(trainer),
                console=self._console,
                refresh_per_second=_REFRESH,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()

    def on_epoch_end(self, trainer: Trainer, report: EpochReport) -> None:
        total = trainer.epochs
        parts = [  # (what goes first where the line is too narrow, text)
            (9, f"epoch {report.epoch:>{len(str(total))}}/{total}"),
            (6, f"loss {loss_text(report.train_loss)}"),
        ]
        if report.train_accuracy is not None:
            parts.append((5, f"acc {percent(report.train_accuracy)}"))
        if report.valid_loss is not None:
            parts.append((7, f"val {loss_text(report.valid_loss)}"))
        if report.valid_accuracy is not None:
            parts.append((8, f"acc {percent(report.valid_accuracy)}"))
        parts += [
            (2, f"{report.samples_per_second:,.0f}/s"),
            (1, f"lr {report.learning_rate:.2g}"),
            (4, f"ETA {self._remaining(trainer)}"),
        ]
        self._say(_fitted(parts, self._width()))

    def on_fit_end(self, trainer: Trainer) -> None:
        if self._live is not None:
            self._live.stop()
        if trainer.stopped:
            self._say(f"stopped: {trainer.stopped}")

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)

    def _bar(self, trainer: Trainer) -> Text:
        from rich.text import Text

        done, total = trainer.position, max(1, trainer.steps_per_epoch)
        label = f"epoch {min(trainer.epoch + 1, trainer.epochs)}/{trainer.epochs} "
        tail = f" {done}/{total}  ETA {self._remaining(trainer)}"
        width = max(4, min(40, self._console.width - len(label) - len(tail) - 1))
        filled = width * done // total
        return Text.assemble(label, ("━" * filled, "cyan"), ("━" * (width - filled), "dim"), tail)

    def _remaining(self, trainer: Trainer) -> str:
        """Time to the last epoch at the pace so far, or to the time limit, m:ss."""
        share = trainer.position / max(1, trainer.steps_per_epoch)
        done = trainer.epoch + share - self._first_epoch
        if done <= 0:
            return "-:--"
        pace = (time.monotonic() - self._began) / done
        left = round(min(pace * (trainer.epochs - trainer.epoch - share), trainer.time_left))
        return f"{left // 60}:{left % 60:02}"

    def _width(self) -> int:
        """Columns to fill: a file has room for everything."""
        return self._console.width if self._console.is_terminal else 200


@contextmanager
def download_bar(quiet: bool) -> Iterator[Callable[[str, int, int | None], None] | None]:
    """A reporter of (file, bytes done, bytes in all): a bar in a terminal, else a line a file."""
    console = stderr_console()
    if quiet:
        yield None
    elif console.is_terminal:
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
        from rich.progress import Progress as Bars

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        with Bars(*columns, TransferSpeedColumn(), console=console, transient=True) as bars:
            tasks: dict[str, TaskID] = {}

            def draw(name: str, done: int, total: int | None) -> None:
                if name not in tasks:
                    tasks[name] = bars.add_task(f"downloading {name}")
                bars.update(tasks[name], completed=done, total=total)

            yield draw
    else:
        told: set[str] = set()

        def tell(name: str, done: int, total: int | None) -> None:
            if name not in told:
                told.add(name)
                note(f"downloading {name}")

        yield tell


def _fitted(parts: list[tuple[int, str]], width: int) -> str:
    """The parts in order, without the least important ones where a line cannot hold all."""
    kept = list(parts)
    while len(kept) > 1 and len("  ".join(text for _, text in kept)) > width:
        kept.remove(min(kept))
    return "  ".join(text for _, text in kept)
