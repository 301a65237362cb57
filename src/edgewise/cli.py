"""The command line: options → Recipe → run → print. The same words as the Python API.

Importing this file loads neither torch nor transformers: commands import what they need, so that `--help` is quick.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import edgewise
from edgewise import console
from edgewise.errors import FileError, InvalidValue

app = typer.Typer(
    name="edgewise",
    help="Finds circuits in transformer language models: the few edges that carry a behaviour.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Markup would swallow what stands in brackets: the defaults.
    rich_markup_mode=None,
)

Model = Annotated[
    str | None, typer.Option(help="see edgewise list models; a hub id or a local folder [default: the task's]")
]
Task = Annotated[str | None, typer.Option(help="where prompts come from: see edgewise list tasks [default: ioi]")]
Data = Annotated[
    Path | None, typer.Option(help="your own pairs instead of a task: a .jsonl or .csv file; or MIB rows as .jsonl")
]
Ablation = Annotated[str | None, typer.Option(help="what replaces a write that is not kept [default: corrupted]")]
Examples = Annotated[int | None, typer.Option(help="how many pairs [default: 64 of a task, all of a file]")]
BatchSize = Annotated[int | None, typer.Option(help="pairs per batch [default: 8]")]
Seed = Annotated[int | None, typer.Option(help="seed of everything random [default: 0]")]
Corruption = Annotated[str | None, typer.Option(help="how a task corrupts its prompts [default: the published way]")]
Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16 or float64 [default: that of the model]")]
Device = Annotated[str | None, typer.Option(help="where to compute, for example cpu or cuda [default: best]")]
Kv = Annotated[
    str | None, typer.Option(help="ungrouped: k and v readers for every query head, not shared ones [default: native]")
]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document and nothing else")]
Quiet = Annotated[bool, typer.Option("--quiet", help="print nothing but errors")]
Source = Annotated[Path, typer.Argument(help="a run folder, or a file that edgewise wrote", show_default=False)]


@app.command()
@console.guarded
def discover(
    model: Model = None,
    task: Task = None,
    data: Data = None,
    method: Annotated[str | None, typer.Option(help="see edgewise list methods [default: eap]")] = None,
    metric: Annotated[str | None, typer.Option(help="what edges are scored by [default: the task's]")] = None,
    ablation: Ablation = None,
    edges: Annotated[int | None, typer.Option(help="how many edges to select [default: a tenth of all]")] = None,
    nodes: Annotated[int | None, typer.Option(help="instead, how many heads and MLPs, with all edges between")] = None,
    neurons: Annotated[int | None, typer.Option(help="instead, how many coordinates of what nodes write")] = None,
    ranking: Annotated[str | None, typer.Option(help="absolute or signed [default: absolute]")] = None,
    examples: Examples = None,
    batch_size: BatchSize = None,
    seed: Seed = None,
    corruption: Corruption = None,
    dtype: Dtype = None,
    device: Device = None,
    kv: Kv = None,
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
    from edgewise.recipe import Recipe
    from edgewise.run import default_folder, run

    given = _given(locals(), "model task method metric ablation ranking examples batch_size seed corruption dtype")
    given |= _given(locals(), "curve stability device kv")
    if sizes := _given(locals(), "edges nodes neurons"):
        given |= {"edges": None, "nodes": None, "neurons": None, **sizes}
    given |= _given({"data": data and os.fspath(data)}, "data")
    start = Recipe.read(recipe) if recipe is not None else Recipe()
    more = {**_options(option or []), **({"tau": _numbers("--tau", tau)} if tau is not None else {})}
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


@app.command()
@console.guarded
def evaluate(
    file: Source,
    model: Model = None,
    task: Task = None,
    data: Data = None,
    metric: Annotated[list[str] | None, typer.Option(help="what to report; repeat it [default: the circuit's]")] = None,
    ablation: Ablation = None,
    examples: Examples = None,
    batch_size: BatchSize = None,
    seed: Seed = None,
    corruption: Corruption = None,
    dtype: Dtype = None,
    device: Device = None,
    kv: Kv = None,
    allow_other_weights: Annotated[bool, typer.Option(help="evaluate on weights it was not found in")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Evaluates a circuit from a file; what is not said is taken from where the circuit was found."""
    from edgewise.check import check

    given = _given(locals(), "model task ablation examples batch_size seed corruption dtype device kv")
    given |= _given({"data": data and os.fspath(data)}, "data")
    weights = "any" if allow_other_weights else "same"
    with console.progress(quiet=quiet or as_json) as track:
        circuit, report = check(file, given, metrics=metric, weights=weights, track=track)
    if as_json:
        console.print_json({"circuit": console.size(circuit), "report": report.to_dict()})
    elif not quiet:
        console.print_report(report)
        console.print_size(circuit, None, None)


@app.command()
@console.guarded
def compare(
    model: Model = None,
    task: Task = None,
    data: Data = None,
    methods: Annotated[str | None, typer.Option(help="names separated by commas [default: eap,acdc,exact]")] = None,
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
    examples: Examples = None,
    batch_size: BatchSize = None,
    seed: Seed = None,
    corruption: Corruption = None,
    dtype: Dtype = None,
    device: Device = None,
    kv: Kv = None,
    option: Annotated[
        list[str] | None, typer.Option(help="an option of one method, method.key=value; repeat it")
    ] = None,
    pictures: Annotated[str | None, typer.Option(help="svg, png, both, or none [default: svg,png]")] = None,
    recipe: Annotated[Path | None, typer.Option(help="a recipe or a manifest; options given change it")] = None,
    out: Annotated[
        Path | None, typer.Option(help="folder for the results; goes on if unfinished [default: runs/…]")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compares methods: what they recover of a reference circuit, what their circuits keep, and what they cost."""
    from edgewise.comparison.recipe import CompareRecipe, with_options
    from edgewise.comparison.run import default_folder, run_comparison

    given = _given(locals(), "model task reference metric ablation examples batch_size seed corruption dtype device kv")
    given |= _given({"data": data and os.fspath(data), "edges": edges and _sizes(edges)}, "data edges")
    given |= _given(
        {"methods": methods and _listed(methods), "pictures": pictures and _listed(pictures)}, "methods pictures"
    )
    given |= _given({"heads": int(heads) if heads and heads.isdecimal() else heads}, "heads")
    chosen = (CompareRecipe.read(recipe) if recipe is not None else CompareRecipe.of()).with_changes(**given)
    if option:
        chosen = chosen.with_changes(methods=with_options(chosen.methods, _options(option)))
    with console.progress(quiet=quiet or as_json) as track:
        found = run_comparison(chosen, out if out is not None else default_folder(chosen), track=track)
    if as_json:
        console.print_json(console.compared(found))
    elif not quiet:
        console.print_comparison(found)


@app.command()
@console.guarded
def show(
    file: Source,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="an .html, .svg or .dot file")] = None,
    scores: Annotated[Path | None, typer.Option(help="scores for a circuit that is a file of its own")] = None,
    exact: Annotated[
        Path | None, typer.Option(help="scores by the method exact: measured effects of the edges")
    ] = None,
    compare: Annotated[Path | None, typer.Option(help="a second circuit, scores or run to lay over the first")] = None,
    open_: Annotated[
        bool | None, typer.Option("--open/--no-open", help="open the page [default: if this is a terminal]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Writes a circuit, scores or a run as one page to look at and move through, and opens it; or as a picture."""
    from edgewise.formats import find, picture_path
    from edgewise.viewer import show as draw

    parts = {name: find(path).scores for name, path in (("scores", scores), ("exact", exact)) if path is not None}
    beside = find(compare) if compare is not None else None
    path = draw(find(file), out if out is not None else picture_path(file), compare=beside, **parts)
    console.print_path(path, as_json)
    wanted = open_ if open_ is not None else console.is_watched() and not as_json
    if wanted and path.suffix.lower() == ".html":
        console.open_page(path)


@app.command("list")
@console.guarded
def list_(
    kind: Annotated[str | None, typer.Argument(help="models, methods, tasks, metrics, ablations or formats")] = None,
    as_json: AsJson = False,
) -> None:
    """Lists what edgewise knows by name."""
    from edgewise.catalogue import KINDS, catalogue

    tables = {name: catalogue(name) for name in ([kind] if kind is not None else KINDS)}
    if as_json:
        console.print_json(tables)
        return
    for name, rows in tables.items():
        console.print_table(name, rows)


@app.command()
@console.guarded
def convert(
    file: Annotated[
        Path, typer.Argument(help="a run folder, a file of edgewise, or EAP-IG JSON or .pt", show_default=False)
    ],
    to: Annotated[str, typer.Option(help="the format: see edgewise list formats", show_default=False)],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="where to; - is the terminal")] = None,
    model: Annotated[str | None, typer.Option(help="the model EAP-IG JSON is of, for grouped kv heads")] = None,
    sign: Annotated[int, typer.Option(help="-1 for EAP-IG scores of a metric that is better when higher")] = 1,
    force: Annotated[bool, typer.Option("--force", help="write over an existing file")] = False,
    as_json: AsJson = False,
) -> None:
    """Writes a circuit or scores in another format."""
    from edgewise.formats import FolderFormat, format_named, import_finding, write_folder
    from edgewise.store.disk import write_bytes

    target = format_named(to)
    if isinstance(target, FolderFormat):
        finding = import_finding(file, graph=_graph(model), sign=sign)
        folder = out if out is not None else file.parent / target.folder(finding)
        console.print_path(write_folder(finding, target, folder), as_json)
        return
    stem = file / "circuit" if file.is_dir() else file.with_suffix("")
    path = out if out is not None else stem.with_name(stem.name + target.suffix)
    if str(path) != "-" and path.exists() and not force:
        raise FileError(f"{path} exists already; name another file with --out, or give --force")
    data = target.to_bytes(import_finding(file, graph=_graph(model), sign=sign))
    if str(path) == "-":
        sys.stdout.buffer.write(data)
        return
    console.print_path(write_bytes(path, data), as_json)


@app.callback()
def _global(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, help="print the version", callback=lambda on: _version(on))
    ] = False,
) -> None:
    pass


def main() -> None:
    """The entry point."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # A polite kill unwinds like Ctrl-C, so that temporary folders go too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    finally:
        _close_quietly()


# -- parts ------------------------------------------------------------------------------------------------------------


def _given(values: dict[str, Any], names: str) -> dict[str, Any]:
    return {name: values[name] for name in names.split() if values[name] is not None}


def _options(pairs: list[str]) -> dict[str, Any]:
    """`key=value` strings as a mapping; a value that is JSON is taken as such."""
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key or key in found:
            raise InvalidValue(f"--option {pair!r}: write each option once, as key=value")
        try:
            found[key] = json.loads(text)
        except ValueError:
            found[key] = text
    return found


def _numbers(name: str, text: str) -> float | list[float]:
    """One number, or several with commas between."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise InvalidValue(f"{name} {text!r}: give a number, or several with commas between") from None
    return numbers if len(numbers) > 1 else numbers[0]


def _sizes(text: str) -> list[int | str]:
    """Numbers of edges, and shares of them, separated by commas."""
    return [int(size) if size.isdecimal() else size for size in (part.strip() for part in text.split(","))]


def _listed(text: str) -> list[str]:
    """Names separated by commas; none of them for `none`."""
    return [] if text == "none" else [name.strip() for name in text.split(",")]


def _graph(model: str | None) -> Any:
    if model is None:
        return None
    import edgewise as ew

    return ew.load(model).graph


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edgewise {edgewise.__version__}")
        raise typer.Exit


def _close_quietly() -> None:
    """Flushes the output; a reader that went away early (`| head`) is no error."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
