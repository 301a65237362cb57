"""The section of docs/results.md on HAP and edge pruning: medians and ranges over the seeds that were run so far."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.tables import markdown
from edgewise.evaluation.report import overfitting

Document = dict[str, Any]
NOTHING = "–"
HEAD = """## HAP and edge pruning beside other ways to as many edges

Recipes `benchmarks/recipes/pruned-TASK-SEED.json`. Nothing was chosen on their seeds, 41 to 43, but an earlier default was
measured on them too.
Cells: KL to the whole model on held-out pairs ↓, the median over the seeds and their range; in brackets how many times as
large it is as on pairs the circuit was found on. A search that decides itself how many edges it keeps stands where it keeps
nearly as many; if it never does, its sizes stand beside its name. Seconds are of the whole method, all its sizes together,
and of the largest size alone, on one thread of a machine that did other work too: they say little about small differences.
Those of subject-verb-agreement, seed 42, were measured beside the tests, HAP more so than edge pruning.
"""


def pruned_part(documents: Sequence[Document]) -> str:
    """The section; empty if nothing was run."""
    by_task: dict[str, list[Document]] = defaultdict(list)
    for document in documents:
        by_task[document["data"]["task"]].append(document)
    parts = [HEAD] if documents else []
    for task, of_task in by_task.items():
        seeds = ", ".join(str(one["recipe"]["seed"]) for one in of_task)
        which = f"seed {seeds}" if len(of_task) == 1 else f"seeds {seeds}"
        sizes = of_task[0]["sizes"]
        parts.append(f"**{of_task[0]['model']['model']}, {task}**, {which} ({of_task[0]['machine']})\n")
        header = ("method", *(f"{size:,} edges" for size in sizes), "seconds", "largest alone")
        parts.append(markdown(header, list(_rows(of_task, sizes))) + "\n")
    return "\n".join(parts)


def _rows(documents: Sequence[Document], sizes: Sequence[int]) -> Iterator[tuple[str, ...]]:
    for name in [one["name"] for one in documents[0]["results"]]:
        results = [one for document in documents for one in document["results"] if one["name"] == name]
        cells = [_cell([at_size(result, size) for result in results]) for size in sizes]
        kept = ", ".join(str(point["edges"]) for result in results for point in result["curve"])
        shown = f"`{name}`" if any(cell != NOTHING for cell in cells) else f"`{name}` ({kept} edges)"
        alone = [result["first_size"]["seconds"] for result in results if "first_size" in result]
        seconds = (
            spread([result["seconds"] for result in results], ".0f"),
            spread(alone, ".0f") if alone else NOTHING,
        )
        yield shown, *cells, *seconds


def at_size(result: Document, size: int) -> Document | None:
    """What a method's circuit of that size keeps; of a search the nearest in size, if one is within a fifth of it."""
    point = min(result["curve"], key=lambda one: abs(one["edges"] - size))
    return point if abs(point["edges"] - size) <= size / 5 else None


def _cell(points: Sequence[Document | None]) -> str:
    known = [point for point in points if point is not None]
    if not known:
        return NOTHING
    both = [overfitting((one.get("found_on") or {}).get("kl"), one["metrics"]["kl"]) for one in known]
    times = [one for one in both if one is not None]
    shown = f" [{statistics.median(times):.2f} ×]" if times else ""
    return spread([one["metrics"]["kl"] for one in known], ".2f") + shown


def spread(values: Sequence[float], form: str) -> str:
    """The median and, of several, the range."""
    middle = format(statistics.median(values), form)
    return middle if len(values) == 1 else f"{middle} ({min(values):{form}}-{max(values):{form}})"
