"""What the command line prints of a run and of an evaluation: to people, and as plain values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table

from edgewise.cli import console

if TYPE_CHECKING:
    from edgewise.circuit import Circuit
    from edgewise.curve import Curve
    from edgewise.evaluation import Report
    from edgewise.runs.folder import Run


def print_run(run: Run) -> None:
    """The report of a run: what was measured, how large the circuit is, where the files are."""
    out = console.stdout()
    known, report = run.circuit.provenance, run.report
    prompts = known.get("task") or known.get("data_file")
    told, model = console.quoted(prompts), console.quoted(run.recipe.model)
    out.print(f"[bold]{told}[/] in [bold]{model}[/] by {console.quoted(run.recipe.method)}")
    print_units(known, run.sweep.size_option if run.sweep is not None else None)
    if run.sweep is not None:
        console.print_table(f"sweep over {run.sweep.size_option}", [console.cells(row) for row in run.sweep_rows])
    print_report(report)
    print_found_on(run)
    if run.recipe.level == "nodes":
        print_nodes(run.circuit, run.recipe.ranking)
    scored = run.recipe.level != "nodes" and run.scores is not None
    print_size(run.circuit, run.selected if scored else None, run.recipe.ranking)
    print_chosen(run.circuit)
    if run.curve is not None:
        print_curve(run.curve, chosen="tried" in known.get("selection", {}))
    print_hint(run)
    if "tested" in known:
        out.print(f"tested    {known['tested']:,} removals, one after the other")
    if "fitting_batch_size" in known:
        out.print(f"memory    held {known['fitting_batch_size']:,} pairs at once")
    if "blocks_run_again" in known:
        out.print("memory    ran blocks again in the backward pass")
    if run.stability is not None:
        out.print("stability " + "\n          ".join(str(run.stability).splitlines()), markup=False)
    parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in run.spent.items() if round(seconds, 1))
    out.print(f"time      {run.seconds:.1f} s" + (f": {parts}" if parts else ""))
    if run.folder is not None:
        out.print(f"files     {console.quoted(run.folder)}/: {console.quoted(', '.join(run.files))}")


def print_units(known: Mapping[str, Any], swept: str | None) -> None:
    """The metric that the method went by, and its thresholds and prices with the metric that each is in."""
    units, options = known.get("units") or {}, known["options"]
    told = ", ".join(f"{name}{'' if name == swept else f' {options[name]}'} in {units[name]}" for name in units)
    console.stdout().print(f"by        {known['metric']}{f': {told}' if told else ''}", markup=False)


def print_report(report: Report) -> None:
    """The metrics of an evaluation; `random` is a random circuit of as many edges, or neurons."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("metric")
    for column in ("clean", "corrupted", "circuit", "random", "faithfulness", "of random"):
        table.add_column(column, justify="right")
    for name, value in report.metrics.items():
        numbers = (value.clean, value.corrupted, value.circuit, value.random)
        shares = (value.faithfulness, value.random_faithfulness)
        table.add_row(
            console.quoted(name),
            *(console.shown_number(n) for n in numbers),
            *(console.shown_number(n, ".1%") for n in shares),
        )
    console.stdout().print(table)
    told = f"{console.quoted(report.judged_on)} with {console.quoted(report.ablation)}"
    console.stdout().print(f"measured  on {told} ablation")
    for sentence in report.warnings:
        console.stdout().print(f"[yellow]warning[/]   {console.quoted(sentence)}")


def print_found_on(run: Run) -> None:
    """What the circuit keeps of the pairs it was found on, where it was judged on others."""
    if run.found_on is None:
        return
    share = console.shown_number(run.found_on[next(iter(run.report.metrics))].faithfulness, ".1%")
    seen, unseen = run.found_on["kl"].circuit, run.report["kl"].circuit
    times = "" if run.overfitting is None else f" ({run.overfitting:.2f} ×)"
    out = console.stdout()
    out.print(
        f"found     on {run.found_on.judged_on}: {share} faithful there; KL {seen:.4g}, {unseen:.4g} held out{times}"
    )


def selection(circuit: Circuit) -> tuple[int, str]:
    """How many edges were selected for a circuit that was cut from scores, and by which ranking."""
    known = circuit.provenance
    return known["edges"]["selected"], "absolute" if known["selection"]["absolute"] else "signed"


def print_nodes(circuit: Circuit, ranking: str) -> None:
    """How many heads and MLPs out of how many were selected."""
    counts = circuit.provenance["nodes"]
    console.stdout().print(f"nodes     {counts['selected']:,} of {counts['total']:,} heads and MLPs by {ranking} score")


def print_chosen(circuit: Circuit) -> None:
    """What the size of a circuit was chosen by, where nobody asked for so many edges."""
    chosen = circuit.provenance.get("selection", {})
    if "otherwise" in chosen:
        console.stdout().print(f"size      a tenth of all, since {console.quoted(chosen['otherwise'])}")
    if "tried" not in chosen:
        return
    kept = circuit.provenance["faithfulness"]
    told = f"{len(chosen['tried'])} sizes tried that keeps {chosen['faithfulness']:.4g} of {console.quoted(chosen['metric'])}"
    console.stdout().print(f"size      the smallest of {told}: it keeps {console.shown_number(kept['circuit'])}")


def print_hint(run: Run) -> None:
    """That another ranking may keep as much with fewer edges, where many of the circuit hurt."""
    from edgewise.viewer.missing import many_hurt

    if hurting := many_hurt(run.finding):
        told = f"{hurting:,} edges hurt the metric, by their scores; --ranking signed leaves them out, see then what kl says"
        console.stdout().print(f"hint      {told}")


def print_curve(curve: Curve, chosen: bool = False) -> None:
    """What circuits of growing size keep; and which would be enough, unless one was `chosen` by that, among others nearby."""
    from edgewise.runs.asked_sizes import USUAL_FAITHFULNESS

    shown = [point for point in curve.points if point.edges and not (chosen and point.random is None)]
    sizes = " · ".join(f"{point.edges:,}" for point in shown)
    kept = " · ".join(console.shown_number(point.faithfulness, ".0%") for point in shown)
    enough, out = curve.enough(USUAL_FAITHFULNESS), console.stdout()
    out.print(f"curve     {kept} of {console.quoted(curve.metric)} kept by {sizes} edges")
    if chosen:
        return
    from_where = "only all edges" if enough is None else f"those from {enough:,} on"
    out.print(
        f"          of these sizes {from_where} keep {USUAL_FAITHFULNESS:.0%}; --faithfulness {USUAL_FAITHFULNESS} takes the "
        "smallest circuit that does"
    )


def print_size(circuit: Circuit, selected: int | None, ranking: str | None) -> None:
    """How many edges or neurons out of how many, before and after dangling ones go; a missing path is announced."""
    out, total = console.stdout(), circuit.total
    before = f"{selected:,} selected by {ranking} score, " if selected is not None else ""
    dropped = f" after {selected - len(circuit):,} dangling ones are dropped" if selected is not None else ""
    name = "edges    " if circuit.level == "edges" else "neurons  "
    out.print(f"{name} {before}{len(circuit):,} of {total:,} ({len(circuit) / total:.2%}){dropped}")
    if not circuit.has_path:
        out.print("[yellow]No path leads from input to logits: this circuit is the corrupted run.[/]")


def described(found: Run) -> dict[str, Any]:
    """A run as plain values."""
    folder = os.fspath(found.folder) if found.folder is not None else None
    return {
        "folder": folder,
        "files": list(found.files),
        "recipe": found.recipe.model_dump(),
        **{key: found.circuit.provenance[key] for key in ("metric", "units") if key in found.circuit.provenance},
        "circuit": {**size(found.circuit), "selected": found.selected, "ranking": found.recipe.ranking},
        "report": found.report.to_dict(),
        **found.on_pairs_found_on,
        "seconds": found.seconds,
        "spent": dict(found.spent),
        **({"sweep": found.sweep_rows} if found.sweep is not None else {}),
        **({"stability": found.stability.to_dict()} if found.stability is not None else {}),
    }


def size(found: Circuit) -> dict[str, Any]:
    """How large a circuit is, as plain values; one of neurons says how many of them it has, too."""
    circuit = found.circuit
    neurons = {} if found.level == "edges" else {"neurons": len(found), "total_neurons": found.total}
    sizes = {"edges": len(circuit), "total_edges": circuit.graph.n_edges, "nodes": len(found.nodes)}
    return {**neurons, **sizes, "has_path": circuit.has_path}
