"""What the verbs of `fastnn runs` have in common: two parameters, and a run as plain values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fastnn.analysis.runs import Run

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="folder that holds runs")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="CONDITION",
        help="only those with, for instance, 'dataset=mnist' or 'test_accuracy>=0.9': any setting "
        "or figure, and name, state, started; signs = != < <= > >=; may be given several times",
    ),
]


def run_values(run: Run) -> dict[str, Any]:
    """A run as the values of its JSON event."""
    return {
        "path": str(run.path),
        "name": run.name,
        "state": run.state,
        "problem": run.problem or None,
        "started": None if run.started is None else run.started.isoformat(),
        "dataset": run.dataset,
        **run.figures,
        "valid_losses": [report.valid_loss for report in run.history],
        "settings": dict(run.settings),
    }
