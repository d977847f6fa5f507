"""A record as text: examples a second, a row a competitor and a column a batch size."""

from __future__ import annotations

from collections.abc import Iterator

from fastnn.bench.record import Figure, Record, throughput

_CELL = 12


def throughput_table(record: Record, *, width: int) -> str:
    """Medians with half their inter-quartile range in percent; wide tables continue below."""
    names = record.names()
    if not names:
        return ""
    first = max(len(name) for name in names)
    columns = max(1, (width - first) // (_CELL + 2))
    batches = list(record.batches)
    blocks = [
        "\n".join(_block(record, names, batches[start : start + columns], first))
        for start in range(0, len(batches), columns)
    ]
    return "\n\n".join(blocks)


def markdown(record: Record) -> str:
    """Medians in thousands of examples a second, a row a batch size: README's table."""
    names = record.names()
    lines = [f"| batch | {' | '.join(names)} |", "|" + "---:|" * (len(names) + 1)]
    for batch, found in record.batches.items():
        fastest = max(
            (throughput(batch, f.median) for f in found.values() if f.family != "floor"), default=0
        )
        cells = [f"{batch:,}"]
        for name in names:
            speed = throughput(batch, found[name].median) if name in found else None
            text = "" if speed is None else f"{speed / 1000:.1f}"
            cells.append(f"**{text}**" if speed == fastest else text)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _block(record: Record, names: list[str], batches: list[int], first: int) -> Iterator[str]:
    yield f"{'batch':{first}}" + "".join(f"  {batch:>{_CELL},}" for batch in batches)
    for name in names:
        cells = (_cell(batch, record.batches[batch].get(name)) for batch in batches)
        yield f"{name:{first}}" + "".join(f"  {cell:>{_CELL}}" for cell in cells)


def _cell(batch: int, figure: Figure | None) -> str:
    if figure is None:
        return "-"
    if figure.rounds == 1:  # says nothing about the spread
        return f"{throughput(batch, figure.median):,.0f}"
    spread = 50 * (figure.upper - figure.lower) / figure.median
    return f"{throughput(batch, figure.median):,.0f} ±{min(spread, 99):.0f}%"
