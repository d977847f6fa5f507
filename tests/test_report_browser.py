"""The report in a real browser: nothing leaves the page, and mouse and keyboard work on it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from fastnn.analysis.opened import load_run_data, open_run
from tests.report_runs import NAMES, numbers, pictures, trained

pytest.importorskip("jinja2", reason="reports need Jinja2")
pytest.importorskip("PIL", reason="reports need Pillow")
playwright = pytest.importorskip("playwright.sync_api", reason="a browser needs Playwright")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = next((path for name in BROWSERS if (path := shutil.which(name))), None)


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip(f"no browser to open the report in: none of {', '.join(BROWSERS)} is installed")
    # Chromium's own sandbox does not start as root, which containers often are.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """A report of pictures and one of numbers."""
    from fastnn.analysis.report import render_report

    found = {}
    for name, data, settings in (
        ("pictures", pictures(), {}),
        ("numbers", numbers(), {"loss": "mse"}),
    ):
        folder = tmp_path_factory.mktemp(name)
        opened = open_run(trained(data, folder, **settings), "cpu")
        found[name] = folder / "report.html"
        page = render_report(opened, load_run_data(opened, data=data))
        found[name].write_text(page, encoding="utf-8")
    return found


class Visit:
    """A page and everything that it complained about or asked for."""

    def __init__(self, browser, file: Path, width: int = 1280, **options: object) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 800}, **options)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append(f"dialog {dialog.message}"))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri())
        self.address = file.as_uri()

    def check(self) -> None:
        """Silence, and no request but for the file itself and what lies in it."""
        assert self.said == []
        assert {url for url in self.asked if not url.startswith("data:")} == {self.address}
        self.page.close()


@pytest.mark.parametrize("name", ["pictures", "numbers"])
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_quietly_and_fits(name, width, scheme, browser, files):
    visit = Visit(browser, files[name], width, color_scheme=scheme)
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    broken = "[...document.images].filter((i) => !i.complete || !i.naturalWidth).length"
    assert visit.page.evaluate(broken) == 0
    visit.check()


def test_it_can_be_read_without_scripts(browser, files):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(files["pictures"].as_uri())
    for section in ("summary", "curves", "confusion", "mistakes", "calibration", "map", "origin"):
        assert page.locator(f"#{section}").is_visible()
    assert not page.locator("#theme").is_visible()  # a button that would do nothing
    context.close()


def test_names_are_not_markup(browser, files):
    visit = Visit(browser, files["pictures"])
    shown = visit.page.locator("#classes tbody th").all_inner_texts()
    assert sorted(shown) == sorted(NAMES)
    assert visit.page.locator("b:has-text('bold')").count() == 0
    visit.check()


def test_curves_answer_to_the_arrow_keys_and_the_mouse(browser, files):
    visit = Visit(browser, files["pictures"])
    plot = visit.page.locator(".epochs .plot").first
    output = plot.locator("output")
    plot.focus()
    said = []
    for key in ("ArrowRight", "ArrowRight", "End", "ArrowRight", "ArrowLeft", "Home"):
        visit.page.keyboard.press(key)
        said.append(output.inner_text().split(":")[0])
    assert said == ["epoch 1", "epoch 2", "epoch 4", "epoch 4", "epoch 3", "epoch 1"]
    assert "validation" in output.inner_text()
    box = plot.locator("svg").bounding_box()
    visit.page.mouse.move(box["x"] + 0.96 * box["width"], box["y"] + box["height"] / 2)
    assert output.inner_text().startswith("epoch 4:")
    visit.page.mouse.move(5, 5)
    assert output.inner_text() == ""
    visit.check()


def test_the_map_shows_pictures_by_mouse_and_keys(browser, files):
    visit = Visit(browser, files["pictures"])
    map_, tip = visit.page.locator(".map"), visit.page.locator(".tip")
    assert not tip.is_visible()
    map_.focus()
    visit.page.keyboard.press("ArrowRight")
    assert "#0" in tip.inner_text()
    data = pictures()
    assert data.class_names[data.test.labels[0]] in tip.inner_text()
    visit.page.keyboard.press("ArrowLeft")
    assert "#239" in tip.inner_text()
    visit.page.keyboard.press("Escape")
    assert not tip.is_visible()
    mark = map_.locator(".way:visible use").nth(3)
    mark.scroll_into_view_if_needed()
    box = mark.bounding_box()
    visit.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert tip.is_visible()
    assert any(name in tip.inner_text() for name in NAMES)
    style = tip.locator(".picture").evaluate("(e) => getComputedStyle(e).backgroundImage")
    assert style.startswith('url("data:image/png')
    visit.page.mouse.move(2, 2)
    assert not tip.is_visible()
    visit.check()


def test_one_class_alone_and_another_layout(browser, files):
    visit = Visit(browser, files["pictures"])
    button = visit.page.locator(".classes button").nth(1)
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    others = int((pictures().test.labels != 1).sum())
    assert visit.page.locator(".way:visible use.dim").count() == others
    button.click()
    assert visit.page.locator("use.dim").count() == 0
    for radio in visit.page.locator('input[name="way"]').all():
        radio.check()
        assert visit.page.locator(".way:visible").count() == 1
    visit.check()


def test_the_matrix_turns_to_rates_by_keyboard(browser, files):
    visit = Visit(browser, files["pictures"])
    cell = visit.page.locator(".matrix td").first
    count = cell.inner_text()
    visit.page.locator("#as-counts").focus()
    visit.page.keyboard.press("ArrowRight")
    assert cell.inner_text() != count
    assert "." in cell.inner_text()
    visit.check()


def test_the_table_sorts_and_the_theme_turns(browser, files):
    visit = Visit(browser, files["pictures"])
    rows = "[...document.querySelectorAll('#classes tbody tr')]"
    f1 = f"{rows}.map((row) => parseFloat(row.cells[3].innerText))"
    visit.page.get_by_role("button", name="F1").click()
    falling = visit.page.evaluate(f1)
    assert falling == sorted(falling, reverse=True)
    visit.page.keyboard.press("Enter")  # the button still has the focus
    assert visit.page.evaluate(f1) == sorted(falling)
    paper = "getComputedStyle(document.body).backgroundColor"
    before = visit.page.evaluate(paper)
    visit.page.get_by_role("button", name="Dark").click()
    assert visit.page.evaluate(paper) != before
    visit.page.get_by_role("button", name="Light").click()
    assert visit.page.evaluate(paper) == before
    visit.check()


def test_every_stop_of_the_tab_key_can_be_seen(browser, files):
    visit = Visit(browser, files["pictures"])
    stops = []
    for _ in range(60):
        visit.page.keyboard.press("Tab")
        stop = visit.page.evaluate(
            "(() => { const e = document.activeElement, r = e.getBoundingClientRect();"
            " return [e.tagName, getComputedStyle(e).outlineStyle, r.width > 0]; })()"
        )
        if stop[0] == "BODY":
            break
        stops.append(stop)
    assert len(stops) > 20
    assert all(seen and outline != "none" for _, outline, seen in stops)
    visit.check()


def test_it_prints(browser, files):
    visit = Visit(browser, files["pictures"], color_scheme="dark")
    visit.page.emulate_media(media="print")
    assert visit.page.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)"
    )
    assert not visit.page.locator("nav").is_visible()
    assert visit.page.pdf()[:5] == b"%PDF-"
    visit.check()
