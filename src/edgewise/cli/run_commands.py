"""The commands that run a model: discover, evaluate, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgewise.cli import console
from edgewise.cli.option_groups import Conditions, ModelAndPrompts, grouped
from edgewise.cli.options import (
    Ablation,
    AsJson,
    Dask,
    MemoryLimit,
    Quiet,
    Source,
    Workers,
    key_values,
    listed,
    numbers,
    options_of_methods,
    sizes,
    those_given,
)
from edgewise.cli.together import together


@console.guarded
@together
@grouped
def discover(
    *,
    asked: ModelAndPrompts,
    method: Annotated[str | None, typer.Option(help="see edgewise list methods [default: eap-ig]")] = None,
    metric: Annotated[str | None, typer.Option(help="what edges are scored by [default: the task's]")] = None,
    ablation: Ablation = None,
    edges: Annotated[int | None, typer.Option(help="how many edges to select [default: a tenth of all]")] = None,
    nodes: Annotated[int | None, typer.Option(help="instead, how many heads and MLPs, with all edges between")] = None,
    neurons: Annotated[int | None, typer.Option(help="instead, how many coordinates of what nodes write")] = None,
    ranking: Annotated[str | None, typer.Option(help="absolute or signed [default: absolute]")] = None,
    conditions: Conditions,
    memory_limit: MemoryLimit = None,
    curve: Annotated[int | None, typer.Option(help="at how many sizes to measure what is kept [default: 6]")] = None,
    stability: Annotated[
        int | None, typer.Option(help="draw the examples again so often, say 100: do the same edges stay? [default: 0]")
    ] = None,
    option: Annotated[list[str] | None, typer.Option(help="an option of the method, key=value; repeat it")] = None,
    tau: Annotated[
        str | None, typer.Option(help="the threshold of acdc; several with commas between are a sweep")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="a recipe or a manifest; options given change it")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with an interrupted run of this command")] = False,
    out: Annotated[Path | None, typer.Option(help="new folder for the results [default: runs/…]")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Finds a circuit, checks it, and writes a run folder with circuit, scores, report and picture."""
    from edgewise.methods import parsed_options
    from edgewise.runs.recipe import Recipe
    from edgewise.runs.run import default_folder, run

    given = asked.given | conditions.given
    given |= those_given(locals(), "method metric ablation ranking memory_limit curve stability")
    if size := those_given(locals(), "edges nodes neurons"):
        given |= {"edges": None, "nodes": None, "neurons": None, **size}
    start = Recipe.read(recipe) if recipe is not None else Recipe()
    texts = key_values(option or [])
    more = parsed_options(given.get("method", start.method), texts) if texts else {}
    if tau is not None:
        more["tau"] = numbers("--tau", tau)
    if more:
        given["options"] = {**start.options, **more}
    chosen = start.with_changes(**given)
    begin = "resume" if resume else "new"
    with console.progress(quiet=quiet or as_json) as track:
        found = run(chosen, out if out is not None else default_folder(chosen, start=begin), track=track, start=begin)
    if as_json:
        console.print_json(console.described(found))
    elif not quiet:
        console.print_run(found)


@console.guarded
@together
@grouped
def evaluate(
    file: Source,
    *,
    asked: ModelAndPrompts,
    metric: Annotated[list[str] | None, typer.Option(help="what to report; repeat it [default: the circuit's]")] = None,
    ablation: Ablation = None,
    conditions: Conditions,
    allow_other_weights: Annotated[bool, typer.Option(help="evaluate on weights it was not found in")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Evaluates a circuit from a file; what is not said is taken from where the circuit was found."""
    from edgewise.runs.from_file import check

    given = asked.given | conditions.given | those_given(locals(), "ablation")
    weights = "any" if allow_other_weights else "same"
    with console.progress(quiet=quiet or as_json) as track:
        circuit, report = check(file, given, metrics=metric, weights=weights, track=track)
    if as_json:
        console.print_json({"circuit": console.size(circuit), "report": report.to_dict()})
    elif not quiet:
        console.print_report(report)
        console.print_size(circuit, None, None)


@console.guarded
@together
@grouped
def compare(
    *,
    asked: ModelAndPrompts,
    methods: Annotated[
        str | None, typer.Option(help="names separated by commas [default: eap-ig,eap,acdc,exact]")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="task, exact:1%, exact:0.05, none or a circuit's file [default: task's, or exact:1%]"),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="what scores and circuits are measured by [default: the task's]")
    ] = None,
    ablation: Ablation = None,
    edges: Annotated[str | None, typer.Option(help="sizes of circuits [default: 1%,2%,5%,10%,20%,50%]")] = None,
    heads: Annotated[
        str | None, typer.Option(help="also study which heads the circuits of this size keep, as in 10%")
    ] = None,
    conditions: Conditions,
    held_out: Annotated[
        int | None,
        typer.Option(help="measure circuits on so many pairs that no method has seen [default: the same pairs]"),
    ] = None,
    exact_sample: Annotated[
        int | None, typer.Option(help="patch so many edges, drawn evenly, one by one: how far do scores agree?")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="an option of one method, method.key=value; repeat it")
    ] = None,
    pictures: Annotated[str | None, typer.Option(help="svg, png, both, or none [default: svg,png]")] = None,
    recipe: Annotated[Path | None, typer.Option(help="a recipe or a manifest; options given change it")] = None,
    workers: Workers = None,
    dask: Dask = None,
    out: Annotated[
        Path | None, typer.Option(help="folder for the results; goes on if unfinished [default: runs/…]")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compares methods: what they recover of a reference circuit, what their circuits keep, and what they cost."""
    from edgewise.comparison.compare_recipe import ENTRY_FIELDS, CompareRecipe, with_options
    from edgewise.comparison.from_recipe import default_folder, run_comparison
    from edgewise.executors import workers as shared

    given = asked.given | conditions.given
    given |= those_given(locals(), "reference metric ablation held_out exact_sample")
    read = {"edges": edges and sizes(edges), "methods": methods and listed(methods)}
    read |= {"heads": int(heads) if heads and heads.isdecimal() else heads, "pictures": pictures and listed(pictures)}
    given |= those_given(read, "edges methods heads pictures")
    chosen = (CompareRecipe.read(recipe) if recipe is not None else CompareRecipe.of()).with_changes(**given)
    if option:
        entries = {entry.name: entry.method for entry in chosen.methods}
        values = options_of_methods(key_values(option), entries, ENTRY_FIELDS)
        chosen = chosen.with_changes(methods=with_options(chosen.methods, values))
    folder = out if out is not None else default_folder(chosen)
    with console.progress(quiet=quiet or as_json) as track, shared(workers, dask) as executor:
        found = run_comparison(chosen, folder, executor=executor, track=track)
    if as_json:
        console.print_json(console.compared(found))
    elif not quiet:
        console.print_comparison(found)
