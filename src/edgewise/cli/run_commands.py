"""The commands that run a model: discover, evaluate, compare."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgewise.cli import console, estimates, run_output
from edgewise.cli.option_groups import Conditions, ModelAndPrompts, grouped
from edgewise.cli.options import (
    Ablation,
    AsJson,
    Dask,
    MemoryLimit,
    Products,
    Quiet,
    Source,
    Workers,
    edges_or_sizes,
    key_values,
    listed,
    numbers,
    options_of_methods,
    size,
    sizes,
    those_given,
)
from edgewise.cli.run_options import (
    ComparedEdges,
    ComparedExactSample,
    ComparedHeads,
    ComparedMethods,
    ComparedMetric,
    ComparedOption,
    ComparedOut,
    ComparedPictures,
    ComparedReference,
    Curve,
    DryRun,
    Edges,
    EvaluatedAllowOtherWeights,
    EvaluatedEdges,
    EvaluatedMetric,
    Faithfulness,
    Method,
    MethodOption,
    Metric,
    Neurons,
    Nodes,
    Out,
    Ranking,
    RecipeFile,
    Resume,
    Stability,
    Tau,
)
from edgewise.cli.together import together

if TYPE_CHECKING:
    from edgewise.runs.recipe import Recipe


@console.guarded
@together
@grouped
def discover(
    *,
    asked: ModelAndPrompts,
    method: Method = None,
    metric: Metric = None,
    ablation: Ablation = None,
    edges: Edges = None,
    nodes: Nodes = None,
    neurons: Neurons = None,
    faithfulness: Faithfulness = None,
    ranking: Ranking = None,
    conditions: Conditions,
    memory_limit: MemoryLimit = None,
    products: Products = None,
    curve: Curve = None,
    stability: Stability = None,
    option: MethodOption = None,
    tau: Tau = None,
    recipe: RecipeFile = None,
    resume: Resume = False,
    dry_run: DryRun = False,
    out: Out = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Find a circuit, check it, and write a run folder with circuit, scores, report and picture."""
    from edgewise.methods import parsed_options
    from edgewise.runs.recipe import Recipe
    from edgewise.runs.run import default_folder, run

    given = asked.given | conditions.given
    given |= those_given(locals(), "method metric ablation ranking memory_limit products curve stability")
    read = {**edges_or_sizes(edges), "nodes": size(nodes, "nodes"), "neurons": size(neurons, "neurons")}
    read["faithfulness"] = faithfulness
    if asked_size := those_given(read, " ".join(read)):
        given |= {**dict.fromkeys(read), **asked_size}
    start = Recipe.read(recipe) if recipe is not None else Recipe()
    texts = key_values(option or [])
    more = parsed_options(given.get("method", start.method), texts) if texts else {}
    if tau is not None:
        more["tau"] = numbers("--tau", tau)
    if more:
        given["options"] = {**start.options, **more}
    chosen = start.with_changes(**given)
    if dry_run:
        _dry_run(chosen, as_json=as_json, quiet=quiet)
        return
    begin = "resume" if resume else "new"
    with console.progress(quiet=quiet or as_json) as track:
        found = run(chosen, out if out is not None else default_folder(chosen, start=begin), track=track, start=begin)
    if as_json:
        console.print_json(run_output.described(found))
    elif not quiet:
        run_output.print_run(found)


def _dry_run(recipe: Recipe, *, as_json: bool, quiet: bool) -> None:
    from edgewise.runs.dry_run import dry_run as estimated

    with console.progress(quiet=quiet or as_json) as track:
        found = estimated(recipe, track=track)
    estimates.print_run(found, as_json=as_json)


@console.guarded
@together
@grouped
def evaluate(
    file: Source,
    *,
    asked: ModelAndPrompts,
    edges: EvaluatedEdges = None,
    metric: EvaluatedMetric = None,
    ablation: Ablation = None,
    conditions: Conditions,
    allow_other_weights: EvaluatedAllowOtherWeights = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Evaluate a circuit from a file, by default in the model it was found in, on prompts held out from finding it.

    With --edges, a circuit of that size, cut from the scores in the file or run folder.
    """
    from edgewise.runs.from_file import check

    given = asked.given | conditions.given | those_given(locals(), "ablation")
    weights = "any" if allow_other_weights else "same"
    with console.progress(quiet=quiet or as_json) as track:
        circuit, report = check(file, given, metrics=metric, edges=size(edges), weights=weights, track=track)
    if as_json:
        console.print_json({"circuit": run_output.size(circuit), "report": report.to_dict()})
    elif not quiet:
        run_output.print_report(report)
        run_output.print_size(circuit, *(run_output.selection(circuit) if edges is not None else (None, None)))


@console.guarded
@together
@grouped
def compare(
    *,
    asked: ModelAndPrompts,
    methods: ComparedMethods = None,
    reference: ComparedReference = None,
    metric: ComparedMetric = None,
    ablation: Ablation = None,
    edges: ComparedEdges = None,
    heads: ComparedHeads = None,
    conditions: Conditions,
    exact_sample: ComparedExactSample = None,
    option: ComparedOption = None,
    pictures: ComparedPictures = None,
    recipe: RecipeFile = None,
    dry_run: DryRun = False,
    workers: Workers = None,
    dask: Dask = None,
    out: ComparedOut = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compare methods: what they recover of a reference circuit, what their circuits keep, and what they cost."""
    from edgewise.comparison.compare_recipe import ENTRY_FIELDS, CompareRecipe, with_options
    from edgewise.comparison.estimate import estimate_comparison
    from edgewise.comparison.from_recipe import default_folder, run_comparison
    from edgewise.executors import workers as shared

    given = asked.given | conditions.given
    given |= those_given(locals(), "reference metric ablation exact_sample")
    read = {"edges": edges and sizes(edges), "methods": methods and listed(methods)}
    read |= {"heads": size(heads), "pictures": pictures and listed(pictures)}
    given |= those_given(read, "edges methods heads pictures")
    chosen = (CompareRecipe.read(recipe) if recipe is not None else CompareRecipe.of()).with_changes(**given)
    if option:
        entries = {entry.name: entry.method for entry in chosen.methods}
        values = options_of_methods(key_values(option), entries, ENTRY_FIELDS)
        chosen = chosen.with_changes(methods=with_options(chosen.methods, values))
    folder = out if out is not None else default_folder(chosen)
    if dry_run:
        with console.progress(quiet=quiet or as_json) as track:
            estimate = estimate_comparison(chosen, folder, track=track)
        estimates.print_comparison(estimate, as_json=as_json)
        return
    with console.progress(quiet=quiet or as_json) as track, shared(workers, dask) as executor:
        found = run_comparison(chosen, folder, executor=executor, track=track)
    if as_json:
        console.print_json(console.compared(found))
    elif not quiet:
        console.print_comparison(found)
