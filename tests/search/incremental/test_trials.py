"""Trials: which of a reader's removals each of them makes."""

from __future__ import annotations

from edgewise.search.incremental.trials import Span, Trials
from edgewise.search.state import Removal


def test_a_trial_makes_its_own_removal_and_those_before_it_that_are_expected_to_go() -> None:
    removals = tuple(Removal(reader, (writer,)) for reader, writer in [(7, 2), (7, 1), (7, 0), (6, 1), (5, 1)])
    trials = Trials(removals, goes=(True, True, False, False, True))
    assert trials.spans == [Span(7, 0, 3), Span(6, 3, 4), Span(5, 4, 5)]
    # The third stays, so those after it stand on the second; nothing goes at reader 6 but in its own trial.
    assert [trials.last_made(span) for span in trials.spans] == [[1, 2, 3, 2, 2], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]]
