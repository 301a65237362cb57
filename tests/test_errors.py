"""The exception tree and its messages."""

from __future__ import annotations

import inspect

import pytest

from edgewise import errors
from edgewise.errors import EdgewiseError, InvalidValue, UnknownName

TREE = {
    name: cls
    for name, cls in vars(errors).items()
    if inspect.isclass(cls) and issubclass(cls, Exception) and not issubclass(cls, Warning)
}


def test_every_error_is_an_edgewise_error() -> None:
    assert len(TREE) == 13
    assert all(issubclass(cls, EdgewiseError) for cls in TREE.values())


def test_the_tree_in_the_docstring_is_complete() -> None:
    assert all(name in (errors.__doc__ or "") for name in TREE)


def test_every_error_says_what_it_is_for() -> None:
    assert all(cls.__doc__ for cls in TREE.values())


def test_a_wrong_value_is_a_value_error_too() -> None:
    assert issubclass(InvalidValue, ValueError)


def test_an_unknown_name_offers_the_nearest() -> None:
    error = UnknownName.of("task", "greater_then", ["ioi", "greater-than", "docstring"])
    assert str(error) == (
        "unknown task 'greater_then'; did you mean 'greater-than'? known: docstring, greater-than, ioi"
    )


def test_the_nearest_name_is_found_whatever_the_case() -> None:
    assert "did you mean 'kl'?" in str(UnknownName.of("metric", "KL", ["kl", "nll"]))


def test_nothing_is_offered_when_nothing_is_near() -> None:
    assert str(UnknownName.of("task", "zzz", ["ioi"])) == "unknown task 'zzz'; known: ioi"


def test_a_name_need_not_be_a_string() -> None:
    assert str(UnknownName.of("metric", 3, ["kl"])) == "unknown metric 3; known: kl"


def test_a_long_list_of_names_is_cut() -> None:
    message = str(UnknownName.of("edge", "q", [f"n{i:02}" for i in range(30)]))
    assert message.endswith("n18, n19, …")


@pytest.mark.parametrize("cls", TREE.values(), ids=list(TREE))
def test_one_clause_catches_them_all(cls: type[EdgewiseError]) -> None:
    with pytest.raises(EdgewiseError, match="what, and the cure"):
        raise cls("what, and the cure")
