"""Several processes that work together find what one finds alone, and say so when they cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support import rank_process
from support.command_line import SMALL, make_model
from support.one_at_a_time import read_trace
from support.rank_process import paths_for_children, results, together

import edgewise as ew
from edgewise.errors import InvalidValue
from edgewise.ranks import Ranks, current

# One worker keeps the process that all ranks are forked from.
pytestmark = pytest.mark.xdist_group("ranks")


@pytest.mark.parametrize("work", [rank_process.of_every_method, rank_process.of_every_verb])
def test_two_ranks_find_what_one_finds(work: object, tmp_path: Path) -> None:
    """Given float64, every method comes to the same decisions, and every number agrees; each rank has all of it."""
    assert callable(work)
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    alone.mkdir()
    shared.mkdir()
    work(alone)
    assert together(work, shared) == ["", ""]
    expected, found, other = results(alone), results(shared), results(shared, 1)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], other[name]), name
        if value.dtype == torch.bool:
            assert torch.equal(found[name], value), name
        else:
            # Gates are trained in float32, whatever the model is in.
            tolerance = 1e-5 if name == "ugs scores" else 1e-9
            torch.testing.assert_close(found[name], value, rtol=tolerance, atol=tolerance, msg=name)


def test_one_pair_is_enough_where_pairs_are_not_shared(tmp_path: Path) -> None:
    """Each rank keeps the trace of its thresholds where the first one does."""
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    alone.mkdir()
    shared.mkdir()
    rank_process.of_one_pair(alone)
    assert together(rank_process.of_one_pair, shared) == ["", ""]
    expected, found, other = results(alone), results(shared), results(shared, 1)
    for name, value in expected.items():
        assert torch.equal(found[name], other[name]), name
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-9, msg=name)
    traces = sorted(path.name for path in alone.glob("trace*"))
    assert len(traces) == 3
    for name in traces:
        assert len(read_trace(shared / name)) == len(read_trace(alone / name)), name


def test_ranks_with_different_data_are_told(tmp_path: Path) -> None:
    for said in together(rank_process.with_other_data, tmp_path):
        assert said.startswith("RankError: rank 1 works on another data than rank 0"), said


def test_more_ranks_than_pairs(tmp_path: Path) -> None:
    assert set(together(rank_process.with_too_few_pairs, tmp_path)) == {
        "InvalidValue: 1 pairs for 2 ranks: start no more ranks than there are pairs"
    }


def test_a_rank_that_dies_is_named_and_the_run_goes_on_from_there(tmp_path: Path) -> None:
    first, killed = together(rank_process.until_one_dies, tmp_path)
    assert first.startswith("RankError: rank 1 is gone"), first
    assert "--resume" in first
    assert killed == "exit code 9"
    assert together(rank_process.going_on, tmp_path) == ["", ""]
    on = rank_process.subject("gpt2", torch.float64)
    whole = ew.attribute(on, rank_process.pairs(), method="exact", batch_size=2).values
    found = results(tmp_path)
    torch.testing.assert_close(found["scores"], whole, rtol=1e-12, atol=1e-12)
    units = 3 * len(on.graph.readers)
    assert 0 < 2 * int(found["patched"]) < units


def test_the_command_line_under_torchrun(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One folder, one report, and the same circuit as without it."""
    from torch.distributed.run import main

    from edgewise.cli import app

    model = make_model(tmp_path / "tiny")
    options = ["discover", "--model", str(model), *SMALL, "--dtype", "float64", "--curve", "0"]
    app([*options, "--out", str(tmp_path / "alone")], standalone_mode=False)
    alone = capfd.readouterr().out
    program = tmp_path / "program.py"
    program.write_text("from edgewise.cli import main; main()")
    with paths_for_children():
        main(["--standalone", "--nproc-per-node", "2", str(program), *options, "--out", str(tmp_path / "shared")])
    shared = capfd.readouterr().out
    assert shared.count("faithfulness") == alone.count("faithfulness") == 1
    circuits = [ew.open(tmp_path / name / "circuit.json") for name in ("alone", "shared")]
    assert circuits[0].edges == circuits[1].edges


def test_alone_nothing_is_shared() -> None:
    assert current() == Ranks()
    assert current().share(5) == slice(0, 5)
    assert current().gather("mine") == ["mine"]
    assert current().of_first(lambda: 3) == 3


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("total", [0, 1, 5, 7, 8])
def test_shares_are_everything_once(total: int, count: int) -> None:
    things = list(range(total))
    shares = [things[Ranks(number, count).share(total)] for number in range(count)]
    assert [thing for share in shares for thing in share] == things
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_without_torchrun_there_are_no_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(InvalidValue, match="torchrun"), ew.distributed():
        pass
