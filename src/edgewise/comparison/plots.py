"""The pictures of a comparison: curves of all methods together."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from edgewise.comparison.comparison import Comparison
from edgewise.comparison.result import Measured, Result
from edgewise.evaluation import Recovery
from edgewise.evaluation.recovery import RecoveryPoint
from edgewise.figures import Line, Panel, draw_panels, panels_size, pictures


def plots(comparison: Comparison, formats: Iterable[str]) -> dict[str, bytes]:
    """File name → bytes of every picture: `roc` and `precision-recall` (with a reference), `faithfulness`."""
    image_formats, files = tuple(formats), {}
    for name, panels in figures(comparison).items():
        drawn = pictures(lambda figure, of=panels: draw_panels(figure, of), panels_size(panels), image_formats)
        files |= {f"{name}.{suffix}": data for suffix, data in drawn.items()}
    return files


def figures(comparison: Comparison) -> dict[str, tuple[Panel, ...]]:
    """The panels of every picture, as plain values."""
    shown = {"faithfulness": (_share(comparison), *_distance(comparison))}
    if comparison.reference is None:
        return shown
    levels = tuple(comparison.results[0].recovery)
    roc = tuple(_roc(comparison, level) for level in levels)
    return {"roc": roc, "precision-recall": tuple(_precision(comparison, level) for level in levels), **shown}


def _roc(comparison: Comparison, level: str) -> Panel:
    lines = [
        Line(
            one.name,
            tuple(point.fpr for point in recovery.points),
            tuple(point.tpr for point in recovery.points),
            marked=bool(one.outcome.circuits),
            note=f"{recovery.auc_trapezoid:.3f}",
        )
        for one, recovery in _recoveries(comparison, level)
    ]
    title = f"ROC, {level} (area under lines)"
    return Panel(title, "roc", tuple(lines), x="false positive rate", y=f"true positive rate{_of(comparison, level)}")


def _precision(comparison: Comparison, level: str) -> Panel:
    lines = []
    for one, recovery in _recoveries(comparison, level):
        points = _steps(recovery)
        recall, precision = (0.0, *(p.tpr for p in points)), (points[0].precision, *(p.precision for p in points))
        note = f"{recovery.average_precision:.3f}"
        lines.append(Line(one.name, recall, precision, marked=bool(one.outcome.circuits), note=note))
    true, total = comparison.results[0].recovery[level].denominators[level]
    title = f"Precision and recall, {level} (average precision)"
    return Panel(title, "precision", tuple(lines), true / total, f"recall{_of(comparison, level)}", "precision")


def _steps(recovery: Recovery) -> list[RecoveryPoint]:
    """The points at which recall grows, where average precision takes its heights."""
    points = sorted(recovery.points, key=lambda point: (point.tpr, point.fpr))
    return [point for before, point in pairwise(points) if point.tpr > before.tpr]


def _recoveries(comparison: Comparison, level: str) -> list[tuple[Result, Recovery]]:
    return [(result, result.recovery[level]) for result in comparison.results]


def _of(comparison: Comparison, level: str) -> str:
    true, total = comparison.results[0].recovery[level].denominators[level]
    return f" ({true:,} of {total:,} {level})"


def _share(comparison: Comparison) -> Panel:
    metric = comparison.metric
    curves = [
        (result, [(p.edges, share) for p in _by_size(result) if (share := p.faithfulness[metric]) is not None])
        for result in comparison.results
    ]
    title = f"Faithfulness ({metric.replace('_', ' ')})"
    return Panel(title, "share", tuple(_line(one, points) for one, points in curves), 1.0, _edges(comparison))


def _distance(comparison: Comparison) -> list[Panel]:
    if "kl" not in comparison.ends:
        return []
    curves = [
        (result, [(p.edges, kl) for p in _by_size(result) if (kl := p.metrics["kl"]) is not None])
        for result in comparison.results
    ]
    lines = tuple(_line(one, points) for one, points in curves)
    return [
        Panel("KL to the clean model, nats", "distance", lines, comparison.ends["kl"].corrupted, _edges(comparison))
    ]


def _by_size(result: Result) -> list[Measured]:
    """The measured circuits but those without edges, which a logarithmic axis has no place for."""
    return [point for point in result.curve if point.edges]


def _line(result: Result, points: list[tuple[int, float]]) -> Line:
    return Line(result.name, tuple(float(x) for x, _ in points), tuple(float(y) for _, y in points), marked=True)


def _edges(comparison: Comparison) -> str:
    return f"edges kept, of {comparison.total_edges:,}"
