"""ACDC: the same decisions as testing one edge at a time with a whole masked run for each, on every family."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.families import FAMILIES, pairs, subject
from support.one_at_a_time import OneAtATime, read_trace
from support.thinned import thinned
from torch import Tensor

import edgewise as ew
from edgewise.errors import EdgewiseError, FileError, InvalidValue, NumericalError
from edgewise.metrics import Answers
from edgewise.metrics import metric as find_metric
from edgewise.search.acdc import ACDC
from edgewise.search.search_metric import _Divergence
from edgewise.search.trace import Decision, Trace

GOLDEN = Path(__file__).parent.parent / "golden" / "tiny_gpt2"


CASES = [
    ("kl", "corrupted", {"tau": 0.02}),
    ("kl", "corrupted", {"tau": 0.2, "rule": "absolute"}),
    ("logit_diff", "corrupted", {"tau": 0.05, "whole_readers": False}),
    ("kl", "zero", {"tau": 0.05}),
    ("logit_diff", "mean", {"tau": 0.02}),
    ("kl", "zero", {"tau": 0.1, "rule": "absolute"}),
    ("logit_diff", "zero", {"tau": 0.05, "rule": "absolute"}),
    ("logit_diff", "corrupted", {"tau": 0.05}),
    ("accuracy", "corrupted", {"tau": 0.1}),
]


@pytest.mark.parametrize(("metric", "ablation", "options", "family"), thinned(CASES, FAMILIES, one_in=12))
def test_same_decisions_as_one_edge_at_a_time(
    family: str, metric: str, ablation: str, options: dict[str, Any], tmp_path: Path
) -> None:
    on, of = subject(family, torch.float64), pairs()
    path = tmp_path / "trace.jsonl"
    circuit = ew.discover(on, of, method="acdc", metric=metric, ablation=ablation, trace=str(path), **options)
    mask, expected = OneAtATime(on, of, ACDC(**options).criterion, metric, ablation).run()
    found = read_trace(path)
    assert [(d.edge, d.kept) for d in found] == [(d.edge, d.kept) for d in expected]
    assert torch.equal(circuit.mask, mask)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.after == pytest.approx(theirs.after, abs=1e-5)
        assert ours.before == pytest.approx(theirs.before, abs=1e-5)
    assert circuit.provenance["tested"] == len(expected)
    assert 0 < len(expected) <= on.graph.n_edges + len(on.graph.readers)


def test_the_circuit_and_trace_of_the_original_implementation(tmp_path: Path) -> None:
    numbers = json.loads((GOLDEN / "numbers.json").read_text())["pairs"]
    tokens = {name: torch.tensor(rows) for name, rows in numbers.items()}
    of = ew.Pairs.from_tokens(tokens.pop("clean"), tokens.pop("corrupted"), **tokens)
    expected = json.loads((GOLDEN / "acdc.json").read_text())
    path = tmp_path / "trace.jsonl"
    circuit = ew.discover(ew.load(GOLDEN), of, method="acdc", metric="kl", tau=expected["tau"], trace=str(path))
    assert set(circuit.edges) == set(expected["kept"])
    assert circuit.provenance["final"] == pytest.approx(expected["final_kl"], abs=1e-6)
    trace = [[d.edge, d.after, d.before, d.kept] for d in read_trace(path)]
    assert len(trace) == len(expected["trace"])
    for ours, theirs in zip(trace, expected["trace"], strict=True):
        assert (ours[0], ours[3]) == (theirs[0], theirs[3])
        assert ours[1:3] == pytest.approx(theirs[1:3], abs=1e-6)


@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
def test_the_ends_of_tau(family: str) -> None:
    on, of = subject(family), pairs()
    assert len(ew.discover(on, of, method="acdc", tau=float("-inf"))) == on.graph.n_edges
    assert len(ew.discover(on, of, method="acdc", tau=1e9)) == 0


def test_a_change_of_exactly_tau_is_taken_back() -> None:
    assert ACDC(tau=0.5).criterion.keeps(1.0, 1.5)
    assert not ACDC(tau=0.5).criterion.keeps(1.0, 1.49)
    assert not ACDC(tau=0.5).criterion.keeps(1.0, 0.0)
    assert ACDC(tau=0.5, rule="absolute").criterion.keeps(1.0, 0.0)


@pytest.mark.parametrize("cut", [1, 2, 7, 30, 60])
@pytest.mark.parametrize("ablation", ["corrupted", "zero"])
def test_a_killed_search_goes_on_and_ends_the_same(cut: int, ablation: str, tmp_path: Path) -> None:
    on, of, path = subject("llama", torch.float64), pairs(), tmp_path / "trace.jsonl"
    how = {"method": "acdc", "tau": 0.02, "ablation": ablation, "trace": str(path)}
    whole = ew.discover(on, of, **how)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:cut]) + lines[cut][:9])  # the last line of a killed run may be half there
    again = ew.discover(on, of, **how)
    assert again == whole
    assert len(path.read_text().splitlines()) == len(lines)
    assert again.provenance.get("from_trace", 0) == cut - 1  # its first line says whose trace it is
    assert "from_trace" not in whole.provenance
    assert again.provenance["final"] == pytest.approx(whole.provenance["final"], abs=1e-9)


def test_a_search_goes_on_from_a_trace_of_an_earlier_version(tmp_path: Path) -> None:
    """There shared keys and values were called after the first heads."""
    on, of, path = subject("llama", torch.float64), pairs(), tmp_path / "trace.jsonl"
    whole = ew.discover(on, of, method="acdc", tau=0.02, trace=str(path))
    today = read_trace(path)
    path.write_text("".join(path.read_text().replace(".kv", ".h").splitlines(keepends=True)[:-9]))
    assert ".kv" not in path.read_text()
    assert ew.discover(on, of, method="acdc", tau=0.02, trace=str(path)) == whole
    assert [decision.edge.replace(".kv", ".h") for decision in today] == [
        decision.edge.replace(".kv", ".h") for decision in read_trace(path)
    ]


def test_the_trace_of_another_search_is_refused(tmp_path: Path) -> None:
    on, path = subject("gpt2"), tmp_path / "trace.jsonl"
    ew.discover(on, pairs(), method="acdc", tau=1e9, trace=str(path))
    before = path.read_bytes()
    with pytest.raises(FileError, match="not a trace of this run"):
        ew.discover(on, pairs(), method="acdc", tau=1e8, trace=str(path))
    assert path.read_bytes() == before
    path.write_text("something else")
    with pytest.raises(FileError, match="not a trace of this run"):
        ew.discover(on, pairs(), method="acdc", tau=1e9, trace=str(path))
    with pytest.raises(FileError, match="cannot be written"):
        ew.discover(on, pairs(), method="acdc", tau=1e9, trace=str(tmp_path / "missing" / "trace.jsonl"))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"tau": float("nan")}, InvalidValue, "tau must be a number"),
        ({"tau": "much"}, InvalidValue, "tau must be a number"),
        ({"tau": -0.01}, InvalidValue, "must be at least 0"),
        ({"rule": "sometimes"}, InvalidValue, "'signed' or 'absolute'"),
        ({"taus": 1}, InvalidValue, "no option 'taus'; it has: tau, rule"),
        ({"edges": 5}, InvalidValue, "decides itself how many edges"),
        ({"metric": "kll"}, EdgewiseError, "did you mean 'kl'"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], error: type[EdgewiseError], message: str) -> None:
    with pytest.raises(error, match=message):
        ew.discover(subject("gpt2"), pairs(), method="acdc", **options)


def test_attribute_says_where_searches_are() -> None:
    with pytest.raises(InvalidValue, match="use discover"):
        ew.attribute(subject("gpt2"), pairs(), method="acdc")


def test_a_metric_that_is_not_finite_stops_the_search() -> None:
    from edgewise.metrics import Metric

    def gives_up(logits: Tensor, answers: Answers, clean: Tensor) -> Tensor:
        return torch.full((len(logits),), 0.0 if logits.equal(clean) else torch.inf)

    with pytest.raises(NumericalError, match="the metric endless is inf for"):
        ew.discover(subject("gpt2"), pairs(), method="acdc", metric=Metric("endless", gives_up, sign=-1))


def test_a_metric_that_is_no_number_when_clean_is_refused_before_any_test(tmp_path: Path) -> None:
    from edgewise.metrics import Metric

    nothing = Metric("nothing", lambda logits, answers, clean: logits[:, 0] * torch.nan)
    with pytest.raises(NumericalError, match="the metric nothing is nan for"):
        ew.discover(subject("gpt2"), pairs(), method="acdc", metric=nothing, trace=str(tmp_path / "trace.jsonl"))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_decisions_before(tmp_path: Path) -> None:
    class Full:
        name = "trace.jsonl"

        def write(self, text: str) -> None:
            raise OSError(28, "No space left on device")

    with pytest.raises(FileError, match=r"trace.jsonl cannot be written: no space left"):
        Trace([], Full()).add([Decision("a0.h0->logits", 0.0, 0.1, False)])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ablation", "family"),
    thinned([("corrupted",), ("zero",)], ["gpt2", "llama", "gemma2", "neox-parallel"], one_in=2),
)
def test_a_sweep_decides_as_single_searches_and_computes_less(family: str, ablation: str, tmp_path: Path) -> None:
    on, of = subject(family, torch.float64), pairs()
    how: dict[str, Any] = {"method": "acdc", "ablation": ablation}
    # Values so near to each other that they agree on many decisions at first.
    values = [0.2, 0.02, 0.0199, 0.0198]
    found = ew.sweep(on, of, values=values, trace=str(tmp_path / "trace.jsonl"), **how)
    for value, circuit in zip(values, found.circuits, strict=True):
        alone = ew.discover(on, of, tau=value, trace=str(tmp_path / "alone.jsonl"), **how)
        assert circuit == alone
        assert circuit.provenance["tested"] == alone.provenance["tested"]
        assert circuit.provenance["final"] == pytest.approx(alone.provenance["final"], abs=1e-9)
        assert circuit.provenance["options"] == alone.provenance["options"]
        shared, single = read_trace(tmp_path / f"trace-{value}.jsonl"), read_trace(tmp_path / "alone.jsonl")
        assert [(one.edge, one.kept) for one in shared] == [(one.edge, one.kept) for one in single]
        (tmp_path / "alone.jsonl").unlink()
    computed = [circuit.provenance["computed"] for circuit in found.circuits]
    tested = [circuit.provenance["tested"] for circuit in found.circuits]
    assert computed[0] == tested[0]
    assert sum(computed) < sum(tested)
    again = ew.sweep(on, of, values=values, trace=str(tmp_path / "trace.jsonl"), **how)
    assert [circuit.provenance["computed"] for circuit in again.circuits] == [0] * 4
    assert again.circuits == found.circuits


def test_progress_says_what_is_tested_kept_and_to_go() -> None:
    told: list[str] = []

    def track(steps: Any, total: int, label: str, detail: Any = None) -> Any:
        assert (total, label) == (subject("gpt2").graph.n_edges, "testing edges (acdc, tau 0.02)")
        for step in steps:
            told.append(detail(step))
            yield step

    circuit = ew.discover(subject("gpt2"), pairs(), method="acdc", tau=0.02, track=track)
    assert len(told) == subject("gpt2").graph.n_edges
    known = circuit.provenance
    assert told[-1] == f"{known['tested']:,} tested, {len(circuit):,} kept, 0 to go, metric {known['final']:.4g}"


def test_the_divergence_of_many_runs_is_the_metric_of_each() -> None:
    generator = torch.Generator().manual_seed(0)
    clean, logits = (5 * torch.randn(n, 3, 11, generator=generator) for n in (1, 4))
    answers = Answers(torch.zeros(3, 1, dtype=torch.long), torch.ones(3, 1, dtype=torch.long))
    expected = torch.stack([find_metric("kl").value(one, answers, clean[0]) for one in logits])
    assert torch.allclose(_Divergence(clean[0])(logits + 100), expected, atol=1e-5)
    assert torch.equal(_Divergence(clean[0])(clean), torch.zeros(1, 3))
