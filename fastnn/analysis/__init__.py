"""What people look at: figures of a run, pictures of it, and a report of all.

Names are loaded when first used; the functions that draw need matplotlib and return its Figures.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastnn.analysis.class_plots import calibration as calibration
    from fastnn.analysis.class_plots import confusion as confusion
    from fastnn.analysis.class_plots import embedding_map as embedding_map
    from fastnn.analysis.embedding import embed as embed
    from fastnn.analysis.evaluation import Evaluation as Evaluation
    from fastnn.analysis.opened import load_run_data as load_run_data
    from fastnn.analysis.opened import open_run as open_run
    from fastnn.analysis.plots import column_norms as column_norms
    from fastnn.analysis.plots import curves as curves
    from fastnn.analysis.plots import predicted as predicted
    from fastnn.analysis.report import render_report as render_report
    from fastnn.analysis.sheets import answers as answers
    from fastnn.analysis.sheets import as_images as as_images
    from fastnn.analysis.sheets import contact_sheet as contact_sheet
    from fastnn.analysis.sheets import mistakes as mistakes
    from fastnn.analysis.sheets import samples as samples
    from fastnn.analysis.sheets import weights as weights
    from fastnn.analysis.style import rendered as rendered

_HOMES = {
    "class_plots": ("calibration", "confusion", "embedding_map"),
    "embedding": ("embed",),
    "evaluation": ("Evaluation",),
    "opened": ("load_run_data", "open_run"),
    "plots": ("column_norms", "curves", "predicted"),
    "report": ("render_report",),
    "sheets": ("answers", "as_images", "contact_sheet", "mistakes", "samples", "weights"),
    "style": ("rendered",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [*_HOME_OF]


def __getattr__(name: str) -> Any:
    """Load a public name from its module at first use (PEP 562)."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'fastnn.analysis' has no attribute {name!r}")
    value = getattr(import_module(f"fastnn.analysis.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
