"""Stability: samples drawn again against selections made one by one, and numbers by hand."""

from __future__ import annotations

import pytest
import torch
from support.families import pairs, subject

import edgewise as ew
from edgewise.errors import InvalidValue, NothingScored
from edgewise.evaluation import Resampling, bootstrap
from edgewise.evaluation.bootstrap import Interval, _jaccard

FEW = Resampling(samples=6, seed=3)


@pytest.mark.parametrize(("family", "how"), [("gpt2", "corrupted"), ("llama", "mean")])
@pytest.mark.parametrize("absolute", [True, False])
def test_a_sample_is_a_selection_on_the_examples_drawn(family: str, how: str, absolute: bool) -> None:
    """The slow way: draw examples, score them together, take the top, compare."""
    on, of = subject(family), pairs()
    resampling = Resampling(samples=6, seed=3, absolute=absolute)
    from edgewise.ablations import Mean

    ablation = Mean(over=of) if how == "mean" else how
    found = bootstrap(on, of, edges=30, ablation=how, resampling=resampling)
    whole = ew.attribute(on, of, ablation=ablation).top(30, absolute=absolute)
    assert found.circuit == whole
    indices, frequency = [], torch.zeros(on.graph.edge_mask.shape)
    for rows in resampling.draw(len(of), len(of)):
        circuit = ew.attribute(on, of[rows.tolist()], ablation=ablation).top(30, absolute=absolute)
        indices.append(circuit.jaccard(whole))
        frequency += circuit.mask / 6
    assert found.jaccard.mean == pytest.approx(sum(indices) / 6, abs=0.02)
    assert float((found.frequency - frequency).abs().max()) <= 1 / 6 + 1e-6


def test_the_faithfulness_is_that_of_the_circuit_on_each_sample() -> None:
    on, of = subject("gpt2"), pairs()
    found = bootstrap(on, of, edges=60, resampling=FEW)
    shares = []
    for rows in FEW.draw(len(of), len(of)):
        report = ew.evaluate(on, found.circuit, of[rows.tolist()], random=None)["logit_diff"]
        shares.append(report.faithfulness)
    assert found.faithfulness.mean == pytest.approx(sum(shares) / 6, rel=1e-3)
    assert min(shares) - 1e-3 <= found.faithfulness.low <= found.faithfulness.high <= max(shares) + 1e-3


def test_more_examples_agree_better_and_identical_ones_agree_fully() -> None:
    on, of = subject("toy"), pairs()
    found = bootstrap(on, of, edges=20, resampling=Resampling(samples=40))
    assert list(found.between) == [2, 4, 5]
    assert found.between[2] < found.between[5] < 1
    same = bootstrap(on, of[[1, 1, 1]], edges=20, resampling=FEW)
    assert (same.jaccard.low, same.between[3], same.enough) == (1.0, 1.0, 2)
    assert set(same.frequency.unique().tolist()) == {0.0, 1.0}


def test_an_example_to_which_nothing_matters_counts_as_zeros() -> None:
    """A pair of equal prompts has no edge that matters: alone it is refused, among others it is one more example."""
    of = pairs()
    clean, corrupted = of.clean[[0, 1, 2]], of.corrupted[[0, 1, 2]].clone()
    corrupted[1] = clean[1]
    mixed = ew.Pairs.from_tokens(
        clean, corrupted, correct=of.correct[:3], wrong=of.wrong[:3], positions=of.positions[:3]
    )
    on = subject("toy")
    found = bootstrap(on, mixed, edges=20, resampling=FEW)
    assert found.circuit == ew.attribute(on, mixed).top(20)
    with pytest.raises(NothingScored, match="every score is zero"):
        bootstrap(on, mixed[[1, 1]], edges=20, resampling=FEW)


def test_what_is_printed_and_kept() -> None:
    found = bootstrap(subject("toy"), pairs(), edges=20, resampling=FEW)
    assert "20 edges by absolute score, 5 examples, 6 samples" in str(found)
    assert "examples enough for 0.8" in str(found)
    assert found.to_dict()["between"] == found.between


def test_numbers_by_hand() -> None:
    """{0, 1} and {1, 2} share one of three; of 0 … 100 the middle 95 % lie between 2.5 and 97.5."""
    assert float(
        _jaccard(torch.tensor([[True, True, False]]), torch.tensor([[False, True, True]]))[0]
    ) == pytest.approx(1 / 3)
    assert Interval.of(torch.arange(101.0)) == Interval(50.0, 2.5, 97.5)


def test_refusals() -> None:
    with pytest.raises(InvalidValue, match="hisp gives no scores that are means"):
        bootstrap(subject("toy"), pairs(), edges=20, method="hisp")
    with pytest.raises(InvalidValue, match="acdc gives no scores"):
        bootstrap(subject("toy"), pairs(), edges=20, method="acdc")
    with pytest.raises(InvalidValue, match="a single example"):
        bootstrap(subject("toy"), pairs()[[0]], edges=20)
    with pytest.raises(InvalidValue, match="asked for 0 edges"):
        bootstrap(subject("toy"), pairs(), edges=0)
    with pytest.raises(InvalidValue, match="1 samples cannot be compared; give at least 2"):
        Resampling(samples=1)
