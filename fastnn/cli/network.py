"""A network's parts and a run's settings: what `fastnn info` and `fastnn train --dry-run` show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastnn.nn.description import Part


def print_parts(parts: Sequence[Part]) -> None:
    """One line a part, on stdout; statistics that are kept along stand in a column of their own."""
    kept = any(part.running for part in parts)
    header = f"{'running':>9}  " if kept else ""
    print(
        f"{'layer':>5}  {'part':15} {'inputs':>7}  {'outputs':>7}  {'parameters':>11}  "
        f"{header}{'FLOPs':>12}"
    )
    for part in parts:
        running = f"{_count(part.running):>9}  " if kept else ""
        print(
            f"{part.layer:>5}  {part.name:15} {part.inputs:>7,}  {part.outputs:>7,}  "
            f"{_count(part.parameters):>11}  {running}{part.flops:>12,}"
        )
    total, flops = (sum(getattr(part, name) for part in parts) for name in ("parameters", "flops"))
    running = f"{sum(part.running for part in parts):>9,}  " if kept else ""
    print(f"{'total':>5}  {'':32} {total:>12,}  {running}{flops:>12,}")


def print_settings(settings: Mapping[str, Any]) -> None:
    """One line a setting, on stdout; those without a value left out."""
    for key, value in settings.items():
        if value is not None:
            text = ",".join(map(str, value)) if isinstance(value, list | tuple) else value
            print(f"{key:16} {text}")


def _count(number: int) -> str:
    return f"{number:,}" if number else "-"
