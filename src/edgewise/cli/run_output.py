"""What the command line prints of a run and of an evaluation: to people, and as plain values."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from edgewise.cli import console

if TYPE_CHECKING:
    from edgewise.circuit import Circuit
    from edgewise.evaluation import Report
    from edgewise.runs.folder import Run


def print_run(run: Run) -> None:
    """The report of a run: what was measured, how large the circuit is, where the files are."""
    out = console.stdout()
    known, report = run.circuit.provenance, run.report
    prompts = known.get("task") or known.get("data_file")
    out.print(f"[bold]{escape(str(prompts))}[/] in [bold]{escape(run.recipe.model)}[/] by {run.recipe.method}")
    if run.sweep is not None:
        console.print_table(f"sweep over {run.sweep.size_option}", [console.cells(row) for row in run.sweep_rows])
    print_report(report)
    print_found_on(run)
    if run.recipe.level == "nodes":
        counts = known["nodes"]
        out.print(
            f"nodes     {counts['selected']:,} of {counts['total']:,} heads and MLPs by {run.recipe.ranking} score"
        )
    scored = run.recipe.level != "nodes" and run.scores is not None
    print_size(run.circuit, run.selected if scored else None, run.recipe.ranking)
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
        out.print(f"files     {escape(str(run.folder))}/: {', '.join(run.files)}")


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
            name,
            *(console.shown_number(n) for n in numbers),
            *(console.shown_number(n, ".1%") for n in shares),
        )
    console.stdout().print(table)
    console.stdout().print(f"measured  on {report.judged_on} with {report.ablation} ablation")
    for sentence in report.warnings:
        console.stdout().print(f"[yellow]warning[/]   {escape(sentence)}")


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
