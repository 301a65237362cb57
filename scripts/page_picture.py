"""`python scripts/page_picture.py RUN STATE PICTURE`: the page of a run as a picture, taken in the Chromium of this machine.

STATE is what stands after the # of the page's address. docs/page.png shows the run of docs/tutorial.md at 60 edges:
`python scripts/page_picture.py runs/ioi n=60 docs/page.png`.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

import edgewise as ew
from edgewise.formats import find

SIZE = {"width": 1280, "height": 900}
NAMES = ("chromium", "chromium-browser", "google-chrome")


def main(run: str, state: str, picture: str) -> None:
    """Writes the page, opens it, and takes the picture."""
    browser = next(path for path in map(shutil.which, NAMES) if path)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page = ew.show(find(run), Path(folder) / "page.html")
        window = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        tab = window.new_page(viewport=SIZE)
        tab.goto(f"file://{page}#{state}")
        tab.wait_for_timeout(3000)
        tab.keyboard.press("0")  # all of it
        tab.wait_for_timeout(1000)
        tab.screenshot(path=picture)
        window.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
