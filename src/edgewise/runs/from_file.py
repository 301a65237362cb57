"""Evaluating a circuit from a file, or one cut from scores, on the model and the prompts it came from or on others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, final

from edgewise.arguments import Size
from edgewise.circuit import Circuit
from edgewise.errors import FileError, GraphMismatch, InvalidValue
from edgewise.evaluation import Look, Report, evaluate, look, select
from edgewise.formats.reading import find
from edgewise.metrics import metric
from edgewise.models import Subject
from edgewise.pairs import Pairs
from edgewise.progress import Track, silent
from edgewise.runs.cutting import Cut, Ranking, cut, ranking_of, scored, with_recipe
from edgewise.runs.recipe import NOTHING_HELD_OUT, Recipe
from edgewise.runs.resolved import ResolvedSetting, resolve
from edgewise.runs.run import reported_metrics
from edgewise.runs.source import Source
from edgewise.scores import Scores

# Changes that say which prompts a circuit is judged on.
OTHER_PROMPTS = {"task", "data", "examples", "seed"}


def check(
    file: str | Path,
    changes: Mapping[str, Any],
    *,
    metrics: Sequence[str] | None = None,
    edges: Size | None = None,
    weights: Literal["same", "any"] = "same",
    track: Track = silent,
) -> tuple[Circuit, Report]:
    """The circuit, of edges or of neurons, in a file or run folder, and its Report; with `edges` one cut from its scores.

    What `changes` (fields of a Recipe) leave open comes from the circuit's provenance; it is judged on pairs held out from
    those it was found on, where there are any and `changes` name no others. GraphMismatch if the model has
    another graph, or, unless `weights="any"`, other weights than the circuit was found in.
    """
    names = [metric(name).name for name in metrics or ()]
    circuit = (
        _circuit_in(file, "evaluate", "; or cut them with --edges") if edges is None else cut(file, edges=edges).circuit
    )
    placed = _placed(circuit, file, changes, weights, track)
    names = names or reported_metrics(placed.setting.reported_metric(placed.pairs))
    options = {"ablation": placed.setting.ablation, "batch_size": placed.setting.batch_size, "random": placed.seed}
    report = evaluate(placed.subject, circuit, placed.pairs, metrics=names, track=track, **options)
    return circuit, report


def cut_to_keep(
    file: str | Path,
    share: float,
    changes: Mapping[str, Any],
    *,
    ranking: Ranking | None = None,
    weights: Literal["same", "any"] = "same",
    track: Track = silent,
) -> Cut:
    """The smallest circuit of the scores in a file or run folder that keeps a share, as `select` finds it.

    The model and the prompts are those that `check` takes, and the metric is that of the run, unless `changes` name others.
    """
    _, scores = scored(file)
    order = ranking or ranking_of(scores)
    placed = _placed(scores, file, changes, weights, track)
    circuit = select(
        placed.subject,
        scores,
        placed.pairs,
        faithfulness=share,
        absolute=order == "absolute",
        metric=placed.setting.reported_metric(placed.pairs),
        ablation=placed.setting.ablation,
        batch_size=placed.setting.batch_size,
        track=track,
    )
    asked = (
        {"faithfulness": share}
        if scores.level == "edges"
        else {scores.level: circuit.provenance[scores.level]["selected"]}
    )
    return Cut(with_recipe(circuit, order, **asked), scores, order)


def look_at(
    file: str | Path,
    changes: Mapping[str, Any],
    *,
    prompts: int = 3,
    weights: Literal["same", "any"] = "same",
    track: Track = silent,
) -> Look:
    """What the nodes of the circuit in a file or run folder do: `look` on the model and the prompts that `check` takes."""
    circuit = _circuit_in(file, "look")
    placed = _placed(circuit, file, changes, weights, track)
    batch_size = placed.setting.batch_size
    return look(placed.subject, circuit, placed.pairs, prompts=prompts, batch_size=batch_size, track=track)


@final
@dataclass(frozen=True)
class _Placed:
    """The model of what a file holds, with the pairs to judge it on."""

    setting: ResolvedSetting
    subject: Subject
    pairs: Pairs
    seed: int


def _circuit_in(file: str | Path, verb: str, cure: str = "") -> Circuit:
    circuit = find(file).selected
    if circuit is None:
        raise FileError(
            f"{file} holds scores, but {verb} needs a circuit; give a run folder or the .json of a circuit{cure}"
        )
    return circuit


def _placed(
    found: Circuit | Scores, file: str | Path, changes: Mapping[str, Any], weights: Literal["same", "any"], track: Track
) -> _Placed:
    recipe = recipe_behind(found, file, changes)
    setting = resolve(recipe)
    subject = setting.model.load(track)
    _check_graph(found, subject)
    if weights == "same":
        check_weights(found, subject.identity)
    return _Placed(setting, subject, _judged(setting.source, subject, changes), recipe.seed)


def _judged(source: Source, subject: Subject, changes: Mapping[str, Any]) -> Pairs:
    """The pairs held out from those the circuit was found on; those that `changes` ask for, where they name prompts."""
    pairs = source.pairs(subject.tokenizer)
    if changes.keys() & OTHER_PROMPTS and not changes.keys() & {"held_out", "split"}:
        return pairs
    held_out = source.held_out(subject.tokenizer, pairs)
    return pairs if held_out is None else held_out


def known_fields(circuit: Circuit | Scores) -> dict[str, Any]:
    """The recipe behind a circuit as fields, or as much of one as its provenance tells."""
    known = circuit.provenance
    if isinstance(known.get("recipe"), Mapping):
        return dict(known["recipe"])
    names = "model task corruption examples seed metric ablation dtype kv adapter batch_size bos chat_template"
    return {name: known[name] for name in names.split() if known.get(name) is not None}


def recipe_behind(
    circuit: Circuit | Scores, file: str | Path, changes: Mapping[str, Any] = MappingProxyType({})
) -> Recipe:
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


def _check_graph(circuit: Circuit | Scores, subject: Subject) -> None:
    if circuit.graph != subject.graph:
        raise GraphMismatch(
            f"the circuit belongs to another graph ({circuit.graph}) than {subject.name} ({subject.graph}); "
            "name its model with --model"
        )


def check_weights(circuit: Circuit | Scores, identity: Mapping[str, Any]) -> None:
    """GraphMismatch unless the model has the weights that the circuit was found in, where the circuit says which."""
    then = circuit.provenance
    for key in ("revision", "weights"):
        if key in then and key in identity and then[key] != identity[key]:
            raise GraphMismatch(
                f"the circuit was found with other weights ({key} {then[key]}) than these ({identity[key]}); "
                "to evaluate it anyway, give --allow-other-weights"
            )
