"""Heads of several runs: which circuits are put side by side, of which size, and what is said of them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

import edgewise as ew
from edgewise.comparison import HeadReport, compare_heads
from edgewise.comparison.case_study import Heads
from edgewise.comparison.circuits_of_runs import FoundCircuit, equal_sizes, found_circuits, size_notes
from edgewise.errors import FileError, InvalidValue
from edgewise.evaluation import HeadRoles, HeadRow, HeadStudy, MeasuredHead, study_heads
from edgewise.figures import draw_heads, pictures
from edgewise.runs.recipe import Recipe
from edgewise.runs.run import run

FEW: dict[str, Any] = {"examples": 8, "held_out": 8, "curve": 0}


def discovered(folder: Path, **changes: Any) -> Path:
    run(Recipe.of(**{**FEW, **changes}), folder)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three runs on nano: a large circuit by scores, a small one by other scores, and one of a search."""
    root = tmp_path_factory.mktemp("runs")
    return {
        "eap": discovered(root / "first", method="eap", edges=60),
        "eap-ig": discovered(root / "second", method="eap-ig", edges=20),
        "acdc": discovered(root / "third", method="acdc", options={"tau": 0.1}),
    }


@pytest.fixture(scope="module")
def report(runs: dict[str, Path]) -> HeadReport:
    return compare_heads(list(runs.values()), held_out=6)


# -- circuits side by side --------------------------------------------------------------------------------------------


def test_circuits_by_scores_get_the_size_of_the_searched_one(runs: dict[str, Path]) -> None:
    found = found_circuits(list(runs.values()))
    assert [(one.name, one.searched, one.scores is not None) for one in found] == [
        ("eap", False, True),
        ("eap-ig", False, True),
        ("acdc", True, False),
    ]
    size, circuits = equal_sizes(found)
    assert size == len(ew.open(runs["acdc"] / "circuit.json"))
    assert circuits["acdc"] == ew.open(runs["acdc"] / "circuit.json")
    for one in found[:2]:
        kept = circuits[one.name]
        assert len(kept) <= size
        assert kept == kept.without_dangling()
        # One edge more of the best, and it would be too large; no edge outside is better than all inside.
        sizes = [len(one._best(n)) for n in range(1, 80)]
        assert len(kept) == max(n for n in sizes if n <= size)
        assert kept in [one._best(n) for n in range(1, 80)]
    assert any(note.startswith("Made of equal size by their scores: eap has ") for note in size_notes(found, circuits))


def test_without_a_search_the_smallest_is_the_size(runs: dict[str, Path]) -> None:
    found = found_circuits([runs["eap"], runs["eap-ig"]])
    size, circuits = equal_sizes(found)
    assert size == len(found[1].circuit) < len(found[0].circuit)
    assert circuits["eap-ig"] == found[1].circuit
    assert equal_sizes(found, 12)[0] == 12
    assert max(len(circuit) for circuit in equal_sizes(found, 12)[1].values()) <= 12


def test_circuits_that_differ_in_size_are_said_to(runs: dict[str, Path]) -> None:
    found = found_circuits(list(runs.values()))
    sizes = {one.name: one.circuit for one in found}
    (note,) = size_notes(found, sizes)
    assert note == (
        f"The circuits differ in size ({min(map(len, sizes.values())):,} to {max(map(len, sizes.values())):,} edges), "
        "so some may keep more heads."
    )


def test_two_runs_of_a_method_are_told_apart(runs: dict[str, Path], tmp_path: Path) -> None:
    other = discovered(tmp_path / "again", method="eap", edges=10, seed=1)
    assert [one.name for one in found_circuits([runs["eap"], other])] == ["eap in first", "eap in again"]


def test_a_comparison_gives_the_circuits_of_its_methods(tmp_path: Path) -> None:
    from edgewise.comparison import CompareRecipe
    from edgewise.comparison.from_recipe import run_comparison

    methods = [{"method": "eap"}, {"method": "acdc", "values": [0.1, 0.5]}]
    given = {"examples": 6, "held_out": 4, "reference": "none", "edges": [20], "pictures": [], "areas": "none"}
    run_comparison(CompareRecipe.of(methods=methods, **given), tmp_path / "all")
    found = found_circuits([tmp_path / "all"])
    assert [(one.name, one.searched) for one in found] == [("eap", False), ("acdc", True)]
    assert len(equal_sizes(found)[1]["eap"]) <= len(found[1].circuit)
    # Of the sizes that a search found, the one nearest to the size that is asked for.
    few, many = sorted(found[1].others, key=len)
    assert len(few) < len(many)
    assert found[1].of_size(len(many)) == many.without_dangling()
    assert found[1].of_size(1) == few.without_dangling()


# -- what does not belong side by side --------------------------------------------------------------------------------


def test_runs_that_do_not_belong_together_are_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    first = runs["eap"]
    with pytest.raises(InvalidValue, match="there are no runs to compare"):
        compare_heads([])
    with pytest.raises(InvalidValue, match="is named twice"):
        compare_heads([first, first])
    with pytest.raises(FileError, match="not a run folder: it has no circuit"):
        compare_heads([first, tmp_path])
    with pytest.raises(FileError, match="holds scores, but heads are of circuits"):
        compare_heads([first / "scores.safetensors"])
    differing: dict[str, dict[str, Any]] = {
        "their task .ioi, greater-than.: heads are compared on the same prompts": {"task": "greater-than"},
        "their corruption .abc, s2-random.: heads are compared on the same prompts": {"corruption": "s2-random"},
        "their ablation .corrupted, zero.: circuits found under different": {"ablation": "zero"},
        "their model .*: heads are compared within one model": {
            "model": "induction-hidden",
            "task": "induction-hidden",
        },
    }
    for number, (message, changes) in enumerate(differing.items()):
        other = discovered(tmp_path / str(number), method="eap", edges=10, **changes)
        with pytest.raises(InvalidValue, match=message):
            compare_heads([first, other])
    neurons = discovered(tmp_path / "neurons", method="eap", neurons=50)
    with pytest.raises(InvalidValue, match="a circuit of neurons, which keeps parts of heads"):
        compare_heads([neurons])


def test_circuits_without_heads_and_sizes_there_are_not_are_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    eap = ew.open(runs["eap"] / "circuit.json")
    straight = ew.Circuit.from_edges(eap.graph, ["input->m0", "m0->logits"], eap.provenance)
    ew.save(straight, tmp_path / "straight.json")
    with pytest.raises(InvalidValue, match="no head is kept by eap: no path of the circuit leads through one"):
        compare_heads([tmp_path / "straight.json"])
    with pytest.raises(InvalidValue, match="asked for 1,000 edges, but the graph has 479; give 1 to 479"):
        compare_heads([runs["eap"]], edges=1000)


# -- the report -------------------------------------------------------------------------------------------------------


def test_worth_and_roles_are_those_of_the_held_out_pairs(report: HeadReport, runs: dict[str, Path]) -> None:
    on = ew.load("nano")
    task = ew.task("ioi")
    found_on = task.pairs(on.tokenizer, n=8)
    held_out = task.pairs(on.tokenizer, n=6, apart_from=found_on)
    circuits = equal_sizes(found_circuits(list(runs.values())))[1]
    for study in report.heads.studies:
        alone = study_heads(on, circuits, held_out, base=study.base, roles=report.measured.by_head)
        assert [(row.head, row.role, row.kept_by) for row in study.rows] == [
            (row.head, row.role, row.kept_by) for row in alone.rows
        ]
        for mine, theirs in zip(study.rows, alone.rows, strict=True):
            assert mine.worth == pytest.approx(theirs.worth, abs=1e-5)
    assert report.judged_on == "6 held-out pairs"
    assert report.heads.searches == ("acdc",)


def test_pairs_that_another_run_was_found_on_are_left_out(runs: dict[str, Path], tmp_path: Path) -> None:
    on, task = ew.load("nano"), ew.task("ioi")
    held_out = task.pairs(on.tokenizer, n=8, apart_from=task.pairs(on.tokenizer, n=8))
    rows = "\n".join(
        f'{{"clean": "{clean}", "corrupted": "{corrupted}", "correct": "{on.tokenizer.decode(held_out.correct[i])}", '
        f'"wrong": "{on.tokenizer.decode(held_out.wrong[i])}"}}'
        for i, (clean, corrupted) in enumerate(held_out.texts)
    )
    (tmp_path / "rows.jsonl").write_text(rows)
    data = {"data": str(tmp_path / "rows.jsonl"), "split": 0.0, "held_out": 4, "method": "eap", "edges": 30}
    one = discovered(tmp_path / "one", **{**data, "examples": 4})
    other = discovered(tmp_path / "other", **{**data, "examples": 6})
    # The first holds out four rows, of which the second was found on two.
    assert compare_heads([one]).judged_on == "4 held-out pairs"
    assert compare_heads([one, other]).judged_on == "2 held-out pairs"


def made(*, worth_to_hap: float) -> HeadReport:
    """Two circuits of ten edges; a0.h0 is kept by both, a0.h1 by hap alone, a1.h0 does nothing for anyone."""
    both, alone = ("eap", "hap"), ("hap",)
    rows = (
        ("a0.h0", "name mover", both, 0.5, 0.4),
        ("a0.h1", "", alone, None, worth_to_hap),
        ("a1.h0", "", both, 0.0, 0.0),
    )
    studies = tuple(
        HeadStudy(both, base, "kl", tuple(HeadRow(head, role, kept, worth[side]) for head, role, kept, *worth in rows))
        for side, base in enumerate(both)
    )
    heads = Heads(10, 0.02, {"eap": 10, "hap": 10}, ("hap",), studies)
    weights = dict.fromkeys(("previous", "duplicate", "induction", "correct", "wrong"), 0.1) | {"correct": 0.6}
    measured = tuple(
        MeasuredHead(name, weights, direct, None, roles)
        for name, direct, roles in (
            ("a0.h0", 0.25, ("name mover",)),
            ("a0.h1", 0.0, ()),
            ("a1.h1", 0.02, ("name mover",)),
        )
    )
    even = dict.fromkeys(weights, 0.05)
    roles = HeadRoles("logit_diff", 4.0, 12, dict.fromkeys(weights, 12), even, measured)
    return HeadReport("small", "ioi", "corrupted", True, heads, roles, {}, ("A note.",))


def test_the_report_says_in_words_what_attribution_drops() -> None:
    text = str(made(worth_to_hap=0.3))
    assert text.startswith("heads for ioi in small, judged on 12 held-out pairs, corrupted ablation\n")
    assert "eap drops what hap needs: a0.h1 (no measured role, 0.3)." in text
    roles, heads = made(worth_to_hap=0.3).tables
    assert roles.rows[4] == ("name mover", "a0.h0 (0.60, +25%), a1.h1 (0.60, +2%)", "1 of 2", "1 of 2")
    assert heads.header == ("head", "role", "eap (10)", "hap (10)")
    assert heads.rows == (("a0.h0", "name mover", "0.500", "0.400"), ("a0.h1", "–", "–", "0.300"))
    assert heads.note.endswith("Not shown: 1 kept head without a role, and worth less than 0.02 to every circuit.")
    assert text.splitlines()[1] == "A note."


def test_where_nothing_works_together_that_is_said() -> None:
    report = made(worth_to_hap=0.01)
    assert report.cooperating == ("No head worth 0.02 or more to a searched circuit is dropped by scores alone.",)
    assert [row.missed_by for row in report.map.rows] == [()]


def test_the_picture_marks_what_is_missed_and_is_the_same_every_time() -> None:
    shown = made(worth_to_hap=0.3).map
    assert [(row.head, row.missed_by) for row in shown.rows] == [("a0.h0", ()), ("a0.h1", ("eap",))]
    first, again = (pictures(lambda figure: draw_heads(figure, shown), shown.size, ["svg"])["svg"] for _ in range(2))
    assert first == again


def test_a_report_is_a_value(report: HeadReport) -> None:
    assert pickle.loads(pickle.dumps(report)) == report  # noqa: S301
    document = report.to_dict()
    assert (document["schema"], document["metric"], document["held_out"]) == ("edgewise/heads", "kl", True)
    assert len(document["measured"]["heads"]) == 16
    assert report._repr_html_().startswith("<pre>heads for ioi in nano")


def test_a_found_circuit_of_an_unknown_method_counts_as_searched_without_scores(runs: dict[str, Path]) -> None:
    eap = found_circuits([runs["eap"]])[0]
    foreign = FoundCircuit("mine", Path("x"), "of-mine", eap.circuit, None, True, eap.setting)
    assert foreign.searched
    assert foreign.of_size(3) == eap.circuit
