"""`python -m benchmarks.results`: docs/results.md and the results of the README, made from what benchmarks/results keeps.

`python -m benchmarks.results --keep FOLDER …` first takes finished folders of `edgewise compare` in: what they measured,
with the machine, the date and the recipe. `--count` first counts operations and bytes anew, which takes minutes. Nothing else
is computed here.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.highlights import at_a_glance, highlights
from benchmarks.ops import COLUMNS
from benchmarks.pruned import pruned_part
from benchmarks.tables import markdown
from edgewise.comparison.comparison_store import finished
from edgewise.comparison.method_run import MethodOutcome
from edgewise.provenance import versions

ROOT = Path(__file__).parents[1]
KEPT, PAGE, README = ROOT / "benchmarks/results", ROOT / "docs/results.md", ROOT / "README.md"
# What stands between these lines of the README is written by this command.
BEGIN, END = "<!-- results: make results -->\n", "<!-- end of results -->\n"
Document = dict[str, Any]
# Of a method's result, what the tables show.
SHOWN = ("name", "method", "options", "metric", "manner", "dial", "work", "agreement", "curve", "seconds")
# The comparisons of HAP and edge pruning, which have a section of their own.
PRUNED = "pruned"
HEAD = """# Results

Made by `make results` from `benchmarks/results/*.json`; no figure here was written by hand. Each section is one
recipe of `benchmarks/recipes`, run by `edgewise compare --recipe FILE`. Circuits are found on some prompts and
**measured on others**, which no method has seen. Cells: KL to the whole model ↓ · faithfulness of the metric (1 is
the whole model, 0 the corrupted run) · accuracy; the best KL of a column is bold. Sizes are those selected; dangling
edges among them carry nothing.
"""

COUNTED = {"ops": ("ops", "counts"), "ops-smollm2": ("ops", "real_counts"), "memory": ("counted", "counts")}
COUNTED_HEAD = """## What a GPU would be asked for

**Not yet measured on a GPU.** Counted on a CPU, with the sizes of an accelerator (`python -m benchmarks ops`, `ops-smollm2`,
`memory`): operations, each of which starts a kernel, over those of the bare passes; how often the host waits for the device;
uploads from the host; and bytes held at the peak, of a model of its true shape without values. The shapes in the tables of
operations are narrow: counts do not depend on widths. ACDC on the 8B shape is counted one batch of tests at a time, against
one forward; how many of a whole search's 805,681 edges are tested depends on the model.
"""


def main() -> None:
    """Keep what is named, then write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.results", description=__doc__)
    parser.add_argument("--keep", nargs="+", type=Path, default=[], metavar="FOLDER", help="finished comparisons")
    parser.add_argument("--count", nargs="+", choices=COUNTED, default=[], help="what to count anew")
    arguments = parser.parse_args()
    for folder in arguments.keep:
        own = KEPT / PRUNED if folder.name.startswith(f"{PRUNED}-") else KEPT
        keep(folder, own / f"{folder.name}.json")
    for name in arguments.count:
        count(name)
    documents, pruned = kept(), kept(KEPT / PRUNED)
    PAGE.write_text(page(documents, pruned), "utf-8")
    README.write_text(with_highlights(README.read_text("utf-8"), documents, pruned), "utf-8")


def count(name: str) -> None:
    """Counts anew, and keeps it."""
    module, function = COUNTED[name]
    tables = [[title, [*body]] for title, body in getattr(import_module(f"benchmarks.{module}"), function)()]
    text = json.dumps({"tables": tables, "counted": date.today().isoformat(), "versions": versions()}, indent=1)
    (KEPT / "counted").mkdir(exist_ok=True)
    (KEPT / "counted" / f"{name}.json").write_text(text + "\n", "utf-8")


def counted_part() -> str:
    """The section about what was counted and never timed."""
    parts = [COUNTED_HEAD]
    for name in COUNTED:
        if not (path := KEPT / "counted" / f"{name}.json").exists():
            continue
        document = json.loads(path.read_text("utf-8"))
        header = (
            COLUMNS
            if name != "memory"
            else ("EAP", "EAP / bare passes", "goal", "EAP, weights included", "bare passes")
        )
        for title, body in document["tables"]:
            parts.append(f"**{title}** ({document['counted']}, torch {document['versions']['torch']})\n")
            parts.append(markdown(header, [tuple(row) for row in body]) + "\n")
    return "\n".join(parts)


def kept(folder: Path = KEPT) -> list[Document]:
    """The comparisons in a folder of the repository."""
    return [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))]


def keep(folder: Path, path: Path) -> None:
    """What a finished comparison measured, as a document small enough for the repository."""
    whole, manifest = (json.loads((folder / f"{name}.json").read_text("utf-8")) for name in ("comparison", "manifest"))
    named = ("model", "data", "metric", "ablation", "versions", "total_edges", "sizes", "ends")
    kept = {name: whole[name] for name in named}
    first = {one.entry.name: first_size(one) for one in finished(folder)}
    kept |= {
        "results": [{**{name: one[name] for name in SHOWN}, **first.get(one["name"], {})} for one in whole["results"]],
        "sample": whole.get("sample"),
    }
    kept |= {"machine": machine(), "finished": manifest["finished"], "recipe": manifest["recipe"]}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", "utf-8")


def first_size(outcome: MethodOutcome) -> dict[str, Any]:
    """How long a method that trains took for the size it trains first, which is what that size alone would take."""
    if not any("spent" in circuit.provenance for circuit in outcome.circuits):
        return {}
    largest = max(outcome.circuits, key=len)
    return {"first_size": {"edges": len(largest), "seconds": round(sum(largest.provenance["spent"].values()), 1)}}


def machine() -> str:
    """The processor at hand, in a few words."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


def page(documents: Sequence[Document], pruned: Sequence[Document]) -> str:
    """The whole page."""
    return "\n".join(
        [HEAD, at_a_glance(documents), *(section(one) for one in documents), pruned_part(pruned), counted_part()]
    )


def with_highlights(text: str, documents: Sequence[Document], pruned: Sequence[Document]) -> str:
    """The README with the results that matter."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}{highlights(documents, pruned)}{END}{rest.partition(END)[2]}"


def section(document: Document) -> str:
    """One comparison: scores at equal sizes, the circuits that searches chose, agreement with exact effects, cost."""
    data, recipe = document["data"], document["recipe"]
    judged = data.get("judged_on")
    where = f"{judged['examples']} held-out pairs" if judged else "the same pairs"
    ends = {name: (one["clean"], one["corrupted"]) for name, one in document["ends"].items()}
    said = ", ".join(
        f"{_words(name)} {clean:.3g} clean and {corrupted:.3g} corrupted" for name, (clean, corrupted) in ends.items()
    )
    head = (
        f"## {document['model']['model']}, {data['task']}\n\n"
        f"Found on {data['examples']} pairs (seed {recipe['seed']}), measured on {where}; {document['total_edges']:,} edges, "
        f"{document['ablation']} ablation. The whole model: {said}. {document['machine']}, {document['finished'][:10]}, "
        f"edgewise {document['versions']['edgewise']}, torch {document['versions']['torch']}.\n"
    )
    parts = [head, markdown(*scored_table(document)), "", markdown(*searched_table(document))]
    return "\n".join([*parts, *agreement_part(document), ""])


def scored_table(document: Document) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """A row for each method that scores edges: what its circuits of every size keep."""
    sizes, scored = document["sizes"], [one for one in document["results"] if one["dial"] is None]
    points = {(one["name"], point["edges"]): point for one in scored for point in one["curve"]}
    best = {size: min(points[one["name"], size]["metrics"]["kl"] for one in scored) for size in sizes}
    header = ("method", *(f"{size:,} edges" for size in sizes))
    rows = []
    for one in scored:
        cells = [_cell(points[one["name"], size], document["metric"], best[size]) for size in sizes]
        rows.append((f"`{one['name']}`", *cells))
    return header, rows


def searched_table(document: Document) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """A row for each circuit that a search chose the size of."""
    rows = []
    for one in (one for one in document["results"] if one["dial"] is not None):
        pairs = next(
            (e.get("examples") for e in document["recipe"]["methods"] if (e["label"] or e["method"]) == one["name"]),
            None,
        )
        for point in one["curve"]:
            cell = _cell(point, document["metric"], -1.0)
            rows.append(
                (
                    f"`{one['name']}`",
                    f"{point['edges']:,}",
                    cell,
                    str(pairs or document["data"]["examples"]),
                    one["work"],
                )
            )
    return (
        "search",
        "edges it kept",
        "KL · faithfulness · accuracy",
        "pairs it saw",
        "work for all its circuits",
    ), rows


def agreement_part(document: Document) -> list[str]:
    """How far scores agree with exact effects, where a sample of edges was patched alone."""
    if not document["sample"]:
        return []
    rows = [
        (f"`{one['name']}`", *(_number(one["agreement"][key]) for key in ("spearman", "spearman_absolute", "pearson")))
        for one in document["results"]
        if one["agreement"] and one["dial"] is None
    ]
    edges = len(document["sample"]["edges"])
    text = f"\nAgreement with the exact effects of {edges} edges drawn evenly (Spearman's ρ signed, of sizes; Pearson's r):\n"
    return [text, markdown(("method", "ρ, signed", "ρ, size", "r"), rows)]


def _cell(point: Document, metric: str, best: float) -> str:
    kl = f"{point['metrics']['kl']:.2f}"
    shown = f"**{kl}**" if point["metrics"]["kl"] == best else kl
    return f"{shown} · {_number(point['faithfulness'][metric])} · {_number(point['metrics']['accuracy'])}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def _words(metric: str) -> str:
    return metric.upper() if metric == "kl" else metric.replace("_", " ")


if __name__ == "__main__":
    main()
