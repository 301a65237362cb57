"""The folder the MIB benchmark's circuit track takes: one for each task and model, with scores in it.

`<task>_<model>/importances.json` in EAP-IG form, of every edge or of every node and neuron; the benchmark takes the circuits
of its ten sizes from the scores itself. Mueller et al. 2025, "MIB: A Mechanistic Interpretability Benchmark"
(arXiv:2504.13151).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgewise.errors import InvalidValue
from edgewise.formats.eap_ig_json import eap_ig_json
from edgewise.formats.eap_ig_nodes import eap_ig_nodes_json
from edgewise.scores import Scores
from edgewise.store.schema import encode
from edgewise.store.targets import component

IMPORTANCES = "importances.json"
# The benchmark's own short names of its models; others keep the last part of theirs.
MODELS = {
    "gpt2": "gpt2",
    "openai-community/gpt2": "gpt2",
    "qwen/qwen2.5-0.5b": "qwen2.5",
    "google/gemma-2-2b": "gemma2",
    "meta-llama/llama-3.1-8b": "llama3",
}


def mib_files(scores: Scores | None) -> dict[str, bytes]:
    """File name → bytes of one folder of a submission; InvalidValue without scores, for one circuit is not enough.

    Scores of edges, or of nodes and, if they are known, their neurons.
    """
    if scores is None:
        raise InvalidValue(
            "the benchmark takes scores, or a circuit for each of its sizes, but there is only one circuit"
        )
    if scores.level != "edges":
        return {IMPORTANCES: eap_ig_nodes_json(scores, None)}
    return {IMPORTANCES: encode(eap_ig_json(scores, None))}


def mib_folder(provenance: Mapping[str, Any]) -> str:
    """The folder's name, `task_model`, from where the scores come from; InvalidValue if that is not told.

    >>> mib_folder({"task": "ioi", "model": "openai-community/gpt2"})
    'ioi_gpt2'
    """
    task, model = provenance.get("task"), provenance.get("model")
    if not task or not model:
        raise InvalidValue("the scores do not say which task and model they are for; name the folder with --out")
    short = str(model).rstrip("/").rpartition("/")[2].lower()
    return component(f"{str(task).replace('_', '-')}_{MODELS.get(str(model).lower(), short)}")
