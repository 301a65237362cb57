"""Tables of a comparison whose numbers can be checked by eye."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgewise as ew
from edgewise.comparison import Comparison, Entry, Measured, Result
from edgewise.comparison.method_run import MethodOutcome
from edgewise.comparison.reference import Reference
from edgewise.comparison.tables import Table, interpolation_table, long_table, tables
from edgewise.contract import Found
from edgewise.evaluation import MetricReport, measure_recovery
from edgewise.figures import Interpolation
from edgewise.store.files import from_edge_values

GOLDEN = Path(__file__).parents[1] / "golden" / "compare_table.md"
GRAPH = ew.Graph(layers=1, heads=1, kv_heads=1)
EDGES = GRAPH.edges  # input->q, k, v of a0.h0; input and a0.h0->m0; input, a0.h0 and m0->logits: 8


def scores(*values: float) -> ew.Scores:
    return ew.Scores(GRAPH, from_edge_values(GRAPH, dict(zip(EDGES, values, strict=True))), {"metric": "logit_diff"})


def measured(edges: int, value: float, kl: float) -> Measured:
    return Measured(edges, edges, {"logit_diff": value, "kl": kl}, {"logit_diff": value / 4, "kl": 1 - kl / 2})


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    """Two of eight edges are to be found. Scores rank them 1st and 3rd; a search has circuits of 1 and 3 edges."""
    truth = ew.Circuit.from_edges(GRAPH, [EDGES[0], EDGES[7]])
    found = scores(0.9, 0.8, 0.1, 0.2, 0.3, 0.0, 0.4, 0.5)
    circuits = tuple(
        ew.Circuit.from_edges(GRAPH, edges, {"tested": 8}) for edges in ([EDGES[0]], [EDGES[0], EDGES[1], EDGES[7]])
    )
    search = ew.Sweep("tau", (0.1, 0.01), circuits)
    results = []
    for outcome, curve in (
        (
            MethodOutcome(Entry(method="eap"), Found(found), 0.125),
            (measured(1, 1.0, 1.5), measured(2, 1.5, 1.25), measured(3, 4.0, 0.0)),
        ),
        (
            MethodOutcome(Entry(method="acdc"), Found(search.scores, circuits, "tau", search.values), 2.5),
            (measured(1, -1.0, 2.0), measured(3, 3.0, 0.25)),
        ),
    ):
        recovery = {"edges": measure_recovery(outcome.circuits or found, truth)}
        agreement = {
            "spearman": 0.5 if outcome.size_option is None else None,
            "spearman_absolute": 0.25,
            "overlap": 1.0,
        }
        areas = {"cpr": 0.75, "cmd": 0.25, "auroc": 0.875 if outcome.size_option is None else None}
        results.append(Result(outcome.entry.name, outcome, recovery, agreement, curve, areas))
    ends = {"logit_diff": MetricReport(4.0, 0.0, 0.0, None, ()), "kl": MetricReport(0.0, 2.0, 2.0, None, ())}
    facts = {"metric": "logit_diff", "data": {"examples": 16}}
    return Comparison(facts, ends, (1, 2, 3), Reference("given", "the circuit given", truth), tuple(results), found)


def test_the_tables_are_these(comparison: Comparison) -> None:
    # eap: thresholds .9 .8 .5 ... find (fpr, tpr) = (0, 1/2), (1/6, 1/2), (1/6, 1): steps 1/2 + 5/6·1/2 = .917, the same
    # by lines; average precision 1/2·1 + 1/2·2/3 = .833. acdc: (0, 1/2), (1/6, 1): steps the same, lines
    # 1/6·(1/2 + 1)/2 + 5/6 = .958. J at its best 1 - 1/6 with 3 edges.
    text = "\n".join(table.markdown() for table in (*tables(comparison), long_table(comparison)))
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_curves_of_edges_have_a_table() -> None:
    curve = Interpolation("m0->logits", "logit_diff", (0.0, 0.5, 1.0), (0.0, 0.75, 1.0), 2.0)
    table = interpolation_table([curve])
    assert table.rows == (("m0->logits", "1", "2", "+1", "concave"),)


def test_markdown_keeps_bars_and_text_lines_up() -> None:
    table = Table("T", ("a", "bb"), (("x|y", "1"), ("z", "22")), "n")
    assert table.markdown() == "### T\n\n| a | bb |\n| :-- | --: |\n| x\\|y | 1 |\n| z | 22 |\n\nn\n"
    assert str(table) == "T\na    bb\nx|y   1\nz    22\nn"
