"""Which pairs share prompts."""

from __future__ import annotations

from edgewise.prompts.sharing import sharing


def test_pairs_that_share_prompts_directly_or_through_others() -> None:
    assert sharing([("a", "b"), ("c", "d"), ("e", "a"), ("f", "f"), ("d", "e")]) == [[0, 1, 2, 4], [3]]
    assert sharing([("a", "b"), ("c", "d")]) == [[0], [1]]
    assert sharing([]) == []
