"""select: the smallest circuit of the sizes tried that keeps a share, beside every size there is."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.families import pairs, subject

import edgewise as ew
from edgewise.errors import GraphMismatch, InvalidValue, NumericalError
from edgewise.evaluation import evaluate_each
from edgewise.evaluation.by_faithfulness import ROUNDS, SIZES_AT_FIRST, SIZES_IN_A_ROUND, SizeSearch

MOST_TRIED = SIZES_AT_FIRST + ROUNDS * SIZES_IN_A_ROUND


@cache
def scores() -> ew.Scores:
    return ew.attribute(subject("gpt2"), pairs(), method="eap")


def kept_at(size: int, metric: str, absolute: bool) -> float:
    """The slow twin: what the circuit of one size keeps, evaluated alone."""
    circuit = scores().top(size, absolute=absolute)
    return ew.evaluate(subject("gpt2"), circuit, pairs(), metrics=[metric], random=None)[metric].faithfulness


@pytest.mark.parametrize(
    ("metric", "share", "absolute"), [("logit_diff", 0.5, True), ("kl", 0.9, True), ("kl", 0.2, False)]
)
def test_it_is_the_smallest_of_the_sizes_tried_and_next_to_one_that_keeps_too_little(
    metric: str, share: float, absolute: bool
) -> None:
    found = ew.select(
        subject("gpt2"), scores(), pairs(), faithfulness=share, metric=metric, absolute=absolute, batch_size=3
    )
    chosen = found.provenance["selection"]
    tried = {one["size"]: one["faithfulness"] for one in chosen["tried"]}
    assert len(tried) <= MOST_TRIED
    assert tried == pytest.approx({size: kept_at(size, metric, absolute) for size in tried}, abs=1e-4)
    assert chosen["n"] == min(size for size in tried if tried[size] >= share)
    below = max(size for size in tried if size < chosen["n"])
    assert tried[below] < share
    assert chosen["n"] - below <= 1 + 0.02 * chosen["n"]
    assert found == scores().top(chosen["n"], absolute=absolute).without_dangling()
    assert (chosen["absolute"], chosen["faithfulness"], chosen["metric"]) == (absolute, share, metric)
    assert found.provenance["faithfulness"]["circuit"] == tried[chosen["n"]]
    assert found.provenance["edges"]["selected"] == chosen["n"]


def test_trying_every_eighth_size_comes_to_the_same() -> None:
    nano = ew.load("nano")
    found_on = ew.task("ioi").pairs(nano.tokenizer, n=16)
    unseen = ew.task("ioi").pairs(nano.tokenizer, n=16, apart_from=found_on)
    ranked = ew.attribute(nano, found_on)
    chosen = ew.select(nano, ranked, unseen, faithfulness=0.85).provenance
    reports = evaluate_each(nano, [ranked.top(n) for n in range(4, 80, 8)], unseen, metrics=["logit_diff"])
    enough = next(report.edges for report in reports if report["logit_diff"].faithfulness >= 0.85)
    assert enough - 8 < chosen["selection"]["n"] <= enough
    assert chosen["faithfulness"]["held_out"] == 16


def test_a_ranking_that_leaves_out_to_the_last_what_hurts_may_never_keep_enough() -> None:
    with pytest.raises(InvalidValue, match=r"none of the \d+ sizes tried keeps 0\.9 of kl: the best, ") as caught:
        ew.select(subject("gpt2"), scores(), pairs(), faithfulness=0.9, metric="kl", absolute=False)
    told = re.search(r"the best, (\d+) edges, keeps (0\.\d+)", str(caught.value))
    assert told is not None
    assert float(told[2]) == pytest.approx(kept_at(int(told[1]), "kl", False), abs=1e-3)


def made_search(share: float, keeps: Callable[[int], float]) -> tuple[SizeSearch, list[int]]:
    """A search over sizes of which it is known what they keep, and the sizes that it asks for."""
    asked: list[int] = []

    def measured(sizes: list[int]) -> list[Any]:
        asked.extend(sizes)
        return [SimpleNamespace(faithfulness=keeps(size), clean=0.0) for size in sizes]

    return SizeSearch(share, "kl", measured), asked


@given(total=st.integers(2, 2_000_000), part=st.floats(0, 1))
@settings(deadline=None)
@example(total=70_651, part=0.0)
def test_where_faithfulness_rises_it_is_within_two_percent_of_the_smallest_of_all(total: int, part: float) -> None:
    smallest = 1 + int(part * (total - 2)) // 2  # the lower half, so that there is one below all edges
    search, asked = made_search(0.8, lambda size: 0.9 if size >= smallest else 0.1)
    found = search.smallest(total, "edges")
    assert smallest <= found <= 1 + smallest * 1.02
    assert len(asked) == len(set(asked)) <= MOST_TRIED


def test_where_it_does_not_rise_what_is_found_keeps_enough_all_the_same() -> None:
    search, asked = made_search(0.8, lambda size: 0.5 + 0.5 * math.sin(size))
    found = search.smallest(500, "edges")
    assert 0.5 + 0.5 * math.sin(found) >= 0.8
    assert found == min(size for size in asked if 0.5 + 0.5 * math.sin(size) >= 0.8)


def test_a_share_that_no_size_keeps_is_refused_with_the_best_one() -> None:
    search, asked = made_search(0.9, lambda size: 0.7 if size == 5 else 0.2)
    with pytest.raises(InvalidValue) as caught:
        search.smallest(256, "edges")
    assert str(caught.value).startswith(
        f"none of the {len(asked)} sizes tried keeps 0.9 of kl: the best, 5 edges, keeps 0.7; ask for less"
    )


@pytest.mark.parametrize("wrong", [0, 1.2, -0.5, math.nan, math.inf, True, "0.9", None])
def test_what_is_no_share_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidValue, match="faithfulness"):
        ew.select(subject("gpt2"), scores(), pairs(), faithfulness=wrong)


def test_a_share_may_be_written_in_any_way() -> None:
    for whole in (np.float32(0.5), np.float64(0.5), 0.5):
        assert ew.select(subject("gpt2"), scores(), pairs()[:2], faithfulness=whole, metric="kl").has_path


def test_a_metric_that_does_not_change_is_refused() -> None:
    same = replace(pairs(), corrupted=pairs().clean)
    with pytest.raises(NumericalError, match="with everything kept and with nothing kept"):
        ew.select(subject("gpt2"), scores(), same, faithfulness=0.9)


def test_scores_of_another_model_are_refused() -> None:
    with pytest.raises(GraphMismatch):
        ew.select(subject("toy"), scores(), pairs(), faithfulness=0.9)


def test_nodes_and_neurons_are_selected_alike(tmp_path: Path) -> None:
    on = subject("gpt2")
    of_nodes = ew.attribute_nodes(on, pairs(), method="eap")
    for level in ("nodes", "neurons"):
        ranked = of_nodes.at(level)
        found = ew.select(on, ranked, pairs(), faithfulness=0.5, metric="kl")
        kept = ew.evaluate(on, found, pairs(), metrics=["kl"], random=None)["kl"].faithfulness
        assert kept >= 0.5
        assert kept == pytest.approx(found.provenance["faithfulness"]["circuit"], abs=1e-6)
        again = ew.open(ew.save(found, tmp_path / f"{level}.json"))
        assert again == found
        assert again.provenance["selection"] == found.provenance["selection"]
