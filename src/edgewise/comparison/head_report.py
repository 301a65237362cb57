"""HeadReport: the heads of several circuits by role and worth, as tables, as plain words, and as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any, final

from edgewise.comparison.case_study import Heads
from edgewise.comparison.table import ABSENT, Table, number
from edgewise.evaluation import HeadRoles, HeadRow
from edgewise.evaluation.measured_roles import ROLES, shown
from edgewise.figures.head_map import HeadMap, HeadMapRow
from edgewise.store.schema import VERSION, plain

HEADS = "edgewise/heads"
NO_ROLE = "no measured role"


@final
@dataclass(frozen=True)
class HeadReport:
    """Which heads circuits keep, what each does in the model, and what it is worth to each; `print` shows the tables.

    `model`, `prompts`, `ablation`: what the circuits are of; `held_out`: whether they were judged on held-out pairs.
    `heads`: the circuits with their sizes, and the worth of every head to each that keeps it.
    `measured`: the roles of all heads of the model, measured on the same pairs.
    `published`: head → its role in the published circuit of this model and task; empty where there is none.
    `notes`: what is to be said about sizes.
    """

    model: str
    prompts: str
    ablation: str
    held_out: bool
    heads: Heads
    measured: HeadRoles
    published: Mapping[str, str]
    notes: tuple[str, ...] = ()

    @property
    def judged_on(self) -> str:
        """The pairs it was measured on, in words."""
        held_out = "held-out pairs" if self.held_out else "pairs that the circuits were found on"
        return f"{self.measured.examples:,} {held_out}"

    @property
    def tables(self) -> tuple[Table, ...]:
        """The roles in the model, then the heads of the circuits."""
        return self._roles(), self._heads()

    @property
    def cooperating(self) -> tuple[str, ...]:
        """In words: the heads that a search keeps and needs, and that scores of single edges drop."""
        found = []
        for pair in self.heads.cooperation:
            if pair.heads:
                heads = ", ".join(
                    f"{row.head} ({row.role or NO_ROLE}, {number(row.worth, '.3g')})" for row in pair.heads
                )
                found.append(f"{pair.dropped_by} drops what {pair.kept_by} needs: {heads}.")
        if found:
            return (
                *found,
                "In brackets: the role, and how many nats farther from the model the circuit is without the head.",
            )
        if not self.heads.cooperation:
            return ()
        return (f"No head worth {self.heads.least:.3g} or more to a searched circuit is dropped by scores alone.",)

    @property
    def title(self) -> str:
        """One line: what was asked of which model, and how it was measured."""
        return f"heads for {self.prompts} in {self.model}, judged on {self.judged_on}, {self.ablation} ablation"

    @property
    def map(self) -> HeadMap:
        """What the picture shows."""
        missed = [(row.head, pair.dropped_by) for pair in self.heads.cooperation for row in pair.heads]
        rows = tuple(
            HeadMapRow(
                row.head, row.role, worth, tuple(name for name in self.heads.edges if (row.head, name) in missed)
            )
            for row, worth in self._shown()
        )
        columns = {name: f"{name}\n{edges:,} edges" for name, edges in self.heads.edges.items()}
        return HeadMap(self.title, columns, self.heads.least, rows, self._left_out)

    def to_dict(self) -> dict[str, Any]:
        """The values as a dictionary for JSON, all heads of the model among them."""
        facts = {name: getattr(self, name) for name in ("model", "prompts", "ablation", "held_out")}
        return plain(
            {
                "schema": HEADS,
                "version": VERSION,
                **facts,
                **self.heads.to_dict(),
                "published": dict(self.published),
                "notes": list(self.notes),
                "measured": self.measured.to_dict(),
            }
        )

    def __str__(self) -> str:
        cooperating = "\n".join(("Heads that work together", *self.cooperating)) if self.cooperating else ""
        parts = ["\n".join((self.title, *self.notes)), *map(str, self.tables), cooperating]
        return "\n\n".join(part for part in parts if part)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"

    # -- parts ------------------------------------------------------------------------------------------------------

    def _roles(self) -> Table:
        kept = {study.base: {row.head for row in study.rows if row.worth is not None} for study in self.heads.studies}
        rows = []
        for role in ROLES:
            heads = self.measured.having(role)
            counts = [sum(head.head in kept[name] for head in heads) for name in self.heads.edges]
            cells = [f"{count} of {len(heads)}" if heads else ABSENT for count in counts]
            rows.append((role, ", ".join(shown(head, role) for head in heads) or ABSENT, *cells))
        note = (
            "Measured in the whole model. In brackets: the attention that goes where the role looks, and the effect on "
            f"{self.measured.metric.replace('_', ' ')} as a share of clean − corrupted. Under each run: how many it keeps."
        )
        return Table("Roles", ("role", "heads", *self.heads.edges), tuple(rows), note)

    def _heads(self) -> Table:
        known = {"published": self.published} if self.published else {}
        header = ("head", "role", *known, *(f"{name} ({edges:,})" for name, edges in self.heads.edges.items()))
        rows = tuple(
            (
                row.head,
                row.role or ABSENT,
                *(roles.get(row.head, ABSENT) for roles in known.values()),
                *(number(worth.get(name), ".3f") for name in self.heads.edges),
            )
            for row, worth in self._shown()
        )
        left_out = f" {self._left_out}" if self._left_out else ""
        note = (
            "Under each run (edges in brackets): how many nats of KL its circuit is farther from the model without the head, "
            f"or closer where that is negative; {ABSENT}: it does not keep the head.{left_out}"
        )
        return Table("Heads in the circuits", header, rows, note)

    def _shown(self) -> list[tuple[HeadRow, dict[str, float]]]:
        """The heads that have a role, or are worth something to a circuit: by role, those without any last."""
        rows = [
            (row, worth)
            for row, worth in self.heads.rows()
            if row.role or row.head in self.published or max(worth.values()) >= self.heads.least
        ]
        return sorted(rows, key=lambda one: _place(one[0].role))

    @property
    def _left_out(self) -> str:
        """How many of the kept heads are not shown, in words."""
        count = sum(1 for _ in self.heads.rows()) - len(self._shown())
        what = f"without a role, and worth less than {self.heads.least:.3g} to every circuit"
        return f"Not shown: {count:,} kept head{'' if count == 1 else 's'} {what}." if count else ""


def _place(role: str) -> tuple[int, str]:
    """Heads of one role, or of the same several, stand together, in the order of ROLES."""
    return (ROLES.index(role.partition(", ")[0]) if role else len(ROLES)), role
