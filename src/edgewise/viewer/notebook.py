"""What a notebook shows of circuits, scores and reports: a static picture or a table. The page is `show`, or the widget."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from edgewise import display
from edgewise.circuit import Circuit
from edgewise.display import clean
from edgewise.scores import Scores
from edgewise.viewer.caption import facts
from edgewise.viewer.finding import SHOWN, strongest
from edgewise.viewer.svg import svg

# A picture of more edges makes the notebook's file heavy; the numbers remain.
MOST = 2_000
CELL = "text-align: left; padding: 1px 12px 1px 0; vertical-align: top"


@display.register
def html(value: Any) -> str:
    """HTML without scripts of a circuit (of neurons: its edges), of scores (their strongest edges) or of a report."""
    if isinstance(value, Scores):
        circuit = strongest(value)
        note = f"the strongest {len(circuit):,} of {len(value):,} edges" if len(value) > SHOWN else ""
        return _picture(circuit, value, note)
    if isinstance(value, Circuit):
        value = value.circuit
        return _picture(value, None, "") if len(value) <= MOST else table(["circuit", ""], facts(value))
    return _report(value)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of plain text."""
    lines = [_row("th", head), *(_row("td", row) for row in rows)]
    return f"<table>{''.join(lines)}</table>"


def _picture(circuit: Circuit, scores: Scores | None, note: str) -> str:
    told = f"<p>{escape(note)}</p>" if note else ""
    return f'<div style="max-width: 1000px; overflow: auto">{svg(circuit, scores)}{told}</div>'


def _report(report: Any) -> str:
    head = ["metric", "clean", "corrupted", "circuit", "random", "faithfulness", "of random"]
    rows = [
        [
            name,
            *(_number(one[key]) for key in head[1:5]),
            _share(one["faithfulness"]),
            _share(one["random_faithfulness"]),
        ]
        for name, one in report.to_dict()["metrics"].items()
    ]
    return f"{table(head, rows)}<p>{escape(report.measured)}</p>"


def _row(cell: str, texts: Sequence[str]) -> str:
    cells = (f'<{cell} style="{CELL}">{escape(clean(text, 200))}</{cell}>' for text in texts)
    return f"<tr>{''.join(cells)}</tr>"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
