"""Deleting runs: who is chosen, what is never deleted, and a deletion that may be interrupted.

A run is first renamed to a hidden name beside it, and then emptied: whenever that is interrupted,
there is either a whole run or none. Files are deleted one by one, and only those that a run has;
whatever else lies in the folder keeps all of it from being touched.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from fastnn.analysis.history import read_facts
from fastnn.analysis.runs import Run, folders, read_run
from fastnn.analysis.selection import Condition, merit
from fastnn.errors import ConfigError, OutputError
from fastnn.training.layout import CONFIG, FILES, held

_HIDDEN = re.compile(r"\..+\.pruned")
_TEMPORARY = re.compile(r"\.(.+)\.\d+\.tmp")  # as write_atomically names them
_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@dataclass(frozen=True, slots=True)
class Criteria:
    """Which runs are to go: those that every criterion given chooses.

    `keep_best` chooses all but so many with the best validation, of each data set and kind of loss
    and among those that `where` leaves. The test part must not choose: its figures would then be of
    networks picked to do well on it. Who has no validation figure, or is broken, cannot be ranked
    and stays.
    """

    where: Sequence[Condition] = ()
    keep_best: int | None = None
    older_than: float | None = None  # seconds since training began
    broken: bool = False
    unfinished: bool = False

    def __post_init__(self) -> None:
        if self.broken and self.unfinished:
            raise ConfigError("--unfinished: no run is both broken and unfinished; ask for one")
        if not (
            self.where or self.keep_best is not None or self.older_than is not None or self.broken
            or self.unfinished
        ):  # fmt: skip
            raise ConfigError(
                "prune: says nothing about which runs are to go; give --keep-best, --older-than, "
                "--broken, --unfinished or --where"
            )

    def chosen(self, runs: Iterable[Run], now: datetime) -> list[Run]:
        """Those that are to go; running ones never are."""
        left = [
            run
            for run in runs
            if run.state != "running" and all(condition.holds(run) for condition in self.where)
        ]
        if self.keep_best is not None:
            left = _all_but_best(left, self.keep_best)
        if self.older_than is not None:
            left = [run for run in left if _age(run, now) > self.older_than]
        if self.broken:
            left = [run for run in left if run.state == "broken"]
        if self.unfinished:
            left = [run for run in left if run.state in ("stopped", "empty")]
        return left


def seconds(text: str) -> float:
    """A time in seconds from text: "30d", "12h", "2w" or "90m"."""
    found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([mhdw])\s*", text)
    if found is None:
        raise ConfigError(f"--older-than: {text!r} must be a time such as 30d, 12h, 2w or 90m")
    return float(found[1]) * _UNITS[found[2]]


def size(path: Path) -> int:
    """Bytes of the files in a folder."""
    try:
        with os.scandir(path) as entries:
            return sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
    except OSError:
        return 0


def refusal(path: Path, root: Path) -> str:
    """Why a run below `root` must not be deleted, or nothing."""
    for part in (path, *path.parents):
        if part == root:
            break
        if part.is_symlink():
            return f"{part.name} is a link to another place"
    try:
        with os.scandir(path) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
            foreign = [entry.name for entry in found if not _is_own(entry)]
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    if foreign:
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        return f"it holds what is not a run's: {', '.join(foreign[:3])}{more}"
    if [entry.name for entry in found] == [CONFIG] and not read_facts(path / CONFIG):
        return f"nothing but a damaged {CONFIG} says that it is a run"
    return ""


def remove(run: Run, root: Path) -> None:
    """Delete a run below `root`; OutputError where that must not or cannot be."""
    path = run.path
    try:
        with held(path) as locked:
            # Once more, now that nobody else writes there: it may have gone on since it was chosen.
            reason = refusal(path, root) or _change(run, locked=locked)
            if reason:
                raise OutputError(f"{path}: left alone: {reason}")
            hidden = path.with_name(f".{path.name}.pruned")
            path.rename(hidden)
            _empty(hidden)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{path}: cannot be deleted ({error.strerror})") from error


def remains(root: Path) -> list[Path]:
    """What interrupted deletions left below a folder."""
    found = []
    for folder in (root, *(path for path in folders(root) if not path.is_symlink())):
        try:
            with os.scandir(folder) as entries:
                found += [
                    folder / entry.name
                    for entry in entries
                    if _HIDDEN.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
                ]
        except OSError:
            pass  # nothing that could be deleted
    return sorted(found)


def finish(path: Path) -> None:
    """Delete what an interrupted deletion left; OutputError where that cannot be."""
    try:
        _empty(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be deleted ({error.strerror})") from error


def _empty(folder: Path) -> None:
    """Delete a run's files and then the folder, which fails where anything else is left."""
    with os.scandir(folder) as entries:
        own = [entry.name for entry in entries if _is_own(entry)]
    for name in own:
        (folder / name).unlink()
    folder.rmdir()


def _is_own(entry: os.DirEntry[str]) -> bool:
    """Whether this is a file that fastnn writes into a run folder."""
    temporary = _TEMPORARY.fullmatch(entry.name)
    name = temporary[1] if temporary else entry.name
    return name in FILES and entry.is_file(follow_symlinks=False)


def _change(run: Run, *, locked: bool) -> str:
    """What has become of a run since it was read, or nothing."""
    now = read_run(run.path)
    # Whoever has the lock would see himself as the one who trains there.
    state = "gone" if now is None else replace(now, held=False).state
    if state != run.state:
        return f"it was {run.state} and is {state} now"
    if not locked and run.state in ("stopped", "empty"):
        return "this system has no locks, so it may be running"
    return ""


def _all_but_best(runs: list[Run], count: int) -> list[Run]:
    groups: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        if run.state != "broken" and merit(run) is not None:
            loss = "classes" if run.classifies else run.settings["loss"]
            groups[str(run.settings["dataset"]), str(loss)].append(run)
    spared = {
        run.path
        for group in groups.values()
        for run in sorted(group, key=lambda run: merit(run) or (0, 0.0), reverse=True)[:count]
    }
    return [run for group in groups.values() for run in group if run.path not in spared]


def _age(run: Run, now: datetime) -> float:
    """Seconds since it began; what nobody knows is young."""
    return -1.0 if run.started is None else (now - run.started).total_seconds()
