"""The batch size from which the GPU is faster than the CPU, each at fastnn's best."""

from __future__ import annotations

from fastnn.bench.record import Record, throughput


def crossover(record: Record) -> str | None:
    """A sentence, or None where the two were not measured together."""
    best = _best(record)
    both = [batch for batch in sorted(best) if best[batch].keys() == {"cpu", "cuda"}]
    if not both:
        return None
    first = next(
        (
            batch
            for number, batch in enumerate(both)
            if all(best[later]["cuda"] > best[later]["cpu"] for later in both[number:])
        ),
        None,
    )
    if first is None:
        return f"the GPU does not overtake the CPU for good up to batch {both[-1]}"
    speeds = f"{best[first]['cuda']:,.0f} to {best[first]['cpu']:,.0f} examples a second"
    if first == both[0]:
        return f"the GPU is ahead of the CPU at every batch size, from {first} on ({speeds})"
    return f"the GPU overtakes the CPU at batch {first} ({speeds})"


def _best(record: Record) -> dict[int, dict[str, float]]:
    """Batch size -> kind of device -> examples a second of fastnn's fastest path there."""
    found: dict[int, dict[str, float]] = {}
    for batch, figures in record.batches.items():
        for figure in figures.values():
            if figure.family == "fastnn":
                kinds = found.setdefault(batch, {})
                kind = figure.device.partition(":")[0]
                kinds[kind] = max(kinds.get(kind, 0.0), throughput(batch, figure.median))
    return found
