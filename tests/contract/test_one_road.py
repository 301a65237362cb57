"""Every method answers one call: what it is asked for, or a sentence that says why not."""

from __future__ import annotations

import pytest
import torch
from support.families import pairs, subject

from edgewise.ablations import Corrupted
from edgewise.contract import Found
from edgewise.errors import InvalidValue
from edgewise.methods import METHODS, method, run_method
from edgewise.metrics import metric
from edgewise.progress import silent
from edgewise.request import Request, Wanted

# So few steps that a run takes a moment.
QUICK = {"edge-pruning": {"steps": 3}, "hap": {"steps": 3}, "subnetwork-probing": {"steps": 3}, "ugs": {"steps": 3}}
ASKED = [
    Wanted("scores"),
    Wanted("scores", "nodes"),
    Wanted("circuit"),
    Wanted("circuit", edges=9),
    Wanted("sweep", values=(0.9, 0.5)),
    Wanted("sizes", sizes=(5, 9)),
    Wanted("circuit", memory_limit="4GB"),
]


def asked(name: str, wanted: Wanted) -> Found | str:
    """What a method finds, or its refusal."""
    chosen = method(name, QUICK.get(name, {}))
    going_by = metric(chosen.metric or "logit_diff")
    try:
        return run_method(chosen, Request(subject("gpt2"), pairs(), going_by, Corrupted(), 4, silent, wanted))
    except InvalidValue as refusal:
        return str(refusal)


@pytest.mark.parametrize("wanted", ASKED, ids=lambda wanted: f"{wanted.goal}-{wanted.level}-{wanted.edges}")
@pytest.mark.parametrize("name", METHODS)
def test_what_is_found_can_be_selected_from(name: str, wanted: Wanted) -> None:
    found = asked(name, wanted)
    if isinstance(found, str):
        assert name in found
        return
    graph = subject("gpt2").graph
    assert (found.scores is not None) or len(found.circuits) == 1
    if wanted.goal == "scores":
        assert found.scores is not None
        assert found.scores.level == wanted.level
    if wanted.goal == "sweep":
        assert found.sweep is not None
        assert found.sweep.values == wanted.values
    if wanted.level == "edges":
        circuit = found.circuit(9)
        assert circuit.graph == graph
        assert wanted.edges is None or circuit.provenance["edges"]["selected"] == wanted.edges
    origin = found.with_provenance(place="here")
    assert all(one.provenance["place"] == "here" for one in (*origin.circuits, origin.scores) if one is not None)


def test_each_is_asked_what_it_can_give() -> None:
    """Given any method, it gives scores or finds circuits along a size option, and refuses the other by its own name."""
    for name in METHODS:
        scored, swept = (asked(name, wanted) for wanted in (ASKED[0], ASKED[4]))
        assert isinstance(scored, str) != isinstance(swept, str)


def test_a_sweep_at_one_value_is_what_is_discovered_there() -> None:
    alone = run_method(
        method("acdc", {"tau": 0.5}),
        Request(subject("gpt2"), pairs(), metric("kl"), Corrupted(), 4, silent),
    )
    swept = asked("acdc", ASKED[4])
    assert isinstance(swept, Found)
    assert torch.equal(alone.circuits[0].mask, swept.circuits[1].mask)
