"""`python -m benchmarks.tables FOLDER …`: the tables of docs/nano.md over all scorers, from folders of `edgewise compare`.

Each folder is one recipe's (`benchmarks/recipes/scorers-*.json`). The figures are those of `comparison.json`; nothing is
computed here but the mean ranks, in which equal figures share the mean of their places.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from scipy.stats import rankdata

Result = dict[str, Any]
Document = dict[str, Any]

# What each figure is called, where it stands, and whether more of it is better.
FIGURES: dict[str, tuple[Callable[[Result], float | None], bool]] = {
    "CPR ↑": (lambda result: result["areas"]["cpr"], True),
    "CMD ↓": (lambda result: result["areas"]["cmd"], False),
    "AUROC ↑": (lambda result: result["areas"]["auroc"], True),
    "ρ ↑": (lambda result: (result["agreement"] or {}).get("spearman_absolute"), True),
}
PAIRS = (("CPR ↑", "CMD ↓"), ("AUROC ↑", "ρ ↑"))
# What is measured and what is drawn by lot: in the tables, but not in a ranking of methods.
BOUNDS = ("exact", "random")


def main() -> None:
    """Print the tables, as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="with a comparison.json each")
    folders = parser.parse_args().folders
    documents = [json.loads((folder / "comparison.json").read_text(encoding="utf-8")) for folder in folders]
    for names in PAIRS:
        print(markdown(("method", *map(_title, documents)), figure_rows(documents, names)), end="\n\n")
    print(markdown(("method", *FIGURES, "time / `eap`"), summary_rows(documents)))


def figure_rows(documents: Sequence[Document], names: Sequence[str]) -> list[tuple[str, ...]]:
    """A row for each method: in every document its figures of these names."""
    return [
        (f"`{method}`", *(" · ".join(_shown(_figure(one, method, name)) for name in names) for one in documents))
        for method in methods(documents)
    ]


def summary_rows(documents: Sequence[Document]) -> list[tuple[str, ...]]:
    """A row for each method, best mean rank first: that rank by each figure, and its time as a multiple of EAP's."""
    ranks = {name: mean_ranks(documents, name) for name in FIGURES}
    ranked = [method for method in methods(documents) if method not in BOUNDS]
    ranked.sort(key=lambda method: sum(ranks[name][method] for name in FIGURES))
    return [
        (f"`{method}`", *(f"{ranks[name][method]:.1f}" for name in FIGURES), f"{_slower(documents, method):.1f}")
        for method in ranked
    ]


def mean_ranks(documents: Sequence[Document], name: str) -> dict[str, float]:
    """Each method's place by a figure, the best being 1, as the mean over documents."""
    ranked = [method for method in methods(documents) if method not in BOUNDS]
    sign = -1 if FIGURES[name][1] else 1
    places = [rankdata([sign * round(_figure(one, method, name) or 0.0, 3) for method in ranked]) for one in documents]
    return {method: float(sum(place[i] for place in places)) / len(places) for i, method in enumerate(ranked)}


def methods(documents: Sequence[Document]) -> list[str]:
    """The methods that stand in every document, in the order of the first."""
    known = [{result["name"] for result in one["results"]} for one in documents]
    return [result["name"] for result in documents[0]["results"] if all(result["name"] in names for names in known)]


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _title(document: Document) -> str:
    task, model = document["data"]["task"], document["model"]["model"]
    return task if task == model else f"{model}, {task}"


def _figure(document: Document, method: str, name: str) -> float | None:
    return FIGURES[name][0](_result(document, method))


def _result(document: Document, method: str) -> Result:
    return next(result for result in document["results"] if result["name"] == method)


def _slower(documents: Sequence[Document], method: str) -> float:
    """The median over documents of a method's time as a multiple of EAP's."""
    return median(_result(one, method)["seconds"] / _result(one, "eap")["seconds"] for one in documents)


def _shown(figure: float | None) -> str:
    return "–" if figure is None else f"{figure:.2f}".replace("-", "−")


if __name__ == "__main__":
    main()
