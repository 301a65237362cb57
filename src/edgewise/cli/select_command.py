"""The command that cuts scores again: select."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgewise.cli import console, run_output
from edgewise.cli.option_groups import Conditions, ModelAndPrompts, grouped
from edgewise.cli.options import (
    CIRCUIT_OPTIONS,
    METHOD_OPTIONS,
    OUTPUT_OPTIONS,
    Ablation,
    AsJson,
    Quiet,
    Source,
    size,
    those_given,
)
from edgewise.cli.run_options import EvaluatedAllowOtherWeights
from edgewise.errors import FileError, InvalidValue

if TYPE_CHECKING:
    from edgewise.runs.cutting import Cut

SelectedEdges = Annotated[
    str | None, typer.Option(help="how many edges, or a share such as 10%", rich_help_panel=CIRCUIT_OPTIONS)
]
KeptShare = Annotated[
    float | None,
    typer.Option(
        help="instead, what to keep of the metric on held-out pairs, such as 0.9: by the smallest circuit of the sizes tried",
        rich_help_panel=CIRCUIT_OPTIONS,
    ),
]
Signed = Annotated[
    bool | None,
    typer.Option(
        "--signed/--absolute",
        help="rank by signed or by absolute score [default: as the run]",
        show_default=False,
        rich_help_panel=CIRCUIT_OPTIONS,
    ),
]
KeptMetric = Annotated[
    str | None, typer.Option(help="the metric to keep a share of [default: the run's]", rich_help_panel=METHOD_OPTIONS)
]
SelectOut = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="a .json file, or a folder to put it in [default: beside the scores]",
        rich_help_panel=OUTPUT_OPTIONS,
    ),
]
Force = Annotated[bool, typer.Option("--force", help="replace an existing file", rich_help_panel=OUTPUT_OPTIONS)]


@console.guarded
@grouped
def select(
    file: Source,
    *,
    edges: SelectedEdges = None,
    faithfulness: KeptShare = None,
    signed: Signed = None,
    out: SelectOut = None,
    force: Force = False,
    asked: ModelAndPrompts,
    metric: KeptMetric = None,
    ablation: Ablation = None,
    conditions: Conditions,
    allow_other_weights: EvaluatedAllowOtherWeights = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Cut the scores of a run again, to another size or by another ranking, and write the circuit to a file.

    With --faithfulness the model is run to find the size; the options of model, prompts and method are for that alone.
    """
    from edgewise.arguments import checked_faithfulness
    from edgewise.runs.cutting import cut
    from edgewise.runs.from_file import cut_to_keep
    from edgewise.store.files import save

    changes = asked.given | conditions.given | those_given(locals(), "metric ablation")
    _check(file, out, force)
    ranking = None if signed is None else "signed" if signed else "absolute"
    if faithfulness is not None:
        if edges is not None:
            raise InvalidValue("give a size, or the faithfulness to keep, not both")
        share, weights = checked_faithfulness(faithfulness), "any" if allow_other_weights else "same"
        with console.progress(quiet=quiet or as_json) as track:
            found = cut_to_keep(file, share, changes, ranking=ranking, weights=weights, track=track)
    else:
        if edges is None and signed is None:
            raise InvalidValue("nothing says how to cut; give --edges, --faithfulness, or --signed")
        if changes or allow_other_weights:
            name = next(iter(changes), "allow_other_weights").replace("bad_rows", "skip_bad_rows").replace("_", "-")
            raise InvalidValue(f"--{name} is for --faithfulness, which runs the model; leave it out")
        found = cut(file, edges=size(edges), ranking=ranking)
    path = save(found.circuit, _new_path(file, out, _name(found), force))
    if as_json:
        console.print_json(described(found, path))
    elif not quiet:
        print_cut(found, path)


def _check(file: Path, out: Path | None, force: bool) -> None:
    """What cannot be written is refused before anything is computed."""
    from edgewise.store.disk import target_of

    if out is not None and not out.is_dir() and out.suffix.lower() != ".json":
        raise InvalidValue(f"--out {out}: name a file that ends in .json, or a folder that is there")
    _new_path(file, out, "", force)
    if out is not None and not out.is_dir():
        target_of(out)


def _new_path(file: Path, out: Path | None, name: str, force: bool) -> Path:
    """Where to write; FileError for a file that exists, unless it may go."""
    folder = out if out is not None and out.is_dir() else file if file.is_dir() else file.parent
    path = folder / name if out is None or out.is_dir() else out
    if path.is_file() and not force:
        raise FileError(f"{path} already exists; name another file with --out, or replace it with --force")
    return path


def _name(found: Cut) -> str:
    level = "" if found.scores.level == "edges" else f"-{found.scores.level}"
    return f"circuit-{found.selected}{level}{'-signed' if found.ranking == 'signed' else ''}.json"


def print_cut(found: Cut, path: Path) -> None:
    """How large the circuit is, what it keeps as far as that is known, and where it is."""
    out, nodes = console.stdout(), found.scores.level == "nodes"
    if nodes:
        run_output.print_nodes(found.circuit, found.ranking)
    run_output.print_size(found.circuit, None if nodes else found.selected, found.ranking)
    run_output.print_chosen(found.circuit)
    if found.curve is not None and found.measured:
        told = ", ".join(f"{point.faithfulness:.1%} at {point.edges:,} edges" for point in found.measured)
        out.print(f"curve     of the run, {console.quoted(found.curve.metric)}: {told}")
    out.print(f"files     {console.quoted(path)}")


def described(found: Cut, path: Path) -> dict[str, Any]:
    """The same as plain values."""
    known = found.circuit.provenance
    curve = {} if found.curve is None else {"metric": found.curve.metric, "points": [vars(p) for p in found.measured]}
    return {
        "file": str(path),
        "circuit": {**run_output.size(found.circuit), "selected": found.selected, "ranking": found.ranking},
        "selection": dict(known["selection"]),
        **({"faithfulness": dict(known["faithfulness"])} if "faithfulness" in known else {}),
        **({"curve": curve} if curve else {}),
    }
