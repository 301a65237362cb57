"""The case study of a comparison: heads at one size, what they are worth, and which of them attribution drops."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from support.families import pairs, subject

import edgewise as ew
from edgewise.ablations import ablation
from edgewise.comparison import Entry
from edgewise.comparison.case_study import WORTH_SHARE, Cooperation, Heads, heads, roles
from edgewise.comparison.method_run import run_entry
from edgewise.comparison.reference import known_reference
from edgewise.comparison.studies import head_tables
from edgewise.evaluation import HeadRow, HeadStudy, study_heads
from edgewise.metrics import metric
from edgewise.progress import silent
from edgewise.request import Request

ENTRIES = [
    Entry(method="eap"),
    Entry(method="acdc", values=[0.03, 0.003]),
    Entry(method="random"),
]
SIZE = 20


@pytest.fixture(scope="module")
def request_() -> Request:
    return Request(subject("gpt2"), pairs(), metric("logit_diff"), ablation("corrupted"), 8, silent)


def test_it_is_a_study_of_each_circuit_but_the_random_one(request_: Request) -> None:
    outcomes = [run_entry(entry, request_, (SIZE,)) for entry in ENTRIES]
    found = heads(outcomes, SIZE, request_, replaced=2.0)
    circuits = {one.entry.name: one.nearest(SIZE) for one in outcomes[:2]}
    assert found.edges == {name: len(circuit) for name, circuit in circuits.items()}
    assert found.edges["eap"] == SIZE
    assert (found.searches, found.least) == (("acdc",), WORTH_SHARE * 2.0)
    for study in found.studies:
        assert study == study_heads(subject("gpt2"), circuits, pairs(), base=study.base)
    for row, worth in found.rows():
        assert set(worth) == set(row.kept_by)


def study(base: str, worths: dict[str, tuple[tuple[str, ...], float | None]]) -> HeadStudy:
    rows = tuple(HeadRow(head, "mover", kept, worth) for head, (kept, worth) in worths.items())
    return HeadStudy(("eap", "hap"), base, "kl", rows)


@pytest.fixture
def made() -> Heads:
    """a0.h0 is kept by both; hap keeps two more, of which one is worth less than the least."""
    both, alone = ("eap", "hap"), ("hap",)
    studies = (
        study("eap", {"a0.h0": (both, 0.5), "a0.h1": (alone, None), "a1.h0": (alone, None)}),
        study("hap", {"a0.h0": (both, 0.4), "a0.h1": (alone, 0.25), "a1.h0": (alone, 0.01)}),
    )
    return Heads(10, 0.02, {"eap": 10, "hap": 9}, ("hap",), studies)


def test_cooperating_heads_are_those_that_attribution_drops(made: Heads) -> None:
    (found,) = made.cooperation
    assert found == Cooperation("hap", "eap", (HeadRow("a0.h1", "mover", ("hap",), 0.25),))
    document = made.to_dict()
    assert document["cooperation"] == [{"kept_by": "hap", "dropped_by": "eap", "heads": {"a0.h1": 0.25}}]
    assert document["rows"][0] == {"head": "a0.h0", "role": "mover", "worth": {"eap": 0.5, "hap": 0.4}}


def test_the_tables_show_worth_where_a_head_is_kept(made: Heads) -> None:
    kept, cooperating = head_tables(made)
    assert kept.header == ("head", "role", "eap (10)", "hap (9)")
    assert kept.rows == (
        ("a0.h0", "mover", "0.500", "0.400"),
        ("a0.h1", "mover", "–", "0.250"),
        ("a1.h0", "mover", "–", "0.010"),
    )
    assert cooperating.rows == (("eap", "hap", "a0.h1 (0.250)"),)


def test_heads_that_nothing_drops_are_said_to_be_none(made: Heads) -> None:
    nameless = tuple(replace(one, rows=tuple(replace(row, role="") for row in one.rows)) for one in made.studies)
    (kept,) = head_tables(replace(made, least=0.3, studies=nameless))
    assert "No head worth more than 0.3 to the circuit of a search is dropped" in kept.note
    assert kept.header == ("head", "eap (10)", "hap (9)")


def test_roles_are_those_of_the_published_circuit_on_its_own_graph() -> None:
    own: Any = SimpleNamespace(graph=known_reference("ioi").circuit.graph)
    found = roles(own, "ioi")
    assert found["a9.h9"] == "name mover"
    assert roles(subject("gpt2"), "ioi") == roles(own, "induction") == roles(own, None) == {}


def test_a_study_is_asked_for_by_the_recipe() -> None:
    for size in ("5", -1, "200%"):
        with pytest.raises(ew.EdgewiseError, match=r"asked for .* edges.*; give 1 "):
            ew.comparison.CompareRecipe.of(heads=size)
