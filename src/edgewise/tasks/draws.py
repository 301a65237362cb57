"""Drawing prompts until there are enough, or it is clear that there are not so many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from edgewise.tasks.base import Prompt

# A task is held to have no more prompts where none is new in so many draws for each that there is, and in so many at least.
DRAWS_PER_PROMPT, LEAST_DRAWN = 4, 2560
# After so many draws, and then whenever they have doubled, the number of prompts that there are is estimated.
FIRST_ESTIMATE = 4096


@final
class Draws:
    """Prompts as they are drawn, until it is clear that a task has far fewer than are `wanted`.

    `different`: how many different prompts there are then, or about how many (`about`); None before.
    """

    def __init__(self, prompts: Iterable[Prompt], wanted: int) -> None:
        self.prompts, self.wanted = prompts, wanted
        self.different: int | None = None
        self.about = False

    def __iter__(self) -> Iterator[Prompt]:
        known: Counter[str] = Counter()
        since_new, next_estimate = 0, FIRST_ESTIMATE
        for drawn, prompt in enumerate(self.prompts, 1):
            since_new = 0 if prompt.clean not in known else since_new + 1
            known[prompt.clean] += 1
            yield prompt
            if drawn >= LEAST_DRAWN and since_new >= DRAWS_PER_PROMPT * len(known):
                self.different = len(known)
                return
            if drawn == next_estimate:
                next_estimate *= 2
                if self.wanted > 2 * (estimate := richness(known)):
                    self.different, self.about = round(estimate), True
                    return


def richness(counts: Counter[str]) -> float:
    """About how many different things there are of which some were drawn so often, rather too few (Chao 1984).

    >>> richness(Counter({"a": 3, "b": 2, "c": 1})), richness(Counter({"a": 9, "b": 8}))
    (3.0, 2.0)
    """
    once, twice = (sum(count == times for count in counts.values()) for times in (1, 2))
    return len(counts) + once * (once - 1) / (2 * (twice + 1))
