"""One HTML file about a run: everything inside, nothing loaded from elsewhere.

What is shown is gathered in `content.py`; `templates/report.html` says how it looks. Jinja2 escapes
every name and text. The page forbids itself all requests, and all scripts but its own, whose hash
it names.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from fastnn.analysis.opened import OpenedRun, RunData
from fastnn.analysis.report.content import content
from fastnn.analysis.wording import number_text, percent_text, sure_text
from fastnn.errors import require

_TEMPLATES = Path(__file__).with_name("templates")


def require_packages() -> None:
    """ConfigError, before anything is computed, where a report could not be written."""
    require("jinja2", "Jinja2", "reports")
    require("PIL.Image", "Pillow", "reports")


def render_report(opened: OpenedRun, data: RunData) -> str:
    """The report as HTML. The network runs once over the test and once over the validation part."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.globals |= {"zip": zip}
    environment.filters |= {"percent": percent_text, "figure": number_text, "sure": sure_text}
    script = (_TEMPLATES / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    template = environment.get_template("report.html")
    page: str = template.render(**content(opened, data), script=script, script_hash=digest)
    return page
