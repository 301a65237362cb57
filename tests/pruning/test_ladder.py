"""Several sizes from one training, and the pairs that choose among circuits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.families import subject

import edgewise as ew
from edgewise.ablations import ablation
from edgewise.errors import EdgewiseError
from edgewise.metrics import metric
from edgewise.models import Subject
from edgewise.pairs import Pairs
from edgewise.progress import silent
from edgewise.pruning.edge_pruning import EdgePruning
from edgewise.pruning.hap import HAP
from edgewise.pruning.ladder import Data, rows_to_compare
from edgewise.pruning.rounding import best_edges
from edgewise.request import Request, Wanted

QUICK: dict[str, Any] = {"steps": 9, "batch": 4}


class Killed(Exception):
    pass


def many(count: int, seed: int = 0) -> Pairs:
    """So many pairs of random tokens, no prompt twice."""
    draw = torch.randint(0, 11, (2, count, 6), generator=torch.Generator().manual_seed(seed))
    draw[0, :, 0], draw[1, :, 0] = torch.arange(count) % 10, 10
    draw[:, :, 1] = torch.arange(count) // 10 % 10
    answers = torch.arange(count) % 10
    return Pairs.from_tokens(draw[0], draw[1], correct=answers, wrong=(answers + 1) % 10)


def request(on: Subject, pairs: Pairs, **wanted: Any) -> Request:
    return Request(on, pairs, metric("kl"), ablation("corrupted"), 4, silent, Wanted(**wanted))


# -- the pairs that are compared on -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("pairs", "compared"), [(31, 0), (32, 8), (60, 15), (100, 25)])
def test_a_quarter_of_enough_pairs_is_compared_on(pairs: int, compared: int) -> None:
    rows = rows_to_compare(many(pairs)).tolist()
    assert len(rows) == compared == len(set(rows))
    # Spread evenly, and not beginning with the first: a file may be in some order.
    assert all(2 <= b - a <= 5 for a, b in zip([-1, *rows], rows, strict=False))


def test_never_more_than_64() -> None:
    prompts = [(f"{number}", f"not {number}") for number in range(400)]
    one = many(100)[torch.zeros(400, dtype=torch.long)]
    assert len(rows_to_compare(replace(one, texts=tuple(prompts)))) == 64


def test_a_prompt_stays_on_one_side() -> None:
    pairs = many(80)
    doubled = pairs[torch.arange(80).repeat_interleave(2)]
    rows = set(rows_to_compare(doubled).tolist())
    assert rows
    assert all((row ^ 1) in rows for row in rows)
    assert not len(rows_to_compare(pairs[torch.zeros(80, dtype=torch.long)]))


def test_gates_are_trained_on_the_others() -> None:
    data = Data.of(request(subject("gpt2"), many(40)), 4)
    assert sorted([*data.train.rows.tolist(), *data.compare.rows.tolist()]) == list(range(40))
    assert len(data.compare.rows) == 10
    assert data.train.room + data.compare.room <= Data.of(request(subject("gpt2"), many(5)), 4).train.room


def test_as_published_all_pairs_are_trained_on() -> None:
    data = Data.of(request(subject("gpt2"), many(40)), 0)
    assert data.train is data.compare
    assert data.train.rows.tolist() == list(range(40))
    circuit = ew.discover(subject("gpt2"), many(40), method="edge-pruning", edges=20, preset="published", **QUICK)
    assert circuit.provenance["compared_on"] == 40


def test_what_is_kept_is_no_worse_there_than_the_best_scored_edges() -> None:
    """Not even by a learning rate that ruins the gates."""
    on, pairs = subject("llama"), many(40)
    compared = rows_to_compare(pairs)
    rest = torch.tensor([row for row in range(40) if row not in compared.tolist()])
    scores = ew.attribute(on, pairs[rest], method="eap-ig").values.abs()
    found = ew.discover(on, pairs, method="hap", edges=20, learning_rate=50, **QUICK)
    best = ew.Circuit(on.graph, best_edges(on.graph, scores, 20))
    losses = [
        ew.evaluate(on, circuit, pairs[compared], metrics=["kl"], random=None)["kl"].circuit
        for circuit in (found, best)
    ]
    assert found.provenance["final"] == pytest.approx(losses[0], rel=1e-4)
    assert found.provenance["compared_on"] == 10
    assert losses[0] <= losses[1] + 1e-6


# -- several sizes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["hap", "edge-pruning"])
def test_several_sizes_come_from_one_run(method: str) -> None:
    on, pairs = subject("gpt2"), many(40)
    chosen = {"hap": HAP, "edge-pruning": EdgePruning}[method](**QUICK)
    found = chosen.run(request(on, pairs, goal="sizes", sizes=(10, 60, 30)))
    assert [len(circuit) for circuit in found.circuits] == [10, 30, 60]
    assert found.size_option == "sparsity"
    assert found.values == pytest.approx([1 - n / 262 for n in (10, 30, 60)])
    # The largest is what a run for it alone finds; the others go on from it, with a third of the steps each.
    assert found.circuits[-1] == ew.discover(on, pairs, method=method, edges=60, batch_size=4, **QUICK)
    assert [circuit.provenance["steps"] for circuit in found.circuits[:-1]] == [3, 3]
    proposals = [circuit.provenance["spent"]["proposal"] for circuit in found.circuits]
    assert proposals[:2] == [0, 0]
    assert all(circuit.has_path for circuit in found.circuits)


def test_a_smaller_size_begins_with_the_gates_of_the_larger() -> None:
    """By a rate of next to nothing the smaller circuit is the larger one's best edges, so that it is part of it."""
    on = subject("gpt2")
    small, large = HAP(learning_rate=1e-9, **QUICK).run(request(on, many(40), goal="sizes", sizes=(12, 40))).circuits
    assert len(small) == 12
    assert small <= large


def test_an_interrupted_run_of_several_sizes_goes_on(tmp_path: Path) -> None:
    on, pairs = subject("llama"), many(20)
    asked = request(on, pairs, goal="sizes", sizes=(10, 30))
    whole = HAP(**QUICK).run(asked)
    kept = HAP(checkpoint=str(tmp_path / "state"), **QUICK)
    for cut in (1, 4):
        with pytest.raises(Killed):
            kept.run(replace(asked, track=_after(cut)))
    again = kept.run(asked)
    assert again.circuits == whole.circuits
    assert not list(tmp_path.iterdir())


def _after(steps: int) -> Any:
    """A Track that fails after so many training steps in all, of whatever size."""
    seen = 0

    def track(every: Any, total: int, label: str, detail: Any = None) -> Any:
        nonlocal seen
        for step in every:
            if label == "training gates":
                seen += 1
                if seen > steps:
                    raise Killed
            yield step

    return track


# -- where a search's circuit is the start ----------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0.2, 1.0])
def test_the_edges_of_a_search_start_above_all_others(keep: float) -> None:
    on, pairs = subject("gpt2"), many(20)
    found = ew.discover(on, pairs, method="acdc", tau=0.02)
    assert 0 < len(found) < 50
    how = {"edges": len(found), "keep": keep, "start": "acdc", "start_tau": 0.02, "learning_rate": 1e-9, **QUICK}
    circuit = ew.discover(on, pairs, method="hap", **how)
    # Nothing moves: the circuit is the best edges at the start, which are those of the search that hang together.
    assert circuit.provenance["started_from"] == len(found)
    assert found.without_dangling() <= circuit


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": "acdk"}, "did you mean 'acdc'"),
        ({"start": "eap-ig"}, "search to start from"),
        ({"start_tau": 0.1}, "name it with start"),
        ({"start": "acdc", "start_tau": -1.0}, "tau"),
    ],
)
def test_what_is_no_start_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(EdgewiseError, match=message):
        ew.discover(subject("gpt2"), many(5), method="hap", edges=20, **options)
