"""Sample: the exact effects of a few edges drawn evenly, where patching every edge would take too long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from edgewise.attribution.exact import effects_of
from edgewise.comparison.method_run import MethodOutcome
from edgewise.comparison.table import finite
from edgewise.errors import InvalidValue
from edgewise.graph import Graph
from edgewise.request import Request
from edgewise.scores import pearson, ranks


@final
@dataclass(frozen=True)
class Sample:
    """Some edges, and the measured effect of patching each of them alone."""

    edges: tuple[str, ...]
    effects: tuple[float, ...]

    @classmethod
    def measured(cls, request: Request, size: int, seed: int) -> Sample:
        """`size` edges of the request's model, drawn evenly with `seed`, and their effects."""
        edges = drawn(request.subject.graph, size, seed)
        return cls(edges, tuple(effects_of(request, edges).tolist()))

    def agreement(self, outcome: MethodOutcome) -> dict[str, float | None]:
        """Correlations of a method's scores with these effects: of ranks signed and by size, and of the numbers.

        The scores of a search say when an edge goes, not whether it helps: only their sizes are compared, and only by rank.
        """
        scores, effects = self._scores(outcome), torch.tensor(self.effects, dtype=torch.float64)
        signed = outcome.size_option is None
        return {
            "spearman": finite(pearson(ranks(scores), ranks(effects))) if signed else None,
            "spearman_absolute": finite(pearson(ranks(scores.abs()), ranks(effects.abs()))),
            "pearson": finite(pearson(scores, effects)) if signed else None,
        }

    def _scores(self, outcome: MethodOutcome) -> Tensor:
        places = [outcome.scores.graph.edge_index(edge) for edge in self.edges]
        writers, readers = (torch.tensor(side) for side in zip(*places, strict=True))
        return outcome.scores.values[writers, readers].double()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {"edges": list(self.edges), "effects": list(self.effects)}


def drawn(graph: Graph, size: int, seed: int) -> tuple[str, ...]:
    """`size` edges, each as likely as any other, in the order of the graph."""
    if size > graph.n_edges:
        raise InvalidValue(f"asked for a sample of {size:,} edges, but there are only {graph.n_edges:,} ({graph})")
    chosen = torch.randperm(graph.n_edges, generator=torch.Generator().manual_seed(seed))[:size].sort().values
    return tuple(graph.edges[i] for i in chosen.tolist())
