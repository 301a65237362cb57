"""The commands that work on files, and the list of what there is: show, list, convert, cache."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from edgewise.cli import console
from edgewise.cli.option_groups import FilesBeside, grouped
from edgewise.cli.options import AsJson, Kv, Source
from edgewise.errors import FileError, InvalidValue


@console.guarded
@grouped
def show(
    file: Source,
    *,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="an .html, .svg, .png or .dot file")] = None,
    others: FilesBeside,
    compare: Annotated[Path | None, typer.Option(help="a second circuit, scores or run to lay over the first")] = None,
    open_: Annotated[
        bool | None, typer.Option("--open/--no-open", help="open the page in a browser [default: only in a terminal]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a circuit, scores or a run as an interactive page, and open it; or as a picture.

    A comparison becomes one page for each method, and one with the tables, which leads to them.
    """
    from edgewise.comparison.pages import show_file

    path = show_file(file, out, **vars(others), compare=compare)
    console.print_path(path, as_json)
    opens = open_ if open_ is not None else console.is_watched() and not as_json
    if opens and path.suffix.lower() == ".html":
        console.open_page(path)


@console.guarded
def list_(
    kind: Annotated[str | None, typer.Argument(help="models, methods, tasks, metrics, ablations or formats")] = None,
    name: Annotated[str | None, typer.Argument(help="a method or a task, to list its options")] = None,
    as_json: AsJson = False,
) -> None:
    """List what edgewise knows by name; with method NAME or task NAME, the options of one."""
    from edgewise.cli.catalogue import CATALOGUES, catalogue, details, option_rows

    if kind is not None and name is not None:
        found = details(kind, name)
        if as_json:
            console.print_json(found)
        else:
            console.print_details(found, option_rows(found))
        return
    tables = {name: catalogue(name) for name in ([kind] if kind is not None else CATALOGUES)}
    if as_json:
        console.print_json(tables)
        return
    for title, rows in tables.items():
        console.print_table(title, rows)


@console.guarded
@grouped
def convert(
    file: Annotated[
        Path, typer.Argument(help="a run folder, a file of edgewise, or EAP-IG JSON or .pt", show_default=False)
    ],
    *,
    to: Annotated[str, typer.Option(help="the format: see edgewise list formats", show_default=False)],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="where to write; - is the terminal")] = None,
    model: Annotated[str | None, typer.Option(help="the model of EAP-IG files, if heads share keys and values")] = None,
    kv: Kv = None,
    sign: Annotated[int, typer.Option(help="-1 for EAP-IG scores of a metric that is better when higher")] = 1,
    others: FilesBeside,
    compare: Annotated[Path | None, typer.Option(help="a second circuit, scores or run, for csv and html")] = None,
    force: Annotated[bool, typer.Option("--force", help="replace an existing file")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a circuit or scores in another format; as a page or a table, beside a second one."""
    from edgewise.formats.conversion import FolderFormat, format_named, write_folder
    from edgewise.formats.reading import beside, import_finding
    from edgewise.store.disk import write_bytes

    target = format_named(to)
    if compare is not None and to not in ("csv", "html"):
        raise InvalidValue(f"--compare works with --to csv or --to html, not with --to {to}; leave it out")
    path = None if isinstance(target, FolderFormat) else _new_file(file, out, target.suffix, force)
    read = import_finding(file, sign=sign, **_model_facts(model, kv))
    finding = beside(read, **vars(others), compare=compare)
    if isinstance(target, FolderFormat):
        folder = out if out is not None else file.parent / target.folder(finding)
        console.print_path(write_folder(finding, target, folder), as_json)
    elif path is None:
        sys.stdout.buffer.write(target.to_bytes(finding))
    else:
        console.print_path(write_bytes(path, target.to_bytes(finding)), as_json)


@console.guarded
def cache(
    name: Annotated[str | None, typer.Argument(help="only these: a file's name, or the start of its sha256")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="remove them, and say which they were")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the converted models in the cache folder, or remove them."""
    from edgewise.loading import cache as kept

    rows = kept.clear(name) if clear else [entry.described() for entry in kept.entries(name)]
    if as_json:
        console.print_json({"folder": str(kept.cache_folder()), "removed" if clear else "entries": rows})
    else:
        console.print_cache(kept.cache_folder(), rows, "removed" if clear else "in all")


def _new_file(source: Path, out: Path | None, suffix: str, force: bool) -> Path | None:
    """Where to write, None for the terminal; FileError for a file that exists, unless it may go."""
    stem = source / "circuit" if source.is_dir() else source.with_suffix("")
    path = out if out is not None else stem.with_name(stem.name + suffix)
    if str(path) == "-":
        return None
    if path.exists() and not force:
        raise FileError(f"{path} already exists; name another file with --out, or replace it with --force")
    return path


def _model_facts(model: str | None, kv: str | None) -> dict[str, Any]:
    """The graph of the model, and whether it has k and v readers for every head; nothing without a model."""
    if model is None:
        if kv is not None:
            raise InvalidValue("--kv needs a model; name it with --model")
        return {}
    import edgewise as ew

    with console.progress(quiet=False) as track:
        subject = ew.load(model, kv=kv or "native", track=track)  # type: ignore[arg-type]
    return {"graph": subject.graph, "facts": {"kv": subject.kv} if subject.kv != "native" else {}}
