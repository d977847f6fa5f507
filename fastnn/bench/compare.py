"""A new record beside an old one: ratios, what cannot be compared, and what became too slow."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from fastnn.bench.record import Record
from fastnn.errors import CheckFailed, ConfigError, DataError

# Facts without which two records are of different machines or set-ups.
_DECISIVE = (
    "network", "processor", "cores", "gpu", "blas", "blas_architecture", "blas_threads", "threads",
    "precision", "overrides",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Change:
    """Microseconds a step of one competitor at one batch size, then and now."""

    batch: int
    name: str
    family: str
    old: float
    new: float

    @property
    def ratio(self) -> float:
        """Above 1: slower than before."""
        return self.new / self.old

    def __str__(self) -> str:
        change = f"{100 * (self.ratio - 1):+.1f} %"
        return f"batch {self.batch}: {self.name} {self.old:,.0f} -> {self.new:,.0f} us ({change})"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What both records have, and in words what only one has and which facts differ."""

    changes: list[Change]
    left_out: list[str]
    caveats: list[str]
    gone: list[str]  # paths of fastnn that the old record has at a batch size measured anew

    def check(self, limit: float) -> None:
        """CheckFailed where a path of fastnn is slower by more than `limit`, a share, or gone."""
        ours = [change for change in self.changes if change.family == "fastnn"]
        if self.gone or not ours:
            missing = "; ".join(self.gone) or "no path of fastnn is in both records"
            raise CheckFailed(
                f"--fail-if cannot judge what was not measured again: {missing}. If that is meant, "
                "make a new record with --save"
            )
        slower = [change for change in ours if change.ratio > 1 + limit]
        if slower:
            worst = "; ".join(map(str, sorted(slower, key=lambda c: -c.ratio)[:5]))
            more = f"; and {len(slower) - 5} more" if len(slower) > 5 else ""
            raise CheckFailed(
                f"slower than --fail-if {100 * limit:g}% allows: {worst}{more}. Repeat it on an "
                "idle machine before you believe it"
            )


def limit_of(text: str) -> float:
    """A share from text: "10%" and "0.1" are the same."""
    number = text.strip()
    percent = number.endswith("%")
    try:
        value = float(number.removesuffix("%")) / (100 if percent else 1)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf or (value > 1 and not percent):
        raise ConfigError(
            f"--fail-if: {text!r} must be a share such as 10% or 0.1 (above 1 only in percent)"
        )
    return value


def require_common(old: Record, batches: Iterable[int], names: Iterable[str]) -> None:
    """DataError, before anything is measured, where nothing could be compared afterwards."""
    names = set(names)
    if not any(names & old.batches.get(batch, {}).keys() for batch in batches):
        sizes = ", ".join(map(str, old.batches)) or "none"
        raise DataError(
            f"the record to compare with has nothing in common with this run: it holds "
            f"{', '.join(old.names()) or 'nobody'} at batch sizes {sizes}; choose --batch-sizes, "
            "--device and --peers to match"
        )


def compare(old: Record, new: Record) -> Comparison:
    """Every competitor at every batch size that both have."""
    changes = [
        Change(batch, name, figure.family, old.batches[batch][name].median, figure.median)
        for batch, found in new.batches.items()
        if batch in old.batches
        for name, figure in found.items()
        if name in old.batches[batch]
    ]
    left_out: list[str] = []
    for whose, mine, other in (("old", old, new), ("new", new, old)):
        sizes = [str(batch) for batch in mine.batches if batch not in other.batches]
        names = [name for name in mine.names() if name not in other.names()]
        for what, missing in (("batch sizes", sizes), ("competitors", names)):
            if missing:
                left_out.append(f"{what} only in the {whose} record: {', '.join(missing)}")
    caveats = [
        f"{key} was {old.facts.get(key)!r}, is {new.facts.get(key)!r}"
        for key in _DECISIVE
        if old.facts.get(key) != new.facts.get(key)
    ]
    gone = [
        f"{name} at batch {batch}"
        for batch, found in old.batches.items()
        if batch in new.batches
        for name, figure in found.items()
        if figure.family == "fastnn" and name not in new.batches[batch]
    ]
    return Comparison(changes, left_out, caveats, gone)
