"""How values show themselves in a notebook: they know nothing of pictures, and the viewer is loaded when it is asked for."""

from __future__ import annotations

from importlib import import_module


def rich(value: object) -> str:
    """HTML of a circuit, scores or a report for a notebook: a static picture or a table, no scripts."""
    return str(import_module("edgewise.viewer.notebook").html(value))
