"""Evaluating a circuit from a file, on the model and the prompts it came from or on others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, final

from edgewise.circuit import Circuit
from edgewise.errors import FileError, GraphMismatch, InvalidValue
from edgewise.evaluation import Look, Report, evaluate, look
from edgewise.formats.reading import find
from edgewise.metrics import metric
from edgewise.models import Subject
from edgewise.pairs import Pairs
from edgewise.progress import Track, silent
from edgewise.runs.recipe import NOTHING_HELD_OUT, Recipe
from edgewise.runs.resolved import ResolvedSetting, resolve
from edgewise.runs.run import reported_metrics
from edgewise.runs.source import Source

# Changes that say which prompts a circuit is judged on.
OTHER_PROMPTS = {"task", "data", "examples", "seed"}


def check(
    file: str | Path,
    changes: Mapping[str, Any],
    *,
    metrics: Sequence[str] | None = None,
    weights: Literal["same", "any"] = "same",
    track: Track = silent,
) -> tuple[Circuit, Report]:
    """The circuit, of edges or of neurons, in a file or run folder, and its Report.

    What `changes` (fields of a Recipe) leave open comes from the circuit's provenance; it is judged on pairs held out from
    those it was found on, where there are any and `changes` name no others. GraphMismatch if the model has
    another graph, or, unless `weights="any"`, other weights than the circuit was found in.
    """
    names = [metric(name).name for name in metrics or ()]
    placed = _placed("evaluate", file, changes, weights, track)
    names = names or reported_metrics(placed.setting.reported_metric(placed.pairs))
    options = {"ablation": placed.setting.ablation, "batch_size": placed.setting.batch_size, "random": placed.seed}
    report = evaluate(placed.subject, placed.circuit, placed.pairs, metrics=names, track=track, **options)
    return placed.circuit, report


def look_at(
    file: str | Path,
    changes: Mapping[str, Any],
    *,
    prompts: int = 3,
    weights: Literal["same", "any"] = "same",
    track: Track = silent,
) -> Look:
    """What the nodes of the circuit in a file or run folder do: `look` on the model and the prompts that `check` takes."""
    placed = _placed("look", file, changes, weights, track)
    batch_size = placed.setting.batch_size
    return look(placed.subject, placed.circuit, placed.pairs, prompts=prompts, batch_size=batch_size, track=track)


@final
@dataclass(frozen=True)
class _Placed:
    """A circuit from a file in its model, with the pairs to judge it on."""

    circuit: Circuit
    setting: ResolvedSetting
    subject: Subject
    pairs: Pairs
    seed: int


def _placed(
    verb: str, file: str | Path, changes: Mapping[str, Any], weights: Literal["same", "any"], track: Track
) -> _Placed:
    circuit = find(file).selected
    if circuit is None:
        raise FileError(f"{file} holds scores, but {verb} needs a circuit; give a run folder or the .json of a circuit")
    recipe = recipe_behind(circuit, file, changes)
    setting = resolve(recipe)
    subject = setting.model.load(track)
    _check_graph(circuit, subject)
    if weights == "same":
        check_weights(circuit, subject.identity)
    return _Placed(circuit, setting, subject, _judged(setting.source, subject, changes), recipe.seed)


def _judged(source: Source, subject: Subject, changes: Mapping[str, Any]) -> Pairs:
    """The pairs held out from those the circuit was found on; those that `changes` ask for, where they name prompts."""
    pairs = source.pairs(subject.tokenizer)
    if changes.keys() & OTHER_PROMPTS and not changes.keys() & {"held_out", "split"}:
        return pairs
    held_out = source.held_out(subject.tokenizer, pairs)
    return pairs if held_out is None else held_out


def known_fields(circuit: Circuit) -> dict[str, Any]:
    """The recipe behind a circuit as fields, or as much of one as its provenance tells."""
    known = circuit.provenance
    if isinstance(known.get("recipe"), Mapping):
        return dict(known["recipe"])
    names = "model task corruption examples seed metric ablation dtype kv adapter batch_size bos chat_template"
    return {name: known[name] for name in names.split() if known.get(name) is not None}


def recipe_behind(circuit: Circuit, file: str | Path, changes: Mapping[str, Any] = MappingProxyType({})) -> Recipe:
    """The recipe of the run that found a circuit, with changes; InvalidValue where its provenance does not tell it."""
    known = known_fields(circuit)
    if "data" in known and "split" not in known:
        known |= NOTHING_HELD_OUT
    named = known.keys() | changes.keys()
    if "model" not in named:
        raise InvalidValue(f"{file} does not say which model it is for; give --model")
    if not named & {"task", "data"}:
        raise InvalidValue(f"{file} does not say which prompts it was found on; give --task or --data")
    if "model" in changes and changes["model"] != known.get("model"):
        known.pop("dtype", None)
        known.pop("adapter", None)
        known.pop("device_map", None)
    return Recipe.of(**known).with_changes(**changes)


def _check_graph(circuit: Circuit, subject: Subject) -> None:
    if circuit.graph != subject.graph:
        raise GraphMismatch(
            f"the circuit belongs to another graph ({circuit.graph}) than {subject.name} ({subject.graph}); "
            "name its model with --model"
        )


def check_weights(circuit: Circuit, identity: Mapping[str, Any]) -> None:
    """GraphMismatch unless the model has the weights that the circuit was found in, where the circuit says which."""
    then = circuit.provenance
    for key in ("revision", "weights"):
        if key in then and key in identity and then[key] != identity[key]:
            raise GraphMismatch(
                f"the circuit was found with other weights ({key} {then[key]}) than these ({identity[key]}); "
                "to evaluate it anyway, give --allow-other-weights"
            )
