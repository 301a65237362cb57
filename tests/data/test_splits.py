"""Which rows of a file circuits are found on, and which they are judged on: no prompt is on both sides."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.data.pair_files import read_rows
from edgewise.data.rows import Row
from edgewise.data.splits import split_rows
from edgewise.errors import FileError, InvalidValue


def _row(line: int, clean: str, corrupted: str, held_out: bool | None = None) -> Row:
    return Row(line, clean, corrupted, (" a",), (" b",), held_out=held_out)


def _apart(count: int) -> list[Row]:
    return [_row(number + 1, f"clean {number}", f"corrupted {number}") for number in range(count)]


def _prompts(rows: tuple[Row, ...]) -> set[str]:
    return {prompt for row in rows for prompt in (row.clean, row.corrupted)}


def _groups(rows: list[Row]) -> list[set[str]]:
    """The prompts of rows that share some, found the slow way."""
    groups: list[set[str]] = []
    for row in rows:
        near = [group for group in groups if group & {row.clean, row.corrupted}]
        groups = [group for group in groups if group not in near] + [{row.clean, row.corrupted}.union(*near)]
    return groups


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=2, max_size=40),
    st.floats(0.01, 0.99),
    st.integers(0, 5),
)
def test_no_prompt_is_on_both_sides(prompts: list[tuple[int, int]], share: float, seed: int) -> None:
    rows = [_row(line, str(clean), str(corrupted)) for line, (clean, corrupted) in enumerate(prompts, 1)]
    if len(_groups(rows)) == 1:
        with pytest.raises(InvalidValue, match="all rows share prompts"):
            split_rows(rows, share, seed, "mine.csv")
        return
    split = split_rows(rows, share, seed, "mine.csv")
    assert not _prompts(split.found_on) & _prompts(split.held_out)
    assert split.found_on
    assert split.held_out
    assert sorted([*split.found_on, *split.held_out], key=lambda row: row.line) == rows
    assert split == split_rows(rows, share, seed, "mine.csv")


@pytest.mark.parametrize(("share", "expected"), [(0.2, 20), (0.5, 50), (0.001, 1), (0.999, 99)])
def test_the_share_is_met_and_each_side_has_a_row(share: float, expected: int) -> None:
    assert len(split_rows(_apart(100), share, 0, "mine.csv").held_out) == expected


def test_another_seed_holds_out_other_rows() -> None:
    assert split_rows(_apart(30), 0.3, 0, "x").held_out != split_rows(_apart(30), 0.3, 1, "x").held_out


def test_by_itself_a_fifth_is_held_out_of_a_file_with_enough_rows() -> None:
    assert len(split_rows(_apart(50), "auto", 0, "x").held_out) == 10
    assert split_rows(_apart(9), "auto", 0, "x").held_out == ()
    same = [_row(line, f"clean {line}", "the same") for line in range(1, 30)]
    assert split_rows(same, "auto", 0, "x").held_out == ()
    with pytest.raises(InvalidValue, match="leaves nothing to find circuits on"):
        split_rows(same, 0.2, 0, "x")


def test_a_column_says_which_rows_are_held_out(tmp_path: Path) -> None:
    sides = ["train", "test", "train", "Validation"]
    rows = [{"clean": f"c{n}", "corrupted": f"d{n}", "correct": " a", "split": side} for n, side in enumerate(sides)]
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps(rows))
    split = split_rows(read_rows(path), "auto", 0, "pairs.json")
    assert [row.clean for row in split.found_on] == ["c0", "c2"]
    assert [row.clean for row in split.held_out] == ["c1", "c3"]
    assert len(split_rows(read_rows(path), 0.75, 0, "pairs.json").held_out) == 3  # a share takes its place


def test_bad_columns_are_told(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text('clean,corrupted,correct,split\n"a","b"," c",later\n')
    with pytest.raises(FileError, match="line 2: 'split' is 'later'; it must be train or held-out or test"):
        read_rows(path)
    both = [_row(2, "a", "b", held_out=False), _row(3, "a", "c", held_out=True)]
    with pytest.raises(InvalidValue, match="lines 2 and 3 share a prompt, but only one of them is held out"):
        split_rows(both, "auto", 0, "pairs.csv")
    with pytest.raises(InvalidValue, match="holds every row out"):
        split_rows([_row(1, "a", "b", held_out=True)], "auto", 0, "pairs.csv")
