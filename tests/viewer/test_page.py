"""The contract between Python and the page, the assembly of its script, and what notebooks show."""

from __future__ import annotations

import base64
import json
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from pydantic import ValidationError
from support.browser import GPT2, HOSTILE, SMALL, circuit_of, made_curve, made_scores, report_of
from support.strategies import circuits, scores

import edgewise as ew
from edgewise.circuit import Circuit
from edgewise.errors import GraphMismatch, InvalidValue
from edgewise.evaluation import MetricReport, Report
from edgewise.graph import Graph
from edgewise.methods import swept_method
from edgewise.scores import Scores
from edgewise.store.schema import dump
from edgewise.viewer import Finding, page
from edgewise.viewer.bundle import script, wrapped
from edgewise.viewer.contents import MOST_EDGES, document
from edgewise.viewer.document import IN_A, IN_B, IN_REFERENCE, PageDocument, page_schema
from edgewise.viewer.missing import SWEEPS

SCORES = made_scores(SMALL)
CIRCUIT = circuit_of(SCORES, 60)


def column(text: str | None, kind: str) -> list[float]:
    return np.frombuffer(base64.b64decode(text or ""), np.dtype(kind)).tolist()


# -- the document -----------------------------------------------------------------------------------------------------


@given(circuits())
def test_the_document_has_every_edge_of_a_circuit(circuit: Circuit) -> None:
    content = document(Finding(circuit))
    nodes, readers = [n.name for n in content.nodes], [r.name for r in content.readers]
    ends = zip(column(content.edges.writer, "<u2"), column(content.edges.reader, "<u2"), strict=True)
    assert {f"{nodes[int(w)]}->{readers[int(r)]}" for w, r in ends} == set(circuit.edges)
    assert content.edges.count == len(circuit)
    fed = {r.name: {nodes[i] for i in r.nodes} for r in content.readers}
    for reader, row in zip(circuit.graph.readers, circuit.graph.serves, strict=True):
        expected = {circuit.graph.writers[i] for i in row.nonzero().flatten().tolist()}
        assert fed[reader] == (expected or {"logits"})


@given(scores())
def test_edges_stand_in_the_order_of_top(values: Scores) -> None:
    content = document(Finding(scores=values))
    found = column(content.edges.score, "<f4")
    assert [abs(v) for v in found] == sorted((abs(v) for v in found), reverse=True)
    n = len(found) // 2
    top = values.top(n)
    ends = zip(column(content.edges.writer, "<u2"), column(content.edges.reader, "<u2"), strict=True)
    assert {(int(w), int(r)) for w, r in list(ends)[:n]} == {(int(w), int(r)) for w, r in top.mask.nonzero()}


def test_flags_say_which_circuits_have_an_edge() -> None:
    a, b, known = CIRCUIT, SCORES.top(30), SCORES.top(80, absolute=False)
    content = document(Finding(a, SCORES, reference=known, other=Finding(b)))
    flags = [int(f) for f in column(content.edges.flags, "<u1")]
    for bit, circuit in ((IN_A, a), (IN_B, b), (IN_REFERENCE, known)):
        assert sum(bool(f & bit) for f in flags) == len(circuit)
    assert sum((f & (IN_A | IN_B)) == (IN_A | IN_B) for f in flags) == len(a & b)


def test_the_document_comes_back_and_its_schema_is_closed() -> None:
    content = document(Finding(CIRCUIT, SCORES, exact=SCORES, curves=(made_curve(SMALL),), report=report_of(0.5)))
    value = json.loads(dump(content))
    assert PageDocument.model_validate_json(json.dumps(value)) == content
    with pytest.raises(ValidationError):
        PageDocument.model_validate_json(json.dumps({**value, "more": 1}))
    schema = page_schema()
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == value.keys() - {"schema", "version"}  # type: ignore[arg-type]
    assert schema["properties"]["schema"]["const"] == "edgewise/page"  # type: ignore[index]


def test_a_full_score_set_is_small() -> None:
    assert len(page(Finding(scores=made_scores(GPT2)))) < 700_000


def test_a_huge_graph_shows_its_strongest_edges_and_says_so() -> None:
    graph = Graph(24, 16, 16)
    values = made_scores(graph)
    weakest = Circuit.from_edges(graph, [min(graph.edges[:500], key=lambda edge: abs(values[edge]))])
    content = document(Finding(weakest, values))
    assert graph.n_edges > MOST_EDGES
    assert MOST_EDGES <= content.edges.count <= MOST_EDGES + 1
    assert sum(int(f) & IN_A for f in column(content.edges.flags, "<u1")) == 1
    assert any("strongest 120,0" in sentence for sentence in content.missing)


def test_parts_of_different_graphs_are_refused() -> None:
    other = Circuit.full(Graph(1, 1, 1))
    for finding in (
        Finding(CIRCUIT, reference=other),
        Finding(CIRCUIT, other=Finding(other)),
        Finding(CIRCUIT, exact=made_scores(GPT2)),
    ):
        with pytest.raises(GraphMismatch, match="of another graph"):
            page(finding)
    with pytest.raises(InvalidValue, match="neither a circuit nor scores"):
        page(Finding())


def test_data_cannot_end_their_element() -> None:
    facts = {
        "task": HOSTILE,
        "model": "</SCRIPT><!--",
        "prompts": [{"clean": [HOSTILE, "\u2028"], "correct": "no list"}, 7],
    }
    text = page(replace(Finding(CIRCUIT.with_provenance(**facts), SCORES), roles={HOSTILE: ("m0",)}))
    tags: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            tags.append(tag)

    Reader().feed(text)
    assert tags.count("script") == 2
    assert "img" not in tags
    data = text.split('id="data">')[1].split("</script>")[0]
    assert not set(data) & set("<>&\u2028")
    assert '</script><img src=x onerror="window.hacked=1">' in json.loads(data)["title"]


# -- the script -------------------------------------------------------------------------------------------------------


def test_modules_come_after_those_they_import() -> None:
    text = script("start")
    names = [line.split()[1][1:] for line in text.splitlines() if line.startswith("const $")]
    assert names[-1] == "start"
    assert len(names) == len(set(names)) > 15
    assert names.index("data") < names.index("cut") < names.index("app") < names.index("main")
    assert "widget" not in names


@pytest.mark.parametrize(
    "text",
    [
        'import x from "./x.js";',
        'import * as x from "./x.js";',
        "export default 1;",
        "export { a };",
        'export * from "./x.js";',
    ],
)
def test_forms_the_assembler_does_not_know_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a form"):
        wrapped("some", text)


# -- notebooks --------------------------------------------------------------------------------------------------------


def test_results_show_themselves_in_a_notebook() -> None:
    metric = MetricReport(1.0, 0.0, 0.5, 0.1, (0.5,))
    report = Report({"<b>": metric}, 3, 3, 10, 2, False, 4, "corrupted", 0.1)
    assert "<svg" in CIRCUIT._repr_html_()
    assert "<svg" in SCORES._repr_html_()
    assert "the strongest 200 of 479 edges" in SCORES._repr_html_()
    told = report._repr_html_()
    assert "&lt;b&gt;" in told
    assert "50.0%" in told
    assert "no path from input to logits" in told
    assert "<svg" not in made_scores(GPT2).top(5000)._repr_html_()
    assert not any("<script" in one._repr_html_() for one in (CIRCUIT, SCORES, report))


def test_without_anywidget_the_cure_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgewise.viewer.widget import _widget_class

    _widget_class.cache_clear()
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(InvalidValue, match=r"pip install 'edgewise\[notebook\]'"):
        ew.widget(CIRCUIT)
    _widget_class.cache_clear()


@pytest.mark.parametrize("name", SWEEPS)
def test_a_search_is_told_how_to_rank_its_edges(name: str) -> None:
    dial, values = SWEEPS[name]
    assert swept_method(name, {dial: values})[1] == values
    bare = Circuit(SMALL, CIRCUIT.mask, {"method": name})
    (sentence,) = [one for one in document(Finding(bare)).missing if f"sweep over its {dial}" in one]
    assert f"--method {name} --option '{dial}=[" in sentence
    assert not any("sweep" in one for one in document(Finding(bare, made_scores(SMALL))).missing)


def test_a_method_of_no_name_is_no_search() -> None:
    assert document(Finding(Circuit(SMALL, CIRCUIT.mask, {"method": ["acdc"]}))).missing
