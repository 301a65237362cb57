"""The commands that run a model: discover, evaluate, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgewise.cli import console
from edgewise.cli.option_groups import Conditions, ModelAndPrompts, grouped
from edgewise.cli.options import (
    CIRCUIT,
    METHOD,
    MODEL,
    OUTPUT,
    PROMPTS,
    Ablation,
    AsJson,
    MemoryLimit,
    Quiet,
    Source,
    key_values,
    listed,
    numbers,
    options_of_methods,
    sizes,
    those_given,
)


@console.guarded
@grouped
def discover(
    *,
    asked: ModelAndPrompts,
    method: Annotated[
        str | None, typer.Option(help="see edgewise list methods [default: eap-ig]", rich_help_panel=METHOD)
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="what edges are scored by [default: the task's]", rich_help_panel=METHOD)
    ] = None,
    ablation: Ablation = None,
    edges: Annotated[
        int | None, typer.Option(help="how many edges to select [default: a tenth of all]", rich_help_panel=CIRCUIT)
    ] = None,
    nodes: Annotated[
        int | None,
        typer.Option(help="instead, how many heads and MLPs, with all edges between them", rich_help_panel=CIRCUIT),
    ] = None,
    neurons: Annotated[
        int | None,
        typer.Option(help="instead, how many coordinates of what heads and MLPs write", rich_help_panel=CIRCUIT),
    ] = None,
    ranking: Annotated[
        str | None,
        typer.Option(help="rank scores by absolute or signed value [default: absolute]", rich_help_panel=CIRCUIT),
    ] = None,
    conditions: Conditions,
    memory_limit: MemoryLimit = None,
    curve: Annotated[
        int | None, typer.Option(help="at how many sizes to measure faithfulness [default: 6]", rich_help_panel=CIRCUIT)
    ] = None,
    stability: Annotated[
        int | None,
        typer.Option(
            help="how often to draw the examples again, such as 100, to see which edges stay [default: 0]",
            rich_help_panel=CIRCUIT,
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            help="an option of the method, key=value: see edgewise list method NAME; repeatable", rich_help_panel=METHOD
        ),
    ] = None,
    tau: Annotated[
        str | None,
        typer.Option(help="the threshold of acdc; several, separated by commas, are a sweep", rich_help_panel=METHOD),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(help="start from a recipe or a manifest; other options change it", rich_help_panel=OUTPUT),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="go on with an interrupted run of this command", rich_help_panel=OUTPUT)
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="a new folder for the results [default: runs/…]", rich_help_panel=OUTPUT)
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Find a circuit, check it, and write a run folder with circuit, scores, report and picture."""
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
@grouped
def evaluate(
    file: Source,
    *,
    asked: ModelAndPrompts,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="what to report; repeatable [default: the circuit's]", rich_help_panel=METHOD),
    ] = None,
    ablation: Ablation = None,
    conditions: Conditions,
    allow_other_weights: Annotated[
        bool, typer.Option(help="evaluate even on other weights than it was found with", rich_help_panel=MODEL)
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Evaluate a circuit from a file, by default on the model and prompts it was found with."""
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
@grouped
def compare(
    *,
    asked: ModelAndPrompts,
    methods: Annotated[
        str | None,
        typer.Option(help="names, separated by commas [default: eap-ig,eap,acdc,exact]", rich_help_panel=METHOD),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="task, exact:1%, exact:0.05, none, or a circuit's file [default: the task's, or exact:1%]",
            rich_help_panel=CIRCUIT,
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="what scores and circuits are measured by [default: the task's]", rich_help_panel=METHOD),
    ] = None,
    ablation: Ablation = None,
    edges: Annotated[
        str | None,
        typer.Option(
            help="sizes of circuits, separated by commas [default: 1%,2%,5%,10%,20%,50%]", rich_help_panel=CIRCUIT
        ),
    ] = None,
    heads: Annotated[
        str | None,
        typer.Option(help="study which heads circuits of this size keep, such as 10%", rich_help_panel=CIRCUIT),
    ] = None,
    conditions: Conditions,
    held_out: Annotated[
        int | None,
        typer.Option(
            help="measure circuits on so many pairs that no method has seen [default: the same pairs]",
            rich_help_panel=PROMPTS,
        ),
    ] = None,
    exact_sample: Annotated[
        int | None,
        typer.Option(
            help="replace so many edges, drawn evenly, one by one, to see how far scores agree", rich_help_panel=CIRCUIT
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="an option of one method, method.key=value; repeatable", rich_help_panel=METHOD),
    ] = None,
    pictures: Annotated[
        str | None, typer.Option(help="svg, png, or none [default: svg,png]", rich_help_panel=OUTPUT)
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(help="start from a recipe or a manifest; other options change it", rich_help_panel=OUTPUT),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="a folder for the results; goes on if it is unfinished [default: runs/…]", rich_help_panel=OUTPUT
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compare methods: what they recover of a reference circuit, what their circuits keep, and what they cost."""
    from edgewise.comparison.compare_recipe import ENTRY_FIELDS, CompareRecipe, with_options
    from edgewise.comparison.from_recipe import default_folder, run_comparison

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
    with console.progress(quiet=quiet or as_json) as track:
        found = run_comparison(chosen, out if out is not None else default_folder(chosen), track=track)
    if as_json:
        console.print_json(console.compared(found))
    elif not quiet:
        console.print_comparison(found)
