"""What each head of a model does on some prompts, measured: where it attends, and what its paths to the answer carry.

Two measures, both on the clean prompts, means over the pairs:

- Attention: the weight a head spends on keys of a kind (`KEY_KINDS`), on average over queries that have some. It attends
  there if that is at least `ATTENDS` of what even attention leaves to spare: (weight − even) / (1 − even), where `even` is
  what a head would spend there that attends to all it can see alike. 0 is even attention, 1 is all of it.
- Path patching: the drop of the metric when one edge is replaced, as a share of clean − corrupted; from `EFFECT_SHARE`
  on it counts. Patched are the edge from every head into `logits` (its direct effect), and from heads that attend to a
  wrong answer into the queries of the name movers after them, each edge alone, added up.

From these the roles follow, in the words of Wang et al. 2022 (arXiv:2211.00593), who met them on names; here an answer may
be any token, and the "name" of a role is the answer:

- `previous token`: attends from each token to the one before it.
- `duplicate token`: attends from a token that stood before to where it stood.
- `induction`: attends from a token that stood before to what followed it there (Olsson et al. 2022, arXiv:2209.11895).
- `S-inhibition`: attends from the answer position to a wrong answer, and its effect through the queries of the name movers
  is positive: it tells them where not to look.
- `name mover`: attends from the answer position to a correct answer, and its direct effect is positive.
- `negative name mover`: the same, and its direct effect is negative.
- `copy suppression`: attends from the answer position to a wrong answer, and its direct effect is positive: it speaks
  against what it attends to (McDougall et al. 2023, arXiv:2310.04625).

A head may have several roles, or none. Where no prompt can show a role (no token comes twice, no answer stands in it), it is
not measured, and no head has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, final

from edgewise.ablations import Ablation
from edgewise.ablations import ablation as find_ablation
from edgewise.arguments import typed
from edgewise.attribution.exact import effects_of
from edgewise.circuit import Circuit
from edgewise.evaluation.attended import KEY_KINDS, attended
from edgewise.evaluation.faithfulness import evaluate
from edgewise.graph import HEAD, Graph
from edgewise.metrics import AnyMetric
from edgewise.metrics import metric as find_metric
from edgewise.models.subject import Subject
from edgewise.pairs import Pairs
from edgewise.progress import Track, silent, watched
from edgewise.request import Request
from edgewise.surroundings import neutrally

# Heads that papers name by what they attend to spend about half of their attention there. Somewhat less counts here, since a
# mean is also over prompts in which a head does something else; what gets less than this is one of many things it looks at.
ATTENDS = 0.3
# As for the worth of heads and for the edges of a reference made of exact effects: one hundredth of the whole.
EFFECT_SHARE = 0.01
PREVIOUS, DUPLICATE, INDUCTION_HEAD = "previous token", "duplicate token", "induction"
MOVER, NEGATIVE_MOVER = "name mover", "negative name mover"
SUPPRESSION, INHIBITION = "copy suppression", "S-inhibition"
BY_ATTENTION = {PREVIOUS: "previous", DUPLICATE: "duplicate", INDUCTION_HEAD: "induction"}
ROLES = (PREVIOUS, DUPLICATE, INDUCTION_HEAD, INHIBITION, MOVER, NEGATIVE_MOVER, SUPPRESSION)


@final
@dataclass(frozen=True)
class MeasuredHead:
    """What one head does.

    `weights`: kind → the mean attention weight it spends on that kind; None where the prompts have none of it.
    `direct`: the drop of the metric when its edge into `logits` is replaced, as a share of clean − corrupted.
    `by_movers`: the same for its edges into the queries of the name movers, added up; None where they were not patched.
    `roles`: what it is, in the order of ROLES.
    """

    head: str
    weights: Mapping[str, float | None]
    direct: float
    by_movers: float | None
    roles: tuple[str, ...]


@final
@dataclass(frozen=True)
class HeadRoles:
    """What every head of a model does on some pairs, in index order; the module says how it is measured.

    `metric`: the name of the metric whose drops are measured; `whole`: clean − corrupted of it.
    `examples`: on how many pairs; `queries`: kind → at how many positions of them attention was measured.
    `even`: kind → what a head that attends to all tokens alike would spend there; None where there are none.
    """

    metric: str
    whole: float
    examples: int
    queries: Mapping[str, int]
    even: Mapping[str, float | None]
    heads: tuple[MeasuredHead, ...] = field(repr=False)

    @property
    def by_head(self) -> dict[str, str]:
        """Head → its roles in words, of those that have one: what `study_heads` takes."""
        return {head.head: ", ".join(head.roles) for head in self.heads if head.roles}

    def having(self, role: str) -> tuple[MeasuredHead, ...]:
        """The heads of that role, the clearest first."""
        return tuple(
            sorted((head for head in self.heads if role in head.roles), key=lambda head: -_evidence(head, role))
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON, with the thresholds."""
        rules = {"attends": ATTENDS, "effect_share": EFFECT_SHARE}
        return {**vars(self), **rules, "heads": [dict(vars(head)) for head in self.heads]}

    def __str__(self) -> str:
        rows = [(role, self.having(role)) for role in ROLES]
        lines = [f"{role:<22}{', '.join(shown(head, role) for head in heads) or '–'}" for role, heads in rows]
        return "\n".join([*lines, f"measured on {self.examples:,} examples"])


@typed
@watched
@neutrally
def measure_roles(  # noqa: PLR0913  a public verb: keyword arguments
    subject: Subject,
    pairs: Pairs,
    *,
    metric: AnyMetric = "logit_diff",
    ablation: str | Ablation = "corrupted",
    batch_size: int = 8,
    track: Track = silent,
    progress: bool | None = None,
) -> HeadRoles:
    """Measure what every head of the model does on some pairs, by its attention and by path patching.

    `subject`: the model, from `load`.
    `pairs`: clean and corrupted prompts with their answers.
    `metric`: a metric that rewards the correct answer, such as "logit_diff": of a distance no effect would be negative.
    `ablation`, `batch_size`, `track`, `progress`: as in `attribute`.

    Returns HeadRoles. Its module has the definitions of the roles.
    """
    chosen, replaced = find_metric(metric), find_ablation(ablation)
    request = Request(subject, pairs, chosen, replaced, batch_size, track)
    seen = attended(request)
    conditions = {"metrics": [chosen], "ablation": replaced, "batch_size": batch_size, "random": None}
    ends = evaluate(subject, Circuit.full(subject.graph), pairs, **conditions)[chosen.name]
    whole = abs(ends.clean - ends.corrupted)
    names = list(head_names(subject.graph))
    direct = _shares(request, [f"{head}->logits" for head in names], whole)
    found = [
        MeasuredHead(name, {kind: seen.weights[kind][number] for kind in KEY_KINDS}, direct[number], None, ())
        for number, name in enumerate(names)
    ]
    movers = [head.head for head in found if MOVER in _roles(head, seen.even)]
    looking = [head.head for head in found if _attends(head.weights["wrong"], seen.even["wrong"])]
    by_movers = _by_movers(request, looking, movers, whole)
    patched = [replace(head, by_movers=by_movers.get(head.head)) for head in found]
    heads = [replace(head, roles=_roles(head, seen.even)) for head in patched]
    return HeadRoles(chosen.name, ends.clean - ends.corrupted, len(pairs), seen.queries, seen.even, tuple(heads))


def head_names(graph: Graph) -> Iterator[str]:
    """The heads of a graph in index order."""
    return (writer for writer in graph.writers if HEAD.fullmatch(writer))


def shown(head: MeasuredHead, role: str) -> str:
    """A head with what its role rests on: the attention weight, and the effect as a share of clean − corrupted."""
    kind, effect = _rests_on(head, role)
    return f"{head.head} ({head.weights[kind]:.2f}{'' if effect is None else f', {effect:+.0%}'})"


def _rests_on(head: MeasuredHead, role: str) -> tuple[str, float | None]:
    """The kind of attention and the effect that make this role."""
    if role in BY_ATTENTION:
        return BY_ATTENTION[role], None
    kind = "correct" if role in (MOVER, NEGATIVE_MOVER) else "wrong"
    return kind, head.by_movers if role == INHIBITION else head.direct


def _evidence(head: MeasuredHead, role: str) -> float:
    kind, effect = _rests_on(head, role)
    return (head.weights[kind] or 0.0) if effect is None else abs(effect)


def _roles(head: MeasuredHead, even: Mapping[str, float | None]) -> tuple[str, ...]:
    """What follows from what was measured of a head, by the definitions of the module."""
    to = {kind for kind in KEY_KINDS if _attends(head.weights[kind], even[kind])}
    helps, hurts = head.direct >= EFFECT_SHARE, head.direct <= -EFFECT_SHARE
    has = {role: kind in to for role, kind in BY_ATTENTION.items()}
    has |= {MOVER: "correct" in to and helps, NEGATIVE_MOVER: "correct" in to and hurts}
    has |= {SUPPRESSION: "wrong" in to and helps}
    has |= {INHIBITION: "wrong" in to and head.by_movers is not None and head.by_movers >= EFFECT_SHARE}
    return tuple(role for role in ROLES if has[role])


def _attends(weight: float | None, even: float | None) -> bool:
    return weight is not None and even is not None and even < 1 and (weight - even) / (1 - even) >= ATTENDS


def _by_movers(request: Request, heads: list[str], movers: list[str], whole: float) -> dict[str, float]:
    """For each of these heads the effects of its edges into the queries of the later ones among `movers`, added up."""
    graph = request.subject.graph
    edges = {head: [f"{head}->{mover}<q>" for mover in movers if _reads(graph, f"{mover}<q>", head)] for head in heads}
    shares = iter(_shares(request, [edge for some in edges.values() for edge in some], whole))
    return {head: sum(next(shares) for _ in some) for head, some in edges.items() if some}


def _reads(graph: Graph, reader: str, writer: str) -> bool:
    return graph.writer_index[writer] < graph.reach(graph.reader_index[reader])


def _shares(request: Request, edges: list[str], whole: float) -> list[float]:
    """The exact effects of edges alone, as shares of clean − corrupted; 0 where there is nothing to share."""
    if not edges or not whole:
        return [0.0] * len(edges)
    return (effects_of(request, edges) / whole).tolist()
