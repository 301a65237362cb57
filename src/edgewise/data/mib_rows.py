"""Rows of the data sets of the MIB benchmark, as they are published: a prompt, and counterfactuals of it as nested columns.

The benchmark takes one counterfactual of each data set, and so does `read`: for indirect objects the one in which the second
subject becomes the indirect object, for questions with choices the one with other symbols, for arithmetic the random one.
Mueller et al. 2025 (arXiv:2504.13151).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgewise.errors import FileError

Answers = tuple[str, str]


def _names(row: Mapping[str, Any], other: Mapping[str, Any]) -> Answers:
    """The indirect object against the subject."""
    names = row["metadata"]
    return f" {names['indirect_object']}", f" {names['subject']}"


def _choices(row: Mapping[str, Any], other: Mapping[str, Any]) -> Answers:
    """The symbol of the answer against that of the counterfactual's answer, as they stand."""
    right, wrong = (str(record["choices"]["label"][record["answerKey"]]) for record in (row, other))
    return right, wrong


def _numbers(row: Mapping[str, Any], other: Mapping[str, Any]) -> Answers:
    """The result against that of the counterfactual."""
    return str(row["label"]), str(other["label"])


ANSWERS_OF: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], Answers]] = {
    "s2_io_flip_counterfactual": _names,
    "symbol_counterfactual": _choices,
    "random_counterfactual": _numbers,
}


def is_mib(value: Mapping[str, Any]) -> bool:
    """Whether the columns are those of one of the benchmark's data sets."""
    return "prompt" in value and any(column in value for column in ANSWERS_OF)


def columns(value: Mapping[str, Any], place: str) -> dict[str, str] | None:
    """The row as `clean`, `corrupted`, `correct`, `wrong`; None without a counterfactual; FileError if it is damaged."""
    column = next(column for column in ANSWERS_OF if column in value)
    other = value[column]
    if other is None or (isinstance(other, Mapping) and other.get("prompt", "") is None):
        return None
    try:
        correct, wrong = ANSWERS_OF[column](value, other)
        return {"clean": value["prompt"], "corrupted": other["prompt"], "correct": correct, "wrong": wrong}
    except (KeyError, IndexError, TypeError) as error:
        raise FileError(f"{place}: this MIB row with {column!r} lacks a column or a value: {error}") from None
