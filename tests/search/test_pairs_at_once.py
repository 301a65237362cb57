"""A search whose pairs do not fit into memory together goes through them in parts, and decides the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.families import pairs, subject
from support.one_at_a_time import read_trace
from support.thinned import thinned

import edgewise as ew
from edgewise.errors import NumericalError
from edgewise.search.incremental.pairs_at_once import SearchPart


def too_large(pairs_at_most: int, parts: list[int]) -> Any:
    """A part that memory does not suffice for, if it is of more pairs; `parts` notes the others."""
    make = SearchPart.of

    def of(batch: Any) -> SearchPart:
        if len(batch.pairs) > pairs_at_most:
            raise torch.OutOfMemoryError("out of memory")
        parts.append(len(batch.pairs))
        return make(batch)

    return of


@pytest.mark.parametrize(
    ("ablation", "family"), thinned([("corrupted",), ("mean",)], ["gpt2", "llama", "gemma2"], one_in=2)
)
@pytest.mark.filterwarnings("ignore:not enough memory:RuntimeWarning")
def test_the_same_decisions(family: str, ablation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on, traces, parts = subject(family, torch.float64), [tmp_path / "whole", tmp_path / "parts"], list[int]()
    how = {"method": "acdc", "tau": 0.0005, "ablation": ablation}
    whole = ew.discover(on, pairs(), trace=str(traces[0]), **how)
    monkeypatch.setattr(SearchPart, "of", too_large(2, parts))
    in_parts = ew.discover(on, pairs(), trace=str(traces[1]), **how)
    assert set(parts) == {1, 2}
    assert in_parts == whole
    assert in_parts.provenance["fitting_batch_size"] == 2
    decisions = [[(decision.edge, decision.kept) for decision in read_trace(path)] for path in traces]
    assert decisions[0] == decisions[1]
    for one, other in zip(*map(read_trace, traces), strict=True):
        assert one.after == pytest.approx(other.after, abs=1e-10)


@pytest.mark.filterwarnings("ignore:not enough memory:RuntimeWarning")
def test_memory_that_gives_out_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    on, asked = subject("gpt2", torch.float64), [0]
    whole = ew.discover(on, pairs(), method="acdc", tau=0.0005)
    kind = type(SearchPart.of(next(_batches(on))).frontier)
    outcomes = kind.outcomes

    def giving_out(self: Any, trials: Any) -> Any:
        asked[0] += 1
        if asked[0] == 4:
            raise torch.OutOfMemoryError("out of memory")
        return outcomes(self, trials)

    monkeypatch.setattr(kind, "outcomes", giving_out)
    with pytest.warns(RuntimeWarning, match="not enough memory for a batch of 5: going on with 2"):
        circuit = ew.discover(on, pairs(), method="acdc", tau=0.0005)
    assert circuit == whole
    assert circuit.provenance["fitting_batch_size"] == 2


@pytest.mark.filterwarnings("ignore:not enough memory:RuntimeWarning")
def test_a_single_pair_that_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SearchPart, "of", too_large(0, []))
    with pytest.raises(NumericalError, match="not enough memory for a single example"):
        ew.discover(subject("gpt2"), pairs(), method="acdc")


def _batches(on: Any) -> Any:
    from edgewise.ablations import Corrupted
    from edgewise.metrics import metric
    from edgewise.progress import silent
    from edgewise.request import Request

    return Request(on, pairs(), metric("kl"), Corrupted(), 2, silent).each_batch()
