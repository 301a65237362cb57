"""A circuit as DOT text, for Graphviz and everything that reads it."""

from __future__ import annotations

from edgewise.circuit import Circuit
from edgewise.graph import Graph, layer_of
from edgewise.scores import Scores
from edgewise.viewer.caption import clean, facts, title
from edgewise.viewer.edgelist import target
from edgewise.viewer.style import Stroke, strokes

LINES = {"q": "dashed", "k": "dotted", "v": "bold", "": "solid"}
ENDS = {"q": "empty", "k": "odiamond", "v": "odot", "": "normal"}


def dot(circuit: Circuit, scores: Scores | None = None) -> str:
    """The circuit as a DOT digraph from bottom to top: colour for sign, pattern and arrow head for q, k and v."""
    edges = sorted(strokes(circuit, scores), key=lambda line: line.rank)
    lines = [
        "digraph circuit {",
        f"  graph [rankdir=BT, bgcolor=white, fontname=Helvetica, labelloc=t, label={quoted(title(circuit))}];",
        "  node [shape=box, style=rounded, fontname=Helvetica, fontsize=11, height=0.3];",
        "  edge [fontname=Helvetica];",
        *(f"  // {label}: {value}" for label, value in facts(circuit)),
        *_ranks(circuit.graph, edges),
        *(_edge(line, circuit.graph) for line in edges),
        "}",
    ]
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    r"""A DOT string; quotes and backslashes stay what they are.

    >>> quoted('say "hi"')
    '"say \\"hi\\""'
    """
    return '"' + clean(text, 400).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _ranks(graph: Graph, lines: list[Stroke]) -> list[str]:
    """Heads of a layer side by side, the MLP above them."""
    rows: dict[tuple[int, bool], list[str]] = {}
    ends = {line.writer for line in lines} | {target(graph, line.reader) for line in lines}
    for name in (*graph.inputs, *(name for name in graph.writers[len(graph.inputs) :] if name in ends), "logits"):
        rows.setdefault((layer_of(name), name.startswith("m")), []).append(quoted(name))
    return [f"  {{ rank=same; {'; '.join(row)}; }}" for _, row in sorted(rows.items())]


def _edge(line: Stroke, graph: Graph) -> str:
    look = {
        "color": quoted(line.colour),
        "style": LINES[line.kind],
        "arrowhead": ENDS[line.kind],
        "penwidth": f"{line.width:.2f}",
        "tooltip": quoted(line.describe()),
    }
    shared_head = {} if not line.kind else {"xlabel": quoted(line.reader[line.reader.index("<") + 1 : -1])}
    text = ", ".join(f"{key}={value}" for key, value in {**look, **shared_head}.items())
    return f"  {quoted(line.writer)} -> {quoted(target(graph, line.reader))} [{text}];"
