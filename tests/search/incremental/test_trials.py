"""Trials: which of a reader's removals each of them makes, and what is expected of them."""

from __future__ import annotations

from support.families import subject

from edgewise.search.incremental.trials import BatchPlanner, Span, Trials
from edgewise.search.state import Removal


def test_a_trial_makes_its_own_removal_and_those_before_it_that_are_expected_to_go() -> None:
    removals = tuple(Removal(reader, (writer,)) for reader, writer in [(7, 2), (7, 1), (7, 0), (6, 1), (5, 1)])
    trials = Trials(removals, goes=(True, True, False, False, True))
    assert trials.spans == [Span(7, 0, 3), Span(6, 3, 4), Span(5, 4, 5)]
    # The third stays, so those after it stand on the second; nothing goes at reader 6 but in its own trial.
    assert [trials.last_made(span) for span in trials.spans] == [[1, 2, 3, 2, 2], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]]


def test_the_only_edge_into_a_reader_is_expected_to_do_what_all_edges_into_it_did() -> None:
    graph = subject("gpt2").graph
    reader = graph.q_readers(0).start
    edge = Removal(reader, tuple(range(graph.reach(reader))))
    planner = BatchPlanner(graph, most=2)
    assert planner.plan([edge]).goes == (True,)
    planner.suppose(Removal(reader, None), kept=True)
    assert planner.plan([edge, edge, edge]).goes == (False, False)
