"""Docstrings of the public names have the house form: one plain sentence, then every parameter by its name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cached_property
from typing import Any

import pytest

import edgewise
from edgewise import data, errors, formats, testing
from edgewise.methods import METHODS
from edgewise.metrics import METRICS, Metric
from edgewise.models import Subject
from edgewise.tasks import Prompt, Task

BESIDE = (*(getattr(home, name) for home in (data, formats, testing) for name in home.__all__), Subject, Task, Prompt)
# What users hand on and never build, and whose members are for edgewise itself.
INNER = {"FusedBlocks", "FusedHeads", "Separate"}
ERRORS = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.EdgewiseError)]


def public() -> Iterator[tuple[str, Any]]:
    """Every public function and class, and the methods and properties of each class."""
    values = [getattr(edgewise, name) for name in edgewise.__all__ if name != "__version__"]
    named = [value for value in (*values, *BESIDE) if callable(value) and hasattr(value, "__name__")]
    for value in named:
        yield value.__name__, value
        if inspect.isclass(value) and value.__name__ not in INNER | {"Subject"}:
            yield from ((f"{value.__name__}.{name}", member) for name, member in members(value))


def members(owner: type) -> Iterator[tuple[str, Any]]:
    """The methods and properties that a class of edgewise has itself, without underscores."""
    for name, member in vars(owner).items():
        plain = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        if not name.startswith("_") and (inspect.isfunction(plain) or isinstance(plain, property | cached_property)):
            yield name, plain


PUBLIC = dict(public())


def parameters(value: Any) -> list[str]:
    """The names that a caller may give."""
    if isinstance(value, property | cached_property) or (
        inspect.isclass(value) and (is_old(value) or value.__name__ in INNER)
    ):
        return []
    if inspect.isclass(value):
        if is_dataclass(value):
            return [field.name for field in fields(value) if field.init]
        own = vars(value).get("__init__")
        return [] if own is None else [name for name in inspect.signature(own).parameters if name != "self"]
    return [name for name in inspect.signature(value).parameters if name not in ("self", "cls")]


def is_old(value: type) -> bool:
    return value.__module__ == "edgewise.old_names"


def test_there_are_as_many_as_a_reader_of_the_reference_would_expect() -> None:
    assert len(PUBLIC) > 100


@pytest.mark.parametrize("name", PUBLIC)
def test_a_docstring_begins_with_one_sentence_and_names_every_parameter(name: str) -> None:
    text = inspect.cleandoc(PUBLIC[name].__doc__ or "")
    first, _, rest = text.partition("\n")
    assert first.endswith("."), first
    assert not re.search(r"\. [A-Z`]", first), f"more than one sentence: {first}"
    assert rest == "" or rest.startswith("\n"), "the first line stands alone"
    missing = [one for one in parameters(PUBLIC[name]) if f"`{one}`" not in text]
    assert missing == [], f"{name} does not say what {missing} are"


FUNCTIONS = [name for name, value in PUBLIC.items() if inspect.isfunction(value) and "." not in name]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_says_what_it_returns(name: str) -> None:
    assert "Returns " in PUBLIC[name].__doc__


@pytest.mark.parametrize("name", list(METHODS))
def test_a_method_has_its_promise_its_equation_and_its_paper(name: str) -> None:
    text = inspect.cleandoc(METHODS[name].__doc__ or "")
    promise, _, rest = text.partition("\n")
    assert promise.endswith(".")
    assert not re.search(r"\. [A-Z`]", promise)
    equation = [line for line in rest.splitlines() if line.startswith("    ")]
    assert equation, f"{name} has no equation"
    paper = METHODS[name].paper.rpartition("/")[2]
    assert paper in rest, f"{name} does not name its paper, arXiv:{paper}"


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_an_error_says_in_one_sentence_what_is_wrong(error: type) -> None:
    assert (error.__doc__ or "").endswith(".")


@pytest.mark.parametrize("metric", list(METRICS.values()), ids=lambda metric: metric.name)
def test_a_metric_begins_with_a_line_for_its_table(metric: Metric) -> None:
    assert (metric.function.__doc__ or "").strip().partition("\n")[0].endswith((".", "agree."))
