"""A part of a user's own that gives something else is refused by what to give; what it raises stays, and says whose it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from support.families import pairs, subject

import edgewise as ew
from edgewise.ablations import Ablation, Replacer
from edgewise.attribution.base import GradientMethod, ScoringMethod
from edgewise.contract import Found, Method
from edgewise.errors import InvalidValue
from edgewise.search.base import Kept, Search


def _raise(*_: object, **__: object) -> Any:
    raise KeyError("mine")


@dataclass(frozen=True)
class Own(Ablation):
    gives: Callable[..., Any]
    name: ClassVar[str] = "own"

    def prepare(self, subject: Any, pairs: Any, batch_size: int) -> Any:
        return self.gives()


class Described:
    name: ClassVar[str] = "own"
    summary: ClassVar[str] = "a method of a test"
    cost: ClassVar[str] = "nothing"


@dataclass(frozen=True)
class OwnMethod(Described, Method):
    gives: Callable[..., Any]

    def refuse(self, wanted: Any) -> None:
        pass

    def run(self, request: Any) -> Any:
        return self.gives()


@dataclass(frozen=True)
class OwnScores(Described, ScoringMethod):
    gives: Callable[..., Any]

    def scores(self, request: Any) -> Any:
        return self.gives()


@dataclass(frozen=True)
class OwnGradients(Described, GradientMethod):
    gives: Callable[..., Any]

    def check(self, metric: Any) -> None:
        pass

    def batch_scores(self, batch: Any) -> Any:
        return self.gives()


@dataclass(frozen=True)
class OwnSearch(Described, Search):  # type: ignore[misc]
    gives: Callable[..., Any]
    metric: ClassVar[str] = "kl"
    size_option: ClassVar[str] = "gives"

    def for_edges(self, edges: int | None) -> Any:
        return self

    def search(self, request: Any) -> Any:
        return self.gives()


def ablated(gives: Callable[..., Any]) -> object:
    return ew.attribute(subject("gpt2"), pairs(), method="eap", ablation=Own(gives))


def trained(gives: Callable[..., Any]) -> object:
    return ew.discover(subject("gpt2"), pairs(), method="edge-pruning", edges=9, ablation=Own(gives))


def measured(gives: Callable[..., Any]) -> object:
    circuit = ew.Circuit.from_edges(subject("gpt2").graph, [])
    return ew.evaluate(subject("gpt2"), circuit, pairs(), ablation=Own(gives))


def by(kind: Any) -> Callable[[Callable[..., Any]], object]:
    return lambda gives: ew.discover(subject("gpt2"), pairs(), method=kind(gives))


def by_metric(gives: Callable[..., Any]) -> object:
    return ew.attribute(subject("gpt2"), pairs(), metric=lambda *_: gives())


def drawn(gives: Callable[..., Any]) -> object:
    own = replace(ew.task("ioi"), name="own", draw=lambda *_: gives())
    return own.pairs(ew.load("nano").tokenizer, n=2)


def fitted(gives: Callable[..., Any]) -> object:
    own = replace(ew.task("ioi"), name="own", fit=lambda *_: gives())
    return own.pairs(ew.load("nano").tokenizer, n=2)


# What runs a part, and the words for what it must give.
PARTS: dict[str, tuple[Callable[[Callable[..., Any]], object], str]] = {
    "ablation": (ablated, "the ablation 'own' gave .*; it must give a Replacer"),
    "ablation when training": (trained, "the ablation 'own' gave .*; it must give a Replacer"),
    "ablation when measuring": (measured, "the ablation 'own' gave .*; it must give a Replacer"),
    "method": (by(OwnMethod), r"the method 'own' gave .*; it must give Found\(scores, circuits\)"),
    "scores": (by(OwnScores), r"the method 'own' gave .*; it must give a score for each pair.*float \[16, \d+\]"),
    "gradients": (by(OwnGradients), r"the method 'own' gave .*; it must give a score for each pair.*float \[16, \d+\]"),
    "search": (by(OwnSearch), r"the method 'own' gave .*; it must give Kept\(mask, counts\)"),
    "metric": (by_metric, "the metric <lambda> gave .*; it must give one number for each example"),
    "draw": (drawn, "the task 'own': draw gave .*; it must give a Prompt"),
    "fit": (fitted, "the task 'own': fit gave .*; it must give its lists"),
}
GIVEN: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "a number": lambda: 3.0,
    "one for all": lambda: torch.tensor(2.0),
    "another shape": lambda: torch.zeros(3, 3),
}


@pytest.mark.parametrize("part", PARTS)
def test_what_a_part_gives_is_checked(part: str) -> None:
    run, sentence = PARTS[part]
    for gives in GIVEN.values():
        with pytest.raises(InvalidValue, match=sentence) as found:
            run(gives)
        assert len(str(found.value)) < 300


@pytest.mark.parametrize("part", PARTS)
def test_what_a_part_raises_keeps_its_traceback_and_says_whose_it_is(part: str) -> None:
    run, sentence = PARTS[part]
    with pytest.raises(KeyError, match="mine") as found:
        run(_raise)
    whose = sentence.partition(" gave")[0].partition(":")[0].replace("<lambda>", "'<lambda>'")
    assert f"This was raised inside {whose}, which is no part of edgewise." in found.value.__notes__
    assert found.traceback[-1].name == "_raise"


def test_a_replacement_and_a_mask_are_checked_too() -> None:
    with pytest.raises(InvalidValue, match="the ablation gave a float; it must give a Replacement"):
        ablated(lambda: Replacer.of(lambda batch: 3.0))  # type: ignore[arg-type, return-value]
    with pytest.raises(InvalidValue, match=r"kept torch.bool \[3\]; its mask must be bool \[16, \d+\]"):
        by(OwnSearch)(lambda: Kept(torch.ones(3, dtype=torch.bool), {}))
    with pytest.raises(InvalidValue, match="has no name; give the class one"):
        ew.attribute(subject("gpt2"), pairs(), ablation=type("Bare", (Own,), {"name": None})(lambda: None))


def test_a_part_of_edgewise_is_not_blamed() -> None:
    found = OwnMethod(lambda: Found(None, (ew.Circuit.from_edges(subject("gpt2").graph, []),)))
    assert len(ew.discover(subject("gpt2"), pairs(), method=found)) == 0
