"""The figures of the EAP paper for the methods of a comparison: as plain data, and drawn.

Scores against exact effects and interpolation curves need exact effects; histograms and roles a reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, final

from edgewise.comparison.comparison import Comparison
from edgewise.comparison.result import Result
from edgewise.figures.by_role import RoleScores, draw_roles, groups_by_layer, roles
from edgewise.figures.canvas import Draw, grid_size, pictures
from edgewise.figures.effects import Scatter, draw_scatters, scatter
from edgewise.figures.histograms import Histogram, draw_histograms, histogram
from edgewise.figures.interpolation import Interpolation, draw_interpolations, interpolate, worst_predicted
from edgewise.request import Request


@final
@dataclass(frozen=True)
class Insights:
    """What the scores of a comparison look like; empty where it lacks what a figure needs.

    `interpolations` are of the edges which the first method that predicts effects (`eap` if it is there) predicts worst.
    """

    scatters: tuple[Scatter, ...]
    interpolations: tuple[Interpolation, ...]
    histograms: tuple[Histogram, ...]
    roles: tuple[RoleScores, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {name: [figure.to_dict() for figure in some] for name, some in vars(self).items()}


def insights(comparison: Comparison, request: Request) -> Insights:
    """The data of every figure this comparison has what it takes for."""
    exact, reference = comparison.exact, comparison.reference
    predicting = _predicting(comparison) if exact is not None else []
    scoring = [result for result in comparison.results if _scores_edges(result)] if reference is not None else []
    curves: tuple[Interpolation, ...] = ()
    if exact is not None and predicting:
        scores = next((result for result in predicting if result.name == "eap"), predicting[0]).scores
        curves = interpolate(request, scores, worst_predicted(scores, exact))
    return Insights(
        tuple(scatter(result.scores, exact, name=result.name) for result in predicting if exact is not None),
        curves,
        tuple(
            histogram(result.scores, reference.circuit, name=result.name) for result in scoring if reference is not None
        ),
        tuple(_roles(comparison, result) for result in scoring),
    )


def drawn(found: Insights, formats: Iterable[str]) -> dict[str, bytes]:
    """File name → bytes of every figure there are data for."""
    image_formats, files = tuple(formats), {}
    for name, (draw, size) in _drawings(found).items():
        files |= {f"{name}.{suffix}": data for suffix, data in pictures(draw, size, image_formats).items()}
    return files


def _drawings(found: Insights) -> Mapping[str, tuple[Draw, tuple[float, float]]]:
    bars = max((len(chart.roles) for chart in found.roles), default=0)
    sizes = {
        "effects": grid_size(len(found.scatters), 5.2, 4.6),
        "interpolation": grid_size(len(found.interpolations), 4.4, 3.5),
        "histograms": grid_size(len(found.histograms), 4.8, 4.2),
        "roles": grid_size(len(found.roles), 4.0, 1.6 + 0.32 * bars),
    }
    draws: dict[str, tuple[tuple[Any, ...], Draw]] = {
        "effects": (found.scatters, lambda figure: draw_scatters(figure, found.scatters)),
        "interpolation": (found.interpolations, lambda figure: draw_interpolations(figure, found.interpolations)),
        "histograms": (found.histograms, lambda figure: draw_histograms(figure, found.histograms)),
        "roles": (found.roles, lambda figure: draw_roles(figure, found.roles)),
    }
    return {name: (draw, sizes[name]) for name, (data, draw) in draws.items() if data}


def _predicting(comparison: Comparison) -> list[Result]:
    """The methods whose scores predict the effects that were measured: those on the same metric, but for exact itself."""
    scoring = [result for result in comparison.results if _scores_edges(result) and result.agreement is not None]
    return [result for result in scoring if result.scores.provenance.get("metric") == comparison.metric]


def _scores_edges(result: Result) -> bool:
    return result.outcome.size_option is None and result.outcome.entry.method != "random"


def _roles(comparison: Comparison, result: Result) -> RoleScores:
    reference = comparison.reference
    circuit = reference.circuit if reference is not None else None
    groups = reference.groups if reference is not None else {}
    graph = result.scores.graph
    by_layer = groups_by_layer(graph)
    named = {"input": by_layer["input"], **groups} if groups else by_layer
    return roles(result.scores, named, circuit=circuit, name=result.name)
