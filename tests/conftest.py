"""Settings for every test: no network, one thread per worker, reproducible property tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

# Set before transformers is imported anywhere: a test that would download something fails at once instead.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
import torch
from hypothesis import HealthCheck, settings
from support.browser import Opener, browser_path
from support.families import FAMILIES, SIBLINGS

# Workers of pytest-xdist share the cores; tiny tensors gain nothing from threads.
torch.set_num_threads(1)

# No deadline: a busy machine is not a failure. Derandomised: a red run is red again when repeated.
# As many examples as find what is wrong with a property; `make test-all` asks for the thorough profile.
for profile, examples in (("edgewise", 40), ("thorough", 100)):
    settings.register_profile(
        profile,
        deadline=None,
        derandomize=True,
        max_examples=examples,
        suppress_health_check=[HealthCheck.too_slow],
    )
settings.load_profile("edgewise")


# What runs on every family whenever tests run: that it loads, that its parts are right, and the first laws.
ALWAYS = ("test_1_", "test_2_", "test_3_")
# Those on which every test runs; the others take turns.
EVERY_TEST = ("gpt2", "toy")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks as slow what tests a family that is put together like another one, or whose turn it is not.

    Of the families, each meets every third of the long tests, another third than its neighbours.
    """
    for item in items:
        family = item.callspec.params.get("family") if hasattr(item, "callspec") else None
        short = item.name.startswith(ALWAYS) or item.path.parent.name == "models" or item.path.stem == "test_loading"
        if family not in FAMILIES or family in EVERY_TEST or short:
            continue
        turn = crc32(item.originalname.encode()) + FAMILIES.index(family)
        if family in SIBLINGS or (turn % 3 and not item.get_closest_marker("chosen")):
            item.add_marker(pytest.mark.slow)
    # What one worker does alone goes first: begun at the end, it would keep the others waiting.
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)


# One browser for the tests of a worker.
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


@pytest.fixture(scope="session", autouse=True)
def few_held_out() -> Iterator[None]:
    """Where a run names no number of pairs to hold out, a few do in tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgewise.runs.source.HELD_OUT_OF_A_TASK", 8)
        yield


@pytest.fixture
def another_device() -> Iterator[None]:
    """The device of our own is there, and models may lie on it."""
    from benchmarks.other_device import elsewhere

    with elsewhere():
        yield
