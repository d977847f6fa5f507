"""One HTML file about a run: everything inside, nothing loaded from elsewhere.

What is shown is gathered in `content.py`; `templates/report.html` says how it looks. Jinja2 escapes
every name and text. The page forbids itself all requests, and all scripts but its own, whose hash
it names.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import numpy as np

from fastnn.analysis.evaluation import sure_text
from fastnn.analysis.opened import OpenedRun, RunData
from fastnn.analysis.report.content import content
from fastnn.analysis.report.thumbnails import require_pillow
from fastnn.errors import ConfigError

_TEMPLATES = Path(__file__).with_name("templates")


def require_packages() -> None:
    """ConfigError, before anything is computed, where a report could not be written."""
    try:
        import jinja2  # noqa: F401
    except ImportError:
        raise ConfigError(
            "report: it needs Jinja2, which is not installed; pip install jinja2 pillow"
        ) from None
    require_pillow()


def render_report(opened: OpenedRun, data: RunData) -> str:
    """The report as HTML. The network runs once over the test and once over the validation part."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.globals |= {"zip": zip}
    environment.filters |= {"percent": _percent, "figure": _figure, "sure": sure_text}
    script = (_TEMPLATES / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    template = environment.get_template("report.html")
    page: str = template.render(**content(opened, data), script=script, script_hash=digest)
    return page


def _percent(share: float | None, digits: int = 1) -> str:
    return "-" if share is None or np.isnan(share) else f"{100 * share:.{digits}f} %"


def _figure(value: float | None, digits: int = 4) -> str:
    return "-" if value is None or np.isnan(value) else f"{value:.{digits}g}"
