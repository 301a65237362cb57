"""What a run found, and the folder it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

from edgewise.circuit import Circuit
from edgewise.curve import Curve
from edgewise.evaluation import Bootstrap, Report
from edgewise.evaluation.report import overfitting
from edgewise.formats.reading import (
    ATTENTION_FILE,
    CIRCUIT_FILE,
    CURVE_FILE,
    REPORT_FILE,
    SCORES_FILE,
    attention_json,
    curve_json,
    with_reference,
)
from edgewise.provenance import versions
from edgewise.runs.recipe import RECIPE_FILE, Recipe
from edgewise.scores import Scores
from edgewise.store.disk import write_bytes
from edgewise.store.files import save
from edgewise.store.manifest import MANIFEST, MANIFEST_FILE, file_hash
from edgewise.store.schema import VERSION, dump, encode, plain
from edgewise.sweeps import Sweep
from edgewise.viewer import Finding, show
from edgewise.viewer.document import AttentionEntry

SWEEP_FILE = "sweep.json"
# What is told of each metric on the pairs that a circuit was found on.
ON_FOUND = ("clean", "corrupted", "circuit", "faithfulness")


@final
@dataclass(frozen=True)
class Run:
    """What a run found, and on what: `model` is its identity, `data` the hash of its pairs.

    `circuit` and `scores` are of the level that the recipe asks for. `scores` is None for a search, which decides edge by
    edge and scores none, unless it was swept: `sweep` has a circuit for each value, `sweep_reports` what each keeps.
    Where pairs were held out, reports and curve are of those, and `found_on` is the report on pairs that the circuit was
    found on, the first 128. `stability` is there if the recipe asks for it. `attention`: where heads of the
    circuit attend in the first prompts that it was found on. `spent`: seconds by what they were spent on.
    """

    recipe: Recipe
    model: dict[str, Any]
    data: str
    scores: Scores | None
    circuit: Circuit
    report: Report
    seconds: float
    spent: Mapping[str, float] = field(default_factory=dict)
    found_on: Report | None = None
    curve: Curve | None = None
    folder: Path | None = None
    files: tuple[str, ...] = ()
    sweep: Sweep | None = None
    sweep_reports: tuple[Report, ...] = ()
    stability: Bootstrap | None = None
    attention: AttentionEntry | None = None

    @property
    def selected(self) -> int:
        """The number of edges, nodes or neurons before those on no path were dropped."""
        return int(self.circuit.provenance[self.recipe.level]["selected"])

    @property
    def overfitting(self) -> float | None:
        """KL to the whole model on held-out pairs over that on the pairs the circuit was found on, if both are known."""
        return None if self.found_on is None else overfitting(self.found_on["kl"].circuit, self.report["kl"].circuit)

    @property
    def on_pairs_found_on(self) -> dict[str, Any]:
        """`found_on`: what the circuit keeps on the pairs it was found on, as plain values; empty if `report` says it."""
        if self.found_on is None:
            return {}
        measured = {name: one.to_dict() for name, one in self.found_on.metrics.items()}
        shown = {name: {key: one[key] for key in ON_FOUND} for name, one in measured.items()}
        return {"found_on": {"examples": self.found_on.examples, "metrics": shown, "overfitting": self.overfitting}}

    @property
    def sweep_rows(self) -> list[dict[str, Any]]:
        """One mapping for each value of a sweep: how many edges it keeps, what it took, what they keep."""
        if self.sweep is None:
            return []
        metric = self.circuit.provenance["faithfulness"]["metric"]
        return [
            {
                self.sweep.size_option: value,
                "edges": len(circuit),
                **{key: circuit.provenance[key] for key in ("tested", "final") if key in circuit.provenance},
                "metrics": {known: one.circuit for known, one in report.metrics.items()},
                "faithfulness": report[metric].faithfulness,
                "circuit": f"circuit-{name}.json",
            }
            for value, circuit, report, name in zip(
                self.sweep.values, self.sweep.circuits, self.sweep_reports, self._names(self.sweep), strict=True
            )
        ]

    def _names(self, sweep: Sweep) -> list[str]:
        """What tells the files of the circuits of a sweep apart: the sizes asked for, or the values of its option."""
        if self.recipe.sizes is not None:
            return [str(circuit.provenance["edges"]["selected"]) for circuit in sweep.circuits]
        return [f"{sweep.size_option}-{value!r}" for value in sweep.values]

    @property
    def finding(self) -> Finding:
        """What there is to show of it."""
        curves = () if self.curve is None else (self.curve,)
        scores = (
            {} if self.scores is None else {"scores" if self.scores.level == "edges" else "node_scores": self.scores}
        )
        shown = replace(Finding.of(self.circuit), **scores)
        return with_reference(replace(shown, curves=curves, report=_report(self), attention=self.attention))


def write(found: Run, folder: Path) -> tuple[str, ...]:
    """Everything a run leaves, the manifest with the hash of every other file last."""
    save(found.circuit, folder / CIRCUIT_FILE)
    if found.scores is not None:
        save(found.scores, folder / SCORES_FILE)
    write_bytes(folder / REPORT_FILE, encode(dump({"schema": "edgewise/report", "version": VERSION, **_report(found)})))
    if found.curve is not None:
        write_bytes(folder / CURVE_FILE, encode(curve_json(found.curve)))
    if found.attention is not None:
        write_bytes(folder / ATTENTION_FILE, encode(attention_json(found.attention)))
    write_bytes(folder / RECIPE_FILE, encode(found.recipe.to_json()))
    if found.sweep is not None:
        _write_sweep(found, found.sweep, folder)
    for suffix in (".svg", ".dot", ".html"):
        show(found.finding, folder / f"circuit{suffix}")
    names = sorted(path.name for path in folder.iterdir())
    write_bytes(folder / MANIFEST_FILE, encode(dump(_manifest(found, folder))))
    return (*names, MANIFEST_FILE)


def _write_sweep(found: Run, sweep: Sweep, folder: Path) -> None:
    rows = found.sweep_rows
    for row, circuit in zip(rows, sweep.circuits, strict=True):
        save(circuit, folder / row["circuit"])
    head = {"schema": "edgewise/sweep", "version": VERSION, "dial": sweep.size_option}
    write_bytes(folder / SWEEP_FILE, encode(dump({**head, "values": rows})))


def _report(found: Run) -> dict[str, Any]:
    known = found.circuit.provenance
    told = ("metric", "units", "candidates", "tested", "computed", "final")
    counts = {name: known[name] for name in told if name in known}
    again = {} if found.stability is None else {"stability": found.stability.to_dict()}
    report = plain({**found.report.to_dict(), **found.on_pairs_found_on, **again})
    chosen = {"level": found.recipe.level, "selected": found.selected, "ranking": found.recipe.ranking}
    if {"tried", "otherwise"} & known.get("selection", {}).keys():
        chosen["selection"] = dict(known["selection"])
    return {**chosen, **counts, **report}


def _manifest(found: Run, folder: Path) -> dict[str, Any]:
    return {
        "schema": MANIFEST,
        "version": VERSION,
        "recipe": found.recipe.portable(),
        "repeat": "edgewise discover --recipe manifest.json",
        "versions": versions(),
        "model": found.model,
        "data": {"sha256": found.data, "examples": found.circuit.provenance.get("examples")},
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(found.seconds, 3),
        "spent": {name: round(seconds, 3) for name, seconds in found.spent.items()},
        "files": {path.name: file_hash(path) for path in sorted(folder.iterdir())},
    }
