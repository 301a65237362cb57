"""Scores: selection against a sorting twin, agreement against scipy, and what is refused."""

from __future__ import annotations

import math
import re
from collections import Counter

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from support.strategies import scores

from edgewise.circuit import Circuit
from edgewise.errors import GraphMismatch, InvalidValue, NumericalError, UnknownName
from edgewise.graph import Graph
from edgewise.scores import Scores

GRAPH = Graph(layers=1, heads=1, kv_heads=1)  # 3 writers, 5 readers, 8 edges


def _scores(**edges: float) -> Scores:
    """Scores of GRAPH, zero but for the edges from `input` to m0, logits, … given by name of the reader."""
    values = torch.zeros(GRAPH.edge_mask.shape)
    for reader, value in edges.items():
        values[GRAPH.edge_index(f"input->{reader}")] = value
    return Scores(GRAPH, values)


# -- values -----------------------------------------------------------------------------------------------------------


def test_a_score_is_read_by_the_name_of_its_edge() -> None:
    values = torch.arange(15.0).reshape(3, 5)
    scores = Scores(GRAPH, values)
    assert scores["input->logits"] == 4.0
    assert scores["m0->logits"] == 14.0
    assert dict(scores.items())["a0.h0->m0"] == 8.0
    assert [edge for edge, _ in scores.items()] == list(GRAPH.edges)
    assert len(scores) == 8


def test_values_are_float32_and_zero_where_there_is_no_edge() -> None:
    scores = Scores(GRAPH, torch.full(GRAPH.edge_mask.shape, 3.0, dtype=torch.float64, requires_grad=True))
    assert scores.values.dtype == torch.float32
    assert not scores.values.requires_grad
    assert torch.equal(scores.values, 3.0 * GRAPH.edge_mask)


def test_scores_keep_their_own_values() -> None:
    values = torch.ones(GRAPH.edge_mask.shape)
    scores = Scores(GRAPH, values)
    values.zero_()
    assert scores["m0->logits"] == 1.0


def test_provenance_is_read_only_and_follows_into_the_circuit() -> None:
    scores = Scores(GRAPH, GRAPH.edge_mask.float(), {"method": "eap"})
    assert scores.top(3).provenance == {"method": "eap", "selection": {"select": "top", "n": 3, "absolute": True}}
    assert scores.above(0.5, absolute=False).provenance["selection"] == {
        "select": "above",
        "threshold": 0.5,
        "absolute": False,
    }
    assert repr(scores) == "<Scores: eap on 1 layers, 1 heads: 8 edges>"
    with pytest.raises(TypeError):
        scores.provenance["method"] = "other"  # pyright: ignore[reportIndexIssue]


# -- top --------------------------------------------------------------------------------------------------------------


def _sorted_twin(scores: Scores, n: int, absolute: bool) -> set[str]:
    """Python's stable sort of all edges in index order: by writer, then by reader."""
    graph = scores.graph
    pairs = [(w, r) for w in range(len(graph.writers)) for r in range(len(graph.readers)) if w < graph.reach(r)]
    values = {pair: float(scores.values[pair]) for pair in pairs}
    ranked = sorted(pairs, key=lambda pair: -(abs(values[pair]) if absolute else values[pair]))
    return {graph.edge_name(*pair) for pair in ranked[:n]}


@given(scores(), st.floats(0, 1), st.booleans())
def test_top_is_what_sorting_gives(scores: Scores, share: float, absolute: bool) -> None:
    n = round(share * len(scores))
    circuit = scores.top(n, absolute=absolute)
    assert len(circuit) == n
    assert set(circuit.edges) == _sorted_twin(scores, n, absolute)


@given(scores(), st.floats(0, 1), st.floats(0, 1), st.booleans())
def test_a_larger_top_holds_a_smaller_one(scores: Scores, first: float, second: float, absolute: bool) -> None:
    few, many = sorted(round(share * len(scores)) for share in (first, second))
    assert scores.top(few, absolute=absolute) <= scores.top(many, absolute=absolute)


@given(scores())
def test_top_of_none_and_of_all(scores: Scores) -> None:
    assert len(scores.top(0)) == 0
    assert scores.top(len(scores)) == Circuit.full(scores.graph)
    assert scores.top(len(scores), absolute=False) == Circuit.full(scores.graph)


def test_ties_go_to_the_first_writer_then_the_first_reader() -> None:
    scores = Scores(GRAPH, torch.zeros(GRAPH.edge_mask.shape))
    readers = ("a0.h0<q>", "a0.h0<k>", "a0.h0<v>", "m0", "logits")
    order = [*(f"input->{reader}" for reader in readers), "a0.h0->m0", "a0.h0->logits", "m0->logits"]
    for n in range(1, 9):
        assert set(scores.top(n).edges) == set(order[:n])


def test_negative_zero_ties_with_zero() -> None:
    values = torch.zeros(GRAPH.edge_mask.shape)
    values[0, 0] = -0.0
    assert Scores(GRAPH, values).top(1, absolute=False).edges == ("input->a0.h0<q>",)


def test_signed_and_absolute_ranking_differ_where_a_score_is_negative() -> None:
    scores = _scores(m0=-2.0, logits=1.0)
    assert scores.top(1).edges == ("input->m0",)
    assert scores.top(1, absolute=False).edges == ("input->logits",)
    assert "input->m0" not in scores.top(7, absolute=False)


def test_infinite_scores_rank_first_and_last() -> None:
    scores = _scores(m0=-math.inf, logits=math.inf)
    assert set(scores.top(2).edges) == {"input->m0", "input->logits"}
    assert scores.top(1, absolute=False).edges == ("input->logits",)
    assert "input->m0" not in scores.top(7, absolute=False)
    assert "input->m0" in scores.top(8, absolute=False)


@pytest.mark.parametrize(("n", "shown"), [(9, "9"), (-1, "-1"), (1_000_000, "1,000,000")])
def test_more_edges_than_there_are_is_refused(n: int, shown: str) -> None:
    with pytest.raises(InvalidValue, match=f"asked for {shown} edges, but the graph has 8; give 0 to 8"):
        _scores().top(n)


# -- above ------------------------------------------------------------------------------------------------------------


@given(scores(), st.floats(-2, 2), st.booleans())
def test_above_keeps_what_reaches_the_threshold(scores: Scores, threshold: float, absolute: bool) -> None:
    bound = float(torch.tensor(threshold, dtype=torch.float32))
    kept = {edge for edge, value in scores.items() if (abs(value) if absolute else value) >= bound}
    assert set(scores.above(bound, absolute=absolute).edges) == kept


def test_the_threshold_itself_is_above() -> None:
    scores = _scores(m0=-0.5, logits=0.5)
    assert scores.above(0.5).edges == ("input->m0", "input->logits")
    assert scores.above(0.5, absolute=False).edges == ("input->logits",)


def test_a_threshold_that_is_no_number_is_refused() -> None:
    with pytest.raises(InvalidValue, match="threshold is nan"):
        _scores().above(math.nan)


# -- agreement --------------------------------------------------------------------------------------------------------


@st.composite
def finite_pairs(draw: st.DrawFn) -> tuple[Scores, Scores]:
    first = draw(scores())
    assume(bool(first.values.isfinite().all()))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    noise = torch.randn(first.values.shape, generator=generator) * draw(st.sampled_from([0.0, 0.3, 3.0]))
    return first, Scores(first.graph, first.values + noise)


@given(finite_pairs())
def test_agreement_is_that_of_scipy(pair: tuple[Scores, Scores]) -> None:
    first, second = pair
    x, y = (s.values[s.graph.edge_mask].double().numpy() for s in pair)
    assume(len(Counter(x)) > 1 and len(Counter(y)) > 1)
    agreement = first.agreement(second)
    assert agreement["pearson"] == pytest.approx(stats.pearsonr(x, y)[0], abs=1e-6)
    assert agreement["spearman"] == pytest.approx(stats.spearmanr(x, y)[0], abs=1e-6)


@given(scores(), st.floats(0.01, 1))
def test_scores_share_their_whole_top_with_themselves(scores: Scores, share: float) -> None:
    assert scores.agreement(scores, top=max(1, round(share * len(scores))))["overlap"] == 1.0


def test_overlap_counts_shared_edges() -> None:
    first, second = _scores(m0=3.0, logits=2.0), _scores(m0=1.0, **{"a0.h0<q>": 2.0})
    assert first.agreement(second, top=2)["overlap"] == 0.5  # both hold input->m0
    assert first.agreement(second)["overlap"] == 0.0  # a tenth of 8 edges, but at least one: m0 against q


def test_opposite_scores_agree_on_size_and_not_on_sign() -> None:
    scores = _scores(m0=3.0, logits=-2.0)
    opposite = Scores(GRAPH, -scores.values)
    assert scores.agreement(opposite) == pytest.approx({"pearson": -1.0, "spearman": -1.0, "overlap": 1.0})


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1e-20, 1e20])
def test_the_correlation_with_a_constant_is_undefined(value: float) -> None:
    constant = Scores(GRAPH, torch.full(GRAPH.edge_mask.shape, value))
    agreement = _scores(m0=1.0).agreement(constant)
    assert math.isnan(agreement["pearson"])
    assert math.isnan(agreement["spearman"])


def test_the_overlap_needs_an_edge() -> None:
    with pytest.raises(InvalidValue, match="asked for 0 edges"):
        _scores().agreement(_scores(), top=0)


def test_the_overlap_cannot_ask_for_more_than_all() -> None:
    with pytest.raises(InvalidValue, match="asked for 9 edges"):
        _scores().agreement(_scores(), top=9)


# -- what is refused --------------------------------------------------------------------------------------------------


def test_a_nan_is_refused_with_its_edge() -> None:
    with pytest.raises(NumericalError, match=re.escape("the score of input->a0.h0<k> is NaN")):
        _scores(**{"a0.h0<k>": math.nan})


def test_a_nan_where_there_is_no_edge_is_nobodys() -> None:
    values = torch.zeros(GRAPH.edge_mask.shape).masked_fill(~GRAPH.edge_mask, math.nan)
    assert Scores(GRAPH, values).values.eq(0).all()


def test_values_of_another_shape_are_refused() -> None:
    with pytest.raises(GraphMismatch, match=re.escape("the values have shape (5, 3), but the graph needs (3, 5)")):
        Scores(GRAPH, torch.zeros(5, 3))


def test_an_unknown_edge_is_refused() -> None:
    with pytest.raises(UnknownName, match=r"m0 is not computed before a0\.h0<q>"):
        assert _scores()["m0->a0.h0<q>"]


def test_scores_of_two_graphs_are_not_compared() -> None:
    other = Graph(1, 1, 1, parallel=True)
    message = "the scores are of different graphs: 1 layers, 1 heads: 8 edges and 1 layers, 1 heads, parallel: 7 edges"
    with pytest.raises(GraphMismatch, match=message):
        _scores().agreement(Scores(other, torch.zeros(other.edge_mask.shape)))


# -- greedy from the output -------------------------------------------------------------------------------------------


def greedy_twin(scores: Scores, n: int, absolute: bool) -> set[str]:
    """One edge after the other: the best of all those into nodes that reach `logits` over what is kept."""
    graph, kept = scores.graph, set()
    ranking = {edge: abs(value) if absolute else value for edge, value in scores.items()}
    order = {edge: graph.edge_index(edge) for edge in graph.edges}
    while len(kept) < n:
        reached = {"logits"}
        for edge in kept:
            writer = graph.writer_index[edge.split("->")[0]]
            reached |= {graph.readers[int(r)] for r in graph.serves[:, writer].nonzero().flatten()}
        open_edges = [edge for edge in graph.edges if edge not in kept and edge.split("->")[1] in reached]
        if not open_edges:
            break
        kept.add(min(open_edges, key=lambda edge: (-ranking[edge], *order[edge])))
    return kept


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("kv_heads", [1, 2])
def test_greedy_takes_the_best_edge_into_what_reaches_the_output(absolute: bool, kv_heads: int) -> None:
    graph = Graph(layers=2, heads=2, kv_heads=kv_heads)
    generator = torch.Generator().manual_seed(kv_heads)
    scores = Scores(graph, torch.randn(graph.edge_mask.shape, generator=generator))
    for n in (0, 1, 3, 9, graph.n_edges):
        circuit = scores.greedy(n, absolute=absolute)
        assert set(circuit.edges) == greedy_twin(scores, n, absolute)
        assert circuit.provenance["selection"] == {"select": "greedy", "n": n, "absolute": absolute}


def test_greedy_leaves_out_a_large_score_that_leads_nowhere() -> None:
    scores = _scores(**{"a0.h0<q>": 9.0, "logits": 2.0})
    assert scores.top(1).edges == ("input->a0.h0<q>",)
    assert scores.greedy(1).edges == ("input->logits",)
    with pytest.raises(InvalidValue, match="asked for 9 edges, but the graph has 8"):
        scores.greedy(9)
