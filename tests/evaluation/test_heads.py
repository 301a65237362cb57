"""Which heads circuits keep, and what a head is worth: against evaluate, circuit by circuit."""

from __future__ import annotations

import pytest
from support.families import pairs, subject

import edgewise as ew
from edgewise.errors import GraphMismatch, UnknownName
from edgewise.evaluation import HeadRow, HeadStudy, study_heads

ROWS = (
    HeadRow("a0.h1", "first", ("hap",), 0.5),
    HeadRow("a1.h0", "", ("eap", "hap"), 2.0),
    HeadRow("a1.h2", "", ("hap",), 1.5),
    HeadRow("a2.h0", "", ("hap",), -0.1),
    HeadRow("a2.h1", "last", ("eap",), None),
)
STUDY = HeadStudy(("eap", "hap"), "hap", "kl", ROWS)


@pytest.mark.parametrize("metric", ["kl", "logit_diff"])
def test_the_worth_of_a_head_is_what_the_circuit_loses_without_it(metric: str) -> None:
    on = subject("gpt2")
    scores = ew.attribute(on, pairs())
    circuits = {"large": scores.top(90), "small": scores.top(25)}
    study = study_heads(on, circuits, pairs(), base="large", metric=metric, batch_size=2, roles={"a0.h0": "odd"})
    sign = -1 if metric == "kl" else 1
    whole = ew.evaluate(on, circuits["large"], pairs(), metrics=[metric])[metric].circuit
    assert len(study.rows) > 3
    for row in study.rows:
        assert row.role == ("odd" if row.head == "a0.h0" else "")
        for name, circuit in circuits.items():
            assert (name in row.kept_by) == (row.head in circuit.without_dangling().nodes)
        assert (row.worth is not None) == ("large" in row.kept_by)
        if row.worth is not None:
            left = ew.Circuit.from_edges(
                on.graph, [e for e in circuits["large"].edges if not e.startswith(row.head + "->")]
            )
            without = ew.evaluate(on, left, pairs(), metrics=[metric])[metric].circuit
            assert row.worth == pytest.approx(sign * (whole - without), abs=1e-4)


def test_heads_that_one_drops_although_the_other_needs_them() -> None:
    assert [row.head for row in STUDY.cooperating("eap")] == ["a1.h2", "a0.h1"]
    assert [row.head for row in STUDY.cooperating("eap", above=1.0)] == ["a1.h2"]
    with pytest.raises(UnknownName, match="did you mean 'eap'"):
        STUDY.cooperating("eep")


def test_the_table_in_words() -> None:
    head, first, *_ = str(STUDY).splitlines()
    assert head.split() == ["head", "role", "eap", "hap", "worth", "to", "hap"]
    assert first.split() == ["a0.h1", "first", "–", "yes", "0.5000"]
    assert STUDY.to_dict()["rows"][0] == {"head": "a0.h1", "role": "first", "kept_by": ("hap",), "worth": 0.5}


def test_what_makes_no_sense_is_refused() -> None:
    on = subject("gpt2")
    with pytest.raises(UnknownName, match="unknown circuit 'b'"):
        study_heads(on, {"a": ew.Circuit.full(on.graph)}, pairs(), base="b")
    with pytest.raises(GraphMismatch, match="another model"):
        study_heads(on, {"a": ew.Circuit.full(subject("llama").graph)}, pairs(), base="a")
