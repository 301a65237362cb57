"""A size is a number or a share of all, wherever one is asked for; what is neither is refused by one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.command_line import edgewise, make_model, refused
from support.families import pairs, subject

import edgewise as ew
from edgewise.arguments import count_of
from edgewise.comparison import CompareRecipe
from edgewise.contract import best_scored
from edgewise.errors import EdgewiseError, InvalidValue
from edgewise.evaluation import bootstrap
from edgewise.runs.recipe import Recipe

SENTENCE = r"asked for .* (edges|nodes|neurons).*; give 1 .*, or a share of all, such as '10%'"
WRONG_VALUES: tuple[Any, ...] = (0, -1, 0.5, float("nan"), "0%", "-1%", "100.1%", "nan%", "ten", "", "5", True)
FEW = ["--examples", "6", "--held-out", "0", "--curve", "0"]


def scores() -> ew.Scores:
    return ew.attribute(subject("gpt2"), pairs(), method="random")


PLACES: dict[str, Callable[[Any], object]] = {
    "discover": lambda size: ew.discover(subject("gpt2"), pairs(), method="random", edges=size),
    "compare": lambda size: ew.compare(subject("gpt2"), pairs(), methods=["random"], reference="none", edges=[size]),
    "bootstrap": lambda size: bootstrap(subject("gpt2"), pairs(), method="random", edges=size),
    "select": lambda size: best_scored(scores(), size),
    "select nodes": lambda size: best_scored(scores().of_nodes, size),
    "overlap": lambda size: scores().agreement(scores(), top=size),
    "recipe": lambda size: Recipe.of(edges=size),
    "recipe of nodes": lambda size: Recipe.of(nodes=size),
    "recipe of neurons": lambda size: Recipe.of(neurons=size),
    "recipe of several": lambda size: Recipe.of(sizes=[1, size]),
    "recipe of a comparison": lambda size: CompareRecipe.of(edges=[size]),
    "heads in a comparison": lambda size: CompareRecipe.of(heads=size),
}


@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_size_is_refused_by_one_sentence(place: str) -> None:
    for wrong in WRONG_VALUES:
        with pytest.raises(
            EdgewiseError, match=SENTENCE if wrong is not True else "asked for True|must be|input should"
        ):
            PLACES[place](wrong)
    for right in (3, 3.0, np.int64(3), "2%", " 2.5 %"):
        PLACES[place](right)


def test_a_share_is_rounded_and_is_one_at_least() -> None:
    assert [count_of(share, 262) for share in ("10%", "100%", "0.01%", ".5%")] == [26, 262, 1, 1]
    with pytest.raises(InvalidValue, match="asked for 263 edges, but the graph has 262; give 1 to 262, or a share"):
        count_of(263, 262)


def test_a_share_finds_what_the_number_does_and_the_number_is_recorded() -> None:
    on = subject("gpt2")
    by_share, by_number = (ew.discover(on, pairs(), method="eap", edges=edges) for edges in ("10%", 26))
    assert by_share == by_number
    assert by_share.provenance["edges"] == by_number.provenance["edges"]
    assert by_share.provenance["edges"]["selected"] == 26
    trained = ew.discover(on, pairs(), method="edge-pruning", edges="10%", steps=1)
    assert trained.provenance["options"]["edges"] == len(trained) == 26
    assert scores().top("10%") == scores().top(26)
    assert scores().of_nodes.top("50%") == scores().of_nodes.top(round(len(scores().of_nodes) / 2))
    assert scores().greedy("10%") == scores().greedy(26)


@pytest.fixture(autouse=True, scope="module")
def no_bars() -> Iterator[None]:
    """What the command line does by an environment variable before transformers is imported; here it is imported already."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    yield
    logging.enable_progress_bar()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.mark.parametrize(
    ("asked", "level", "selected"),
    [
        (["--edges", "10%"], "edges", 11),
        (["--edges", "5, 10%"], "edges", 11),
        (["--nodes", "50%"], "nodes", 5),
        (["--neurons", "25%"], "neurons", 44),
    ],
    ids=["a share of edges", "several", "a share of nodes", "a share of neurons"],
)
def test_the_command_line_takes_shares(
    asked: list[str], level: str, selected: int, model: Path, tmp_path: Path
) -> None:
    found = edgewise("discover", "--model", model, "--method", "eap", *FEW, *asked, "--out", tmp_path / "run", "--json")
    assert found.exit_code == 0, found.output
    circuit = ew.open(tmp_path / "run" / "circuit.json")
    assert circuit.provenance[level]["selected"] == selected
    assert circuit.provenance["recipe"]["edges"] in (None, 11)  # the number, once the graph is known
    again = Recipe.read(tmp_path / "run" / "recipe.json")
    assert "%" in str((again.edges, again.sizes, again.nodes, again.neurons))  # as it was asked


@pytest.mark.parametrize("wrong", ["0", "-1", "0%", "101%", "1.5", "x", "3,0", "3,10%,0%"])
def test_the_command_line_refuses_by_the_same_sentence(wrong: str, model: Path, tmp_path: Path) -> None:
    given = ["--edges", wrong]
    commands = [
        ["discover", "--model", str(model), *FEW, *given],
        ["compare", "--model", str(model), *given],
        ["batch", "--model", str(model), *given],
        *([["heads", str(tmp_path), *given]] if "," not in wrong else []),
        *([["discover", "--model", str(model), "--nodes", wrong]] if "," not in wrong else []),
    ]
    for command in commands:
        refused(edgewise(*command, "--out", str(tmp_path / "x.json")), message="; give 1 or more, or a share of all")
    assert not list(tmp_path.iterdir())


def test_sizes_that_are_the_same_on_the_model_are_refused(model: Path, tmp_path: Path) -> None:
    asked = ["discover", "--model", str(model), "--method", "eap", *FEW, "--out", str(tmp_path / "x"), "--edges"]
    refused(edgewise(*asked, "11,10%"), message="each given once")
    refused(edgewise(*asked, "20%,10%,15%"), message="must rise or fall")
    with pytest.raises(EdgewiseError, match="must rise or fall"):
        Recipe.of(sizes=["10%"])


def test_a_recipe_with_a_share_comes_back(tmp_path: Path) -> None:
    recipe = Recipe.of(sizes=[3, "10%"])
    (tmp_path / "recipe.json").write_text(recipe.to_json())
    assert Recipe.read(tmp_path / "recipe.json") == recipe
    assert json.loads(recipe.to_json())["sizes"] == [3, "10%"]
