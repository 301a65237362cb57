"""A search whose pairs do not fit into memory together goes through them in parts, and decides the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.families import pairs, subject
from support.one_at_a_time import read_trace
from support.thinned import thinned

import edgewise as ew
from edgewise.errors import NumericalError
from edgewise.search.incremental.search_part import SearchPart
from edgewise.search.incremental.trials import BatchPlanner
from edgewise.search.state import KeepRule, removals_into


def too_large(pairs_at_most: int, parts: list[int]) -> Any:
    """A part that memory does not suffice for, if it is of more pairs; `parts` notes the others."""
    make = SearchPart.of

    def of(batch: Any, mask: torch.Tensor) -> SearchPart:
        if len(batch.pairs) > pairs_at_most:
            raise torch.OutOfMemoryError("out of memory")
        parts.append(len(batch.pairs))
        return make(batch, mask)

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


@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
@pytest.mark.filterwarnings("ignore:not enough memory:RuntimeWarning")
def test_parts_that_agree_are_made_once_for_all_questions_at_a_place(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    on, parts = subject(family, torch.float64), list[int]()
    alike = pairs()[torch.tensor([1, 1, 1, 1])]
    whole = ew.discover(on, alike, method="acdc", tau=0.0005)
    monkeypatch.setattr(SearchPart, "of", too_large(2, parts))
    assert ew.discover(on, alike, method="acdc", tau=0.0005) == whole
    places = 1 + 3 * on.graph.layers  # the logits; whole readers, edges and the MLP of each layer
    assert len(parts) <= 2 + places < whole.provenance["tested"] / 5  # one of the two is at hand still


@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
def test_what_a_part_decides_is_what_a_search_on_it_alone_finds(family: str) -> None:
    on, rule = subject(family, torch.float64), KeepRule(0.0005, "signed", True)
    batch, kept = next(_batches(on)), on.graph.edge_mask.clone()
    part = SearchPart.of(batch, kept)
    removals = removals_into(on.graph, [len(on.graph.readers) - 1], kept.clone())
    trials, sums = part.decided(removals, (), BatchPlanner(on.graph, 3), rule)
    assert trials.removals == tuple(removals)
    alone = ew.discover(on, batch.pairs, method="acdc", tau=rule.tau)
    assert torch.equal(kept[:, -1], alone.mask[:, -1])
    for again in (1, 4, len(trials)):  # in which pieces it is asked does not matter
        torch.testing.assert_close(SearchPart.of(batch, on.graph.edge_mask.clone()).sums(trials, again), sums)


@pytest.mark.filterwarnings("ignore:not enough memory:RuntimeWarning")
def test_memory_that_gives_out_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    on, asked = subject("gpt2", torch.float64), [0]
    whole = ew.discover(on, pairs(), method="acdc", tau=0.0005)
    kind = type(SearchPart.of(next(_batches(on)), on.graph.edge_mask).frontier)
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


@pytest.mark.parametrize("pairs_at_most", [2, 8])
@pytest.mark.filterwarnings("ignore:not enough memory:RuntimeWarning")
def test_a_metric_that_is_no_number_ends_the_search(pairs_at_most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers so large that they overflow once something is removed; the search of a metric of its own is checked alike."""
    on = subject("gpt2")
    kind = type(SearchPart.of(next(_batches(on)), on.graph.edge_mask).frontier)
    outcomes = kind.outcomes
    monkeypatch.setattr(SearchPart, "of", too_large(pairs_at_most, []))

    def nowhere(self: Any, trials: Any) -> Any:
        outcome = outcomes(self, trials)
        return replace(outcome, logits=outcome.logits * torch.nan)

    monkeypatch.setattr(kind, "outcomes", nowhere)
    for metric in ("kl", "logit_diff"):
        with pytest.raises(NumericalError, match=f"the metric {metric} is nan for"):
            ew.discover(on, pairs(), method="acdc", metric=metric)


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
