"""Look: what was seen of the nodes of a circuit, frozen, printable, serialisable."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any, final

from edgewise.errors import UnknownName
from edgewise.viewer.notebook import table
from edgewise.viewer.patterns import pattern_svg

# In a table: so many tokens of each kind, and prompts drawn for so many heads.
TOKENS_SHOWN, HEADS_DRAWN = 3, 12
LOOK = "edgewise/look"


@final
@dataclass(frozen=True)
class Pattern:
    """Where one head attends in one prompt.

    `tokens`: the prompt, token by token.
    `answer`: the position where the answer is read.
    `weights`: for each position the weight on every position, to four places.
    """

    tokens: tuple[str, ...]
    answer: int
    weights: tuple[tuple[float, ...], ...]

    def most(self, count: int = 2) -> tuple[tuple[str, float], ...]:
        """The `count` tokens that get most of its attention from the answer position, with their weights."""
        row = self.weights[self.answer]
        places = sorted(range(len(row)), key=lambda place: -row[place])[:count]
        return tuple((self.tokens[place], row[place]) for place in places)


@final
@dataclass(frozen=True)
class NodeLook:
    """What one node does.

    `node`: its name.
    `direct`: what it adds directly to the logits of correct answers more than to those of wrong ones, mean over the pairs.
    `promoted`, `suppressed`: the tokens it speaks for and against most, with logits against the mean of all tokens.
    `patterns`: of a head, where it attends in each of the first prompts.
    """

    node: str
    direct: float
    promoted: tuple[tuple[str, float], ...]
    suppressed: tuple[tuple[str, float], ...]
    patterns: tuple[Pattern, ...] = field(default=(), repr=False)


@final
@dataclass(frozen=True)
class Look:
    """What the nodes of a circuit do, one by one; `print` shows a table, a notebook also where heads attend.

    `model`: the name of the model.
    `data`: the fingerprint of the pairs.
    `examples`: how many pairs there were.
    `whole`: the logit difference of the clean run, mean over the pairs.
    `nodes`: a NodeLook for each node of the circuit that is on a path, in graph order.
    """

    model: str
    data: str
    examples: int
    whole: float
    nodes: tuple[NodeLook, ...]

    def __getitem__(self, node: str) -> NodeLook:
        """What the node of that name does; UnknownName for one that was not looked at."""
        for one in self.nodes:
            if one.node == node:
                return one
        raise UnknownName.of("node in this circuit", node, [one.node for one in self.nodes])

    @property
    def rest(self) -> float:
        """What of `whole` these nodes do not add directly: other nodes do, biases, and a soft cap takes away."""
        return self.whole - sum(one.direct for one in self.nodes)

    def to_dict(self) -> dict[str, Any]:
        """The values as a dictionary for JSON."""
        return {"schema": LOOK, "version": 1, **asdict(self), "rest": self.rest}

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """Node, what it adds, what it speaks for and against, and where it attends from the answer of the first prompt."""
        return [
            (
                one.node,
                f"{one.direct:+.3f}",
                _words(one.promoted),
                _words(one.suppressed),
                ", ".join(f"{word!r} {weight:.2f}" for word, weight in one.patterns[0].most()) if one.patterns else "",
            )
            for one in self.nodes
        ]

    @property
    def note(self) -> str:
        """In a sentence: what the direct effects add up to."""
        return (
            f"{self.model}, {self.examples:,} pairs: the logit difference is {self.whole:.3f}, of which these nodes add "
            f"{self.whole - self.rest:.3f} directly"
        )

    def html(self, heads: int = HEADS_DRAWN) -> str:
        """The table, and below it where the `heads` with the largest direct effects attend in the first prompt."""
        drawn = sorted((one for one in self.nodes if one.patterns), key=lambda one: -abs(one.direct))[:heads]
        pictures = [pattern_svg(one.node, one.patterns[0].tokens, one.patterns[0].weights) for one in drawn]
        body = f"{table(HEADER, self.rows)}<p>{escape(self.note)}</p>{''.join(pictures)}"
        return f'<div style="max-width: 1000px; overflow: auto">{body}</div>'

    def _repr_html_(self) -> str:
        return self.html()

    def __str__(self) -> str:
        widths = [max(len(row[column]) for row in (HEADER, *self.rows)) for column in range(len(HEADER))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            for row in (HEADER, *self.rows)
        ]
        return "\n".join([*(line.rstrip() for line in lines), self.note])

    def __repr__(self) -> str:
        return f"<Look: {len(self.nodes)} nodes of {self.model} on {self.examples:,} pairs; print shows the table>"


HEADER = ("node", "correct − wrong", "speaks for", "speaks against", "attends to, from the answer")


def _words(tokens: tuple[tuple[str, float], ...]) -> str:
    return " ".join(f"{word!r}" for word, _ in tokens[:TOKENS_SHOWN])
