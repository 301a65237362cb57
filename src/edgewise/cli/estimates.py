"""What `--dry-run` prints: what a run, a comparison or many runs would take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgewise.cli import console
from edgewise.progress import duration

if TYPE_CHECKING:
    from edgewise.comparison.estimate import ComparisonEstimate
    from edgewise.runs.dry_run import RunEstimate


def print_run(found: RunEstimate, *, as_json: bool) -> None:
    """What a run would do, and what it would take."""
    if as_json:
        console.print_json(found.to_dict())
        return
    batch = f"{found.batches:,} batch{'es' if found.batches > 1 else ''}"
    judged = f", {found.held_out:,} held out" if found.held_out else ""
    lines = [
        f"model     {found.model}: {found.edges:,} edges between {found.nodes:,} nodes",
        f"prompts   {found.examples:,} pairs of {found.prompts}{judged}",
        f"method    {found.method}: {found.cost}; {batch} of at most {found.batch_size:,} pairs",
        f"memory    about {_megabytes(found.memory)}, model included",
        f"time      about {duration(found.seconds)}",
    ]
    lines += [
        f"          {duration(one.seconds)}: {one.label}, {one.steps:,} step{'s' if one.steps > 1 else ''}"
        for one in found.stages
    ]
    rest = found.seconds - sum(one.seconds for one in found.stages)
    lines.append(f"          {duration(rest)}: loading the model, and all else")
    lines += [f"          not told: what comes then ({found.untold})"] if found.untold else []
    _end(lines)


def print_many(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """What is missing of many runs, and what it would take if one came after the other."""
    if as_json:
        console.print_json({"missing": rows})
        return
    runs, seconds = sum(row["runs"] for row in rows), sum(row["seconds"] for row in rows)
    asked = ("prompts", "model", "method", "size", "runs")
    shown = [
        {
            **{name: "" if row[name] is None else str(row[name]) for name in asked},
            "memory": _megabytes(row["memory"]),
            "time": duration(row["seconds"]),
        }
        for row in rows
    ]
    if shown:
        console.print_table(f"{runs:,} runs to do", shown)
    _end([f"time      about {duration(seconds)}, one run after the other"])


def print_comparison(found: ComparisonEstimate, *, as_json: bool) -> None:
    """What the methods of a comparison would take."""
    if as_json:
        console.print_json(found.to_dict())
        return
    judged = f", {found.held_out:,} held out" if found.held_out else ""
    shown = [
        {
            "method": part.name,
            "cost": part.cost,
            "memory": _megabytes(part.memory) if part.memory else "",
            "time": duration(part.seconds) + (" and more" if part.untold else ""),
        }
        for part in found.parts
    ]
    if shown:
        console.print_table("to find and to measure", shown)
    lines = [
        f"model     {found.model}: {found.edges:,} edges",
        f"prompts   {found.examples:,} pairs of {found.prompts}{judged}",
        f"time      about {duration(found.seconds)}, one method after the other",
    ]
    untold = [part for part in found.parts if part.untold]
    _end([*lines, *(f"          not told: what comes then with {part.name} ({part.untold})" for part in untold)])


def _megabytes(size: int) -> str:
    return f"{-(-size // 10**6):,} MB"


def _end(lines: Sequence[str]) -> None:
    for line in (*lines, "files     none: this was a dry run"):
        console.stdout().print(console.quoted(line))
