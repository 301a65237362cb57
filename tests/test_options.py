"""Options say what they are, and take values of their type only, from Python and from the command line."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from edgewise.errors import InvalidValue
from edgewise.methods import METHODS, method, parsed_options, swept_method
from edgewise.option_types import checked, expected, parsed, words
from edgewise.options import Option, option, options_of

OPTIONS = [(name, one) for name, chosen in METHODS.items() for one in options_of(chosen).values()]
each_option = pytest.mark.parametrize(("name", "one"), OPTIONS, ids=lambda value: getattr(value, "name", value))
# Values of which each option takes some at most.
VALUES = (True, 3, 2.5, "lots", "", None, [], [1, 2], {}, (0.5,), object(), b"bytes", print, float("nan"), np.ones(3))


@each_option
def test_every_option_has_a_sentence(name: str, one: Option) -> None:
    assert len(one.sentence.split()) >= 3, f"{name}: {one.name}"
    assert one.sentence[0].islower()
    assert not one.sentence.endswith(".")


@each_option
def test_a_value_of_another_type_is_refused_by_name(name: str, one: Option) -> None:
    refused = 0
    for value in VALUES:
        if _fits(one.kind, value):
            continue
        with pytest.raises(InvalidValue, match=f"^{one.name}|: {one.name} must be ".replace("+", r"\+")) as found:
            method(name, {one.name: value})
        assert "\n" not in str(found.value)
        refused += 1
    assert refused >= len(VALUES) - 7


@each_option
@pytest.mark.parametrize("text", ["lots", "2.5", "true", "[1, 2]", "", "{", "none"])
def test_no_text_ends_otherwise_than_in_a_value_or_a_refusal(name: str, one: Option, text: str) -> None:
    with suppress(InvalidValue):
        values = parsed_options(name, {one.name: text})
        sweeps = one.name == METHODS[name].size_option and isinstance(values[one.name], list)
        assert sweeps or _fits(one.kind, values[one.name])


def _fits(kind: Any, value: Any) -> bool:
    try:
        checked(kind, value)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (bool, "False", False),
        (bool, "yes", True),
        (bool, "off", False),
        (bool, "1", True),
        (int, "5", 5),
        (int, "5.0", 5),
        (int, "1e3", 1000),
        (float, "5", 5),
        (float, "5.0", 5.0),
        (float, "-inf", float("-inf")),
        (str, "1", "1"),
        (str, '"quoted"', "quoted"),
        (Path, "a/b.json", Path("a/b.json")),
        (Literal["a", "b"], "b", "b"),
        (Literal[1, 2], "2", 2),
        (float | None, "none", None),
        (float | None, "null", None),
        (str | None, "0.5", "0.5"),
        (int | str, "5", 5),
        (tuple[float, ...], "0.1,1", (0.1, 1)),
        (list[int], "[1, 2]", [1, 2]),
        (list[int], "", []),
        (tuple[int, str], "1, a", (1, "a")),
        (Any, "[1]", [1]),
        (Any, "plain", "plain"),
    ],
)
def test_text_is_read_by_the_type(kind: Any, text: str, value: Any) -> None:
    found = parsed(kind, text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (bool, "maybe"),
        (int, "2.5"),
        (int, "inf"),
        (float, "many"),
        (Literal["a"], "A"),
        (tuple[int, int], "1"),
        (dict, "{}"),
    ],
)
def test_text_of_another_type_is_refused(kind: Any, text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the caller says what it is about
        parsed(kind, text)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (int, 5.0, 5),
        (int, np.int64(5), 5),
        (float, 5, 5),
        (float, np.float32(0.5), 0.5),
        (str, Path("a"), "a"),
        (Path, "a", Path("a")),
        (float | None, None, None),
        (int | float, 2.0, 2.0),
        (tuple[int, ...], [1, 2.0], (1, 2)),
        (Any, print, print),
    ],
)
def test_values_of_the_type_pass(kind: Any, value: Any, expected: Any) -> None:
    found = checked(kind, value)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *[(int, True), (int, 2.5), (int, "5"), (int, float("inf")), (int, float("nan"))],
        *[(float, True), (float, "5"), (float, None), (bool, 1), (bool, "true"), (str, 1), (str, None)],
        *[(Literal[1], True), (Literal["a"], "b"), (tuple[int, ...], 1), (list[int], ["a"]), (tuple[int, int], [1])],
    ],
)
def test_values_of_another_type_do_not(kind: Any, value: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the caller says what it is about
        checked(kind, value)


def test_types_in_words() -> None:
    kinds = [float, bool, int | None, Literal["signed", "absolute"], Path | None, str, list[int], tuple[float, ...]]
    assert [words(kind) for kind in kinds] == [
        *("float", "bool", "int", "signed | absolute", "path", "text", "list of int", "list of float")
    ]
    assert expected(float | None) == "a number or none"
    assert expected(Literal["a", "b", "c"]) == "'a', 'b' or 'c'"
    assert expected(list[int]) == "a list, each a whole number"


def test_a_list_of_sizes_is_a_sweep_and_each_is_checked() -> None:
    assert parsed_options("acdc", {"tau": "0.1, 0.2", "whole_readers": "False"}) == {
        "tau": [0.1, 0.2],
        "whole_readers": False,
    }
    assert swept_method("acdc", {"tau": [0.1, 0.2]})[1] == (0.1, 0.2)
    with pytest.raises(InvalidValue, match="acdc: tau must be a number, not 'a'"):
        swept_method("acdc", {"tau": [0.1, "a"]})
    with pytest.raises(InvalidValue, match="hap: sparsity must be a number or none, not 'much'"):
        parsed_options("hap", {"sparsity": "0.9,much"})


@dataclass
class Odd:
    """What classes of others may hold."""

    needed: int
    places: list[int] = option([1], "where to look")


def test_options_of_any_class() -> None:
    found = options_of(Odd)
    assert found["places"].default == [1]
    assert Odd(1).places is not Odd(2).places
    assert options_of(int) == {}

    @dataclass
    class Broken:
        one: Nowhere = 0  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(InvalidValue, match="the types of the options of Broken cannot be read"):
        options_of(Broken)
