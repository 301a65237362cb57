"""Options of the commands that run a model, each of one command alone; those of several are in `options.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgewise.cli.options import CIRCUIT_OPTIONS, METHOD_OPTIONS, MODEL_OPTIONS, OUTPUT_OPTIONS

Method = Annotated[
    str | None, typer.Option(help="see edgewise list methods [default: eap-ig]", rich_help_panel=METHOD_OPTIONS)
]
Metric = Annotated[
    str | None,
    typer.Option(
        help="what the method goes by, and its thresholds are in "
        "[default: the method's own, which is kl for searches and training, else the task's]",
        rich_help_panel=METHOD_OPTIONS,
    ),
]
Edges = Annotated[
    str | None,
    typer.Option(
        help="how many edges to select, or a share such as 10%; several, separated by commas, for circuits of several "
        "sizes [default: as few as keep --faithfulness 0.85; where gates are trained, a tenth]",
        rich_help_panel=CIRCUIT_OPTIONS,
    ),
]
Nodes = Annotated[
    str | None,
    typer.Option(
        help="instead, how many heads and MLPs, or a share, with all edges between them",
        rich_help_panel=CIRCUIT_OPTIONS,
    ),
]
Neurons = Annotated[
    str | None,
    typer.Option(
        help="instead, how many coordinates of what heads and MLPs write, or a share", rich_help_panel=CIRCUIT_OPTIONS
    ),
]
Faithfulness = Annotated[
    float | None,
    typer.Option(
        help="instead, what to keep of the metric on held-out pairs, such as 0.85: by the smallest circuit of the sizes "
        "tried; of methods that score edges",
        rich_help_panel=CIRCUIT_OPTIONS,
    ),
]
Ranking = Annotated[
    str | None,
    typer.Option(help="rank scores by absolute or signed value [default: absolute]", rich_help_panel=CIRCUIT_OPTIONS),
]
Curve = Annotated[
    int | None,
    typer.Option(help="at how many sizes to measure faithfulness [default: 6]", rich_help_panel=CIRCUIT_OPTIONS),
]
Stability = Annotated[
    int | None,
    typer.Option(
        help="how often to draw the examples again, such as 100, to see which edges stay [default: 0]",
        rich_help_panel=CIRCUIT_OPTIONS,
    ),
]
MethodOption = Annotated[
    list[str] | None,
    typer.Option(
        help="an option of the method, key=value: see edgewise list method NAME; repeatable",
        rich_help_panel=METHOD_OPTIONS,
    ),
]
Tau = Annotated[
    str | None,
    typer.Option(
        help="the threshold of acdc, in units of the metric it goes by: kl, unless --metric names another; several, "
        "separated by commas, are a sweep",
        rich_help_panel=METHOD_OPTIONS,
    ),
]
RecipeFile = Annotated[
    Path | None,
    typer.Option(help="start from a recipe or a manifest; other options change it", rich_help_panel=OUTPUT_OPTIONS),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="go on with an interrupted run of this command", rich_help_panel=OUTPUT_OPTIONS)
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="say what it would do, and about how long it would take, and stop",
        rich_help_panel=OUTPUT_OPTIONS,
    ),
]
Out = Annotated[
    Path | None, typer.Option(help="a new folder for the results [default: runs/…]", rich_help_panel=OUTPUT_OPTIONS)
]
EvaluatedMetric = Annotated[
    list[str] | None,
    typer.Option(help="what to report; repeatable [default: the circuit's]", rich_help_panel=METHOD_OPTIONS),
]
EvaluatedEdges = Annotated[
    str | None,
    typer.Option(
        help="a circuit cut from the scores: how many edges, or a share [default: the circuit as it is]",
        rich_help_panel=CIRCUIT_OPTIONS,
    ),
]
EvaluatedAllowOtherWeights = Annotated[
    bool, typer.Option(help="evaluate even on other weights than it was found with", rich_help_panel=MODEL_OPTIONS)
]
ComparedMethods = Annotated[
    str | None,
    typer.Option(
        help="names, or files of scores (LABEL=FILE), separated by commas "
        "[default: eap-ig,eap, on small models also acdc,exact]",
        rich_help_panel=METHOD_OPTIONS,
    ),
]
ComparedReference = Annotated[
    str | None,
    typer.Option(
        help="task, exact:1%, exact:0.05 (of the metric), none, or a file [default: the task's; exact:1% on small models]",
        rich_help_panel=CIRCUIT_OPTIONS,
    ),
]
ComparedMetric = Annotated[
    str | None,
    typer.Option(help="what scores and circuits are measured by [default: the task's]", rich_help_panel=METHOD_OPTIONS),
]
ComparedEdges = Annotated[
    str | None,
    typer.Option(
        help="sizes of circuits, separated by commas [default: 1%,2%,5%,10%,20%,50%]", rich_help_panel=CIRCUIT_OPTIONS
    ),
]
ComparedHeads = Annotated[
    str | None,
    typer.Option(help="study which heads circuits of this size keep, such as 10%", rich_help_panel=CIRCUIT_OPTIONS),
]
ComparedExactSample = Annotated[
    int | None,
    typer.Option(
        help="replace so many edges, drawn evenly, one by one, to see how far scores agree",
        rich_help_panel=CIRCUIT_OPTIONS,
    ),
]
ComparedOption = Annotated[
    list[str] | None,
    typer.Option(help="an option of one method, method.key=value; repeatable", rich_help_panel=METHOD_OPTIONS),
]
ComparedPictures = Annotated[
    str | None, typer.Option(help="svg, png, or none [default: svg,png]", rich_help_panel=OUTPUT_OPTIONS)
]
ComparedOut = Annotated[
    Path | None,
    typer.Option(
        help="a folder for the results; goes on if it is unfinished [default: runs/…]", rich_help_panel=OUTPUT_OPTIONS
    ),
]
