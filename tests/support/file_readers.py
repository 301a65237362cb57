"""Every kind of file that edgewise reads: how to make a sound one, how to damage it, and what reads it."""

from __future__ import annotations

import json
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from support.mutations import Mutate, of_bytes, of_json, of_lines, of_safetensors

import edgewise as ew
from edgewise.circuit import Circuit
from edgewise.comparison import CompareRecipe
from edgewise.comparison.comparison_store import ComparisonStore
from edgewise.comparison.pages import index_page
from edgewise.curve import Curve, CurvePoint
from edgewise.data.data_sets import DataSet
from edgewise.data.pair_files import read_rows
from edgewise.formats.conversion import FORMATS
from edgewise.formats.reading import curve_json, find, import_finding
from edgewise.graph import Graph
from edgewise.pruning.history import History, Record, read_history
from edgewise.runs.recipe import Recipe
from edgewise.scores import Scores
from edgewise.search.trace import Decision, Trace
from edgewise.store.checkpoint import Checkpoint
from edgewise.store.manifest import file_hash
from edgewise.viewer import Finding

GRAPH = Graph(2, 4, 2)
MOST_SECONDS, MOST_BYTES_MORE = 10.0, 700 << 20
KEY = {"model": "m", "pairs": "sha256:0"}


def some_scores() -> Scores:
    values = torch.randn(GRAPH.edge_mask.shape, generator=torch.Generator().manual_seed(0))
    return Scores(GRAPH, values, {"method": "eap", "model": "m", "metric": "kl", "seconds": 1.5})


def of_nodes() -> Scores:
    parts = torch.randn(len(GRAPH.writers), 5, generator=torch.Generator().manual_seed(0))
    facts = {"method": "eap"}
    return Scores(GRAPH, parts.sum(dim=1), facts, level="nodes", parts=Scores(GRAPH, parts, facts, level="neurons"))


def circuit() -> Circuit:
    facts = {
        "selection": {"n": 9, "absolute": True},
        "recipe": Recipe().model_dump(),
        "prompts": [{"clean": ["a"]}],
    }
    return some_scores().top(9).with_provenance(**facts, faithfulness={"circuit": 0.5, "metric": "kl"})


# -- files ------------------------------------------------------------------------------------------------------------


def _saved(value: Any, name: str) -> Callable[[Path], Path]:
    return lambda folder: ew.save(value(), folder / name)


def _text(name: str, text: Callable[[], str]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_text(text())
        return folder / name

    return make


def _converted(value: Any, to: str, name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(FORMATS[to].to_bytes(Finding.of(value())))
        return folder / name

    return make


def a_run(name: str) -> Callable[[Path], Path]:
    """A run folder without a manifest, of which this file is damaged."""

    def make(folder: Path) -> Path:
        ew.save(circuit(), folder / "circuit.json")
        ew.save(some_scores(), folder / "scores.safetensors")
        measured = {"clean": 1.0, "corrupted": 0.0, "circuit": 0.5, "faithfulness": 0.5, "random": None}
        report = {"schema": "edgewise/report", "version": 1, "edges": 9, "examples": 4, "metrics": {"kl": measured}}
        (folder / "report.json").write_text(json.dumps(report))
        (folder / "curve.json").write_text(
            curve_json(Curve("kl", "absolute", (CurvePoint(5, 0.4, None), CurvePoint(9, 0.5))))
        )
        attention = {"prompts": [{"tokens": ["A", " b"], "answer": 1}], "heads": {"a0.h0": ["/zPM"]}}
        (folder / "attention.json").write_text(json.dumps({"schema": "edgewise/attention", "version": 1, **attention}))
        return folder / name

    return make


def a_method(name: str) -> Callable[[Path], Path]:
    """The folder of a comparison with one method, of which this file is damaged."""

    def make(folder: Path) -> Path:
        place = folder / "methods" / "eap"
        place.mkdir(parents=True)
        (folder / "recipe.json").write_text(CompareRecipe.of(methods=["eap"]).to_json())
        ew.save(some_scores(), place / "scores.safetensors")
        ew.save(circuit(), place / "circuit-00.json")
        entry = CompareRecipe.of(methods=["eap"]).methods[0].model_dump()
        part = {"schema": "edgewise/comparison-part", "version": 1, "key": KEY, "entry": entry, "seconds": 1.0}
        found = {**part, "dial": "tau", "values": [0.1], "circuits": ["circuit-00.json"]}
        (place / "found.json").write_text(json.dumps(found))
        point = {"edges": 9, "live_edges": 9, "metrics": {"kl": 0.1}, "faithfulness": {"kl": None}}
        (place / "curve.json").write_text(json.dumps({"curve": [point]}))
        (place / "areas.json").write_text(json.dumps({"cpr": 0.5, "cmd": None}))
        thresholds = {"threshold": 0.1, "tau": 0.1, "candidates": 9, "edges": 5, "forwards": 3}
        grid = {"level": "edges", "points": [{**thresholds, "tpr": 0.5, "fpr": 0.1, "youden": 0.4}]}
        (folder / "grid.json").write_text(json.dumps(grid))
        (folder / "sample.json").write_text(json.dumps({"edges": ["m0->logits", "m1->logits"], "effects": [0.1, 0.2]}))
        (folder / "table.md").write_text(
            "# x\n\n### Cost\n\n| method | by |\n| --- | --- |\n| eap | 1 |\n\nIn seconds.\n"
        )
        return folder / name

    return make


def a_manifest(folder: Path) -> Path:
    ew.save(circuit(), folder / "circuit.json")
    files = {"circuit.json": file_hash(folder / "circuit.json")}
    head = {"schema": "edgewise/manifest", "version": 1, "recipe": Recipe().model_dump()}
    (folder / "manifest.json").write_text(json.dumps({**head, "files": files}))
    return folder / "manifest.json"


def a_checkpoint(folder: Path) -> Path:
    one = Checkpoint(folder / "state", KEY)
    one.keep(lambda: {"sums": torch.rand(3, dtype=torch.float64), "done": torch.tensor(7)})
    one.save()
    return folder / "state"


def a_trace(folder: Path) -> Path:
    trace = Trace.open(str(folder / "trace.jsonl"), KEY)
    trace.add([Decision("m0->logits", 0.1, 0.2, kept=True), Decision("->m1", 0.1, 0.1, kept=False, tested=False)])
    trace.close()
    return folder / "trace.jsonl"


def a_history(folder: Path) -> Path:
    history = History.open(folder / "history.jsonl")
    for step in (1, 2):
        history.add(Record(step, 0.5, 0.1, float("nan"), 0.1, 0.2, 9, 1.0))
    history.close()
    return folder / "history.jsonl"


ROWS = [
    {"clean": "Mary met John", "corrupted": "Mary met Tom", "correct": " John", "wrong": [" Mary"], "split": "train"},
    {"clean": "met John", "corrupted": "met Tom", "correct": [" Mary", " Paris"], "wrong": [], "split": "test"},
]
MIB = {
    "prompt": "a b",
    "metadata": {"indirect_object": "x", "subject": "y"},
    "s2_io_flip_counterfactual": {"prompt": "a c"},
}
IDS = {"clean": "a", "corrupted": "b", "correct_idx": [3], "incorrect_idx": [4, 5]}
CSV = "clean,corrupted,correct_idx,incorrect_idx\nMary met John,Mary met Tom,3|4,[5]\nmet John,met Tom,1,2\n"
CARD = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: "data/train-*.parquet"
  - {split: test, path: [a.jsonl, b.jsonl]}
---
# A data set
"""


def a_parquet(folder: Path) -> Path:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.Table.from_pylist([{**row, "correct": [" a"]} for row in ROWS]), folder / "a.parquet")
    return folder / "a.parquet"


def a_card(folder: Path) -> Path:
    (folder / "README.md").write_text(CARD)
    (folder / "data").mkdir()
    (folder / "data" / "train-0.parquet").write_bytes(b"")
    return folder / "README.md"


# -- readers ----------------------------------------------------------------------------------------------------------


def never(*_: object) -> Any:
    raise AssertionError("it is there and must be read")


def shown(path: Path) -> None:
    """A run's folder as a page."""
    ew.show(find(path.parent), path.parent / "page.html")


def described(path: Path) -> None:
    """A file as a page, and in words."""
    ew.show(find(path), path.parent / "page.html")


def stored(path: Path) -> None:
    """Everything that a comparison reads of what it finished."""
    folder = path.parent if path.parent.name != "eap" else path.parents[2]
    store, entry = ComparisonStore(folder, KEY), CompareRecipe.of(methods=["eap"]).methods[0]
    outcome = store.outcome(entry, never)
    store.curve(outcome, never), store.areas(outcome, never), store.grid(never), store.sample(never)
    find(folder / "methods" / "eap")
    index_page(folder, {})


class Reader(NamedTuple):
    make: Callable[[Path], Path]
    mutate: Mutate
    read: Callable[[Path], object]


READERS = {
    "circuit": Reader(_saved(circuit, "c.json"), of_json, described),
    "scores as JSON": Reader(_saved(some_scores, "s.json"), of_json, ew.open),
    "scores": Reader(_saved(some_scores, "s.safetensors"), of_safetensors, ew.open),
    "circuit of neurons": Reader(_saved(lambda: of_nodes().neuron_scores.top(5), "n.json"), of_json, described),
    "scores of nodes as JSON": Reader(_saved(of_nodes, "n.json"), of_json, ew.open),
    "scores of nodes": Reader(_saved(of_nodes, "n.safetensors"), of_safetensors, ew.open),
    "report": Reader(a_run("report.json"), of_json, shown),
    "curve": Reader(a_run("curve.json"), of_json, shown),
    "attention": Reader(a_run("attention.json"), of_json, shown),
    "manifest": Reader(a_manifest, of_json, lambda path: (Recipe.read(path), ew.open(path.parent / "circuit.json"))),
    "recipe": Reader(_text("r.json", lambda: Recipe(split=0).to_json()), of_json, Recipe.read),
    "recipe of a comparison": Reader(
        _text("r.json", lambda: CompareRecipe.of(grid={"threshold": [0.1], "tau": [0.1]}).to_json()),
        of_json,
        CompareRecipe.read,
    ),
    "found": Reader(a_method("methods/eap/found.json"), of_json, stored),
    "measured circuits": Reader(a_method("methods/eap/curve.json"), of_json, stored),
    "areas": Reader(a_method("methods/eap/areas.json"), of_json, stored),
    "grid": Reader(a_method("grid.json"), of_json, stored),
    "sample": Reader(a_method("sample.json"), of_json, stored),
    "table": Reader(a_method("table.md"), of_bytes, stored),
    "trace": Reader(a_trace, of_lines, lambda path: Trace.open(str(path), KEY).close()),
    "history": Reader(a_history, of_lines, read_history),
    "checkpoint": Reader(a_checkpoint, of_safetensors, lambda path: Checkpoint(path, KEY).read()),
    "pairs as JSON": Reader(_text("a.json", lambda: json.dumps({"prompts": [*ROWS, MIB]})), of_json, read_rows),
    "pairs as JSONL": Reader(
        _text("a.jsonl", lambda: "".join(json.dumps(row) + "\n" for row in (*ROWS, MIB, IDS))), of_lines, read_rows
    ),
    "pairs as CSV": Reader(_text("a.csv", lambda: CSV), of_bytes, read_rows),
    "pairs as parquet": Reader(a_parquet, of_bytes, read_rows),
    "card of a data set": Reader(a_card, of_bytes, lambda path: DataSet(str(path.parent)).files((".parquet",))),
    "EAP-IG": Reader(_converted(circuit, "eap-ig", "e.json"), of_json, import_finding),
    "EAP-IG, nodes": Reader(_converted(of_nodes, "eap-ig", "e.json"), of_json, import_finding),
    "EAP-IG tensors": Reader(_converted(some_scores, "eap-ig-pt", "e.pt"), of_bytes, import_finding),
}


class TookTooLong(BaseException):
    """Not an Exception, so that nobody takes it for something in the file."""


@contextmanager
def bounded() -> Iterator[None]:
    """Fails for what takes far more time of the processor, or memory, than a file of a few kilobytes can need."""

    def stop(*_: object) -> None:
        raise TookTooLong

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    old = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, old)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - before < MOST_BYTES_MORE
