"""compare: every number beside the call that makes it alone, and what cannot be compared is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import pytest
import torch
from scipy.stats import spearmanr
from support.families import pairs, random_circuit, subject

import edgewise as ew
from edgewise.comparison import Entry
from edgewise.comparison.reference import measured, settle
from edgewise.errors import GraphMismatch, InvalidValue, NumericalError, UnknownName
from edgewise.evaluation import auroc, benchmark, measure_recovery, size_curve
from edgewise.methods import METHODS as METHODS_BY_NAME
from edgewise.metrics import METRICS, Metric
from edgewise.search import Search
from edgewise.search.base import Kept

TAUS = [0.3, 0.03, 0.003]
METHODS: list[Any] = ["eap", {"method": "acdc", "values": TAUS}, "exact"]


@pytest.fixture(scope="module")
def comparison() -> ew.Comparison:
    return ew.compare(subject("gpt2"), pairs(), methods=METHODS, reference="exact:5%", edges=[1, 12, "10%"])


def edge_values(scores: ew.Scores) -> list[float]:
    return [scores[edge] for edge in scores.graph.edges]


def test_it_runs_what_it_was_asked_to_and_a_baseline(comparison: ew.Comparison) -> None:
    assert [result.name for result in comparison.results] == ["eap", "acdc", "exact", "random"]
    assert comparison.sizes == (1, 12, round(0.1 * subject("gpt2").graph.n_edges))
    assert comparison["acdc"].outcome.size_option == "tau"
    with pytest.raises(UnknownName, match="did you mean 'eap'"):
        comparison["eapp"]


def test_scores_are_those_of_the_methods_alone(comparison: ew.Comparison) -> None:
    on, of = subject("gpt2"), pairs()
    for name in ("eap", "exact", "random"):
        assert torch.equal(comparison[name].scores.values, ew.attribute(on, of, method=name).values), name
    alone = ew.sweep(on, of, method="acdc", values=TAUS)
    assert comparison["acdc"].outcome.circuits == alone.circuits
    assert torch.equal(comparison["acdc"].scores.values, alone.scores.values)
    assert comparison["acdc"].outcome.tested == sum(one.provenance["tested"] for one in alone.circuits)


def test_the_reference_is_the_edges_with_large_effects(comparison: ew.Comparison) -> None:
    exact = ew.attribute(subject("gpt2"), pairs(), method="exact")
    ends = comparison.ends["logit_diff"]
    threshold = 0.05 * abs(ends.clean - ends.corrupted)
    large = [edge for edge in exact.graph.edges if abs(exact[edge]) >= threshold]
    assert comparison.reference is not None
    assert list(comparison.reference.circuit.edges) == large
    assert comparison.reference.threshold == pytest.approx(threshold)
    assert comparison.exact is not None
    assert torch.equal(comparison.exact.values, exact.values)


@pytest.mark.parametrize("level", ["edges", "nodes"])
def test_recovery_is_that_of_the_reference(comparison: ew.Comparison, level: str) -> None:
    assert comparison.reference is not None
    truth = comparison.reference.circuit
    assert comparison["eap"].recovery[level] == measure_recovery(comparison["eap"].scores, truth, level=level)
    found = comparison["acdc"].outcome.circuits
    assert comparison["acdc"].recovery[level] == measure_recovery(found, truth, level=level)
    # The reference is a threshold of these very scores.
    assert comparison["exact"].recovery[level].auc_trapezoid == 1


def test_agreement_is_that_of_the_ranks(comparison: ew.Comparison) -> None:
    exact = edge_values(comparison["exact"].scores)
    eap = edge_values(comparison["eap"].scores)
    found = comparison["eap"].agreement
    assert found is not None
    assert found["spearman"] == pytest.approx(spearmanr(eap, exact).statistic)
    sizes = [[abs(value) for value in side] for side in (eap, exact)]
    assert found["spearman_absolute"] == pytest.approx(spearmanr(*sizes).statistic)
    top = int(found["top"] or 0)
    best = [set(scores.top(top).edges) for scores in (comparison["eap"].scores, comparison["exact"].scores)]
    assert found["overlap"] == len(best[0] & best[1]) / top
    assert comparison["exact"].agreement is None
    search = comparison["acdc"].agreement
    assert search is not None
    assert search["spearman"] is None


def test_areas_are_those_of_the_benchmark(comparison: ew.Comparison) -> None:
    assert comparison.reference is not None
    for name in ("eap", "acdc", "exact", "random"):
        scores, areas = comparison[name].scores, comparison[name].areas
        alone = benchmark(subject("gpt2"), scores, pairs(), metric="logit_diff")
        assert areas["cpr"] == pytest.approx(alone.cpr), name
        assert areas["cmd"] == pytest.approx(alone.cmd), name
        assert areas["auroc"] == pytest.approx(auroc(scores, comparison.reference.circuit)), name
    # The signed and the absolute ranking are different questions.
    eap = comparison["eap"]
    assert size_curve(subject("gpt2"), eap.scores, pairs(), selection="absolute").cpr != pytest.approx(eap.areas["cpr"])


def test_circuits_are_measured_as_evaluate_does(comparison: ew.Comparison) -> None:
    on, of = subject("gpt2"), pairs()
    for name, size in (("eap", 1), ("eap", 12), ("acdc", 12), ("random", 12)):
        circuit = comparison.circuit(name, size)
        report = ew.evaluate(on, circuit, of, metrics=["logit_diff", "kl", "accuracy"])
        point = comparison[name].at(size)
        assert (point.edges, point.live_edges) == (report.edges, report.live_edges)
        for metric, value in report.metrics.items():
            assert point.metrics[metric] == pytest.approx(value.circuit, abs=1e-6)
            assert point.faithfulness[metric] == pytest.approx(value.to_dict()["faithfulness"], abs=1e-6)


def test_a_search_shows_its_own_circuits_nearest_to_the_sizes(comparison: ew.Comparison) -> None:
    sizes = sorted(len(circuit) for circuit in comparison["acdc"].outcome.circuits)
    assert [point.edges for point in comparison["acdc"].curve] == sizes
    nearest = min(sizes, key=lambda size: (abs(size - 12), size))
    assert comparison["acdc"].at(12).edges == len(comparison.circuit("acdc", 12)) == nearest


def test_it_is_plain_values_and_text(comparison: ew.Comparison) -> None:
    document = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert document["schema"] == "edgewise/comparison"
    assert document["reference"]["edges"] == len(comparison.reference.circuit)  # type: ignore[union-attr]
    text = str(comparison)
    for word in ("eap", "acdc", "random", "AUC, steps", "AUC, lines", "Faithfulness", "KL"):
        assert word in text


# The whole shape of the document: adding a key is an addition here, renaming one breaks its readers.
RESULT = {
    *("name", "method", "options", "metric", "ranking", "manner", "dial", "values", "sizes_found"),
    *("tested", "work", "cost", "seconds", "recovery", "agreement", "areas", "curve"),
}
RECOVERY = {
    *("level", "points", "auc_pessimistic", "auc_trapezoid", "average_precision", "denominators"),
    *("points_in_all", "best"),
}
TOP = {
    *("schema", "version", "model", "data", "metric", "ablation", "batch_size", "versions", "total_edges", "sizes"),
    *("ends", "reference", "results", "heads", "grid"),
}


def test_the_document_keeps_its_shape(comparison: ew.Comparison) -> None:
    document = comparison.to_dict()
    assert document.keys() == TOP
    assert document["reference"].keys() == {"kind", "text", "edges", "total_edges", "threshold"}
    for result in document["results"]:
        assert result.keys() == RESULT
        assert result["recovery"].keys() == {"edges", "nodes"}
        assert result["recovery"]["edges"].keys() == RECOVERY
        assert result["recovery"]["edges"]["points"][0].keys() == {"fpr", "tpr", "precision", "size", "threshold"}
        assert result["curve"][0].keys() == {"edges", "live_edges", "metrics", "faithfulness"}


def test_written_curves_are_thinned_and_keep_their_ends(monkeypatch: pytest.MonkeyPatch, comparison: Any) -> None:
    whole = comparison["eap"].recovery["edges"]
    monkeypatch.setattr("edgewise.comparison.result.POINTS_WRITTEN", 10)
    written = comparison.to_dict()["results"][0]["recovery"]["edges"]
    assert len(written["points"]) <= 12
    assert written["points_in_all"] == len(whole.points)
    assert [written["points"][i]["size"] for i in (0, -1)] == [whole.points[i].size for i in (0, -1)]
    assert written["auc_trapezoid"] == whole.auc_trapezoid


# -- choices ----------------------------------------------------------------------------------------------------------


def test_exact_effects_that_only_make_the_reference_are_no_method() -> None:
    found = ew.compare(subject("gpt2"), pairs(), methods=["eap"], edges=[12])
    assert [result.name for result in found.results] == ["eap", "random"]
    assert found.reference is not None
    assert found.reference.kind == "exact"
    assert "0.01 of clean − corrupted" in found.reference.text
    assert found["eap"].agreement is not None


def test_a_level_at_which_the_reference_has_everything_is_left_out() -> None:
    on = subject("gpt2")
    truth = ew.Circuit.full(on.graph) - ew.Circuit.from_edges(on.graph, ["a0.h0->logits"])
    found = ew.compare(on, pairs(), methods=["random"], reference=truth, edges=[12])
    assert list(found["random"].recovery) == ["edges"]
    assert "Recovery of the reference, nodes" not in str(found)


def test_without_a_reference_the_circuits_are_measured_all_the_same() -> None:
    found = ew.compare(subject("gpt2"), pairs(), methods=["eap"], reference="none", edges=[12])
    assert found.reference is found.exact is found["eap"].agreement is None
    assert not found["eap"].recovery
    assert "AUC" not in str(found)
    assert found.to_dict()["reference"] is None


def test_a_circuit_can_be_the_reference() -> None:
    truth = random_circuit(subject("gpt2"), 0.2, seed=3)
    found = ew.compare(subject("gpt2"), pairs(), methods=["eap"], reference=truth, edges=[12])
    assert found["eap"].recovery["edges"] == measure_recovery(found["eap"].scores, truth)
    assert found.exact is None


def test_one_method_twice_under_two_labels() -> None:
    signed = {"method": "eap", "label": "eap signed", "ranking": "signed"}
    found = ew.compare(subject("gpt2"), pairs(), methods=["eap", signed], reference="exact:5%", edges=[12])
    scores = found["eap signed"].scores
    assert found.circuit("eap signed", 12) == scores.top(12, absolute=False)
    truth = found.reference.circuit  # type: ignore[union-attr]
    assert found["eap signed"].recovery["edges"] == measure_recovery(scores, truth, absolute=False)
    assert found["eap"].recovery["edges"] == measure_recovery(scores, truth)


def test_a_method_may_work_with_a_metric_of_its_own() -> None:
    methods = [{"method": "exact", "metric": "kl", "label": "exact KL"}, {"method": "acdc", "values": [0.01]}]
    found = ew.compare(subject("gpt2"), pairs(), methods=methods, reference="none", edges=[12])
    assert found["exact KL"].scores.provenance["metric"] == "kl"
    assert found["acdc"].scores.provenance["metric"] == "kl"
    assert found.metric == "logit_diff"
    assert found.exact is None  # KL effects are not the effects on the metric at hand


def test_a_metric_that_is_a_distance_is_turned_round() -> None:
    found = ew.compare(subject("gpt2"), pairs(), methods=["exact"], metric="kl", edges=[12])
    ends = found.ends["kl"]
    assert ends.clean < ends.corrupted
    assert found.reference is not None
    assert found.reference.threshold == pytest.approx(0.01 * (ends.corrupted - ends.clean))


def test_random_scores_that_are_asked_for_are_the_baseline() -> None:
    methods = ["eap", {"method": "random", "options": {"seed": 5}}]
    found = ew.compare(subject("gpt2"), pairs(), methods=methods, reference="none", edges=[12])
    assert [result.name for result in found.results] == ["eap", "random"]
    assert found["random"].scores.provenance["options"]["seed"] == 5


@final
@dataclass(frozen=True)
class Sized(Search):
    """A search that can be told how many edges to keep, at least `least`: the first ones in index order."""

    edges: int = 5
    least: int = 0
    name: ClassVar[str] = "sized"
    summary: ClassVar[str] = "for this test"
    cost: ClassVar[str] = "nothing"
    metric: ClassVar[str] = "kl"
    size_option: ClassVar[str] = "edges"
    size_values: ClassVar[tuple[float, ...]] = (5.0,)

    def for_edges(self, edges: int | None) -> Sized:
        if edges is not None and edges < self.least:
            raise InvalidValue("too few")
        return replace(self, edges=self.edges if edges is None else edges)

    def search(self, request: Any) -> Kept:
        graph = request.subject.graph
        return Kept(ew.Circuit.from_edges(graph, graph.edges[: self.edges]).mask, {"tested": 7})


def test_a_search_that_can_be_told_a_size_runs_once_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS_BY_NAME, "sized", Sized)
    methods = [{"method": "sized", "options": {"least": 10}}]
    found = ew.compare(subject("gpt2"), pairs(), methods=methods, reference="none", edges=[5, 12, 40])["sized"]
    assert [len(circuit) for circuit in found.outcome.circuits] == [12, 40]  # 5 is fewer than it takes
    assert [point.edges for point in found.curve] == [12, 40]
    assert (found.outcome.size_option, found.outcome.tested, found.at(5).edges) == ("sparsity", 14, 12)
    assert found.outcome.work == "14 tested"
    # An edge goes at the smallest share left out at which it is not kept; one that is in every circuit never does.
    total = subject("gpt2").graph.n_edges
    assert found.scores[subject("gpt2").graph.edges[0]] == torch.inf
    assert found.scores[subject("gpt2").graph.edges[20]] == pytest.approx(1 - 12 / total)


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["eap", "eap"]}, "two methods are called 'eap'"),
        ({"methods": ["eapp"]}, "did you mean 'eap'"),
        ({"methods": [{"method": "eap", "option": {}}]}, "unknown key 'option'; did you mean 'options'"),
        ({"methods": [{"method": "eap", "options": {"steps": 3}}]}, "has no option 'steps'"),
        ({"methods": [{"method": "acdc", "metric": "kll"}]}, "did you mean 'kl'"),
        ({"methods": [{"method": "eap", "values": [0.1]}]}, "eap scores every edge at once, so it takes no values"),
        ({"methods": [{"method": "eap", "label": "exact effects"}]}, "two methods are called 'exact effects'"),
        ({"reference": "exact-circuit.json"}, "no such file"),
        ({"reference": "exact:0"}, "needs a threshold above 0"),
        ({"reference": "exact:nan"}, "needs a threshold above 0"),
        ({"reference": "exact:-1%"}, "needs a threshold above 0"),
        ({"reference": "exact"}, "needs a threshold above 0"),
        ({"reference": "task"}, "there is no known circuit for a file of data"),
        ({"reference": "none.json"}, "no such file"),
        (
            {"edges": ["5"]},
            "asked for '5' edges, but the graph has 262; give 1 to 262, or a share of all, such as '10%'",
        ),
        ({"edges": ["0%"]}, "asked for '0%' edges"),
        ({"edges": ["101%"]}, "asked for '101%' edges"),
        ({"edges": [-1]}, "asked for -1 edges"),
        ({"edges": [10**6]}, "asked for 1,000,000 edges"),
        ({"metric": "loss"}, "unknown metric"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ew.EdgewiseError, match=message):
        ew.compare(subject("gpt2"), pairs(), **{"methods": ["eap"], "edges": [12], **changes})


@pytest.mark.parametrize(("threshold", "count"), [("exact:1e9", "no edge has"), ("exact:1e-30", "every edge has")])
def test_a_threshold_that_tells_nothing_apart_is_refused(threshold: str, count: str) -> None:
    on = subject("gpt2")
    values = torch.ones(on.graph.edge_mask.shape)
    with pytest.raises(InvalidValue, match=f"{count} an effect of .* the largest is 1"):
        measured(threshold, ew.Scores(on.graph, values), 1.0)


def test_a_reference_of_another_model_is_refused() -> None:
    other = random_circuit(subject("llama"), 0.2, seed=0)
    with pytest.raises(GraphMismatch, match="is of another model: 3 layers, 4 heads"):
        ew.compare(subject("gpt2"), pairs(), methods=["eap"], reference=other)
    with pytest.raises(GraphMismatch, match=r"the circuit known for ioi in gpt2\) is of another model"):
        settle("task", subject("gpt2"), "ioi")


def test_a_reference_without_an_edge_or_with_all_is_refused() -> None:
    graph = subject("gpt2").graph
    for nothing_to_find in (ew.Circuit.from_edges(graph, []), ew.Circuit.full(graph)):
        with pytest.raises(InvalidValue, match="edge, so there is nothing to recover"):
            ew.compare(subject("gpt2"), pairs(), methods=["eap"], reference=nothing_to_find)


def test_where_no_reference_exists_agreement_and_faithfulness_remain(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a model that is too large to patch every edge, and pairs that no circuit is known for,
    monkeypatch.setattr("edgewise.comparison.compare_recipe.MEASURED_UP_TO", 10)
    # when methods are compared and nothing else is said,
    found = ew.compare(subject("gpt2"), pairs(), edges=[12])
    # then those that take hours are left out, scores are held against a sample of edges, and the tables say so.
    assert [result.name for result in found.results] == ["eap-ig", "eap", "random"]
    assert found.reference is found.exact is None
    effects = ew.effects(subject("gpt2"), pairs(), found.sample.edges)  # type: ignore[union-attr]
    assert len(effects) == 100
    scores = [found["eap"].scores[edge] for edge in effects]
    rho = spearmanr(scores, list(effects.values())).statistic
    assert found["eap"].agreement["spearman"] == pytest.approx(rho)  # type: ignore[index]
    assert "There is no reference circuit, so nothing is said of recovery" in str(found)
    assert found["eap"].curve[0].faithfulness["logit_diff"] is not None


def test_what_is_named_is_done_on_a_model_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgewise.comparison.compare_recipe.MEASURED_UP_TO", 10)
    named = ew.compare(subject("gpt2"), pairs(), methods=["exact"], reference="none", edges=[12])
    assert [result.name for result in named.results] == ["exact", "random"]
    assert named.sample is None


def test_a_task_without_a_known_circuit_has_no_reference_of_its_own() -> None:
    with pytest.raises(InvalidValue, match="no known circuit for the task induction"):
        settle("task", subject("gpt2"), "induction")


def test_a_task_s_own_circuit_is_the_reference_where_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    on = subject("gpt2")
    monkeypatch.setattr("edgewise.tasks.base.Task.reference", property(lambda _: random_circuit(on, 0.2, seed=0)))
    found = settle(None, on, "ioi")
    assert not isinstance(found, str)
    assert (found.kind, found.circuit) == ("task", random_circuit(on, 0.2, seed=0))
    assert found.groups["s_inhibition"] == ("a7.h3", "a7.h9", "a8.h6", "a8.h10")


def test_pairs_that_do_not_differ_are_refused() -> None:
    same = replace(pairs(), corrupted=pairs().clean)
    with pytest.raises(
        NumericalError, match=r"the metric logit_diff is .* both clean and corrupted, so there is nothing to find"
    ):
        ew.compare(subject("gpt2"), same, methods=["random"], reference="none")


def test_a_metric_that_is_nan_is_refused() -> None:
    broken = Metric(
        "broken", lambda logits, answers, clean: METRICS["nll"].function(logits, answers, clean) * torch.nan
    )
    with pytest.raises(NumericalError, match="the metric broken is nan for 5 example"):
        ew.compare(subject("gpt2"), pairs(), methods=["random"], metric=broken, reference="none")


def test_entries_name_folders() -> None:
    assert Entry(method="eap+acdc").folder == "eap+acdc"
    assert Entry(method="eap", label="EAP, signed/abs").folder == "EAP--signed-abs"
    assert not Entry(method="eap", label="..").folder.startswith(".")
