"""Circuits of several runs, or of a comparison, beside one another: of one model, for the same prompts, of one size."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from edgewise.attribution import ScoringMethod
from edgewise.circuit import Circuit
from edgewise.comparison.compare_recipe import CompareRecipe, sizes_on
from edgewise.comparison.comparison_store import finished
from edgewise.errors import FileError, GraphMismatch, InvalidValue
from edgewise.formats.reading import METHODS_FOLDER, find
from edgewise.methods import METHODS
from edgewise.runs.from_file import recipe_behind
from edgewise.runs.recipe import RECIPE_FILE, Recipe, Setting
from edgewise.scores import Scores
from edgewise.tasks import TASKS

ONE_MODEL = "heads are compared within one model"
# What has to be the same in all runs, with the words for it, by the reason why.
SAME = {
    ONE_MODEL: {"model": "model", "kv": "k and v readers", "adapter": "adapter"},
    "heads are compared on the same prompts": {
        "task": "task",
        "data": "data",
        "corruption": "corruption",
        "bos": "begin token",
        "chat_template": "chat template",
    },
    "circuits found under different ablations keep heads for different reasons": {"ablation": "ablation"},
}


@final
@dataclass(frozen=True)
class FoundCircuit:
    """The circuit of one run, without its dangling edges, and how it was found.

    `scores`: the scores of all edges, if the method gives them, so that circuits of other sizes can be made of them.
    `setting`: the recipe of its run.
    `others`: circuits of other sizes that the same run found, where there are no scores.
    """

    name: str
    source: Path
    method: str
    circuit: Circuit
    scores: Scores | None
    absolute: bool
    setting: Setting
    others: tuple[Circuit, ...] = ()

    @property
    def searched(self) -> bool:
        """Whether its method looks at more than one edge at a time."""
        known = METHODS.get(self.method)
        return self.scores is None if known is None else not issubclass(known, ScoringMethod)

    def of_size(self, edges: int) -> Circuit:
        """The largest circuit of its best-scored edges that has no more than `edges` after dangling ones are dropped.

        Without scores: of those that its run found the nearest in size, the smaller on a tie.
        """
        if len(self.circuit) == edges:
            return self.circuit
        if self.scores is None:
            found = [self.circuit, *self.others]
            return min(found, key=lambda one: (abs(len(one) - edges), len(one))).without_dangling()
        low, high = min(edges, len(self.scores)), len(self.scores)
        while low < high:
            middle = (low + high + 1) // 2
            if len(self._best(middle)) <= edges:
                low = middle
            else:
                high = middle - 1
        return self._best(low)

    def _best(self, edges: int) -> Circuit:
        assert self.scores is not None
        return self.scores.top(edges, absolute=self.absolute).without_dangling()


def found_circuits(runs: Sequence[str | Path]) -> tuple[FoundCircuit, ...]:
    """The circuits in run folders, files, and folders of comparisons; refused unless they belong side by side."""
    if not runs:
        raise InvalidValue("there are no runs to compare; name the folders that discover has written")
    circuits = [
        one for run in runs for one in (_compared(Path(run)) if _is_comparison(Path(run)) else [_run(Path(run))])
    ]
    first, *others = circuits
    for other in others:
        _check_alike(first, other)
    return tuple(_told_apart(circuits))


def equal_sizes(circuits: Sequence[FoundCircuit], edges: int | None = None) -> tuple[int, dict[str, Circuit]]:
    """A size, and by name a circuit of each near it: cut, or grown, by its scores, or the nearest one that its run found.

    The size is `edges`, else that of the smallest circuit that cannot be cut, else that of the smallest.
    """
    fixed = [len(one.circuit) for one in circuits if one.scores is None]
    size = edges if edges is not None else min(fixed or [len(one.circuit) for one in circuits])
    return size, {one.name: one.of_size(size) for one in circuits}


def size_notes(circuits: Sequence[FoundCircuit], chosen: dict[str, Circuit]) -> tuple[str, ...]:
    """In words: which circuits were given another size, and whether all are alike in the end."""
    changed = [
        f"{one.name} has {len(chosen[one.name]):,} edges here, {len(one.circuit):,} in its run"
        for one in circuits
        if one.scores is not None and len(chosen[one.name]) != len(one.circuit)
    ]
    counts = [len(circuit) for circuit in chosen.values()]
    uneven = f"The circuits differ in size ({min(counts):,} to {max(counts):,} edges), so some may keep more heads."
    nearest = [
        f"{one.name}: {len(chosen[one.name]):,}"
        for one in circuits
        if one.scores is None and len(chosen[one.name]) != len(one.circuit)
    ]
    by_size = [f"Nearest in size of those that a run found: {'; '.join(nearest)} edges."] if nearest else []
    by_scores = [f"Made of equal size by their scores: {'; '.join(changed)}."] if changed else []
    return (*by_scores, *by_size, *([uneven] if max(counts) > 1.1 * min(counts) else []))


# -- reading ----------------------------------------------------------------------------------------------------------


def _run(path: Path) -> FoundCircuit:
    finding = find(path)
    if finding.circuit is None:
        raise FileError(f"{path} holds scores, but heads are of circuits; give a run folder or the .json of a circuit")
    if finding.neurons is not None:
        raise InvalidValue(f"{path} is a circuit of neurons, which keeps parts of heads; give circuits of edges")
    recipe = recipe_behind(finding.circuit, path)
    method = str(finding.circuit.provenance.get("method", path.stem))
    scores = finding.scores if finding.scores is not None and _can_be_cut(finding.scores, recipe) else None
    circuit = finding.circuit.without_dangling()
    return FoundCircuit(method, path, method, circuit, scores, recipe.ranking == "absolute", recipe)


def _can_be_cut(scores: Scores, recipe: Recipe) -> bool:
    """Whether the circuit is the best edges by these scores, rather than that of a search which was swept."""
    return recipe.level == "edges" and bool(scores.values.isfinite().all())


def _is_comparison(path: Path) -> bool:
    return os.path.isdir(path / METHODS_FOLDER)


def _compared(folder: Path) -> list[FoundCircuit]:
    """The circuits of the finished methods of a comparison, at the size of its study of heads or at its smallest."""
    recipe = CompareRecipe.read(folder / RECIPE_FILE)
    outcomes = [outcome for outcome in finished(folder) if outcome.entry.method != "random"]
    if not outcomes:
        raise FileError(f"{folder} is a comparison in which no method has finished yet")
    graph = outcomes[0].scores.graph
    size = sizes_on(graph, recipe.edges if recipe.heads is None else [recipe.heads])[0]
    return [
        FoundCircuit(
            one.entry.name,
            folder,
            one.entry.method,
            one.nearest(size).without_dangling(),
            None if one.circuits else one.scores,
            one.entry.absolute,
            recipe,
            tuple(one.circuits),
        )
        for one in outcomes
    ]


# -- side by side -----------------------------------------------------------------------------------------------------


def _check_alike(first: FoundCircuit, other: FoundCircuit) -> None:
    """InvalidValue, in one sentence, for another model, other prompts or another ablation."""
    if (first.source, first.name) == (other.source, other.name):
        raise InvalidValue(f"{first.source} is named twice; name each run once")
    for reason, same in SAME.items():
        for name, words in same.items():
            ours, theirs = (_fact(one, name) for one in (first, other))
            if ours != theirs:
                where = f"{first.source} and {other.source}"
                raise InvalidValue(f"{where} differ in their {words} ({ours}, {theirs}): {reason}")
    if first.circuit.graph != other.circuit.graph:
        graphs = f"{first.circuit.graph}, {other.circuit.graph}"
        raise GraphMismatch(f"{first.source} and {other.source} are of different models ({graphs}): {ONE_MODEL}")


def _fact(found: FoundCircuit, name: str) -> str:
    """What is to be the same: a field of the setting, in words; the weights where they are known, whatever their folder."""
    value = getattr(found.setting, name)
    if name == "model":
        return str(found.circuit.provenance.get("weights", value))
    if name == "corruption" and value is None and (task := found.setting.task) is not None:
        return TASKS[task].corruptions[0]
    return "none" if value is None else str(value)


def _told_apart(circuits: Sequence[FoundCircuit]) -> Iterator[FoundCircuit]:
    """Each with a name of its own: its method, and where there are several of it the folder too."""
    named = Counter(one.name for one in circuits)
    longer = [f"{one.name} in {one.source.name}" if named[one.name] > 1 else one.name for one in circuits]
    taken = Counter(longer)
    for one, name in zip(circuits, longer, strict=True):
        yield replace(one, name=f"{one.name} in {one.source}" if taken[name] > 1 else name)
