"""The command that looks at what the heads and MLPs of a circuit do: look."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgewise.cli import console
from edgewise.cli.option_groups import Conditions, ModelAndPrompts, grouped
from edgewise.cli.options import OUTPUT_OPTIONS, PROMPT_OPTIONS, AsJson, Quiet, Source
from edgewise.cli.run_options import EvaluatedAllowOtherWeights
from edgewise.errors import InvalidValue

if TYPE_CHECKING:
    from edgewise.evaluation import Look


@console.guarded
@grouped
def look(
    file: Source,
    *,
    asked: ModelAndPrompts,
    prompts: Annotated[
        int, typer.Option(help="for how many prompts attention is kept, in a file", rich_help_panel=PROMPT_OPTIONS)
    ] = 3,
    conditions: Conditions,
    allow_other_weights: EvaluatedAllowOtherWeights = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="a .json or .html file for all of it", rich_help_panel=OUTPUT_OPTIONS),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Look at the heads and MLPs of a circuit: where they attend, and what they say to the logits directly."""
    from edgewise.runs.from_file import look_at
    from edgewise.store.disk import write_bytes
    from edgewise.store.schema import dump, encode

    _check(out)
    weights = "any" if allow_other_weights else "same"
    with console.progress(quiet=quiet or as_json) as track:
        seen = look_at(file, asked.given | conditions.given, prompts=prompts, weights=weights, track=track)
    if out is not None:
        write_bytes(out, encode(dump(seen.to_dict()) if out.suffix.lower() == ".json" else _page(seen)))
    if as_json:
        console.print_json(seen.to_dict())
    elif not quiet:
        console.stdout().print(str(seen), markup=False)
        if out is not None:
            console.stdout().print(f"files     {out}", markup=False)


def _check(out: Path | None) -> None:
    """What cannot be written is refused before anything is computed."""
    from edgewise.store.disk import target_of

    if out is None:
        return
    if out.suffix.lower() not in (".json", ".html"):
        raise InvalidValue(f"--out {out}: name a file that ends in .json or .html")
    target_of(out)


def _page(seen: Look) -> str:
    """A page by itself, without scripts, that fetches nothing."""
    head = '<meta charset="utf-8"><title>edgewise look</title><style>body{font: 14px sans-serif; margin: 2em}</style>'
    policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    heads = sum(bool(one.patterns) for one in seen.nodes)
    return f'<!doctype html><html lang="en"><head>{policy}{head}</head><body>{seen.html(heads)}</body></html>\n'
