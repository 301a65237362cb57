"""Opening whatever edgewise recognises: its own files, and those of other tools."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgewise.arguments import typed
from edgewise.circuit import Circuit
from edgewise.errors import FileError
from edgewise.formats.eap_ig_graph import is_eap_ig
from edgewise.formats.eap_ig_pt import is_of_torch
from edgewise.formats.mib_submission import IMPORTANCES
from edgewise.formats.reading import import_finding
from edgewise.scores import Scores
from edgewise.store.disk import accessible
from edgewise.store.files import read
from edgewise.store.opening import read_bytes


@typed
def open_any(path: str | os.PathLike[str]) -> Circuit | Scores:
    """Read the circuit or the scores in a file of edgewise, of the EAP-IG library or of the MIB benchmark.

    `path`: a `.json` or `.safetensors` file that `save` wrote, EAP-IG JSON or `.pt`, or a folder of a MIB submission.

    Returns a Circuit or Scores, equal to what was saved. A file of EAP-IG gives the scores if it has any, of edges or of
    nodes, else the circuit; `edgewise.formats.import_finding` gives both, and takes a graph of your model and a sign. Raises
    FileError, with the name of the file, if it is missing, truncated, damaged, from a newer version, or of another kind.
    """
    with accessible(path):
        if (Path(path) / IMPORTANCES).is_file():
            path = Path(path) / IMPORTANCES
    if is_of_torch(path):
        return _imported(path)
    if Path(path).suffix == ".safetensors" or Path(path).is_dir():
        return read(path)
    return _imported(path) if is_eap_ig(read_bytes(path)) else read(path)


def _imported(path: str | os.PathLike[str]) -> Circuit | Scores:
    found = import_finding(os.fspath(path))
    if found.scores is not None:
        kept = {} if found.circuit is None else {"kept": len(found.circuit)}
        return found.scores.with_provenance(**_with(found.scores.provenance, kept))
    value = found.node_scores if found.node_scores is not None else found.neurons or found.circuit
    if value is None:
        raise FileError(f"{path} neither scores nor keeps an edge, node or neuron")
    return value


def _with(provenance: Mapping[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """What is said of the file it comes from, with these facts."""
    return {"imported": {**provenance.get("imported", {}), **facts}}
