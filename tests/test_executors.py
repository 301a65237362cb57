"""Work on many workers: what they find is what one process finds, and a worker that is gone is told, or done again."""

from __future__ import annotations

import os
import pickle
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
from support.command_line import edgewise, make_model, refused
from support.families import pairs, subject

import edgewise as ew
from edgewise.comparison.compare_recipe import CompareRecipe
from edgewise.comparison.from_recipe import run_comparison
from edgewise.errors import InvalidValue, UnsupportedModel, WorkerError
from edgewise.executors import each_done, processes, workers
from edgewise.progress import silent

# One worker starts the processes.
pytestmark = pytest.mark.xdist_group("workers")


@pytest.fixture(scope="module")
def two() -> Iterator[Executor]:
    with processes(2) as executor:
        yield executor


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


def squared(number: int) -> int:
    if number < 0:
        raise InvalidValue(f"{number} is negative")
    return number * number


def killing_once(flag: str) -> int:
    """Kills the process it runs in, unless that was done before; then the number of the process."""
    if not os.path.exists(flag):
        Path(flag).write_text("killed")
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def test_every_piece_is_done_once(two: Executor) -> None:
    for executor in (None, two, ThreadPoolExecutor(2)):
        assert dict(each_done(squared, [3, 1, 2], executor, silent, "squaring")) == {1: 1, 2: 4, 3: 9}


def test_an_error_of_a_worker_is_ours(two: Executor) -> None:
    with pytest.raises(InvalidValue, match="-1 is negative"):
        list(each_done(squared, [1, -1, 2], two, silent, "squaring"))


def test_work_that_cannot_be_sent_is_refused(two: Executor) -> None:
    with pytest.raises(InvalidValue, match="cannot be sent to another process"):
        list(each_done(lambda number: number, [1], two, silent, "nothing"))


def test_a_subject_is_sent_by_its_name(model: Path) -> None:
    sent = ew.load(str(model), dtype="float64", kv="native")
    received = pickle.loads(pickle.dumps(sent))  # noqa: S301
    assert received.identity == sent.identity
    assert received.dtype == sent.dtype
    with pytest.raises(InvalidValue, match="save it to a folder"):
        pickle.dumps(subject("gpt2"))


def test_a_model_that_is_another_elsewhere_is_refused(tmp_path: Path) -> None:
    place = make_model(tmp_path / "tiny")
    sent = pickle.dumps(ew.load(str(place)))
    make_model(place, seed=1)
    with pytest.raises(UnsupportedModel, match="other weights in this process"):
        pickle.loads(sent)  # noqa: S301


def test_sweeps_and_seeds_are_those_of_one_process(two: Executor, model: Path) -> None:
    on = ew.load(str(model), dtype="float64")
    data = ew.task("ioi").pairs(on.tokenizer, n=4)
    alone, beside = (ew.sweep(on, data, values=[0.5, 0.05], executor=executor) for executor in (None, two))
    assert [circuit.edges for circuit in beside.circuits] == [circuit.edges for circuit in alone.circuits]
    assert beside.values == alone.values
    how = {"method": "random", "seeds": (5, 3), "edges": 40}
    first, second = (ew.stability(on, data, executor=executor, **how) for executor in (None, two))
    assert [circuit.edges for circuit in first.circuits] == [circuit.edges for circuit in second.circuits]


def test_a_worker_that_dies_is_told() -> None:
    with pytest.raises(WorkerError, match="a worker is gone"), processes(1) as executor:
        list(each_done(signal.raise_signal, [signal.SIGKILL], executor, silent, "dying"))


def test_a_comparison_goes_on_cell_by_cell(two: Executor, model: Path, tmp_path: Path) -> None:
    """What is finished is kept, and only the rest is computed then; the tables are the same."""
    recipe = CompareRecipe.of(
        model=str(model), methods=[{"method": "eap"}, {"method": "acdc"}], examples=4, reference="none", pictures=[]
    )
    alone = run_comparison(recipe).comparison
    folder = tmp_path / "beside"
    beside = run_comparison(recipe, folder, executor=two).comparison
    for one, other in zip(alone.results, beside.results, strict=True):
        assert one.curve == other.curve
        assert one.areas == other.areas
    kept = {path: path.stat().st_mtime_ns for path in folder.rglob("found.json")}
    for path in folder.rglob("curve.json"):
        if "acdc" in str(path):
            path.unlink()
    again = run_comparison(recipe, folder, executor=two).comparison
    assert [one.curve for one in again.results] == [one.curve for one in beside.results]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_no_workers_or_two_kinds_are_refused() -> None:
    for arguments in ({"count": 0}, {"count": 2, "dask": "tcp://127.0.0.1:1"}):
        with pytest.raises(InvalidValue, match="workers"), workers(**arguments):
            pass


@pytest.mark.slow
def test_the_command_line_starts_workers(model: Path, tmp_path: Path) -> None:
    options = ["--model", model, "--methods", "eap", "--reference", "none", "--examples", 4, "--pictures", "none"]
    found = edgewise("compare", *options, "--workers", 2, "--out", tmp_path / "run")
    assert found.exit_code == 0, found.output
    assert (tmp_path / "run" / "table.md").is_file()


def test_the_command_line_takes_workers(
    two: Executor, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def given(count: int) -> AbstractContextManager[Executor]:
        asked.append(count)
        return nullcontext(two)

    monkeypatch.setattr("edgewise.executors.processes", given)
    options = ["--model", model, "--methods", "eap", "--reference", "none", "--examples", 4, "--pictures", "none"]
    found = edgewise("compare", *options, "--workers", 2, "--out", tmp_path / "run")
    assert found.exit_code == 0, found.output
    assert asked == [2]
    assert (tmp_path / "run" / "table.md").is_file()
    refused(edgewise("compare", *options, "--workers", 0), message="give at least 1")


class TestDask:
    """The same with a real cluster on this machine."""

    @pytest.fixture(scope="class")
    def cluster(self) -> Iterator[str]:
        distributed = pytest.importorskip("distributed")
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs="CRITICAL"
        ) as made:
            yield made.scheduler_address

    @pytest.mark.filterwarnings("ignore")
    def test_a_worker_killed_in_the_middle_is_replaced(self, cluster: str, tmp_path: Path) -> None:
        flags = [str(tmp_path / "flag"), str(tmp_path / "other")]
        Path(flags[1]).write_text("spared")
        with workers(dask=cluster) as executor:
            found = dict(each_done(killing_once, flags, executor, silent, "dying"))
        assert found.keys() == set(flags)

    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore")
    def test_a_comparison_is_that_of_one_process(self, cluster: str, model: Path) -> None:
        on = ew.load(str(model), dtype="float64")
        data = ew.task("ioi").pairs(on.tokenizer, n=4)
        alone = ew.sweep(on, data, values=[0.5, 0.05])
        with workers(dask=cluster) as executor:
            beside = ew.sweep(on, data, values=[0.5, 0.05], executor=executor)
        assert [circuit.edges for circuit in beside.circuits] == [circuit.edges for circuit in alone.circuits]

    def test_a_scheduler_that_is_nowhere_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("edgewise.executors.SECONDS_TO_CONNECT", 0.5)
        started = time.monotonic()
        nowhere = "tcp://127.0.0.1:1"
        with pytest.raises(WorkerError, match=f"no dask scheduler answers at {nowhere}"), workers(dask=nowhere):
            pass
        assert time.monotonic() - started < 60


def test_threads_take_turns_on_one_model() -> None:
    """Given an executor of threads, which share the model, every result is that of one thread."""
    on, data = subject("gpt2"), pairs()
    alone = ew.sweep(on, data, values=[0.5, 0.05])
    with ThreadPoolExecutor(2) as executor:
        beside = ew.sweep(on, data, values=[0.5, 0.05], executor=executor)
    assert [circuit.edges for circuit in beside.circuits] == [circuit.edges for circuit in alone.circuits]
