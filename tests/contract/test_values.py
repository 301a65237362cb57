"""Law 14: values are values. What any verb gives survives pickle, copy, deepcopy and another process, equal to itself."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from support.families import pairs, subject

import edgewise as ew
from edgewise import evaluation
from edgewise.comparison import Entry, compare_heads
from edgewise.contract import Found
from edgewise.evaluation import Resampling
from edgewise.runs.recipe import Recipe
from edgewise.runs.run import run


@cache
def circuit() -> ew.Circuit:
    return ew.discover(subject("gpt2"), pairs(), method="eap", edges=60)


@cache
def scores() -> ew.Scores:
    return ew.attribute(subject("gpt2"), pairs(), method="eap")


@cache
def nodes() -> ew.Scores:
    return ew.attribute_nodes(subject("gpt2"), pairs(), method="eap")


@cache
def done() -> Any:
    return run(Recipe.of(examples=6, held_out=0, method="eap", edges=40, curve=1))


@cache
def heads() -> Any:
    with TemporaryDirectory() as folder:
        one = Path(folder, "one")
        run(Recipe.of(examples=6, held_out=0, method="eap", edges=40, curve=0), one)
        return compare_heads([one], held_out=0)


# What verbs give, and what they are given.
VALUES: dict[str, Callable[[], Any]] = {
    "Graph": lambda: subject("gpt2").graph,
    "Pairs": pairs,
    "Circuit": circuit,
    "Circuit of neurons": lambda: nodes().neuron_scores.top(9),
    "Scores": scores,
    "Scores of nodes": nodes,
    "Scores of neurons": lambda: nodes().neuron_scores,
    "Found": lambda: Found(scores(), (circuit(),)),
    "Report": lambda: ew.evaluate(subject("gpt2"), circuit(), pairs()),
    "MetricReport": lambda: ew.evaluate(subject("gpt2"), circuit(), pairs())["kl"],
    "Sweep": lambda: ew.sweep(subject("gpt2"), pairs(), method="acdc", values=[0.3, 1.0]),
    "Stability": lambda: ew.Stability((circuit(), circuit())),
    "SizeCurve": lambda: evaluation.size_curve(subject("gpt2"), scores(), pairs(), shares=[0.1, 1.0]),
    "Curve": lambda: evaluation.faithfulness_curve(subject("gpt2"), [circuit()], pairs()),
    "Bootstrap": lambda: evaluation.bootstrap(
        subject("gpt2"), pairs(), edges=9, method="eap", resampling=Resampling(samples=3)
    ),
    "Recovery": lambda: evaluation.measure_recovery(scores(), circuit()),
    "HeadRoles": lambda: evaluation.measure_roles(subject("gpt2"), pairs()),
    "HeadStudy": lambda: evaluation.study_heads(subject("gpt2"), {"one": circuit()}, pairs(), base="one"),
    "Benchmark": lambda: evaluation.benchmark(subject("gpt2"), scores(), pairs(), shares=[0.1, 1.0]),
    "Grid": lambda: evaluation.measure_grid(subject("gpt2"), pairs(), circuit(), thresholds=[0.1], taus=[0.3]),
    "HeadReport": heads,
    "Comparison": lambda: ew.compare(subject("gpt2"), pairs(), methods=["eap"], reference="none", edges=[9]),
    "Recipe": lambda: Recipe.of(sizes=[3, "10%"]),
    "Entry": lambda: Entry.of(method="eap"),
    "Run": done,
    "Prompt": lambda: ew.task("ioi").prompts(ew.load("nano").tokenizer, n=1)[0],
    "Task": lambda: ew.task("ioi"),
}
COPIES: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),  # noqa: S301
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


@cache
def value_of(name: str) -> Any:
    return VALUES[name]()


@pytest.mark.parametrize("name", VALUES)
def test_a_value_equals_its_copies(name: str) -> None:
    value = value_of(name)
    for way, copied in COPIES.items():
        twin = copied(value)
        assert type(twin) is type(value), way
        assert twin == value, way
        assert repr(twin) == repr(value), way
        if type(value).__hash__ is not None:
            try:
                number = hash(value)
            except TypeError:
                continue  # it holds a mapping, and says so
            assert hash(twin) == number, way
    assert value != object()


def test_values_that_differ_are_not_equal() -> None:
    other = ew.attribute(subject("gpt2"), pairs(), method="random")
    assert scores() != other
    assert scores() != nodes()
    assert pairs() != pairs()[:2]
    assert circuit() != other.top(60)
    assert len({scores(), other, copy.deepcopy(scores())}) == 2


def _twin(value: Any) -> Any:
    """What another process is given, and gives back."""
    return value


@pytest.mark.slow
def test_values_travel_to_a_process_that_was_started_anew_and_back() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        for name in VALUES:
            sent = value_of(name)
            assert pool.submit(copy.copy, sent).result(120) == sent, name
