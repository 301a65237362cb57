"""What the tests of the page share: findings to show, a page opened in a real browser, and what it did."""

from __future__ import annotations

import base64
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch

from edgewise.circuit import Circuit
from edgewise.curve import Curve, CurvePoint
from edgewise.graph import Graph
from edgewise.scores import Scores
from edgewise.viewer import Finding, page
from edgewise.viewer.document import AttendedPrompt, AttentionEntry

GPT2 = Graph(12, 12, 12)
SMALL = Graph(4, 4, 4)
GROUPED = Graph(2, 4, 2)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HOSTILE = '</script><img src=x onerror="window.hacked=1">&amp;\'"\\ \u202eevil\u0000 🎉 שלום ' + "x" * 10_000
PROMPTS = [
    {
        "clean": ["When", " Mary", " and", " John", " met", ",", " John", " waved", " to"],
        "corrupted": ["When", " Mary", " and", " John", " met", ",", " Kate", " waved", " to"],
        "correct": [" Mary"],
        "wrong": [" John"],
    }
]
FACTS = {"model": "gpt2", "task": "ioi", "method": "eap", "metric": "logit_diff", "ablation": "corrupted"}


def browser_path() -> str | None:
    """A Chromium of this machine."""
    found = (os.environ.get("EDGEWISE_BROWSER"), *(shutil.which(name) for name in BROWSERS))
    return next((path for path in found if path), None)


def made_attention() -> AttentionEntry:
    """Two heads in two prompts: a3.h1 looks one back, with a fifth of its weight on itself; a3.h2 at the first token."""
    prompts = [["When", " Mary", " and", " John"], ["So", " it", "\n"]]
    back, first = [], []
    for count in map(len, prompts):
        rows = [[0] * row + [255] if row == 0 else [0] * (row - 1) + [204, 51] for row in range(count)]
        back.append(base64.b64encode(bytes(value for row in rows for value in row)).decode())
        first.append(
            base64.b64encode(bytes(255 * (key == 0) for row in range(count) for key in range(row + 1))).decode()
        )
    shown = [AttendedPrompt(tokens=tokens, answer=len(tokens) - 1) for tokens in prompts]
    return AttentionEntry(prompts=shown, heads={"a3.h1": back, "a3.h2": first})


def made_scores(graph: Graph, seed: int = 0, **facts: Any) -> Scores:
    """Scores as real ones are: a few nodes matter, most do not; both signs."""
    generator = torch.Generator().manual_seed(seed)
    writers = torch.rand(len(graph.writers), 1, generator=generator) ** 6 + 0.02
    readers = torch.rand(1, len(graph.readers), generator=generator) ** 6 + 0.02
    writers[0], readers[0, -1] = 1.0, 1.0
    for i, name in enumerate(graph.writers):
        if name.startswith("m"):
            writers[i] += 0.4
    for i, name in enumerate(graph.readers):
        if name.startswith("m"):
            readers[0, i] += 0.3
    noise = torch.randn(graph.edge_mask.shape, generator=generator)
    return Scores(graph, noise * writers * readers, {**FACTS, "prompts": PROMPTS, **facts})


def made_curve(graph: Graph) -> Curve:
    sizes = [round(graph.n_edges ** (i / 9)) for i in range(10)]
    return Curve(
        "logit_diff", "absolute", tuple(CurvePoint(n, 1 - 2.718 ** (-n / 60), n / graph.n_edges) for n in sizes)
    )


def report_of(value: float) -> dict[str, Any]:
    numbers = {"clean": 3.0, "corrupted": 0.0, "circuit": 3 * value, "random": 0.1, "faithfulness": value}
    return {"metrics": {"logit_diff": {**numbers, "random_faithfulness": 0.03}}}


@dataclass
class Opened:
    """A page in the browser, and everything it complained about or asked for."""

    tab: Any
    file: Path
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def settled(self) -> None:
        """Waits until the picture is drawn and the address is written."""
        self.wait("() => edgewise && edgewise.painter.idle && !edgewise.pending")
        self.tab.wait_for_timeout(200)

    def wait(self, condition: str, seconds: float = 20.0) -> None:
        # Not wait_for_function: it needs eval, which the page's policy refuses.
        until = time.monotonic() + seconds
        while not self.tab.evaluate(condition):
            assert time.monotonic() < until, f"waited {seconds} s for {condition}"
            self.tab.wait_for_timeout(20)

    def state(self, **changes: Any) -> None:
        self.tab.evaluate("(changes) => edgewise.store.set(changes)", changes)
        self.settled()

    def shown(self) -> set[str]:
        """Names of the edges in the picture."""
        names = self.tab.evaluate(
            "() => Array.from(edgewise.shown, (e) => edgewise.model.nodes[edgewise.model.writer[e]].name"
            " + '->' + edgewise.model.readers[edgewise.model.reader[e]].name)"
        )
        assert len(names) == len(set(names))
        return set(names)

    def status(self) -> str:
        return str(self.tab.locator(".status").inner_text())

    def exported(self, name: str) -> bytes:
        with self.tab.expect_download() as download:
            self.tab.locator("select.export").select_option(name)
        return Path(download.value.path()).read_bytes()


@dataclass
class Opener:
    """Opens findings in one browser."""

    browser: Any
    folder: Path

    @contextmanager
    def __call__(self, finding: Finding | str, state: str = "", **settings: Any) -> Iterator[Opened]:
        """The page of a finding, or of HTML text; afterwards it must not have complained or asked for anything."""
        file = self.folder / f"{len(list(self.folder.iterdir()))}.html"
        file.write_text(finding if isinstance(finding, str) else page(finding), encoding="utf-8", errors="replace")
        room = {"viewport": {"width": 1280, "height": 820}, "accept_downloads": True}
        context = self.browser.new_context(**(room | settings))
        tab = context.new_page()
        tab.set_default_timeout(8000)
        opened = Opened(tab, file)
        tab.on("console", lambda message: opened.complaints.append(message.text))
        tab.on("pageerror", lambda error: opened.complaints.append(str(error)))
        tab.on("request", lambda request: opened.requests.append(request.url))
        tab.goto(f"file://{file}{'#' + state if state else ''}")
        if tab.locator(".page").count():
            opened.settled()
        yield opened
        context.close()
        assert opened.complaints == []
        asked = {url for url in opened.requests if not url.startswith(("data:", "blob:"))}
        assert {url.partition("#")[0] for url in asked} == {f"file://{quote(str(file))}"}


def circuit_of(scores: Scores, n: int) -> Circuit:
    return scores.top(n).without_dangling()
