"""Several runs side by side: in what they differ, and which is best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastnn.analysis.runs import FIGURES, USUAL, Run

_UNTOLD = {"started"}  # of the environment: differs always, and is in the list of runs


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs, by name, with a value for each run; None where a run has none.

    `best` tells which runs have the best of each figure that is there to be good: one, or those
    that share it. `same_data` is None where a run's fingerprint is unknown.
    """

    settings: Mapping[str, list[Any]]
    environment: Mapping[str, list[Any]]
    figures: Mapping[str, list[Any]]
    best: Mapping[str, list[int]]
    same_data: bool | None

    @classmethod
    def of(cls, runs: Sequence[Run]) -> Comparison:
        """Compare two runs or more."""
        environments = [run.environment for run in runs]
        names = list(dict.fromkeys(name for facts in environments for name in facts))
        figures = _differing(FIGURES, [run.figures for run in runs])
        losses = {(run.settings["loss"], run.settings["huber_delta"]) for run in runs}
        best = {name: _best(name, row) for name, row in figures.items() if _ranks(name, row)}
        if len(losses) > 1:  # other losses are other measures
            best = {name: who for name, who in best.items() if not name.endswith("_loss")}
        prints = {run.fingerprint() for run in runs}
        return cls(
            _differing(USUAL, [run.settings for run in runs]),
            _differing([name for name in names if name not in _UNTOLD], environments),
            figures,
            best,
            None if None in prints else len(prints) == 1,
        )


def _differing(names: Any, tables: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    rows = {name: [table.get(name) for table in tables] for name in names}
    return {name: row for name, row in rows.items() if any(one != row[0] for one in row)}


def _ranks(name: str, row: Sequence[Any]) -> bool:
    """Whether one of these can be the best: epochs are not, and several numbers have no order."""
    known = [value for value in row if value is not None]
    return name != "epochs_done" and len(known) > 1 and all(map(_single, known))


def _best(name: str, row: Sequence[Any]) -> list[int]:
    known = {n: _single_value(value) for n, value in enumerate(row) if value is not None}
    extreme = max if name.endswith(("_accuracy", "_r2")) else min
    return [n for n, value in known.items() if value == extreme(known.values())]


def _single(value: Any) -> bool:
    return not isinstance(value, list) or len(value) == 1


def _single_value(value: Any) -> float:
    number: float = value[0] if isinstance(value, list) else value
    return number
