"""A circuit as one self-contained HTML page: the picture, where it comes from, its edges. No scripts, no network."""

from __future__ import annotations

from html import escape

from edgewise.circuit import Circuit
from edgewise.scores import Scores
from edgewise.viewer.caption import facts, title
from edgewise.viewer.style import strokes
from edgewise.viewer.svg import svg

STYLE = """
body { margin: 2rem auto; max-width: 1500px; padding: 0 1rem; background: #fcfcfa; color: #1d2733;
       font: 15px/1.5 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { text-align: left; padding: .2rem 1.2rem .2rem 0; border-bottom: 1px solid #e2e5e1; vertical-align: top; }
th { color: #5a6673; font-weight: 500; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
summary { cursor: pointer; margin-top: 1rem; }
""".strip()

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
{picture}
<table>
{facts}
</table>
<details>
<summary>All {count} edges, strongest first</summary>
<table>
<tr><th>edge</th><th>score</th></tr>
{edges}
</table>
</details>
</body>
</html>
"""


def page(circuit: Circuit, scores: Scores | None = None) -> str:
    """The page of a circuit as HTML text; every name and number in it is escaped."""
    rows = "\n".join(f"<tr><th>{escape(label)}</th><td>{escape(value)}</td></tr>" for label, value in facts(circuit))
    picture = svg(circuit, scores).strip()
    count = f"{len(circuit):,}"
    edges = _edges(circuit, scores)
    return PAGE.format(title=escape(title(circuit)), style=STYLE, picture=picture, facts=rows, count=count, edges=edges)


def _edges(circuit: Circuit, scores: Scores | None) -> str:
    lines = sorted(strokes(circuit, scores), key=lambda line: line.rank)
    values = [(line.edge, "" if line.score is None else f"{line.score:+.5g}") for line in lines]
    return "\n".join(f'<tr><td>{escape(e)}</td><td class="number">{v}</td></tr>' for e, v in values)
