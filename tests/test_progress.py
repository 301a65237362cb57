"""Progress: a bar where someone watches, a line every half minute where nobody does, and nothing of it in a result."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from support.families import pairs, subject

import edgewise as ew
from edgewise.comparison import compare_heads
from edgewise.evaluation import evaluate_each, measure_roles, size_curve
from edgewise.evaluation.heads import study_heads
from edgewise.progress import SECONDS_BETWEEN_LINES, Standing, Teller, shown, silent

VERBS: list[Callable[..., Any]] = [
    *(getattr(ew, name) for name in ew.__all__ if inspect.isfunction(getattr(ew, name))),
    *(compare_heads, evaluate_each, measure_roles, size_curve, study_heads),
]


class Clock:
    """A clock that goes on by `step` seconds whenever it is asked."""

    def __init__(self, step: float) -> None:
        self.step, self.now = step, 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def told(steps: int, every: float, step: float) -> list[Standing]:
    """What a Teller tells of so many steps, of which each takes `step` seconds."""
    heard: list[Standing] = []
    track = Teller(heard.append, every, Clock(step)).track
    assert list(track(range(steps), steps, "work")) == list(range(steps))
    return heard


def test_it_tells_once_in_so_many_seconds() -> None:
    assert [one.done for one in told(steps=100, every=30, step=1)] == [29, 59, 89]
    assert told(steps=20, every=30, step=1) == []
    assert [one.done for one in told(steps=3, every=30, step=100)] == [1, 2, 3]


def test_a_line_says_what_is_left() -> None:
    assert Standing("patching", 30, 120, 60).line == "patching: 30 of 120, 1 min so far, about 3 min left"
    assert Standing("patching", 120, 120, 9, "7 kept").line == "patching: 120 of 120, 9 s so far (7 kept)"
    assert "&lt;b&gt;" in Standing("<b>", 1, 2, 1).html


@pytest.mark.parametrize("verb", [verb for verb in VERBS if "track" in inspect.signature(verb).parameters])
def test_whatever_can_be_tracked_can_be_shown(verb: Callable[..., Any]) -> None:
    if verb is not ew.load:  # it shows a long load wherever it is called
        assert inspect.signature(verb).parameters["progress"].default is None


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """No terminal, and time that flies."""
    monkeypatch.setattr("edgewise.progress.SECONDS_BETWEEN_LINES", 0.0)


@pytest.mark.usefixtures("lines")
def test_without_a_terminal_there_are_lines_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    quiet = ew.attribute(subject("gpt2"), pairs(), method="eap", batch_size=2)
    assert capfd.readouterr() == ("", "")
    loud = ew.attribute(subject("gpt2"), pairs(), method="eap", batch_size=2, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("edgewise: scoring edges (eap): 1 of 3, ")
    assert err.count("\n") == 3
    assert bool((quiet.values == loud.values).all())
    assert SECONDS_BETWEEN_LINES == 30


@pytest.mark.usefixtures("lines")
def test_what_runs_inside_is_not_shown_twice(capfd: pytest.CaptureFixture[str]) -> None:
    with shown() as outer, shown() as inner:
        assert inner is silent
        assert list(outer([1], 1, "all")) == [1]
    with shown() as later:
        assert later is not silent
    assert capfd.readouterr().err.count("edgewise: all") == 1


@pytest.mark.usefixtures("lines")
def test_an_error_ends_the_display() -> None:
    with pytest.raises(ew.EdgewiseError):
        ew.attribute(subject("gpt2"), pairs(), method="eapp", progress=True)
    with shown() as track:
        assert track is not silent


class Shell:
    """As the kernel of a notebook is called."""


def notebook(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a notebook that we seem to be in shows, one entry for each drawing."""
    drawn: list[str] = []

    class Place:
        def update(self, html: str) -> None:
            drawn.append(html)

    module = ModuleType("IPython.display")
    module.HTML = str  # type: ignore[attr-defined]
    module.display = lambda html, **_: (drawn.append(html), Place())[1]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    Shell.__name__ = "ZMQInteractiveShell"
    monkeypatch.setattr("builtins.get_ipython", Shell, raising=False)
    monkeypatch.setattr("edgewise.progress.SECONDS_BETWEEN_DRAWINGS", 0.0)
    return drawn


def test_a_notebook_shows_a_bar_without_being_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = notebook(monkeypatch)
    ew.attribute(subject("gpt2"), pairs(), method="eap", batch_size=2)
    assert drawn[0].startswith('<progress value="1" max="3"></progress> scoring edges (eap): 1 of 3')
    assert drawn[-1] == ""  # it goes when the work is done
    shown_before = len(drawn)
    ew.attribute(subject("gpt2"), pairs(), method="eap", progress=False)
    ew.attribute(subject("gpt2"), pairs(), method="eap", track=silent)
    assert len(drawn) == shown_before


def test_what_is_done_at_once_leaves_nothing_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = notebook(monkeypatch)
    monkeypatch.setattr("edgewise.progress.SECONDS_BETWEEN_DRAWINGS", 1000.0)
    ew.attribute(subject("gpt2"), pairs(), method="eap")
    assert drawn == []


def test_verbs_inside_of_a_verb_share_its_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = notebook(monkeypatch)
    measure_roles(subject("gpt2"), pairs())
    assert drawn.count("") == 1
