"""The tables of what a comparison looks into when asked to: the heads of its circuits, the grid of thresholds."""

from __future__ import annotations

from edgewise.comparison.heads import Heads
from edgewise.comparison.table import ABSENT, Table, number
from edgewise.evaluation import Grid


def head_tables(study: Heads) -> tuple[Table, ...]:
    """Which heads every circuit keeps and what they are worth to it; which of them attribution drops."""
    rows = [
        (row.head, row.role or ABSENT, *(number(worth.get(name), ".4f") for name in study.edges))
        for row, worth in study.rows()
    ]
    header = ("head", "role", *(f"{name} ({edges:,})" for name, edges in study.edges.items()))
    note = (
        "How much farther from the model, in KL, the circuit of each method (in brackets its edges) is without that head; "
        f"{ABSENT}: it does not keep the head."
    )
    kept = Table(f"Heads in the circuits nearest to {study.size:,} edges", header, tuple(rows), note)
    together = [
        (
            one.dropped_by,
            one.kept_by,
            ", ".join(f"{row.head} ({number(row.worth, '.4f')})" for row in one.heads) or ABSENT,
        )
        for one in study.cooperation
    ]
    note = f"Heads worth more than {study.least:.4g} to the circuit of a search that a method which only scores drops."
    cooperating = Table("Heads that work with others", ("dropped by", "kept by", "heads"), tuple(together), note)
    return (kept, cooperating) if together else (kept,)


def grid_table(grid: Grid) -> Table:
    """Every pair of thresholds of `eap+acdc`."""
    best, rows = grid.best, grid.rows()
    note = (
        "EAP leaves the edges of a score from the threshold on as candidates, ACDC tests them with tau, in so many forward "
        f"passes. True and false positive rates of the {grid.level.replace('-', ' ')} of the reference; Youden's J is their "
        f"difference, at its best {best.youden:.3f} with threshold {best.threshold:.4g} and tau {best.tau:.4g}."
    )
    return Table("eap+acdc over both thresholds", tuple(rows[0]), tuple(tuple(row.values()) for row in rows), note)
