"""One browser for the tests of a worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import Opener, browser_path


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    path = browser_path()
    if path is None:
        pytest.skip(
            "no Chromium on this machine (apt-get install chromium, or set EDGEWISE_BROWSER): the page is not tested"
        )
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Tests may run as root, for whom Chromium has no sandbox.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opening(browser: Any, tmp_path: Path) -> Opener:
    return Opener(browser, tmp_path)
