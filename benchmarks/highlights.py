"""What stands first: the results of the README, and the table over all tasks that begins docs/results.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.pruned import at_size, spread
from benchmarks.tables import markdown

Document = dict[str, Any]
# Of all sizes that were measured, those of the README.
SIZES = (300, 1300)
DEFAULT, LINEAR = "eap-ig", "eap"
# What the table compares.
COLUMNS = ("hap", "edge-pruning", DEFAULT, "random")
# The sizes of the table over all tasks.
GLANCE_SIZES = (300, 1300, 7050)
GLANCE_HEAD = f"""## At a glance

KL to the whole model at {" · ".join(f"{size:,}" for size in GLANCE_SIZES)} edges;
of searches, which decide themselves how many edges they keep, the KL of each circuit (its edges). One seed each;
searches ran at the same thresholds for every task.
"""


def highlights(documents: Sequence[Document], pruned: Sequence[Document]) -> str:
    """The part of the README between its markers, in Markdown.

    `documents`: comparisons of scores and searches, one for each task.
    `pruned`: comparisons of HAP and edge pruning, one for each task and seed.
    """
    edges, judged = documents[0]["total_edges"], documents[0]["data"]["judged_on"]["examples"]
    head = (
        f"On {documents[0]['model']['model']}, a pretrained model of {edges:,} edges, on {judged} prompts that no method has "
        "seen. KL to the whole model, lower is better; median and range over seeds.\n"
    )
    return "\n".join(
        [head, markdown(*_table(pruned)), "", f"- {_default(documents)}", f"- {_agreement(documents)}", ""]
    )


def _table(pruned: Sequence[Document]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """A row for each task and size, a column for each method."""
    tasks = {task: [one for one in pruned if one["data"]["task"] == task] for task in _tasks(pruned)}
    header = ("", *(f"`{name}`" for name in COLUMNS))
    rows = [
        (f"{task}, {size:,} edges ({_seeds(found)})", *(_kl(found, name, size) for name in COLUMNS))
        for task, found in tasks.items()
        for size in SIZES
    ]
    return header, rows


def _tasks(documents: Sequence[Document]) -> list[str]:
    return list(dict.fromkeys(one["data"]["task"] for one in documents))


def _seeds(documents: Sequence[Document]) -> str:
    return "one seed" if len(documents) == 1 else f"{len(documents)} seeds"


def _kl(documents: Sequence[Document], name: str, size: int) -> str:
    points = [at_size(_result(one, name), size) for one in documents]
    return spread([point["metrics"]["kl"] for point in points if point is not None], ".2f")


def _default(documents: Sequence[Document]) -> str:
    """On how many tasks the default method keeps most of those that score edges in a few passes."""
    best = [_best(one, SIZES[0]) for one in documents]
    return (
        f"Of the methods that score edges in a few passes, `{DEFAULT}` keeps most of the model at {SIZES[0]} edges on "
        f"{best.count(DEFAULT)} of {len(best)} tasks (one seed)."
    )


def _agreement(documents: Sequence[Document]) -> str:
    """That the scores which agree best with measured effects do not make the best circuits."""
    agreeing = [_result(one, LINEAR)["agreement"]["spearman"] for one in documents]
    worse = sum(_at(one, LINEAR, SIZES[0]) > _at(one, DEFAULT, SIZES[0]) for one in documents)
    return (
        f"`{LINEAR}` agrees with the measured effects of single edges (ρ {min(agreeing):.2f} to {max(agreeing):.2f}), "
        f"and yet its {SIZES[0]} edges keep less than those of `{DEFAULT}` on {worse} of {len(documents)} tasks."
    )


def _best(document: Document, size: int) -> str:
    """The name of the method whose circuit of that size is nearest to the model."""
    scored = [one["name"] for one in document["results"] if one["dial"] is None]
    return min(scored, key=lambda name: _at(document, name, size))


def _at(document: Document, name: str, size: int) -> float:
    (point,) = (point for point in _result(document, name)["curve"] if point["edges"] == size)
    return point["metrics"]["kl"]


def _result(document: Document, name: str) -> Document:
    return next(one for one in document["results"] if one["name"] == name)


def at_a_glance(documents: Sequence[Document]) -> str:
    """The section with the table over all tasks."""
    return f"{GLANCE_HEAD}\n{markdown(*summary(documents))}\n"


def summary(documents: Sequence[Document]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """A row for each method: in every comparison the KL of its circuits, of a search with their numbers of edges."""
    header = ("KL ↓", *(one["data"]["task"] for one in documents))
    names = [one["name"] for one in documents[0]["results"]]
    found = [{result["name"]: result for result in one["results"]} for one in documents]
    return header, [(f"`{name}`", *(_kls(results[name]) for results in found)) for name in names]


def _kls(result: Document) -> str:
    points = (
        result["curve"] if result["dial"] is not None else [p for p in result["curve"] if p["edges"] in GLANCE_SIZES]
    )
    shown = [f"{p['metrics']['kl']:.2f}" + (f" ({p['edges']:,})" if result["dial"] else "") for p in points]
    return " · ".join(shown)
