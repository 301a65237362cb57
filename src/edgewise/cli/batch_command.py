"""The command for many runs: batch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgewise.cli import console, estimates
from edgewise.cli.options import AsJson, Dask, Quiet, Workers, listed, sizes
from edgewise.cli.run_options import DryRun
from edgewise.errors import InvalidValue

Names = Annotated[str | None, typer.Option(help="names separated by commas [default: that of the recipe]")]


@console.guarded
def batch(
    model: Names = None,
    task: Names = None,
    method: Names = None,
    seed: Annotated[str | None, typer.Option(help="numbers separated by commas [default: that of the recipe]")] = None,
    edges: Annotated[
        str | None, typer.Option(help="sizes, such as 300 or 10%, separated by commas [default: that of the recipe]")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="a recipe or a manifest that says all the rest")] = None,
    workers: Workers = None,
    dask: Dask = None,
    dry_run: DryRun = False,
    out: Annotated[
        Path, typer.Option(help="folder for the folders of the runs; what is there is not done again")
    ] = Path("runs/batch"),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Does many runs: every model with every task, method, seed and size, each in a folder of its own."""
    from edgewise.executors import workers as shared
    from edgewise.runs.many import estimate_many, every, failed, run_many
    from edgewise.runs.recipe import Recipe

    axes: dict[str, list[Any]] = {
        name: listed(text) for name, text in (("task", task), ("model", model), ("method", method)) if text is not None
    }
    axes |= {} if edges is None else {"edges": sizes(edges)}
    axes |= {} if seed is None else {"seed": _whole("seed", seed)}
    recipes = every(Recipe.read(recipe) if recipe is not None else Recipe(), axes)
    if dry_run:
        with console.progress(quiet=quiet or as_json) as track:
            missing = [found.row() for found in estimate_many(recipes, out, track=track)]
        estimates.print_many(missing, as_json=as_json)
        return
    with console.progress(quiet=quiet or as_json) as track, shared(workers, dask) as executor:
        cells = run_many(recipes, out, executor=executor, track=track)
    if as_json:
        console.print_json({"runs": [cell.row() for cell in cells]})
    elif not quiet:
        _print([cell.row() for cell in cells])
    for cell in failed(cells):
        console.say(f"error: {cell.folder}: {cell.problem}")
    if any(failed(cells)):
        raise typer.Exit(2)


def _whole(name: str, text: str) -> list[int]:
    try:
        return [int(part) for part in listed(text)]
    except ValueError:
        raise InvalidValue(f"--{name} {text!r}: give whole numbers with commas between") from None


def _print(rows: list[dict[str, Any]]) -> None:
    """One line for each of many runs."""
    columns = ("prompts", "model", "method", "seed", "edges", "metric", "faithfulness", "folder")
    shown = [
        {
            name: console.shown_number(row[name], ".1%") if name == "faithfulness" else str(row[name])
            for name in columns
            if name in row
        }
        for row in rows
        if "problem" not in row
    ]
    console.print_table(f"{len(shown)} of {len(rows)} runs", shown)
