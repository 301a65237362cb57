"""How values show themselves in a notebook: they know nothing of pictures; the viewer registers what draws them."""

from __future__ import annotations

from collections.abc import Callable

_renderers: list[Callable[[object], str]] = []


def register(renderer: Callable[[object], str]) -> Callable[[object], str]:
    """Let `renderer` make HTML of circuits, scores and reports; the last one registered is used."""
    _renderers.append(renderer)
    return renderer


def rich(value: object) -> str | None:
    """HTML of a circuit, scores or a report for a notebook, no scripts; None, for plain text, where nothing draws it."""
    return _renderers[-1](value) if _renderers else None
