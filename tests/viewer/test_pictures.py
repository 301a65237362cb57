"""Pictures: deterministic, escaped, complete; the same edges in SVG, DOT and HTML."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import circuits

import edgewise as ew
from edgewise.circuit import Circuit
from edgewise.errors import FileError, GraphMismatch, UnknownName
from edgewise.graph import Graph
from edgewise.scores import Scores
from edgewise.viewer import dot, page, svg
from edgewise.viewer.style import HELPS, HURTS, UNSCORED, strokes

GRAPH = Graph(2, 4, 2)
HOSTILE = '</script><img src=x onerror="alert(1)">&amp;\'"\\ \u202eevil\u0000\ud800 🎉 שלום ' + "x" * 10_000
SPACE = "{http://www.w3.org/2000/svg}"


def some_scores() -> Scores:
    generator = torch.Generator().manual_seed(0)
    return Scores(GRAPH, torch.randn(GRAPH.edge_mask.shape, generator=generator))


def drawn(text: str) -> dict[str, ET.Element]:
    return {e.attrib["data-edge"]: e for e in ET.fromstring(text).iter(f"{SPACE}path") if "data-edge" in e.attrib}


def texts(text: str) -> str:
    return "\n".join(e.text or "" for e in ET.fromstring(text).iter(f"{SPACE}text"))


@given(circuits())
def test_every_edge_is_drawn_once_and_the_same_each_time(circuit: Circuit) -> None:
    text = svg(circuit)
    assert set(drawn(text)) == set(circuit.edges)
    assert text.count("data-edge") == len(circuit)
    assert text == svg(Circuit(circuit.graph, circuit.mask))


def test_colour_tells_the_sign_and_width_the_strength() -> None:
    scores = some_scores()
    circuit = scores.top(12)
    edges = drawn(svg(circuit, scores))
    for name, path in edges.items():
        assert path.attrib["stroke"] == (HELPS if scores[name] > 0 else HURTS)
        assert float(path.attrib["data-score"]) == pytest.approx(scores[name], rel=1e-5)
        assert f"{scores[name]:+.4g}" in (path.find(f"{SPACE}title").text or "")  # type: ignore[union-attr]
    by_score = sorted(edges, key=lambda name: abs(scores[name]))
    widths = [float(edges[name].attrib["stroke-width"]) for name in by_score]
    assert widths == sorted(widths)
    assert list(edges) == by_score  # the strongest is drawn last, on top


def test_q_k_v_differ_in_pattern_and_end_mark() -> None:
    names = ["input->a0.h0<q>", "input->a0.kv0<k>", "input->a0.kv0<v>", "input->m0"]
    text = svg(Circuit.from_edges(GRAPH, names))
    patterns = [drawn(text)[name].attrib.get("stroke-dasharray") for name in names]
    assert len(set(patterns)) == 4
    assert "marker-end" in drawn(text)["input->m0"].attrib


def test_without_scores_nothing_pretends_to_have_a_sign() -> None:
    text = svg(some_scores().top(5))
    assert {path.attrib["stroke"] for path in drawn(text).values()} == {UNSCORED}
    assert "no scores" in texts(text)


def test_an_empty_circuit_says_so() -> None:
    text = svg(some_scores().top(0), some_scores())
    assert "no edges" in texts(text)
    assert "no path from input to logits" in texts(text)


def test_the_caption_tells_where_the_circuit_comes_from() -> None:
    facts = {"model": "nano", "task": "ioi", "method": "eap", "metric": "logit_diff", "ablation": "zero"}
    faithfulness = {"metric": "logit_diff", "circuit": 0.9, "random": 0.01}
    circuit = some_scores().top(10, absolute=False).with_provenance(**facts, faithfulness=faithfulness)
    told = texts(svg(circuit)).replace("\n", " ")
    for fact in (*facts.values(), "10 of 82 edges", "by signed score", "0.900", "0.010"):
        assert fact in told


@pytest.mark.parametrize("draw", [svg, dot, page])
def test_hostile_names_stay_text(draw: object) -> None:
    circuit = some_scores().top(5).with_provenance(task=HOSTILE, model=HOSTILE, method=HOSTILE, options={"a": HOSTILE})
    text = draw(circuit, some_scores())  # type: ignore[operator]
    text.encode()  # no lone surrogate
    if draw is dot:  # quoted strings, in which quotes are escaped
        assert all(
            len(re.findall(r'(?<!\\)(?:\\\\)*"', line)) % 2 == 0 for line in text.splitlines() if "//" not in line[:4]
        )
    else:
        assert "<img" not in text
    assert "\u0000" not in text
    assert "\u202e" not in text
    assert len(text) < 230_000


def test_a_picture_is_well_formed_whatever_it_is_called() -> None:
    circuit = some_scores().top(5).with_provenance(task=HOSTILE)
    title = ET.fromstring(svg(circuit)).find(f"{SPACE}title")
    assert title is not None
    assert (title.text or "").startswith('</script><img src=x onerror="alert(1)">')


@given(st.text())
def test_any_name_gives_well_formed_pictures(name: str) -> None:
    ET.fromstring(svg(Circuit.full(Graph(1, 1, 1)).with_provenance(task=name, model=name)))


def test_dot_has_every_edge_with_its_kind() -> None:
    circuit = Circuit.from_edges(GRAPH, ["input->a0.h3<q>", "a0.h3->a1.h0<v>", "a1.h1->logits"])
    text = dot(circuit)
    assert re.search(r'"input" -> "a0\.h3" \[.*style=dashed', text)
    assert re.search(r'"a0\.h3" -> "a1\.h0" \[.*style=bold', text)
    assert re.search(r'"a1\.h1" -> "logits" \[.*style=solid', text)
    assert "rankdir=BT" in text
    assert text == dot(circuit)


def test_the_page_is_self_contained() -> None:
    scores = some_scores()
    text = page(scores.top(5).with_provenance(task="ioi"), scores)
    tags: list[tuple[str, dict[str, str | None]]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append((tag, dict(attrs)))

    Reader().feed(text)
    names = {tag for tag, _ in tags}
    assert not names & {"link", "img", "iframe"}
    assert [tag for tag, _ in tags].count("script") == 2
    assert not any(key in ("src", "href") or key.startswith("on") for _, attrs in tags for key in attrs)
    assert "default-src 'none'" in text


def test_a_thousand_edges_are_drawn_thinner() -> None:
    graph = Graph(12, 12, 12)
    generator = torch.Generator().manual_seed(0)
    scores = Scores(graph, torch.randn(graph.edge_mask.shape, generator=generator))
    many, few = strokes(scores.top(1000), scores), strokes(scores.top(20), scores)
    assert max(line.width for line in many) < max(line.width for line in few)
    assert min(line.opacity for line in many) < min(line.opacity for line in few)
    assert len(svg(scores.top(1000), scores)) < 600_000


def test_infinite_scores_are_drawn() -> None:
    values = torch.zeros(GRAPH.edge_mask.shape)
    values[0, 0], values[0, 1] = torch.inf, -torch.inf
    scores = Scores(GRAPH, values)
    assert len(drawn(svg(scores.top(5), scores))) == 5


# -- show -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("suffix", "start"), [(".svg", "<svg"), (".dot", "digraph"), (".html", "<!doctype html>")])
def test_show_writes_by_suffix(tmp_path: Path, suffix: str, start: str) -> None:
    path = ew.show(some_scores().top(5), tmp_path / f"ioi{suffix}")
    assert path.read_text().startswith(start)


def test_show_takes_scores_alone_or_beside_a_circuit(tmp_path: Path) -> None:
    scores = some_scores()
    assert len(drawn(ew.show(scores, tmp_path / "a.svg").read_text())) == scores.graph.n_edges  # fewer than 200
    assert HELPS in ew.show(scores.top(5), tmp_path / "b.svg", scores=scores).read_text()


def test_show_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"unknown picture format '.pdf'"):
        ew.show(some_scores().top(5), tmp_path / "a.pdf")
    with pytest.raises(FileError, match="no folder"):
        ew.show(some_scores().top(5), tmp_path / "none" / "a.svg")
    other = Circuit.full(Graph(1, 1, 1))
    with pytest.raises(GraphMismatch):
        ew.show(other, tmp_path / "a.svg", scores=some_scores())
    assert not list(tmp_path.iterdir())
