"""Everything public, given something of another type for any of its arguments: a result or a sentence, never a traceback.

The list is made of the public surface itself: what is added to it is covered, or stands here as missing a right value.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.families import pairs, subject
from support.public_surface import functions, methods, named_parameters

import edgewise as ew
from edgewise.errors import EdgewiseError, InvalidValue
from edgewise.formats import eap_ig_json, eap_ig_pt
from edgewise.models import Subject
from edgewise.runs.recipe import Recipe
from edgewise.store import save
from edgewise.tasks import Task

FUNCTIONS = dict(functions())
METHODS = [
    f"{kind.__name__}.{name}"
    for kind in (
        *(ew.Circuit, ew.Scores, ew.Pairs, ew.Graph, ew.Report, ew.Sweep, ew.Stability, ew.Comparison),
        *(Task, Subject),
    )
    for name in methods(kind)
]
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
# Methods and functions that take longest, of which only the long run tries every argument.
LONG = {
    "compare",
    "load",
    "run",
    "stability",
    "sweep",
    "benchmark",
    "measure_grid",
    "compare_heads",
    "discover",
    "bootstrap",
}


@cache
def right() -> dict[str, Any]:
    """What an argument of this name may be, wherever it is."""
    on = subject("gpt2")
    circuit = ew.Circuit.from_edges(on.graph, on.graph.edges[::5])
    ids = torch.tensor([[5, 6, 7], [5, 8, 7]])
    return {
        "subject": on,
        "pairs": pairs(),
        "graph": on.graph,
        "circuit": circuit,
        "circuits": [circuit],
        "scores": ew.attribute(on, pairs(), method="eap"),
        "reference": circuit,
        "other": circuit,
        "value": circuit,
        "edges": list(on.graph.edges[:2]),
        "edge": on.graph.edges[0],
        "mask": circuit.mask,
        "d_model": on.d_model,
        "neurons": torch.ones(len(on.graph.writers), on.d_model, dtype=torch.bool),
        "found": [circuit],
        "values": [0.3],
        "seeds": [0, 1],
        "method": "eap",
        "n": 3,
        "threshold": 0.1,
        "faithfulness": 0.5,
        "level": "edges",
        "size": 3,
        "layers": 2,
        "heads": 2,
        "kv_heads": 2,
        "layer": 0,
        "reader": 0,
        "writer": 0,
        "count": 3,
        "clean": ids,
        "corrupted": ids.flip(0),
        "correct": torch.tensor([1, 2]),
        "positions": torch.tensor([2, 2]),
        "wrong": torch.tensor([2, 1]),
        "rows": [0],
        "device": torch.device("cpu"),
        "metric": "logit_diff",
        "thresholds": [0.1],
        "taus": [0.3],
        "model": "nano",
        "name": "ioi",
        "tokens": ids,
        "x": torch.zeros(2, on.d_model),
        "recipe": Recipe(),
        "path": "circuit.json",
    }


@cache
def nano() -> Subject:
    return ew.load("nano")


@cache
def fields_of(kind: str) -> dict[str, Any]:
    """The fields of one that a verb gave."""
    on, circuit = subject("gpt2"), right()["circuit"]
    given: Any = {
        "Report": lambda: ew.evaluate(on, circuit, pairs()),
        "Look": lambda: ew.look(on, ew.Circuit.full(on.graph), pairs()),
        "Comparison": lambda: ew.compare(on, pairs(), methods=["random"], reference="none", edges=[5]),
    }[kind]()
    return {one.name: getattr(given, one.name) for one in fields(given) if one.init}


@cache
def special(name: str) -> dict[str, Any]:
    """What this one needs beside that, or instead."""
    circuit, scores, words = right()["circuit"], right()["scores"], nano().tokenizer
    prompts = ew.task("ioi").prompts(words, n=1)[0] if "from_prompts" in name else None
    nodes = torch.ones(len(right()["graph"].writers))
    return {
        "Circuit.from_indices": {"neurons": {"m0": [1]}},
        "Circuit.from_nodes": {"nodes": ["a0.h0", "m0"]},
        "Comparison": fields_of("Comparison"),
        "Look": fields_of("Look"),
        "NeuronCircuit.from_indices": {"neurons": {"m0": [1]}},
        "NeuronScores": {"values": right()["neurons"].float()},
        "NodeScores": {"values": nodes, "neurons": None},
        "Pairs": {key: value for key, value in vars(pairs()).items() if isinstance(value, torch.Tensor)},
        "Pairs.from_prompts": prompts
        and {
            "tokenizer": words,
            "clean": [prompts.clean],
            "corrupted": [prompts.corrupted],
            "positions": None,
            "correct": [prompts.correct],
            "wrong": [prompts.wrong],
        },
        "Pairs.examples": {"tokenizer": words},
        "Recipe.of": {},
        "Recipe.read": {"path": "recipe.json"},
        "Report": fields_of("Report"),
        "Report.to_dict": {},
        "Scores": {"values": scores.values},
        "Scores.agreement": {"other": scores},
        "Stability": {"circuits": (circuit, circuit)},
        "Sweep": {"size_option": "tau", "values": (0.3,), "circuits": (circuit,)},
        "Task": vars(ew.task("ioi")),
        "Task.pairs": {"tokenizer": words},
        "Task.prompts": {"tokenizer": words},
        "bootstrap": {"edges": 9, "method": "eap"},
        "compare": {"methods": ["random"], "reference": "none", "edges": [5]},
        "compare_heads": {"runs": ["circuit.json"]},
        "discover": {"edges": 9, "method": "eap"},
        "ensemble": {"members": [scores, scores]},
        "format_named": {"name": "json"},
        "read_eap_ig": {"path": "eap-ig.json"},
        "read_eap_ig_nodes": {"path": "eap-ig.json"},
        "read_eap_ig_pt": {"path": "eap-ig.pt"},
        "save": {"path": "new.json"},
        "show": {"path": "new.svg"},
        "stability": {"method": "edge-pruning", "steps": 1, "edges": 9},
        "study_heads": {"circuits": {"one": circuit}, "base": "one"},
        "sweep": {"method": "acdc", "values": [0.3]},
    }.get(name) or {}


def owner(name: str) -> Any:
    """The object whose method this is."""
    circuit = right()["circuit"]
    return {
        "Circuit": circuit,
        "Scores": right()["scores"],
        "Pairs": pairs(),
        "Graph": right()["graph"],
        "Sweep": ew.Sweep("tau", (0.3,), (circuit,)),
        "Stability": ew.Stability((circuit, circuit)),
        "Task": ew.task("ioi"),
        "Subject": subject("gpt2"),
    }[name]


def called(name: str) -> Callable[..., Any]:
    if name in FUNCTIONS:
        return FUNCTIONS[name]
    kind, _, method = name.partition(".")
    return getattr(owner(kind), method)


def arguments(name: str) -> dict[str, Any]:
    """Those that it needs, and those that make it quick."""
    needed = (one.name for one in named_parameters(called(name)) if one.default is one.empty)
    return {**{one: right()[one] for one in needed if one in right()}, **special(name)}


def call(name: str, given: dict[str, Any]) -> Any:
    first = [given.pop(one.name) for one in named_parameters(called(name)) if one.kind is one.POSITIONAL_ONLY]
    result = called(name)(*first, **given)
    return list(result) if inspect.isgenerator(result) else result


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    circuit = right()["circuit"]
    save(circuit, "circuit.json")
    Path("recipe.json").write_text(Recipe().to_json())
    Path("eap-ig.json").write_text(eap_ig_json(None, circuit))
    Path("eap-ig.pt").write_bytes(eap_ig_pt(None, circuit))


EVERY = [*FUNCTIONS, *METHODS]
# Nothing stands for these but a run, or they are shown in a notebook alone.
NOT_CALLED_RIGHT = {"compare_heads", "run", "widget"}


def test_the_surface_is_found() -> None:
    assert len(EVERY) > 70
    assert {"attribute", "load", "open", "Circuit", "Circuit.from_edges", "Scores.top", "Task.pairs"} <= set(EVERY)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name in EVERY if name not in NOT_CALLED_RIGHT])
def test_the_right_arguments_are_taken(name: str, files: None) -> None:
    """Without this, a sentence about a missing argument would stand for one about a wrong argument."""
    call(name, arguments(name))


CASES = [
    pytest.param(name, one.name, marks=pytest.mark.slow if name in LONG and number % 6 else ())
    for name in EVERY
    for number, one in enumerate(
        named_parameters(FUNCTIONS[name]) if name in FUNCTIONS else named_parameters(called(name))
    )
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "argument"), CASES)
def test_a_wrong_argument_is_a_sentence(name: str, argument: str, files: None) -> None:
    for what, value in WRONG.items():
        if argument == "track" and callable(value):
            continue  # it is what a Track is
        said = "a result"
        try:
            call(name, {**arguments(name), argument: value})
        except EdgewiseError as error:
            said = str(error)
        except Exception as error:
            pytest.fail(f"{name}({argument}={what}): {type(error).__name__}: {error}")
        assert said.strip(), what
        assert len(said) < 600, what


ON_A_SUBJECT = [name for name in FUNCTIONS if "subject" in inspect.signature(FUNCTIONS[name]).parameters]


@pytest.mark.parametrize("verb", ON_A_SUBJECT)
def test_the_sentence_says_what_was_expected_and_what_was_given(verb: str) -> None:
    bare = {**arguments(verb), "subject": subject("gpt2").model}
    with pytest.raises(
        InvalidValue, match=f"{verb}: subject must be a Subject, which edgewise.load.* not a GPT2LMHeadModel"
    ):
        call(verb, bare)
    if "batch_size" in inspect.signature(FUNCTIONS[verb]).parameters:
        with pytest.raises(InvalidValue, match=f"{verb}: batch_size must be a whole number, not 1.5"):
            call(verb, {**arguments(verb), "batch_size": 1.5})


def test_methods_say_it_too() -> None:
    on, circuit, scores = subject("gpt2"), right()["circuit"], right()["scores"]
    for wrong, sentence in (
        (lambda: circuit.jaccard(scores), "Circuit.jaccard: other must be a Circuit, not a Scores"),
        (lambda: circuit | scores, "what a circuit is combined with must be a Circuit, not a Scores"),
        (lambda: ew.Circuit(on.graph, circuit.mask.numpy()), "Circuit: mask must be a tensor, not a ndarray"),
        (
            lambda: ew.Circuit.from_edges(on, []),
            "from_edges: graph must be a Graph, such as subject.graph, not a Subject",
        ),
        (lambda: scores.above("1"), "Scores.above: threshold must be a number, not '1'"),
        (lambda: on.graph.edge_index(3), "Graph.edge_index: edge must be text, not 3"),
        (
            lambda: ew.task("ioi").pairs("gpt2", n=3),
            "tokenizer must be a tokenizer, such as subject.tokenizer, not 'gpt2'",
        ),
        (lambda: ew.show(3, "x.svg"), "show: value must be a Circuit or Scores"),
        (lambda: ew.load(3), "load: model must be text or a path or Module, not 3"),
    ):
        with pytest.raises(InvalidValue, match=sentence.replace("|", r"\|")):
            wrong()


def test_a_whole_number_of_numpy_is_a_whole_number() -> None:
    on = subject("gpt2")
    scores = ew.attribute(on, pairs(), method="eap", batch_size=np.int64(4))  # type: ignore[arg-type]
    assert torch.equal(scores.values, ew.attribute(on, pairs(), method="eap", batch_size=4).values)
