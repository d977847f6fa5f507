"""The small files of a run folder, read as far as they can be. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from fastnn.training.callbacks import EpochReport

_NUMBER = {"int": (int,), "float": (int, float), "float | None": (int, float, type(None))}
_KINDS = {item.name: _NUMBER[str(item.type)] for item in fields(EpochReport)}
_HUGE = 1e100  # numbers beyond it are damage, too, and would overflow where they are squared
_LARGEST = 2**63  # whole numbers beyond it are damage, and more than a float may hold


def read_history(path: Path) -> list[EpochReport]:
    """The lines of a `metrics.jsonl` that can be read."""
    reports = []
    for line in _text(path).splitlines():
        parsed = _parsed(line)
        values = {name: parsed.get(name, "") for name in _KINDS}
        if all(type(values[name]) in kinds for name, kinds in _KINDS.items()):
            reports.append(EpochReport(**values))
    return reports


def best_epoch(history: Sequence[EpochReport]) -> EpochReport | None:
    """The epoch whose weights a run keeps: most accurate in validation, of equals least loss.

    None where nothing was held out: the last is kept.
    """
    scored = [report for report in history if report.valid_loss is not None]
    if not scored:
        return None
    return max(scored, key=lambda r: (r.valid_accuracy or 0.0, -(r.valid_loss or 0.0)))


def read_facts(path: Path) -> dict[str, Any]:
    """A JSON object from a file; an empty one where there is none or it is damaged.

    Numbers that are not finite become None.
    """
    return _parsed(_text(path))


def _text(path: Path) -> str:
    try:
        if not path.is_file():  # opening a pipe would wait for whoever writes to it
            return ""
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _parsed(text: str) -> dict[str, Any]:
    try:
        values = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _finite(text: str) -> float | None:
    value = float(text)
    return value if abs(value) < _HUGE else None


def _whole(text: str) -> int | None:
    value = int(text)
    return value if abs(value) < _LARGEST else None


_DECODER = json.JSONDecoder(parse_float=_finite, parse_int=_whole, parse_constant=lambda _: None)
