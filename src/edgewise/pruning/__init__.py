"""Pruning: methods that train a gate for each edge or node, until a circuit is left or to score the edges by it."""

from __future__ import annotations

from edgewise.pruning.base import Pruning
from edgewise.pruning.edge_pruning import EdgePruning
from edgewise.pruning.hap import HAP
from edgewise.pruning.subnetwork_probing import SubnetworkProbing
from edgewise.pruning.ugs import UGS

PRUNINGS: dict[str, type[Pruning]] = {method.name: method for method in (EdgePruning, HAP, SubnetworkProbing)}
# Those that score edges instead of finding a circuit.
SCORINGS = {method.name: method for method in (UGS,)}

__all__ = ["PRUNINGS", "SCORINGS", "Pruning"]
