"""Draw docs/report.png and docs/report-map.png: README's two views of a report.

    python -m scripts.report_pictures RUN/report.html

Needs the dev group and Chromium.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"
_MOST = 100  # presses of an arrow key, until a mistake is chosen


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        address = Path(sys.argv[1]).resolve().as_uri()
        light = browser.new_page(viewport={"width": 1180, "height": 1420}, color_scheme="light")
        light.goto(address)
        _save(light.screenshot(), "report.png")
        dark = browser.new_page(viewport={"width": 1180, "height": 900}, color_scheme="dark")
        dark.goto(address)
        dark.locator(".map").focus()
        for _ in range(_MOST):
            dark.keyboard.press("ArrowRight")
            if "✗" in dark.locator(".tip").inner_text():
                break
        dark.evaluate("document.querySelector('#map').scrollIntoView()")
        _save(dark.screenshot(), "report-map.png")
        browser.close()


def _save(shot: bytes, name: str) -> None:
    """With 128 colours: a third of the bytes, and no difference that one sees."""
    from PIL import Image

    path = DOCS / name
    Image.open(io.BytesIO(shot)).convert("RGB").quantize(128).save(path, optimize=True)
    print(path)


if __name__ == "__main__":
    main()
