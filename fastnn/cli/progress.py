"""What a person sees while waiting: a live bar in a terminal, one line an epoch elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastnn.cli.output import loss_text, note, percent, stderr_console
from fastnn.cli.sparkline import ASCII_BARS, BARS, sparkline
from fastnn.cli.terminal import can_print, columns, redraws
from fastnn.training.callbacks import Callback, EpochReport

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.progress import TaskID
    from rich.text import Text

    from fastnn.data.examples import Dataset
    from fastnn.training.trainer import Trainer

_REFRESH = 8  # a second
_JOINT = "  "
_LINE, _ASCII_LINE = "━─", "#-"  # done, and to do: told apart without colours, too
_BAR, _CURVE = (6, 40), (6, 30)  # columns, at least and at most
_MATTERS = ("steps", "speed", "curve", "bar", "left", "epoch")  # the least first
_SETTLED = 0.5  # seconds of an epoch that tell its speed


class Speed:
    """Examples a second of the epoch under way; between epochs and in a first moment of the last.

    Only the thread that draws calls this: the training loop knows nothing of it.
    """

    def __init__(self) -> None:
        self._epoch = -1
        self._start = self._seen = (0, 0.0)  # position and time

    def of(self, trainer: Trainer) -> float:
        """Measured from where this first looked at the epoch to where the position last moved."""
        epoch, position, now = trainer.epoch, trainer.position, time.monotonic()
        if epoch != self._epoch or position < self._seen[0]:
            self._epoch, self._start, self._seen = epoch, (position, now), (position, now)
        elif position > self._seen[0]:
            self._seen = (position, now)
        steps, seconds = self._seen[0] - self._start[0], self._seen[1] - self._start[1]
        if seconds >= _SETTLED:
            return steps * trainer.batch_size / seconds
        history = trainer.history
        return history[-1].samples_per_second if history else 0.0


class Progress(Callback):
    """Prints each epoch; in a terminal also draws the epoch under way.

    The bar costs the loop nothing: rich's own thread reads `trainer.position` when it redraws.
    Where the console's encoding lacks bars, they are of ASCII.
    """

    def __init__(self, data: Dataset, console: Console) -> None:
        self._data = data
        self._console = console
        drawn = can_print(console, _LINE + BARS)
        self._line, self._bars = (_LINE, BARS) if drawn else (_ASCII_LINE, ASCII_BARS)
        self._speed = Speed()
        self._live: Live | None = None
        self._began = time.monotonic()
        self._first_epoch = 0.0  # where this process took over, in epochs

    def on_fit_start(self, trainer: Trainer) -> None:
        model = trainer.model
        data, network = self._data, "-".join(map(str, model.sizes))
        names = data.targets or data.class_names
        kind = "classes" if not data.targets else "target" if len(names) == 1 else "targets"
        of = f" of column {data.columns[0]!r}" if data.columns and not data.targets else ""
        about = f"{len(data.train.labels):,} examples, {len(names)} {kind}{of}"
        named = f"{about} ({', '.join(names)})"
        if len(names) > 12 or len(named) > self._width():
            named = about
        self._say(f"{data.name} on {model.backend} ({model.backend.reason})")
        self._say(named)
        steps = f", {trainer.path} steps" if model.backend.name == "cuda" else ""
        self._say(f"network {network}, {model.parameters:,} parameters{steps}")
        if trainer.epoch or trainer.position:
            self._say(f"resumed after epoch {trainer.epoch}, step {trainer.position}")
        self._began = time.monotonic()
        self._first_epoch = trainer.epoch + trainer.position / trainer.steps_per_epoch
        if redraws(self._console):
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
        """The epoch under way on one line: what matters least goes where there is no room."""
        from rich.text import Text

        total = max(1, trainer.steps_per_epoch)
        done = trainer.position if trainer.epoch < trainer.epochs else total
        name, losses = self._losses(trainer)
        per_second = self._speed.of(trainer)
        texts = {
            "epoch": f"epoch {min(trainer.epoch + 1, trainer.epochs)}/{trainer.epochs}",
            "bar": " " * _BAR[0],
            "steps": f"{done:>{len(str(total))}}/{total}",
            "speed": f"{f'{per_second:,.0f}':>7}/s",
            "left": f"ETA {self._remaining(trainer)}",
            "curve": f"{name} {' ' * _CURVE[0]}",
        }
        room = self._console.width - 1  # a full line would move some terminals' cursor to the next
        # What is not known yet has its place, so that nothing comes and goes from epoch to epoch.
        while len(texts) > 1 and len(_JOINT.join(texts.values())) > room:
            del texts[min(texts, key=_MATTERS.index)]
        spare = room - len(_JOINT.join(texts.values()))
        if not per_second:
            texts.pop("speed", None)
        if not losses:
            texts.pop("curve", None)
        elif "curve" in texts:
            most = min(_CURVE[1], _CURVE[0] + spare // 2)
            texts["curve"] = f"{name} {sparkline(losses, most, self._bars)}"
        width = min(_BAR[1], _BAR[0] + room - len(_JOINT.join(texts.values())))
        filled = width * done // total
        bar = ((self._line[0] * filled, "cyan"), (self._line[1] * (width - filled), "dim"))
        pieces = [
            Text.assemble(*bar) if key == "bar" else Text(text) for key, text in texts.items()
        ]
        return Text(_JOINT, no_wrap=True, overflow="crop").join(pieces)

    @staticmethod
    def _losses(trainer: Trainer) -> tuple[str, list[float]]:
        """What the curve is of, and its values: validation where there is one, else training."""
        history = list(trainer.history)  # the training thread may append to it meanwhile
        valid = [report.valid_loss for report in history if report.valid_loss is not None]
        return ("val loss", valid) if valid else ("train loss", [r.train_loss for r in history])

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
        return columns(self._console) if self._console.file.isatty() else 200


@contextmanager
def download_bar(quiet: bool) -> Iterator[Callable[[str, int, int | None], None] | None]:
    """A reporter of (file, bytes done, bytes in all): a bar in a terminal, else a line a file."""
    console = stderr_console()
    if quiet:
        yield None
    elif redraws(console):
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
    while len(kept) > 1 and len(_JOINT.join(text for _, text in kept)) > width:
        kept.remove(min(kept))
    return _JOINT.join(text for _, text in kept)
