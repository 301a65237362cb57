"""Reference circuits: published circuits as data, a few groups of nodes and the rules that make edges from them.

One rule is all there is: *every edge of the graph from the nodes of some groups to those of others, into the named
inputs (q, k, v) of heads*. The files in `reference/` say which paper the groups and the rules come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import resources
from types import MappingProxyType
from typing import Literal

from pydantic import Field

from edgewise.circuit import Circuit
from edgewise.errors import UnknownName
from edgewise.graph import HEAD, Graph
from edgewise.store.json_text import parse
from edgewise.store.schema import GraphDocument, Strict, validate

REFERENCES = ("ioi", "greater-than", "docstring")


class EdgeRule(Strict):
    """Edges from the groups `writers` to the groups `readers`, into the inputs `by` of heads.

    The input writers and `logits` are groups of their own.
    """

    writers: list[str]
    readers: list[str]
    by: Literal["q", "k", "v", "qk", "kv", "qkv"] | None = None


class ReferenceDocument(Strict):
    """A published circuit. `counted_edges` adds to `edges` one "direct" edge for each q, k and v that reads something.

    That is the count of the ACDC paper (arXiv:2304.14997), whose graph has an edge of its own into every q, k and v.
    """

    kind: Literal["edgewise/reference"] = Field(alias="schema")
    version: Literal[1]
    name: str
    model: str
    sources: list[str] = Field(min_length=1)
    graph: GraphDocument
    edges: int
    counted_edges: int
    groups: dict[str, list[str]]
    rules: list[EdgeRule]


def reference(name: str) -> Circuit:
    """The published circuit of that name (`ioi`, `greater-than`, `docstring`) on the graph of the model it was found in.

    Its provenance has the model, the papers, and both counts: `edges`, and `counted_edges` as in the ACDC paper.
    Raises UnknownName, with the nearest known one, if there is none.
    """
    return circuit_of(_document(name))


def reference_groups(name: str) -> Mapping[str, tuple[str, ...]]:
    """Group → its heads and MLPs in that published circuit; UnknownName if there is none.

    >>> reference_groups("ioi")["s_inhibition"]
    ('a7.h3', 'a7.h9', 'a8.h6', 'a8.h10')
    """
    return MappingProxyType({group: tuple(nodes) for group, nodes in _document(name).groups.items()})


def circuit_of(document: ReferenceDocument) -> Circuit:
    """The circuit that the rules of the document make; UnknownName for a group or node that does not exist."""
    graph = document.graph.graph()
    provenance = {
        "reference": document.name,
        "model": document.model,
        "sources": tuple(document.sources),
        "edges": document.edges,
        "counted_edges": document.counted_edges,
    }
    edges = (edge for rule in document.rules for edge in _edges(graph, rule, document.groups))
    return Circuit.from_edges(graph, edges, provenance)


def _edges(graph: Graph, rule: EdgeRule, groups: Mapping[str, list[str]]) -> Iterator[str]:
    """Every edge of the graph that the rule names, reader by reader."""
    groups = {**groups, **{end: [end] for end in (*graph.inputs, "logits")}}
    writers = [_known(node, graph.writer_index, "writer") for node in _nodes(rule.writers, groups)]
    for node in _nodes(rule.readers, groups):
        for reader in _inputs(node, rule.by):
            reach = graph.reach(_known(reader, graph.reader_index, "reader"))
            yield from (f"{graph.writers[writer]}->{reader}" for writer in writers if writer < reach)


def _nodes(names: list[str], groups: Mapping[str, list[str]]) -> list[str]:
    for name in names:
        if name not in groups:
            raise UnknownName.of("group", name, groups)
    return [node for name in names for node in groups[name]]


def _inputs(node: str, by: str | None) -> list[str]:
    """The readers of a node: those of a head that `by` names, or the node itself."""
    return [f"{node}<{kind}>" for kind in by or ""] if HEAD.fullmatch(node) else [node]


def _known(name: str, index: Mapping[str, int], kind: str) -> int:
    if name not in index:
        raise UnknownName.of(kind, name, index)
    return index[name]


def _document(name: str) -> ReferenceDocument:
    if name not in REFERENCES:
        raise UnknownName.of("reference circuit", name, REFERENCES)
    file = resources.files("edgewise") / "tasks" / "reference" / f"{name}.json"
    return validate(ReferenceDocument, parse(file.read_bytes(), file.name), file.name)
