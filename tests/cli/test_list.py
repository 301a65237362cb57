"""What `edgewise list` says of one method or task."""

from __future__ import annotations

import json

import pytest
from support.command_line import edgewise, refused

from edgewise.methods import METHODS
from edgewise.options import options_of


@pytest.mark.parametrize("name", METHODS)
def test_a_method_lists_its_options(name: str) -> None:
    result = edgewise("list", "method", name, "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["method"] == name
    assert [one["option"] for one in found["options"]] == list(options_of(METHODS[name]))
    assert {key for one in found["options"] for key in one} <= {"option", "type", "default", "meaning"}
    table = edgewise("list", "method", name).stdout
    assert all(one["option"] in table for one in found["options"])
    assert found["options"] or "this method has no options" in table


def test_types_and_defaults_are_said_in_plain_words() -> None:
    rows = {one["option"]: one for one in json.loads(edgewise("list", "method", "acdc", "--json").stdout)["options"]}
    assert {name: (one["type"], one["default"]) for name, one in rows.items()} == {
        "tau": ("float", 0.01),
        "rule": ("signed | absolute", "signed"),
        "whole_readers": ("bool", True),
        "trace": ("path", None),
    }
    table = edgewise("list", "methods", "acdc").stdout
    assert " ".join(table.split()).startswith("method acdc summary every edge tested")
    assert "whole_readers  bool               true" in table


def test_a_task_lists_how_it_can_be_corrupted() -> None:
    found = json.loads(edgewise("list", "task", "ioi", "--json").stdout)
    assert found["task"] == "ioi"
    (corruption,) = found["options"]
    assert (corruption["option"], corruption["default"]) == ("corruption", "abc")
    assert corruption["type"] == "abc | random-names | s2-io-flip | s2-random"
    assert "s2-io-flip" in edgewise("list", "task", "ioi").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["method", "acdcc"], "unknown method 'acdcc'; did you mean 'acdc'?"),
        (["task", "iou"], "unknown task 'iou'; did you mean 'ioi'?"),
        (["mehtod", "acdc"], "unknown kind 'mehtod'; did you mean 'method'?"),
        (["metrics", "kl"], "metrics have no options to list: leave 'kl' out"),
        (["method"], "unknown kind 'method'; did you mean 'methods'?"),
    ],
)
def test_unknown_names_are_refused(arguments: list[str], message: str) -> None:
    refused(edgewise("list", *arguments), message=message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["acdc", "whole_readers=maybe"], "acdc: whole_readers must be true or false, not 'maybe'"),
        (["acdc", "tau=much"], "acdc: tau must be a number, not 'much'"),
        (["eap-ig", "steps=2.5"], "eap-ig: steps must be a whole number, not '2.5'"),
        (["acdc", "rule=sigend"], "acdc: rule must be 'signed' or 'absolute', not 'sigend'; did you mean 'signed'?"),
        (["hap", "seed=none"], "hap: seed must be a whole number, not 'none'"),
    ],
)
def test_values_of_another_type_are_refused_in_one_sentence(arguments: list[str], message: str) -> None:
    name, value = arguments
    refused(edgewise("discover", "--method", name, "--option", value), message=message)
    refused(edgewise("compare", "--methods", name, "--option", f"{name}.{value}"), message=message)
