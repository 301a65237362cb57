"""Every public verb, given something of another type for any of its arguments: a result or a sentence, never a traceback."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from support.families import pairs, subject

import edgewise as ew
from edgewise.errors import EdgewiseError, InvalidValue
from edgewise.evaluation import evaluate_each, measure_roles, size_curve

VERBS: dict[str, Callable[..., Any]] = {
    "attribute": ew.attribute,
    "attribute_nodes": ew.attribute_nodes,
    "discover": ew.discover,
    "effects": ew.effects,
    "evaluate": ew.evaluate,
    "evaluate_each": evaluate_each,
    "measure_roles": measure_roles,
    "size_curve": size_curve,
    "stability": ew.stability,
    "sweep": ew.sweep,
}
# What people pass by mistake.
WRONG: dict[str, Any] = {
    "none": None,
    "a word": "x",
    "a fraction": 1.5,
    "a truth value": True,
    "minus one": -1,
    "an array": np.zeros((2, 3)),
    "a tensor": torch.zeros(2, 3),
    "a list": [1, "a", None],
    "a dictionary": {"a": 1},
    "an object": object(),
    "a class": torch.nn.Linear,
    "a function": lambda *_: 3,
}


@cache
def right() -> dict[str, Any]:
    on = subject("gpt2")
    circuit = ew.Circuit.from_edges(on.graph, on.graph.edges[:9])
    return {
        "subject": on,
        "pairs": pairs(),
        "circuit": circuit,
        "circuits": [circuit],
        "edges": list(on.graph.edges[:2]),
        "scores": ew.attribute(on, pairs(), method="eap"),
        "values": [0.3],
        "seeds": [0, 1],
        "method": "eap",
    }


def arguments(verb: str) -> dict[str, Any]:
    """Those that a verb needs, and those that make it quick."""
    needed = inspect.signature(VERBS[verb]).parameters.values()
    given = {one.name: right()[one.name] for one in needed if one.default is one.empty and one.name in right()}
    if verb in ("discover", "sweep", "stability"):
        given["method"] = "acdc" if verb == "sweep" else "eap"
    return {
        **given,
        **({"edges": 9} if verb in ("discover", "stability") else {}),
        **({"values": [0.3]} if verb == "sweep" else {}),
    }


CASES = [
    (verb, name)
    for verb, function in VERBS.items()
    for name, one in inspect.signature(function).parameters.items()
    if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
]


@pytest.mark.parametrize(("verb", "name"), CASES)
def test_a_wrong_argument_is_a_sentence(verb: str, name: str) -> None:
    for what, value in WRONG.items():
        if name == "track" and callable(value):
            continue  # it is what a Track is
        said = "a result"
        try:
            VERBS[verb](**{**arguments(verb), name: value})
        except EdgewiseError as error:
            said = str(error)
        except Exception as error:
            pytest.fail(f"{verb}({name}={what}): {type(error).__name__}: {error}")
        assert said.strip(), what
        assert len(said) < 600, what


@pytest.mark.parametrize("verb", VERBS)
def test_the_sentence_says_what_was_expected_and_what_was_given(verb: str) -> None:
    bare = {**arguments(verb), "subject": subject("gpt2").model}
    with pytest.raises(
        InvalidValue, match=f"{verb}: subject must be a Subject, which edgewise.load.* not a GPT2LMHeadModel"
    ):
        VERBS[verb](**bare)
    if "batch_size" in inspect.signature(VERBS[verb]).parameters:
        with pytest.raises(InvalidValue, match=f"{verb}: batch_size must be a whole number, not 1.5"):
            VERBS[verb](**{**arguments(verb), "batch_size": 1.5})


def test_a_whole_number_of_numpy_is_a_whole_number() -> None:
    on = subject("gpt2")
    scores = ew.attribute(on, pairs(), method="eap", batch_size=np.int64(4))  # type: ignore[arg-type]
    assert torch.equal(scores.values, ew.attribute(on, pairs(), method="eap", batch_size=4).values)
