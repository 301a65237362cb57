"""Which pairs of prompts hang together: a split must not put the same prompt on both sides."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence


def sharing(pairs: Sequence[Iterable[Hashable]]) -> list[list[int]]:
    """Numbers of pairs that share prompts, directly or through others: a list for each group, in the order of the pairs."""
    parent = list(range(len(pairs)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = number = parent[parent[number]]
        return number

    first: dict[Hashable, int] = {}
    for number, prompts in enumerate(pairs):
        for prompt in prompts:
            one, other = root(first.setdefault(prompt, number)), root(number)
            parent[max(one, other)] = min(one, other)
    groups: dict[int, list[int]] = {}
    for number in range(len(pairs)):
        groups.setdefault(root(number), []).append(number)
    return list(groups.values())
