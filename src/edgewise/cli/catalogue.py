"""What edgewise knows by name, as rows of text: for `edgewise list` and for whoever writes tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgewise.errors import InvalidValue, UnknownName
from edgewise.option_types import words
from edgewise.options import REQUIRED, Option, options_of

Rows = list[dict[str, str]]


def catalogue(kind: str) -> Rows:
    """The rows of one kind (models, methods, tasks, metrics, ablations, formats); UnknownName for another."""
    if kind not in CATALOGUES:
        raise UnknownName.of("kind", kind, CATALOGUES)
    return CATALOGUES[kind]()


def details(kind: str, name: str) -> dict[str, Any]:
    """One method or task as plain values, with its options; UnknownName, with the nearest known one, for another name."""
    if kind.removesuffix("s") not in DETAILS:
        if kind not in CATALOGUES and kind not in DETAILS:
            raise UnknownName.of("kind", kind, [*DETAILS, *CATALOGUES])
        raise InvalidValue(f"{kind} have no options to list: leave {name!r} out")
    return DETAILS[kind.removesuffix("s")](name)


def option_rows(found: Mapping[str, Any]) -> Rows:
    """The options in the details of a member, as rows of text."""
    return [
        {
            "option": option["option"],
            "type": option["type"],
            "default": option["default"] if isinstance(option["default"], str) else words_of(option["default"]),
            "meaning": option["meaning"],
        }
        for option in found["options"]
    ]


def words_of(value: Any) -> str:
    """A default as it would be written on the command line."""
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _method(name: str) -> dict[str, Any]:
    from edgewise.methods import method_class

    chosen = method_class(name)
    options = [_described(known, chosen) for known in options_of(chosen).values()]
    facts = {"method": chosen.name, "summary": chosen.summary, "cost": chosen.cost, "paper": chosen.paper}
    return {**facts, "metric": f"{_metric_of(chosen)}, unless --metric names another", "options": options}


def _metric_of(chosen: Any) -> str:
    return "the task's" if chosen.metric is None else str(chosen.metric)


def _unit(option: Option, chosen: Any) -> str:
    """What an option is in units of, in words; empty where it is in none."""
    from edgewise.options import ITS_METRIC

    if not option.unit:
        return ""
    if option.unit == ITS_METRIC:
        return f"; in units of {_metric_of(chosen)}, or of --metric"
    named = options_of(chosen)[option.unit].default
    return f"; in units of the metric that {option.unit} names{'' if named is None else f', by default {named}'}"


def _described(option: Option, chosen: Any) -> dict[str, Any]:
    from edgewise.request import LOCAL

    shown = "path" if option.name in LOCAL and option.type == words(str) else option.type
    default = "required" if option.default is REQUIRED else option.default
    return {
        "option": option.name,
        "type": shown,
        "default": default,
        "meaning": option.sentence + _unit(option, chosen),
    }


def _task(name: str) -> dict[str, Any]:
    from edgewise.tasks import task

    chosen = task(name)
    first, *_ = chosen.corruptions
    corruption = {"option": "corruption", "type": " | ".join(chosen.corruptions), "default": first}
    meaning = "how the corrupted twin of a prompt is made (--corruption)"
    facts = {"task": chosen.name, "summary": chosen.summary, "model": chosen.model, "metric": chosen.metric}
    return {**facts, "options": [{**corruption, "meaning": meaning}]}


def _models() -> Rows:
    from edgewise.loading import smollm2
    from edgewise.models import FAMILIES
    from edgewise.programs import PROGRAMS

    families = [(name, ", ".join(family.architectures), family.exact) for name, family in FAMILIES.items()]
    nano = ("nano", "the model that comes with edgewise (GPT-2 architecture)", FAMILIES["gpt2"].exact)
    programs = [(name, program.summary, FAMILIES["toy"].exact) for name, program in PROGRAMS.items()]
    real = (smollm2.NAME, smollm2.SUMMARY, FAMILIES["llama"].exact)
    rows = (nano, real, *programs, *families)
    return [{"name": name, "loads": loads, "exactness": exact} for name, loads, exact in rows]


def _methods() -> Rows:
    from edgewise.methods import METHODS

    return [{"name": name, "summary": method.summary, "cost": method.cost} for name, method in METHODS.items()]


def _tasks() -> Rows:
    from edgewise.tasks import TASKS

    return [
        {
            "name": name,
            "asks": task.summary,
            "model": task.model,
            "metric": task.metric,
            "corruptions": ", ".join(task.corruptions),
        }
        for name, task in TASKS.items()
    ]


def _metrics() -> Rows:
    from edgewise.metrics import METRICS

    return [
        {
            "name": name,
            "better": "higher" if metric.sign > 0 else "lower",
            "meaning": first_line(metric.function),
        }
        for name, metric in METRICS.items()
    ]


def _ablations() -> Rows:
    from edgewise.ablations import ABLATIONS

    return [{"name": name, "meaning": first_line(ablation)} for name, ablation in ABLATIONS.items()]


def _formats() -> Rows:
    from edgewise.formats.conversion import FOLDERS, FORMATS

    files = [{"name": name, "suffix": form.suffix, "holds": form.summary} for name, form in FORMATS.items()]
    return [*files, *({"name": name, "suffix": "/", "holds": form.summary} for name, form in FOLDERS.items())]


def first_line(thing: object) -> str:
    """The promise a docstring begins with."""
    return (thing.__doc__ or "").strip().partition("\n")[0]


CATALOGUES: dict[str, Callable[[], Rows]] = {
    "models": _models,
    "methods": _methods,
    "tasks": _tasks,
    "metrics": _metrics,
    "ablations": _ablations,
    "formats": _formats,
}
DETAILS: dict[str, Callable[[str], dict[str, Any]]] = {"method": _method, "task": _task}
