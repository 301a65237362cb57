"""The commands that work on files, and the list of what there is: show, list, convert."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from edgewise import console
from edgewise.cli.options import AsJson, Kv, Source
from edgewise.errors import FileError, InvalidValue


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


@console.guarded
def convert(
    file: Annotated[
        Path, typer.Argument(help="a run folder, a file of edgewise, or EAP-IG JSON or .pt", show_default=False)
    ],
    to: Annotated[str, typer.Option(help="the format: see edgewise list formats", show_default=False)],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="where to; - is the terminal")] = None,
    model: Annotated[str | None, typer.Option(help="the model that EAP-IG files are of, for grouped kv heads")] = None,
    kv: Kv = None,
    sign: Annotated[int, typer.Option(help="-1 for EAP-IG scores of a metric that is better when higher")] = 1,
    force: Annotated[bool, typer.Option("--force", help="write over an existing file")] = False,
    as_json: AsJson = False,
) -> None:
    """Writes a circuit or scores in another format."""
    from edgewise.formats import FolderFormat, format_named, import_finding, write_folder
    from edgewise.store.disk import write_bytes

    target = format_named(to)
    if isinstance(target, FolderFormat):
        finding = import_finding(file, sign=sign, **_model_facts(model, kv))
        folder = out if out is not None else file.parent / target.folder(finding)
        console.print_path(write_folder(finding, target, folder), as_json)
        return
    stem = file / "circuit" if file.is_dir() else file.with_suffix("")
    path = out if out is not None else stem.with_name(stem.name + target.suffix)
    if str(path) != "-" and path.exists() and not force:
        raise FileError(f"{path} exists already; name another file with --out, or give --force")
    data = target.to_bytes(import_finding(file, sign=sign, **_model_facts(model, kv)))
    if str(path) == "-":
        sys.stdout.buffer.write(data)
        return
    console.print_path(write_bytes(path, data), as_json)


def _model_facts(model: str | None, kv: str | None) -> dict[str, Any]:
    """The graph of the model, and whether it has k and v readers for every head; nothing without a model."""
    if model is None:
        if kv is not None:
            raise InvalidValue("--kv says which readers the graph of a model has; name the model with --model")
        return {}
    import edgewise as ew

    subject = ew.load(model, kv=kv or "native")  # type: ignore[arg-type]
    return {"graph": subject.graph, "facts": {"kv": subject.kv} if subject.kv != "native" else {}}
