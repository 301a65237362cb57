"""The tables of what a comparison looks into when asked to: the heads of its circuits, the grid of thresholds."""

from __future__ import annotations

from edgewise.comparison.case_study import Heads
from edgewise.comparison.table import ABSENT, Table, number
from edgewise.evaluation import Grid


def head_tables(study: Heads) -> tuple[Table, ...]:
    """Which heads every circuit keeps and what they are worth to it; which of them methods that only score drop."""
    together = [
        (pair.dropped_by, pair.kept_by, ", ".join(f"{row.head} ({number(row.worth, '.3f')})" for row in pair.heads))
        for pair in study.cooperation
        if pair.heads
    ]
    what = f"worth more than {study.least:.3g} to the circuit of a search"
    kept = _kept(
        study, "" if together or not study.searches else f" No head {what} is dropped by a method that scores."
    )
    note = f"Heads {what} that a method which only scores drops."
    cooperating = Table("Heads that work with others", ("dropped by", "kept by", "heads"), tuple(together), note)
    return (kept, cooperating) if together else (kept,)


def _kept(study: Heads, more: str) -> Table:
    rows = list(study.rows())
    known = any(row.role for row, _ in rows)
    lines = tuple(
        (row.head, *([row.role or ABSENT] if known else []), *(number(worth.get(name), ".3f") for name in study.edges))
        for row, worth in rows
    )
    titles = (f"{name} ({edges:,})" for name, edges in study.edges.items())
    note = (
        "How much farther from the model, in KL, the circuit of each method (in brackets its edges) is without that head; "
        f"{ABSENT}: it does not keep the head.{more}"
    )
    return Table(
        f"Heads in the circuits nearest to {study.size:,} edges",
        ("head", *(["role"] if known else []), *titles),
        lines,
        note,
    )


def grid_table(grid: Grid) -> Table:
    """Every pair of thresholds of `eap+acdc`."""
    best, rows = grid.best, grid.rows()
    note = (
        "EAP leaves the edges of a score from the threshold on as candidates, ACDC tests them with tau, in so many forward "
        f"passes. True and false positive rates of the {grid.level.replace('-', ' ')} of the reference; Youden's J is their "
        f"difference, at its best {best.youden:.3f} with threshold {best.threshold:.4g} and tau {best.tau:.4g}."
    )
    return Table("eap+acdc over both thresholds", tuple(rows[0]), tuple(tuple(row.values()) for row in rows), note)
