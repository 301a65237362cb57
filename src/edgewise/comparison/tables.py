"""The tables of a comparison: a title, a row for each method, a note. As text, as Markdown, or for the console."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgewise.comparison.result import Compared, Measured, Result
from edgewise.comparison.studies import grid_table, head_tables
from edgewise.comparison.table import ABSENT, Table, number
from edgewise.figures import Interpolation

Cell = Callable[[Result], str]


def tables(comparison: Compared) -> tuple[Table, ...]:
    """Recovery (with a reference), agreement, areas and cost, then what circuits keep, their heads, the grid, warnings."""
    recovery = [_recovery(comparison, level) for level in comparison.results[0].recovery]
    agreement = [_agreement(comparison)] if comparison.exact is not None else []
    agreement += (
        [_agreement_on_sample(comparison)] if comparison.exact is None and comparison.sample is not None else []
    )
    areas = [_areas(comparison)] if any(result.areas["cpr"] is not None for result in comparison.results) else []
    kept = [_kept(comparison, name) for name in comparison.ends]
    kept += [_overfitting(comparison)] if "judged_on" in comparison.facts["data"] else []
    studied = head_tables(comparison.heads) if comparison.heads is not None else ()
    grid = [grid_table(comparison.grid)] if comparison.grid is not None else []
    said = tuple((sentence,) for sentence in comparison.warnings)
    warned = [Table("Warnings", ("about the pairs and the model",), said)] if said else []
    return (*recovery, *agreement, *areas, _cost(comparison), *kept, *studied, *grid, *warned)


def long_table(comparison: Compared) -> Table:
    """One row for each method and size, with everything measured there."""
    names = list(comparison.ends)
    header = ("method", "edges", "share", "on a path", *(_readable(name) for name in names), "faithfulness", "seconds")
    held_out = "judged_on" in comparison.facts["data"]
    header += ("KL, found on",) if held_out else ()
    rows = [
        (
            result.name,
            f"{point.edges:,}",
            f"{point.edges / comparison.total_edges:.1%}",
            f"{point.live_edges:,}",
            *(number(point.metrics[name], ".4g") for name in names),
            _percent(point.faithfulness[comparison.metric]),
            f"{result.outcome.seconds:.2f}",
            *((number((point.found_on or {}).get("kl"), ".4g"),) if held_out else ()),
        )
        for result in comparison.results
        for point in result.curve
    ]
    note = f"Faithfulness of {_readable(comparison.metric)}; seconds for the whole method, all its circuits together."
    return Table("Every circuit that was measured", header, tuple(rows), note)


def interpolation_table(curves: Sequence[Interpolation]) -> Table:
    """How the metric goes as the value on single edges moves from clean to replaced, and how far the score is off."""
    rows = [
        (curve.edge, f"{curve.effect:.4g}", f"{curve.score:.4g}", f"{curve.overestimate:+.4g}", curve.shape)
        for curve in curves
    ]
    note = (
        "Concave: the drop slows down on the way, so the first slope promises too much; convex: it speeds up. "
        "Excess: how far the score lies beyond the effect, in the direction of the larger of the two."
    )
    return Table("Edges whose score is most wrong", ("edge", "effect", "score", "excess", "shape"), tuple(rows), note)


# -- the tables -------------------------------------------------------------------------------------------------------


def _recovery(comparison: Compared, level: str) -> Table:
    columns: list[tuple[str, Cell]] = [
        ("AUC, steps", _area(level, "auc_pessimistic")),
        ("AUC, lines", _area(level, "auc_trapezoid")),
        ("avg. precision", _area(level, "average_precision")),
        ("best J", lambda result: f"{result.recovery[level].best.youden:.3f}"),
        ("at", lambda result: f"{result.recovery[level].best.size:,}"),
    ]
    note = _about_reference(comparison) if level == "edges" else ""
    return Table(f"Recovery of the reference, {level}", *_filled(comparison, columns), note)


def _about_reference(comparison: Compared) -> str:
    reference, sizes = comparison.reference, comparison.results[0].recovery["edges"].denominators
    assert reference is not None
    counts = {name: f"{true:,} of {total:,}" for name, (true, total) in sizes.items()}
    direct = f"{counts['counted-edges']} with the direct edges into q, k and v that the ACDC paper counts"
    return (
        f"Reference: {reference.text}: {counts['edges']} edges ({direct}), {counts['nodes']} nodes. AUC by steps is that of "
        "the ACDC paper, by lines that of the EAP paper. A search has a point for each circuit, scores for each threshold. "
        "Best J: true minus false positive rate, at that many edges or nodes. Random scores are one draw."
    )


def _agreement(comparison: Compared) -> Table:
    top = max(1, comparison.total_edges // 10)
    columns = [
        ("ρ, signed", _agreeing("spearman")),
        ("ρ, size", _agreeing("spearman_absolute")),
        (f"top {top:,}", _agreeing("overlap")),
    ]
    note = (
        f"Against the exact effect of every edge on {_readable(comparison.metric)}: Spearman's ρ of the scores and of their "
        f"sizes, and the share of the {top:,} largest scores whose effects are among the {top:,} largest."
    )
    return Table("Agreement with exact effects", *_filled(comparison, columns), note)


def _agreement_on_sample(comparison: Compared) -> Table:
    columns = [("ρ, signed", _agreeing("spearman")), ("ρ, size", _agreeing("spearman_absolute"))]
    columns += [("r", _agreeing("pearson"))]
    edges = len(comparison.sample.edges) if comparison.sample is not None else 0
    note = (
        f"Against the exact effects on {_readable(comparison.metric)} of {edges:,} edges, drawn evenly and patched one at "
        "a time: Spearman's ρ of the scores and of their sizes, Pearson's r of the numbers."
    )
    note += " There is no reference circuit, so nothing is said of recovery." if comparison.reference is None else ""
    return Table("Agreement with exact effects of a sample of edges", *_filled(comparison, columns), note)


def _areas(comparison: Compared) -> Table:
    columns: list[tuple[str, Cell]] = [("CPR ↑", _of_areas("cpr")), ("CMD ↓", _of_areas("cmd"))]
    known = comparison.reference is not None
    columns += [("AUROC ↑", _of_areas("auroc"))] if known else []
    note = (
        f"As in the MIB benchmark, over ten circuit sizes from 0.1% to all edges: CPR is the area under the faithfulness of "
        f"{_readable(comparison.metric)}, signed ranking; CMD the area between it and 1, absolute ranking"
    )
    note += "; AUROC of the reference's edges at these sizes, best first from the output." if known else "."
    if any(result.outcome.circuits for result in comparison.results):
        note += (
            " A search ranks edges by the value of its size option at which they go, ties in the order of the graph."
        )
    return Table("Areas under faithfulness", *_filled(comparison, columns), note)


def _cost(comparison: Compared) -> Table:
    columns: list[tuple[str, Cell]] = [
        ("metric", lambda result: _readable(str(result.scores.provenance.get("metric", ABSENT)))),
        ("circuits", lambda result: result.outcome.manner),
        ("work", lambda result: result.outcome.work or ABSENT),
        ("seconds", lambda result: f"{result.outcome.seconds:.2f}"),
    ]
    costs = "; ".join(f"{result.name}: {result.outcome.cost}" for result in comparison.results)
    note = f"Seconds for the whole method on {comparison.facts['data']['examples']} pairs. Cost: {costs}."
    return Table("Cost", *_filled(comparison, columns), note)


def _kept(comparison: Compared, metric: str) -> Table:
    """What the circuits of every method have of a metric, size by size."""
    ends, share = comparison.ends[metric], metric == comparison.metric
    show = _faithfulness if share else _value
    columns = [(f"{size:,} edge{'' if size == 1 else 's'}", _at(size, metric, show)) for size in comparison.sizes]
    what = "faithfulness" if share else _readable(metric)
    title = f"{what[0].upper()}{what[1:]} of circuits of {_shares(comparison)} of {comparison.total_edges:,} edges"
    note = (
        f"Measured on {comparison.judged_on}; "
        f"{_readable(metric)} is {ends.clean:.4g} clean and {ends.corrupted:.4g} with every edge replaced."
    )
    if share:
        note = f"Faithfulness is (circuit − corrupted) / (clean − corrupted). {note}"
    if any(result.outcome.circuits for result in comparison.results):
        note += " In brackets: the size of the nearest circuit that a search found."
    return Table(title, *_filled(comparison, columns), note)


def _overfitting(comparison: Compared) -> Table:
    """How much further circuits are from the model on prompts they were not found on."""
    columns = [(f"{size:,} edge{'' if size == 1 else 's'}", _further(size)) for size in comparison.sizes]
    note = "KL on held-out pairs over KL on the pairs a circuit was found on: 1 is no overfitting."
    return Table("Overfitting: how many times as large KL is on held-out pairs", *_filled(comparison, columns), note)


def _further(size: int) -> Cell:
    return lambda result: number(result.at(size).overfitting, ".2f")


def _shares(comparison: Compared) -> str:
    return ", ".join(f"{100 * size / comparison.total_edges:.2g}%" for size in comparison.sizes)


# -- cells ------------------------------------------------------------------------------------------------------------


def _filled(
    comparison: Compared, columns: Sequence[tuple[str, Cell]]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    header = ("method", *(title for title, _ in columns))
    return header, tuple((result.name, *(cell(result) for _, cell in columns)) for result in comparison.results)


def _area(level: str, name: str) -> Cell:
    return lambda result: f"{getattr(result.recovery[level], name):.3f}"


def _of_areas(name: str) -> Cell:
    return lambda result: number(result.areas[name], ".3f")


def _agreeing(name: str) -> Cell:
    def cell(result: Result) -> str:
        return number((result.agreement or {}).get(name), ".3f")

    return cell


def _at(size: int, metric: str, show: Callable[[Measured, str], str]) -> Cell:
    def cell(result: Result) -> str:
        point = result.at(size)
        text = show(point, metric)
        return f"{text} ({point.edges:,})" if result.outcome.circuits else text

    return cell


def _faithfulness(point: Measured, metric: str) -> str:
    return _percent(point.faithfulness[metric])


def _value(point: Measured, metric: str) -> str:
    return number(point.metrics[metric], ".3f")


def _percent(value: float | None) -> str:
    return number(value, ".1%")


def _readable(metric: str) -> str:
    return metric.upper() if metric in ("kl", "nll") else metric.replace("_", " ")
