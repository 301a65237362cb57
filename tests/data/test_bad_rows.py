"""Rows that cannot be used: all are listed at once, or left out and counted in report, page and provenance."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.command_line import make_model

import edgewise as ew
from edgewise.data.pair_files import read_rows, to_pairs
from edgewise.errors import EdgewiseWarning, FileError, PairsError
from edgewise.runs.recipe import Recipe
from edgewise.runs.run import run
from edgewise.tasks import task

GOOD = {"clean": "1 2 3", "corrupted": "4 2 3", "correct": [" 5"]}
BAD = [{**GOOD, "correct": 3}, {**GOOD, "clean": None}, {**GOOD, "correct": []}, "text"]


class Numbers:
    """A tokenizer of numbers below ten."""

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [int(word) for word in text.split()]}

    def decode(self, tokens: list[int]) -> str:
        return str(tokens[0])


def written(folder: Path, suffix: str, rows: list[object]) -> Path:
    path = folder / f"rows{suffix}"
    lines = [json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) if suffix == ".jsonl" else f"[{','.join(lines)}]")
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
def test_all_bad_rows_are_listed_in_one_sentence(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path, suffix, [GOOD, BAD[0], GOOD, *BAD[1:], GOOD])
    with pytest.raises(FileError) as caught:
        read_rows(path)
    said = str(caught.value)
    assert f"{path}: 4 of 7 rows are bad: line 2: 'correct' must be" in said
    assert [f"line {line}: " in said for line in range(1, 8)] == [False, True, False, True, True, True, False]
    assert "--skip-bad-rows" in said
    assert "\n" not in said


def test_fields_of_a_csv_file_are_counted_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("clean,corrupted,correct\n1,2, 3\n1,2\n1,2,\n1,2, 3, 4\n1,2, 3\n")
    with pytest.raises(FileError, match=r"3 of 5 rows are bad: line 3: .*; line 4: .*; line 5: this row has 4 fields"):
        read_rows(path)
    with pytest.warns(EdgewiseWarning, match="3 of 5 rows are bad and left out"):
        assert [row.line for row in read_rows(path, bad_rows="skip")] == [2, 6]


def test_no_more_than_twenty_are_shown_and_the_others_counted(tmp_path: Path) -> None:
    path = written(tmp_path, ".jsonl", [BAD[0]] * 33 + [GOOD])
    with pytest.raises(
        FileError, match=r"33 of 34 rows are bad: line 1: [^;(]* \(so too lines 2, 3, .*, 19, 20 and 13 more\); mend"
    ) as caught:
        read_rows(path)
    assert len(str(caught.value)) < 1000 + len(str(path))


def test_what_is_wrong_with_many_rows_is_said_once_and_whole(tmp_path: Path) -> None:
    """Cut to a few words for each row, nobody could read it."""
    rows = [{**GOOD, "correct": [f" {number} {number + 1}"]} for number in range(30)]
    with pytest.raises(PairsError) as caught:
        to_pairs(read_rows(written(tmp_path, ".jsonl", [*rows, GOOD])), Numbers(), "rows.jsonl")
    first = f"line 1: the answer {' 0 1'!r} is not one token after its prompt: "
    assert first in str(caught.value)
    assert "(so too lines 2, 3, 4," in str(caught.value)
    assert "20 and 10 more)" in str(caught.value)


def test_a_file_of_bad_rows_alone_is_refused_however_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="4 of 4 rows are bad"):
        read_rows(written(tmp_path, ".json", BAD), bad_rows="skip")


def test_rows_that_do_not_fit_the_tokenizer_are_listed_or_skipped_too(tmp_path: Path) -> None:
    longer, unclear = {**GOOD, "corrupted": "4 2"}, {**GOOD, "correct": [" 5 6"]}
    rows = read_rows(written(tmp_path, ".json", [longer, GOOD, unclear]))
    with pytest.raises(
        PairsError, match=r"2 of 3 rows are bad: line 1: the pair is misaligned.*; line 3: the answer ' 5 6'"
    ):
        to_pairs(rows, Numbers(), "rows.json")
    with pytest.warns(EdgewiseWarning, match="2 of 3 rows are bad and left out"):
        pairs = to_pairs(rows, Numbers(), "rows.json", bad_rows="skip")
    assert (len(pairs), pairs.source["bad_rows"]) == (1, 2)


def test_a_run_counts_what_it_left_out(tmp_path: Path) -> None:
    """Rows that say nothing usable, and rows that this tokenizer cannot read."""
    model = str(make_model(tmp_path / "tiny"))
    first, second = (
        {"clean": p.clean, "corrupted": p.corrupted, "correct": p.correct, "wrong": p.wrong}
        for p in task("ioi").prompts(ew.load("nano").tokenizer, n=2)
    )
    path = written(tmp_path, ".jsonl", [first, BAD[3], {**first, "corrupted": "Then"}, second])
    recipe = Recipe.of(model=model, data=str(path), method="eap", edges=9, curve=0)
    with pytest.raises(FileError, match=r"line 2: this is a JSON str; .*--skip-bad-rows"):
        run(recipe)
    with pytest.warns(EdgewiseWarning, match="1 of .* rows are bad and left out"):
        found = run(recipe.with_changes(bad_rows="skip"), tmp_path / "out")
    assert found.report.examples == 2
    assert found.circuit.provenance["bad_rows"] == 2
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert len([one for one in report["warnings"] if "left out" in one]) == 2
    assert "rows are bad and left out" in (tmp_path / "out" / "circuit.html").read_text()
    assert Recipe.read(tmp_path / "out" / "recipe.json").bad_rows == "skip"
