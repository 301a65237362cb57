"""The command that says which heads circuits keep: heads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from edgewise.cli import console
from edgewise.cli.options import OUTPUT_OPTIONS, AsJson, Device, Quiet, size
from edgewise.errors import InvalidValue

if TYPE_CHECKING:
    from edgewise.comparison import HeadReport

Runs = Annotated[
    list[Path],
    typer.Argument(
        help="run folders, files of circuits or folders of comparisons, of one model and task",
        show_default=False,
    ),
]


@console.guarded
def heads(
    runs: Runs,
    *,
    edges: Annotated[
        str | None,
        typer.Option(
            help="cut circuits that have scores to so many edges, or such a share [default: as many as the smallest has]"
        ),
    ] = None,
    held_out: Annotated[
        int | None,
        typer.Option(
            help="judge on so many held-out pairs, fewer are quicker; 0: on those the circuits were found on "
            "[default: as in the first run]"
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="how many pairs run at once [default: as in the first run]")
    ] = None,
    device: Device = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="a .json file for all of it", rich_help_panel=OUTPUT_OPTIONS)
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="an .svg or .png file", rich_help_panel=OUTPUT_OPTIONS)] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compare the heads that circuits keep: what each head does, measured, and what it is worth to each circuit."""
    from edgewise.comparison import compare_heads
    from edgewise.store.disk import write_bytes
    from edgewise.store.schema import dump, encode

    suffix = _checked(out, picture)
    with console.progress(quiet=quiet or as_json) as track:
        report = compare_heads(
            runs, edges=size(edges), held_out=held_out, batch_size=batch_size, device=device, track=track
        )
    if out is not None:
        write_bytes(out, encode(dump(report.to_dict())))
    if picture is not None:
        from edgewise.figures import draw_heads, pictures

        shown = report.map
        write_bytes(picture, pictures(lambda figure: draw_heads(figure, shown), shown.size, [suffix])[suffix])
    if as_json:
        console.print_json(report.to_dict())
    elif not quiet:
        print_heads(report, [path for path in (out, picture) if path is not None])


def _checked(out: Path | None, picture: Path | None) -> str:
    """The format of the picture; what cannot be written is refused before anything is computed."""
    from edgewise.figures import need_matplotlib
    from edgewise.figures.canvas import IMAGE_FORMATS
    from edgewise.store.disk import target_of

    for path in (out, picture):
        if path is not None:
            target_of(path)
    if out is not None and out.suffix.lower() != ".json":
        raise InvalidValue(f"--out {out}: the heads are written as JSON; name a .json file")
    if picture is None:
        return ""
    suffix = picture.suffix.lower().removeprefix(".")
    if suffix not in IMAGE_FORMATS:
        raise InvalidValue(f"--picture {picture}: name a file that ends in .{' or .'.join(IMAGE_FORMATS)}")
    need_matplotlib()
    return suffix


def print_heads(report: HeadReport, files: list[Path]) -> None:
    """The tables, the heads that work together in words, and where files are."""
    out = console.stdout()
    out.print(f"[bold]{console.quoted(report.title)}[/]")
    for note in report.notes:
        out.print(console.quoted(note))
    out.print()
    for entry in report.tables:
        table = Table(
            title=entry.title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim"
        )
        words = sum(name in ("head", "role", "published", "heads") for name in entry.header)
        for number, column in enumerate(entry.header):
            table.add_column(column, justify="left" if number < words else "right", overflow="fold")
        for row in entry.rows:
            table.add_row(*(console.quoted(cell) for cell in row))
        out.print(table)
        out.print(f"[dim]{console.quoted(entry.note)}[/]\n")
    if report.cooperating:
        out.print("[bold]Heads that work together[/]")
        for line in report.cooperating:
            out.print(console.quoted(line))
    if files:
        out.print(f"files     {console.quoted(', '.join(map(str, files)))}")
