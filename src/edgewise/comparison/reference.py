"""Reference: the circuit that methods are to find, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

from edgewise.circuit import Circuit
from edgewise.comparison.compare_recipe import is_small, threshold_of
from edgewise.errors import FileError, GraphMismatch, InvalidValue
from edgewise.evaluation import Recovery, measure_recovery
from edgewise.evaluation.universe import denominators
from edgewise.formats.reading import find
from edgewise.models.subject import Subject
from edgewise.scores import Scores
from edgewise.tasks import task
from edgewise.tasks.references import REFERENCES, reference_groups

# The reference of a small model where no other is known.
DEFAULT_THRESHOLD = "exact:1%"
# Where there is no reference, scores are held against the effects of so many edges: as many runs as one of `exact` on a toy.
AGREEMENT_SAMPLE = 100
RECOVERED = ("edges", "nodes")


@final
@dataclass(frozen=True)
class Reference:
    """The circuit to be found. `kind` is task, exact, file or given; `text` says in words which one it is.

    `threshold` is that of `exact`, in units of the metric. `groups` are the roles of its nodes, where they are known.
    """

    kind: str
    text: str
    circuit: Circuit
    threshold: float | None = None
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; the edges are in a file of their own."""
        sizes = {"edges": len(self.circuit), "total_edges": self.circuit.graph.n_edges}
        return {"kind": self.kind, "text": self.text, **sizes, "threshold": self.threshold}


def check_wanted(wanted: str | None, task_name: str | None) -> None:
    """Refuse, before anything is computed, a reference that cannot be: see `CompareRecipe.reference`."""
    if wanted is None or wanted == "none":
        return
    if _is_measured(wanted):
        threshold_of(wanted)
    elif wanted == "task":
        known_reference(task_name)
    else:
        _from_file(wanted)


def settle(wanted: str | Circuit | None, subject: Subject, task_name: str | None) -> str | Reference:
    """The reference, or `exact:…` or `none` where it is still to be measured, or not wanted.

    `none`, too, where none is named and there is none that goes without saying. GraphMismatch for another model's.
    """
    if isinstance(wanted, Circuit):
        return _on(subject, Reference("given", "the circuit given", wanted))
    if wanted is None:
        return _by_default(subject, task_name)
    if _is_measured(wanted):
        threshold_of(wanted)
    if wanted == "none" or _is_measured(wanted):
        return wanted
    if wanted == "task":
        return _on(subject, known_reference(task_name))
    return _on(subject, _from_file(wanted))


def measured(text: str, scores: Scores, whole: float) -> Reference:
    """The edges whose exact effect is at least the threshold; `whole` is clean − corrupted of the metric."""
    number, share = threshold_of(text)
    threshold = number * abs(whole) if share else number
    circuit = scores.above(threshold)
    unit = scores.provenance.get("metric", "the metric")
    relative = f" ({number:.3g} of clean − corrupted)" if share else ""
    words = f"edges whose exact effect on {unit} is at least {threshold:.4g}{relative} in absolute value"
    if len(circuit) in (0, circuit.graph.n_edges):
        largest = float(scores.values.abs().max())
        count = "no edge has" if not len(circuit) else "every edge has"
        raise InvalidValue(
            f"the reference {text} tells no edges apart: {count} an effect of {threshold:.4g} or more; "
            f"the largest is {largest:.4g}; choose another threshold"
        )
    return Reference("exact", words, circuit, threshold)


def known_reference(task_name: str | None) -> Reference:
    """The circuit known for a task; InvalidValue, with the cure, if there is none."""
    circuit = task(task_name).reference if task_name is not None else None
    if task_name is None or circuit is None:
        whose = f"the task {task_name}" if task_name else "a file of data"
        raise InvalidValue(f"there is no known circuit for {whose}; {CURE}")
    groups = reference_groups(task_name) if task_name in REFERENCES else {}
    model = circuit.provenance.get("model", "its model")
    return Reference("task", f"the circuit known for {task_name} in {model}", circuit, groups=groups)


CURE = (
    "give --reference a file with a circuit, exact:1% to measure one edge by edge, or none for a table without recovery"
)


def _is_measured(wanted: str) -> bool:
    return wanted == "exact" or wanted.startswith("exact:")


def _by_default(subject: Subject, task_name: str | None) -> str | Reference:
    if task_name is not None and task(task_name).reference is not None:
        known = known_reference(task_name)
        if known.circuit.graph == subject.graph:
            return known
    return DEFAULT_THRESHOLD if is_small(subject.graph) else "none"


def sample_size(wanted: int | None, reference: str | Circuit | None, settled: str | Reference) -> int | None:
    """How many edges to patch alone: what is `wanted`, and some where nobody named a reference and there is none."""
    return AGREEMENT_SAMPLE if wanted is None and reference is None and settled == "none" else wanted


def _from_file(path: str) -> Reference:
    circuit = find(path).circuit
    if circuit is None:
        raise FileError(
            f"{path} holds scores, but a reference is a circuit; give a run folder or the .json of a circuit"
        )
    return Reference("file", f"the circuit in {path}", circuit)


def _on(subject: Subject, reference: Reference) -> Reference:
    theirs, ours = reference.circuit.graph, subject.graph
    if theirs != ours:
        raise GraphMismatch(
            f"the reference ({reference.text}) is of another model: {theirs}; {subject.name} has {ours}; {CURE}"
        )
    if len(reference.circuit) in (0, ours.n_edges):
        count = "no edge" if not len(reference.circuit) else "every edge"
        raise InvalidValue(f"the reference ({reference.text}) has {count}, so there is nothing to recover; {CURE}")
    return reference


def recovered(found: Scores | Sequence[Circuit], reference: Circuit | None, *, absolute: bool) -> dict[str, Recovery]:
    """What was recovered of a reference, at each level at which there is something in it and something out of it."""
    if reference is None:
        return {}
    levels = [level for level in RECOVERED if 0 < denominators(reference)[level][0] < denominators(reference)[level][1]]
    return {level: measure_recovery(found, reference, level=level, absolute=absolute) for level in levels}
