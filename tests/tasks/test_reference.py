"""The published circuits: every count that the papers' graphs imply, and what the rules refuse."""

from __future__ import annotations

from collections import Counter

import pytest

from edgewise.circuit import Circuit
from edgewise.errors import UnknownName
from edgewise.graph import Graph
from edgewise.tasks import TASKS
from edgewise.tasks.references import REFERENCES, ReferenceDocument, circuit_of, reference, reference_groups

GPT2 = Graph(12, 12, 12)


def kind(node: str) -> str:
    """`head`, `head<q>`, `mlp`, `input` or `logits`."""
    if node[0] == "a":
        return "head" + node[node.index("<") :] if "<" in node else "head"
    return "mlp" if node[0] == "m" else node


def census(circuit: Circuit) -> dict[str, int]:
    """How many edges there are of every kind."""
    pairs = (edge.split("->") for edge in circuit.edges)
    return dict(Counter(f"{kind(writer)}->{kind(reader)}" for writer, reader in pairs))


def direct(circuit: Circuit) -> int:
    """How many q, k and v inputs read something: the edges that only the ACDC paper's graph has."""
    return len({reader for reader in (edge.split("->")[1] for edge in circuit.edges) if "<" in reader})


def test_ioi_has_every_count_of_the_published_circuit():
    circuit = reference("ioi")
    assert circuit.graph == GPT2
    assert (len(circuit), direct(circuit)) == (963, 78)
    assert census(circuit) == (
        {"head->head<q>": 52, "head->head<k>": 36, "head->head<v>": 36, "head->mlp": 123, "head->logits": 13}
        | {"input->head<q>": 9, "input->head<k>": 18, "input->head<v>": 18, "input->mlp": 12, "input->logits": 1}
        | {"mlp->head<q>": 189, "mlp->head<k>": 189, "mlp->head<v>": 189, "mlp->mlp": 66, "mlp->logits": 12}
    )


def test_greater_than_has_every_count_of_the_published_circuit():
    circuit = reference("greater-than")
    assert circuit.graph == GPT2
    assert (len(circuit), direct(circuit)) == (235, 27)
    assert census(circuit) == (
        {"head->head<q>": 18, "head->head<k>": 18, "head->head<v>": 18, "head->mlp": 27, "head->logits": 6}
        | {"input->head<q>": 3, "input->head<k>": 3, "input->head<v>": 3, "input->mlp": 4}
        | {"mlp->head<q>": 41, "mlp->head<k>": 24, "mlp->head<v>": 24, "mlp->mlp": 42, "mlp->logits": 4}
    )


def test_docstring_is_the_published_list_of_edges():
    circuit = reference("docstring")
    assert circuit.graph == Graph(4, 8, 8, mlps=False)
    assert (len(circuit), direct(circuit)) == (24, 13)
    early = """input->a0.h5<v> a0.h5->a1.h4<v> input->a1.h4<v> input->a2.h0<q> a0.h5->a2.h0<q> input->a2.h0<k>
        a0.h5->a2.h0<k> a1.h4->a2.h0<v> input->a1.h2<q> a0.h5->a1.h2<q> input->a1.h2<k> a0.h5->a1.h2<k>"""
    late = "{h}->logits a1.h4->{h}<q> input->{h}<v> a0.h5->{h}<v> a2.h0->{h}<k> a1.h2->{h}<k>"
    expected = [early, late.format(h="a3.h0"), late.format(h="a3.h6")]
    assert set(circuit.edges) == set(" ".join(expected).split())


def test_ioi_reads_as_the_paper_tells_it():
    circuit = reference("ioi")
    assert "a7.h3->a9.h9<q>" in circuit  # S-inhibition moves the queries of the name movers
    assert "a2.h2->a5.h5<k>" in circuit  # previous-token heads give the induction heads their keys
    assert "a3.h0->a7.h3<v>" in circuit  # duplicate-token heads tell S-inhibition what to inhibit
    assert "a4.h11->a2.h2<q>" not in circuit.edges
    assert "a9.h9->a10.h0<q>" not in circuit
    assert "input->a7.h3<k>" not in circuit


@pytest.mark.parametrize("name", REFERENCES)
def test_a_reference_states_its_counts_its_model_and_its_papers(name: str):
    circuit = reference(name)
    assert circuit.provenance["edges"] == len(circuit)
    assert circuit.provenance["counted_edges"] == len(circuit) + direct(circuit)
    assert circuit.provenance["model"] in {"gpt2", "attn-only-4l"}
    assert any("2304.14997" in source for source in circuit.provenance["sources"])
    assert circuit.without_dangling() == circuit
    assert circuit.has_path


@pytest.mark.parametrize("name", REFERENCES)
def test_a_reference_has_the_name_of_a_task(name: str):
    assert name in TASKS


HEADS = {  # layer.head, in order, as the papers list them
    "ioi": """0.1 0.10 2.2 3.0 4.11 5.5 5.8 5.9 6.9 7.3 7.9 8.6 8.10 9.0 9.6 9.7 9.9 10.0 10.1 10.2 10.6 10.7 10.10
        11.2 11.9 11.10""",
    "greater-than": "0.1 0.3 0.5 5.5 6.1 6.9 7.10 8.11 9.1",
    "docstring": "0.5 1.2 1.4 2.0 3.0 3.6",
}


@pytest.mark.parametrize("name", REFERENCES)
def test_the_circuit_has_the_published_heads_and_no_other(name: str):
    heads = ["a{}.h{}".format(*head.split(".")) for head in HEADS[name].split()]
    grouped = [node for nodes in reference_groups(name).values() for node in nodes if node[0] == "a"]
    assert [node for node in reference(name).nodes if node[0] == "a"] == heads
    assert sorted(grouped) == sorted(heads)


def test_an_unknown_reference_is_answered_with_the_nearest():
    for ask in (reference, reference_groups):
        with pytest.raises(UnknownName, match="unknown reference circuit 'greater_than'; did you mean 'greater-than'"):
            ask("greater_than")


def document(**changes: object) -> ReferenceDocument:
    value = {
        "schema": "edgewise/reference",
        "version": 1,
        "name": "toy",
        "model": "toy",
        "sources": ["a test"],
        "graph": {"layers": 2, "heads": 2, "kv_heads": 2, "parallel": False, "mlps": True},
        "edges": 0,
        "counted_edges": 0,
        "groups": {"early": ["a0.h1", "m0"], "late": ["a1.h0", "m1"]},
        "rules": [],
    }
    return ReferenceDocument.model_validate(value | changes)


def test_a_rule_makes_every_edge_between_its_groups():
    rule = {"writers": ["early", "input"], "readers": ["early", "late"], "by": "qk"}
    # Into a0.h1: only input. Into m0: input and, in its own layer, a0.h1. Into a1.h0 and m1: all three.
    inner = ["input->a0.h1<q>", "input->a0.h1<k>", "input->m0", "a0.h1->m0"]
    outer = [f"{w}->{r}" for r in ("a1.h0<q>", "a1.h0<k>", "m1") for w in ("input", "a0.h1", "m0")]
    assert set(circuit_of(document(rules=[rule])).edges) == {*inner, *outer}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rules": [{"writers": ["erly"], "readers": ["late"]}]}, "unknown group 'erly'; did you mean 'early'"),
        ({"groups": {"x": ["a9.h0"]}, "rules": [{"writers": ["x"], "readers": ["logits"]}]}, "unknown writer 'a9.h0'"),
        ({"groups": {"x": ["m7"]}, "rules": [{"writers": ["input"], "readers": ["x"]}]}, "unknown reader 'm7'"),
    ],
)
def test_a_mistake_in_the_data_is_named(changes: dict[str, object], message: str):
    with pytest.raises(UnknownName, match=message):
        circuit_of(document(**changes))


def test_tasks_know_their_published_circuit() -> None:
    from edgewise.tasks import TASKS

    found = {name: task.reference for name, task in TASKS.items()}
    assert {name: len(circuit) for name, circuit in found.items() if circuit is not None} == {
        "ioi": 963,
        "greater-than": 235,
        "docstring": 24,
        "reverse": 8,
        "fraction": 4,
        "induction-hidden": 7,
    }
    assert found["induction"] is None
