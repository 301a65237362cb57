"""edgewise finds circuits in transformer language models: the few edges that carry a behaviour.

import edgewise as ew
subject = ew.load("nano")
pairs = ew.task("ioi").pairs(subject.tokenizer, n=64)
circuit = ew.discover(subject, pairs, method="eap-ig", edges=100)
print(ew.evaluate(subject, circuit, pairs))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgewise.api import attribute, attribute_nodes, discover, effects, sweep
    from edgewise.circuit import Circuit
    from edgewise.comparison import Comparison, compare
    from edgewise.ensembles import ensemble
    from edgewise.errors import EdgewiseError
    from edgewise.evaluation import Look, Report, evaluate, look, select
    from edgewise.graph import Graph
    from edgewise.loading import load
    from edgewise.models import FAMILIES, Family, FusedBlocks, FusedHeads, NormKind, Separate
    from edgewise.old_names import NeuronCircuit, NeuronScores, NodeScores
    from edgewise.pairs import Pairs
    from edgewise.rank_group import distributed
    from edgewise.runs.seeds import Stability, stability
    from edgewise.scores import Scores
    from edgewise.store import open, save  # noqa: A004
    from edgewise.sweeps import Sweep
    from edgewise.tasks import task
    from edgewise.viewer import show, widget

__version__ = "0.2.0"

# Where each public name lives. They are imported on first use, so that `import edgewise` costs nothing.
_HOMES = {
    "attribute": "api",
    "compare": "comparison",
    "attribute_nodes": "api",
    "discover": "api",
    "distributed": "rank_group",
    "effects": "api",
    "ensemble": "ensembles",
    "evaluate": "evaluation",
    "load": "loading",
    "look": "evaluation",
    "open": "store",
    "save": "store",
    "select": "evaluation",
    "show": "viewer",
    "stability": "runs.seeds",
    "sweep": "api",
    "task": "tasks",
    "widget": "viewer",
    "Circuit": "circuit",
    "Comparison": "comparison",
    "EdgewiseError": "errors",
    "FAMILIES": "models",
    "Family": "models",
    "FusedBlocks": "models",
    "FusedHeads": "models",
    "Graph": "graph",
    "Look": "evaluation",
    "NeuronCircuit": "old_names",
    "NeuronScores": "old_names",
    "NodeScores": "old_names",
    "NormKind": "models",
    "Pairs": "pairs",
    "Report": "evaluation",
    "Scores": "scores",
    "Separate": "models",
    "Stability": "runs.seeds",
    "Sweep": "sweeps",
}

__all__ = [
    "FAMILIES",
    "Circuit",
    "Comparison",
    "EdgewiseError",
    "Family",
    "FusedBlocks",
    "FusedHeads",
    "Graph",
    "Look",
    "NeuronCircuit",
    "NeuronScores",
    "NodeScores",
    "NormKind",
    "Pairs",
    "Report",
    "Scores",
    "Separate",
    "Stability",
    "Sweep",
    "__version__",
    "attribute",
    "attribute_nodes",
    "compare",
    "discover",
    "distributed",
    "effects",
    "ensemble",
    "evaluate",
    "load",
    "look",
    "open",
    "save",
    "select",
    "show",
    "stability",
    "sweep",
    "task",
    "widget",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgewise' has no attribute {name!r}")
    import edgewise.viewer.notebook  # noqa: F401  circuits, scores and reports show themselves in a notebook

    value = getattr(import_module(f"edgewise.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
