"""Where README's figures lie, and how a record gets there."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fastnn.bench import facts

RESULTS = Path(__file__).parent / "results"


def facts_with_warnings(families: Iterable[str] = ()) -> dict[str, Any]:
    """The facts of this machine and these peers; what may spoil the figures goes to stderr."""
    found = facts.machine_facts(families=families)
    for warning in facts.caveats(found):
        print(f"warning: {warning}", file=sys.stderr)
    return found


def write(name: str, record: dict[str, Any]) -> None:
    """Put a record under benchmarks/results/."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"written: {path}")
