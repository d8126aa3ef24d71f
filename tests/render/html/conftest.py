"""A headless Chromium for the tests that look at a page, where there is one."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parity.render.html import page
from parity.report import Report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The browser; the test is skipped where the machine has none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def look(chromium: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens a report's page, or a page as it is given, in a window of `size` and `theme`.

    What the console says of errors fails the test.
    """
    said: list[str] = []
    contexts = []

    def opened(
        shown: Report | str, size: tuple[int, int] = (1280, 800), theme: str = "light", fragment: str = ""
    ) -> Any:
        file = tmp_path / "report.html"
        file.write_text(shown if isinstance(shown, str) else page(shown), encoding="utf-8")
        context = chromium.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=theme, reduced_motion="reduce"
        )
        contexts.append(context)
        window = context.new_page()
        window.on("console", lambda message: said.append(message.text) if message.type != "log" else None)
        window.on("pageerror", lambda error: said.append(str(error)))
        window.on("request", lambda request: said.append(request.url) if _is_outside(request.url) else None)
        window.goto(file.as_uri() + fragment)
        return window

    yield opened
    for context in contexts:
        context.close()
    assert said == []


def _is_outside(url: str) -> bool:
    return not url.startswith(("file:", "data:"))
