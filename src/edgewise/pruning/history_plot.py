"""Curves: the history of an optimisation as a picture, by matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from edgewise.errors import FileError, InvalidValue
from edgewise.pruning.history import Record
from edgewise.store.disk import write_bytes

SUFFIXES = (".svg", ".png")


def check_curves(path: str | Path | None) -> None:
    """Refuse, before anything is computed, a picture that could not be drawn."""
    if path is None:
        return
    if Path(path).suffix.lower() not in SUFFIXES:
        raise InvalidValue(f"curves can be drawn as {' or '.join(SUFFIXES)}, not {str(path)!r}")
    if not Path(path).resolve().parent.is_dir():
        raise FileError(f"the curves {path} cannot be written: there is no such folder")
    if find_spec("matplotlib") is None:
        raise InvalidValue("curves need matplotlib, which is not installed: pip install 'edgewise[viz]'")


def draw_curves(records: Sequence[Record], path: str | Path) -> Path:
    """Loss, sparsity beside its target, edges and multipliers over the steps, as an `.svg` or `.png` file."""
    check_curves(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True).flat
    panels = {
        "loss": ("loss",),
        "sparsity": ("sparsity", "target"),
        "edges not closed": ("edges",),
        "multipliers": ("linear", "quadratic"),
    }
    steps = [record.step for record in records]
    for axis, (title, columns) in zip(axes, panels.items(), strict=True):
        for column in columns:
            axis.plot(steps, [getattr(record, column) for record in records], label=column, linewidth=1)
        axis.set_title(title, fontsize=10)
        if len(columns) > 1:
            axis.legend(frameon=False, fontsize=8)
    for axis in axes[2:]:
        axis.set_xlabel("step")
    picture = io.BytesIO()
    figure.savefig(picture, format=Path(path).suffix.lower().removeprefix("."))
    return write_bytes(path, picture.getvalue())
