"""Scores by the role of the writer: what each group of heads and MLPs contributes, on average and how unevenly.

Fig. 10 of "Attribution Patching Outperforms Automated Circuit Discovery" (Syed et al. 2023, arXiv:2310.10348); there with
the opposite sign.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, final

from edgewise.circuit import Circuit
from edgewise.errors import GraphMismatch, InvalidValue, UnknownName
from edgewise.figures.canvas import COLOURS, PLOT_FAINT, axes_grid
from edgewise.graph import Graph
from edgewise.scores import Scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OTHER_ROLES = "others"


@final
@dataclass(frozen=True)
class Role:
    """The scores of the edges out of one group of writers."""

    name: str
    edges: int
    mean: float
    deviation: float


@final
@dataclass(frozen=True)
class RoleScores:
    """One method's scores by role, in the order of the groups; roles without edges are left out."""

    name: str
    metric: str
    roles: tuple[Role, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


def roles(
    scores: Scores, groups: Mapping[str, Sequence[str]], *, circuit: Circuit | None = None, name: str | None = None
) -> RoleScores:
    """Mean and standard deviation of the scores by the role of the writer, over the circuit's edges (default: all).

    `groups` are role → writers; writers in none are `others`. UnknownName for a writer the graph does not have.
    """
    graph = scores.graph
    if circuit is not None and circuit.graph != graph:
        raise GraphMismatch(f"the scores and the circuit are of different graphs: {graph} and {circuit.graph}")
    mask = graph.edge_mask if circuit is None else circuit.mask
    if not bool(scores.values[mask].isfinite().all()):
        raise InvalidValue("these scores are infinite for some edges, as those of a search are, so they have no mean")
    found = []
    for role, writers in {**groups, OTHER_ROLES: _rest(graph, groups)}.items():
        rows = [_index(graph, writer) for writer in writers]
        values = scores.values[rows][mask[rows]].double()
        if len(values):
            deviation = float(values.std(correction=0))
            found.append(Role(role.replace("_", " "), len(values), float(values.mean()), deviation))
    title = name or str(scores.provenance.get("method", "scores"))
    return RoleScores(title, str(scores.provenance.get("metric", "the metric")), tuple(found))


def groups_by_layer(graph: Graph) -> dict[str, tuple[str, ...]]:
    """Groups for a model whose heads have no known roles: `input`, and the heads and the MLP of every layer."""
    groups: dict[str, tuple[str, ...]] = {"input": graph.writers[: graph.writers_before(0)]}
    for layer in range(graph.layers):
        groups[f"heads of layer {layer}"] = graph.writers[graph.head_writers(layer)]
        if graph.mlps:
            groups[f"MLP of layer {layer}"] = (graph.writers[graph.mlp_writer(layer)],)
    return groups


def _rest(graph: Graph, groups: Mapping[str, Sequence[str]]) -> list[str]:
    named = {writer for writers in groups.values() for writer in writers}
    return [writer for writer in graph.writers if writer not in named]


def _index(graph: Graph, writer: str) -> int:
    if writer not in graph.writer_index:
        raise UnknownName.of("writer", writer, graph.writers)
    return graph.writer_index[writer]


def draw_roles(figure: Figure, methods: Sequence[RoleScores]) -> None:
    """A panel for each method: a bar for each role, its mean, with its standard deviation."""
    grid = axes_grid(figure, len(methods), sharey=True)
    for axes, one in zip(grid, methods, strict=True):
        names = [f"{role.name} ({role.edges:,})" for role in one.roles]
        means, spread = [role.mean for role in one.roles], [role.deviation for role in one.roles]
        colours = [COLOURS[0] if mean >= 0 else COLOURS[1] for mean in means]
        axes.barh(
            names, means, xerr=spread, color=colours, height=0.62, error_kw={"ecolor": PLOT_FAINT, "capsize": 2.5}
        )
        axes.axvline(0.0, color=PLOT_FAINT, linewidth=0.8)
        axes.grid(visible=False, axis="y")
        axes.set_title(one.name)
        axes.set_xlabel(f"score ({one.metric.replace('_', ' ')}), mean ± sd")
    grid[0].invert_yaxis()  # the first role on top, in all of them
