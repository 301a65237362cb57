"""What goes out to other tools: read back by them, and the same from the page as from Python."""

from __future__ import annotations

import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from typing import Annotated, Any, Literal

import networkx as nx
import pytest
import torch
from hypothesis import given
from pydantic import BaseModel, ConfigDict, Field
from support.browser import GROUPED, HOSTILE, SMALL, Opener, circuit_of, made_scores
from support.strategies import circuits

from edgewise.circuit import Circuit
from edgewise.formats.conversion import format_named
from edgewise.graph import node_of
from edgewise.scores import Scores
from edgewise.viewer import Finding, dot
from edgewise.viewer.edgelist import edge_csv, graphml, neuronpedia

SCORES = made_scores(SMALL)
EXACT = Scores(SMALL, SCORES.values * 1.1)
ROLES = {"name_mover": ("a3.h0", "a3.h1"), "nobody": ("a3.h2",)}
FINDING = Finding(circuit_of(SCORES, 60), SCORES, exact=EXACT, roles=ROLES, reference=SCORES.top(20))


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Node(Closed):
    """A node as Neuronpedia's JSON Schema has it (draft-07, 2026-08)."""

    node_id: str
    feature: int | None
    layer: str | int
    ctx_idx: int
    feature_type: Literal["embedding", "logit", "lorsa", "unknown", "bias", "cross layer transcoder"]
    jsNodeId: str  # noqa: N815
    clerp: str


class Link(Closed):
    source: str
    target: str
    weight: float


class Metadata(Closed):
    slug: str
    scan: str
    prompt_tokens: Annotated[list[str], Field(min_length=1)]
    prompt: str
    info: dict[str, Any]


class QParams(Closed):
    pinnedIds: list[str]  # noqa: N815
    supernodes: list[list[str]]
    linkType: Literal["both", "input", "output", "either"]  # noqa: N815
    clickedId: str  # noqa: N815
    sg_pos: str


class NeuronpediaGraph(Closed):
    metadata: Metadata
    qParams: QParams  # noqa: N815
    nodes: list[Node]
    links: list[Link]


def check_neuronpedia(text: str) -> NeuronpediaGraph:
    """Valid by the schema, and past the traps that the schema does not tell."""
    found = NeuronpediaGraph.model_validate_json(text)
    ids = [node.node_id for node in found.nodes]
    assert len(ids) == len(set(ids))
    assert all(node.jsNodeId == node.node_id for node in found.nodes)
    assert {end for link in found.links for end in (link.source, link.target)} <= set(ids)
    assert len({(link.source, link.target) for link in found.links}) == len(found.links)
    last = len(found.metadata.prompt_tokens) - 1
    assert all(node.ctx_idx == last for node in found.nodes)
    # A logit's label is split at "(p=", layers that are all 0 are not read, and one feature number must not be shared.
    assert all(node.clerp == "" for node in found.nodes if node.feature_type == "logit")
    inner = [node for node in found.nodes if node.feature_type in ("lorsa", "unknown")]
    assert all(int(node.layer) >= 1 for node in inner)
    assert len({(node.layer, node.feature) for node in inner}) == len(inner)
    assert all(node.layer == "E" or str(node.layer).isdigit() for node in found.nodes)
    return found


@given(circuits())
def test_graphml_and_csv_have_every_edge(circuit: Circuit) -> None:
    finding = Finding(circuit)
    rows = list(csv.DictReader(io.StringIO(edge_csv(finding))))
    assert {row["edge"] for row in rows} == set(circuit.edges)
    read = nx.parse_graphml(graphml(finding), force_multigraph=True)
    assert {key for _, _, key in read.edges(keys=True)} == set(circuit.edges)
    for writer, target, key in read.edges(keys=True):
        assert key.startswith(f"{writer}->")
        assert "<k>" in key or "<v>" in key or node_of(key.partition("->")[2]) == target
    check_neuronpedia(neuronpedia(finding))


def test_numbers_roles_and_membership_go_along() -> None:
    read = nx.parse_graphml(graphml(FINDING), force_multigraph=True)
    for _, _, key, data in read.edges(keys=True, data=True):
        assert data["score"] == SCORES[key]
        assert data["exact"] == EXACT[key]
        assert data["reader"] == key.partition("->")[2]
    assert read.nodes["a3.h0"]["role"] == "name mover"
    assert (read.nodes["m2"]["kind"], read.nodes["m2"]["layer"]) == ("mlp", 2)
    rows = list(csv.DictReader(io.StringIO(edge_csv(FINDING))))
    assert {row["edge"] for row in rows if row["in_reference"] == "1"} == set((FINDING.shown & SCORES.top(20)).edges)
    assert {(row["in_circuit"], row["in_other"]) for row in rows} == {("1", "0")}


def test_neuronpedia_sums_the_inputs_of_a_head_and_keeps_roles_and_tokens() -> None:
    found = check_neuronpedia(neuronpedia(FINDING))
    link = next(one for one in found.links if one.target == "a3.h0" and one.source == "input")
    parts = [SCORES[edge] for edge in FINDING.shown.edges if re.fullmatch(r"input->a3\.h0<.>", edge)]
    assert link.weight == pytest.approx(sum(parts))
    assert found.metadata.prompt == "When Mary and John met, John waved to"
    assert found.qParams.supernodes == [["name mover", "a3.h0", "a3.h1"]]
    assert found.metadata.scan == "gpt2"


def test_hostile_names_go_out_as_text() -> None:
    finding = Finding(
        FINDING.shown.with_provenance(model=HOSTILE, prompts=[{"clean": [HOSTILE]}]), roles={HOSTILE: ("m2",)}
    )
    assert nx.parse_graphml(graphml(finding)).nodes["m2"]["role"].startswith("</script><img")
    check_neuronpedia(neuronpedia(finding))


def test_infinite_scores_go_out() -> None:
    values = torch.zeros(GROUPED.edge_mask.shape)
    values[0, 0], values[0, 1] = torch.inf, -torch.inf
    finding = Finding(scores=Scores(GROUPED, values))
    check_neuronpedia(neuronpedia(finding))
    scores = [data["score"] for _, _, data in nx.parse_graphml(graphml(finding)).edges(data=True)]
    assert {float("inf"), float("-inf")} <= set(scores)


@pytest.mark.parametrize("finding", [FINDING, Finding(Circuit.full(GROUPED))], ids=["scored", "grouped"])
def test_the_page_writes_what_python_writes(opening: Opener, finding: Finding) -> None:
    with opening(finding) as opened:
        for name in ("csv", "graphml", "neuronpedia"):
            mine, theirs = format_named(name).to_bytes(finding).decode(), opened.exported(name).decode()
            assert values(theirs) == values(mine), name


OTHER = Finding(SCORES.top(90), made_scores(SMALL, seed=1))
SHOWN = {
    "scored": FINDING,
    "grouped": Finding(Circuit.full(GROUPED)),
    "grouped, scored": Finding(made_scores(GROUPED).top(50), made_scores(GROUPED)),
    "scores alone": Finding(scores=SCORES),
    "beside another": FINDING.beside(OTHER),
    "empty": Finding(Circuit.from_edges(SMALL, []), SCORES),
}


@pytest.mark.parametrize("finding", SHOWN.values(), ids=list(SHOWN))
def test_dot_and_svg_of_the_page_are_those_of_python(opening: Opener, finding: Finding) -> None:
    with opening(finding) as opened:
        if finding is SHOWN["beside another"]:  # the page opens with both; Python writes the first
            opened.state(scope="circuit")
        theirs = {name: opened.exported(name).decode() for name in ("dot", "svg", "csv")}
    mine = {name: format_named(name).to_bytes(finding).decode() for name in ("dot", "svg", "csv")}
    assert values(theirs["csv"]) == values(mine["csv"])
    assert dot_edges(theirs["dot"]) == dot_edges(mine["dot"])
    assert dot_ranks(theirs["dot"]) == dot_ranks(mine["dot"])
    assert svg_edges(theirs["svg"]) == svg_edges(mine["svg"])
    assert len(svg_edges(mine["svg"])) == len(dot_edges(mine["dot"])) == len(finding.shown)


def test_an_edge_into_a_shared_key_goes_to_a_head_that_has_it() -> None:
    finding = Finding(Circuit.from_edges(GROUPED, ["input->a0.h1<k>", "input->a0.h1<q>"]))
    assert [(edge[1], edge[-1]) for edge in sorted(dot_edges(dot(finding.shown)))] == [("a0.h1", "q"), ("a0.h2", "k")]


def dot_edges(text: str) -> set[tuple[str, ...]]:
    """(writer, node, colour, style, arrow head, name, kind) of every edge; widths are each picture's own."""
    row = r'"(\S+)" -> "(\S+)" \[color="(\S+)", style=(\w+), arrowhead=(\w+), .*tooltip="([^\s"]+)[^"]*"(?:, xlabel="(.)")?'
    found = re.findall(row, text)
    assert len(found) == len(set(found)) == text.count(" -> ")
    return set(found)


def dot_ranks(text: str) -> set[tuple[str, ...]]:
    """The nodes of every row."""
    return {tuple(sorted(re.findall(r'"(\S+)"', row))) for row in re.findall(r"rank=same; (.*); }", text)}


def svg_edges(text: str) -> set[tuple[str | None, ...]]:
    """(name, colour, pattern, score) of every edge."""
    paths = [path.attrib for path in ET.fromstring(text).iter() if "data-edge" in path.attrib]
    found = {
        (one["data-edge"], one["stroke"], one.get("stroke-dasharray"), score_of(one.get("data-score"))) for one in paths
    }
    assert len(found) == len(paths)
    return found


def score_of(text: str | None) -> str | None:
    return None if text is None else f"{float(text):.5g}"


def values(text: str) -> Any:
    """The text with its numbers as numbers: 1e-05 in Python is 0.00001 in a browser."""
    if text.startswith("{"):
        return json.loads(text)
    return [
        float(word) if re.fullmatch(r"-?\d+(\.\d+)?(e[-+]?\d+)?", word) else word for word in re.split(r"([,<>])", text)
    ]
