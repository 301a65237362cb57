"""What edgewise knows by name, as rows of text: for `edgewise list` and for whoever writes tables."""

from __future__ import annotations

from collections.abc import Callable

from edgewise.errors import UnknownName

Rows = list[dict[str, str]]


def catalogue(kind: str) -> Rows:
    """The rows of one kind (models, methods, tasks, metrics, ablations, formats); UnknownName for another."""
    if kind not in KINDS:
        raise UnknownName.of("kind", kind, KINDS)
    return KINDS[kind]()


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


KINDS: dict[str, Callable[[], Rows]] = {
    "models": _models,
    "methods": _methods,
    "tasks": _tasks,
    "metrics": _metrics,
    "ablations": _ablations,
    "formats": _formats,
}
