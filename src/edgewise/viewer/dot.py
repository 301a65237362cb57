"""A circuit as DOT text, for Graphviz and everything that reads it."""

from __future__ import annotations

from edgewise.circuit import Circuit
from edgewise.display import clean
from edgewise.graph import Graph, layer_of
from edgewise.scores import Scores
from edgewise.viewer.caption import facts, title
from edgewise.viewer.edgelist import target
from edgewise.viewer.style import Stroke, strokes
from edgewise.viewer.templates import DOT, filled


def dot(circuit: Circuit, scores: Scores | None = None) -> str:
    """The circuit as a DOT digraph from bottom to top: colour for sign, pattern and arrow head for q, k and v."""
    edges = sorted(strokes(circuit, scores), key=lambda line: line.rank)
    notes = ["  edge [fontname=Helvetica];\n", *(f"  // {label}: {value}\n" for label, value in facts(circuit))]
    parts = {
        "title": quoted(title(circuit)),
        "facts": "".join(notes),
        "ranks": "".join(_ranks(circuit.graph, edges)),
        "edges": "".join(_edge(line, circuit.graph) for line in edges),
    }
    return filled(DOT["file"], parts)


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
    return [filled(DOT["rank"], {"names": "; ".join(row)}) for _, row in sorted(rows.items())]


def _edge(line: Stroke, graph: Graph) -> str:
    values = {
        "writer": quoted(line.writer),
        "node": quoted(target(graph, line.reader)),
        "colour": quoted(line.colour),
        "line": DOT["lines"][line.kind],
        "end": DOT["ends"][line.kind],
        "width": f"{line.width:.2f}",
        "tooltip": quoted(line.describe()),
        "label": filled(DOT["label"], {"kind": line.kind}) if line.kind else "",
    }
    return filled(DOT["edge"], values)
