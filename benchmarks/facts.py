"""What every recorded figure depends on, and how a record is written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

from fastnn import __version__
from fastnn.backend import get_backend

RESULTS = Path(__file__).parent / "results"


def facts() -> dict[str, Any]:
    """Date, commit, machine and versions; warns of settings that slow NumPy's BLAS down."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    overrides = {k: v for k, v in os.environ.items() if k.startswith(("OPENBLAS", "OMP_", "MKL_"))}
    if overrides:
        print(f"warning: BLAS overrides in force: {overrides}", file=sys.stderr)
    return {
        "date": date.today().isoformat(),
        "fastnn": __version__,
        "commit": commit.stdout.strip(),
        "processor": processor(),
        "overrides": overrides,
        **get_backend("cpu").describe(),
    }


def processor() -> str:
    """The processor's name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), "unknown")


def write(name: str, record: dict[str, Any]) -> None:
    """Put a record under benchmarks/results/, where README's figures come from."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"written: {path}")
