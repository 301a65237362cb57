"""edgewise finds circuits in transformer language models: the few edges that carry a behaviour.

import edgewise as ew
subject = ew.load("nano")
pairs = ew.task("ioi").pairs(subject.tokenizer, n=64)
circuit = ew.discover(subject, pairs, method="eap", edges=100)
print(ew.evaluate(subject, circuit, pairs))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgewise.api import attribute, attribute_nodes, discover, sweep
    from edgewise.circuit import Circuit
    from edgewise.ensembles import ensemble
    from edgewise.errors import EdgewiseError
    from edgewise.evaluation import Report, evaluate
    from edgewise.graph import Graph
    from edgewise.loading import load
    from edgewise.nodes import NodeScores
    from edgewise.pairs import Pairs
    from edgewise.scores import Scores
    from edgewise.store import open, save  # noqa: A004
    from edgewise.sweeps import Sweep
    from edgewise.tasks import task
    from edgewise.viewer import show

__version__ = "0.1.0"

# Where each public name lives. They are imported on first use, so that `import edgewise` costs nothing.
_HOMES = {
    "attribute": "api",
    "attribute_nodes": "api",
    "discover": "api",
    "ensemble": "ensembles",
    "evaluate": "evaluation",
    "load": "loading",
    "open": "store",
    "save": "store",
    "show": "viewer",
    "sweep": "api",
    "task": "tasks",
    "Circuit": "circuit",
    "EdgewiseError": "errors",
    "Graph": "graph",
    "NodeScores": "nodes",
    "Pairs": "pairs",
    "Report": "evaluation",
    "Scores": "scores",
    "Sweep": "sweeps",
}

__all__ = [
    "Circuit",
    "EdgewiseError",
    "Graph",
    "NodeScores",
    "Pairs",
    "Report",
    "Scores",
    "Sweep",
    "__version__",
    "attribute",
    "attribute_nodes",
    "discover",
    "ensemble",
    "evaluate",
    "load",
    "open",
    "save",
    "show",
    "sweep",
    "task",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgewise' has no attribute {name!r}")
    value = getattr(import_module(f"edgewise.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
