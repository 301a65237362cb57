"""The how-to of docs/families.md does what it says: its code blocks run, one after the other."""

from __future__ import annotations

from typing import Any

import pytest
from support.pages import run_page, text_of

import edgewise as ew

NAME = "docs/families.md"
PAGE = text_of(NAME)


@pytest.fixture(scope="module")
def left() -> dict[str, Any]:
    """What the code blocks leave behind."""
    return run_page(NAME, PAGE)


def test_the_worked_example_ends_in_a_report_without_a_broken_law(left: dict[str, Any]) -> None:
    assert left["report"].broken == ()
    assert left["subject"].family is left["persimmon"]


def test_a_wrong_field_is_named_as_the_page_says(left: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    wrong = left["replace"](left["persimmon"], projections=ew.FusedBlocks)
    with pytest.raises(ew.EdgewiseError, match="projections=FusedBlocks takes something else for the queries"):
        ew.load(left["model"], family=wrong)


def test_the_families_work_on(left: dict[str, Any]) -> None:
    from edgewise.testing import check_family, random_pairs

    helium = left["HeliumForCausalLM"](left["HeliumConfig"](**left["shape"], **left["heads"], pad_token_id=0))
    assert check_family(helium.eval(), left["helium"]).broken == ()
    circuit = ew.discover(left["subject"], random_pairs(left["subject"]), edges=20)
    assert len(circuit) <= 20


def test_every_field_is_in_the_table() -> None:
    fields = set(ew.Family.__dataclass_fields__) - {"name", "exact", "inputs"}
    assert fields == {field for field in fields if f"`{field}`" in PAGE}


def test_the_page_is_short() -> None:
    assert len(PAGE.splitlines()) <= 120
