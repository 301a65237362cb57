"""Pruning: methods that train a gate for each edge or node until a circuit is left."""

from __future__ import annotations

from edgewise.pruning.base import Pruning
from edgewise.pruning.edge_pruning import EdgePruning
from edgewise.pruning.hap import HAP
from edgewise.pruning.subnetwork_probing import SubnetworkProbing

PRUNINGS: dict[str, type[Pruning]] = {method.name: method for method in (EdgePruning, HAP, SubnetworkProbing)}

__all__ = ["PRUNINGS", "Pruning"]
