"""What a picture says about where the circuit comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgewise.circuit import Circuit
from edgewise.display import clean

TOLD = "model dtype task data_file corruption bos chat_template examples seed method metric ablation".split()
TOP_WORDS = {"n": "", "nodes": " nodes", "neurons": " neurons"}


def title(circuit: Circuit) -> str:
    """The heading: task, model and method as far as they are known.

    >>> from edgewise.graph import Graph
    >>> title(Circuit.full(Graph(1, 1, 1)).with_provenance(task="ioi", model="nano", method="eap"))
    'ioi in nano, by eap'
    """
    known = circuit.provenance
    name = known.get("task") or known.get("data_file") or "circuit"
    model, method = known.get("model"), known.get("method")
    return clean(f"{name}{f' in {model}' if model else ''}{f', by {method}' if method else ''}", 90)


def facts(circuit: Circuit) -> list[tuple[str, str]]:
    """(label, text) of everything worth telling under a picture, in reading order."""
    known = circuit.provenance
    found = [
        ("edges", _size(circuit)),
        ("neurons", _neurons(known.get("neurons"))),
        *((key.replace("_", " "), known.get(key)) for key in TOLD),
        ("options", _options(known)),
        ("selection", selection(known)),
        ("weights", str(known.get("revision") or known.get("weights") or "")[:23]),
        ("faithfulness", _faithfulness(known)),
        ("imported", _pairs(known.get("imported"))),
        ("versions", _pairs(known.get("versions"))),
    ]
    told = [(label, clean(value, 160)) for label, value in found if value not in (None, "", {})]
    return told + [("warning", clean(sentence, 360)) for sentence in _warnings(known.get("warnings"))]


def selection(provenance: Mapping[str, Any]) -> str:
    """How edges, nodes or neurons were chosen from their scores, ranking included.

    >>> selection({"selection": {"nodes": 12, "absolute": False}})
    'top 12 nodes by signed score'
    >>> selection({"selection": {"n": 48, "otherwise": "none of the 14 sizes tried keeps 0.85 of kl"}})
    'top 48 by absolute score, since none of the 14 sizes tried keeps 0.85 of kl'
    """
    chosen = provenance.get("selection")
    if not isinstance(chosen, Mapping):
        return ""
    ranking = "absolute" if chosen.get("absolute", True) else "signed"
    sizes = {f"top {chosen[key]}{what}" for key, what in TOP_WORDS.items() if key in chosen}
    limit = sizes.pop() if sizes else f"at least {chosen.get('threshold')}{_in(provenance.get('metric'))}"
    return f"{limit} by {ranking} score{_enough(chosen)}"


def _enough(chosen: Mapping[str, Any]) -> str:
    """What the size was chosen by, where that was what a circuit keeps, or was to be."""
    if "otherwise" in chosen:
        return f", since {chosen['otherwise']}"
    share, tried = chosen.get("faithfulness"), chosen.get("tried")
    if not isinstance(share, int | float) or not isinstance(tried, list | tuple):
        return ""
    return f", the smallest of {len(tried)} sizes tried that keeps {share:.4g} of {chosen.get('metric', 'the metric')}"


def readable(role: str) -> str:
    """A role as people write it.

    >>> readable("name_mover")
    'name mover'
    """
    return clean(role, 400).replace("_", " ")


def _size(circuit: Circuit) -> str:
    total = circuit.graph.n_edges
    path = "" if circuit.has_path else "; no path from input to logits"
    return f"{len(circuit):,} of {total:,} ({len(circuit) / total:.2%}){path}"


def _neurons(counts: Any) -> str:
    if not isinstance(counts, Mapping) or not {"kept", "total"} <= counts.keys():
        return ""
    kept, total = int(counts["kept"]), int(counts["total"])
    return f"{kept:,} of {total:,} ({kept / total:.2%})"


def _warnings(sentences: Any) -> list[str]:
    return [str(sentence) for sentence in sentences][:5] if isinstance(sentences, list | tuple) else []


def _pairs(value: Any) -> str:
    return ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, Mapping) else ""


def _options(known: Mapping[str, Any]) -> str:
    """The options of the method; a number that is one of a metric says of which."""
    options, units = known.get("options"), known.get("units")
    named = units if isinstance(units, Mapping) else {}
    told = options if isinstance(options, Mapping) else {}
    return ", ".join(f"{key} {item}{_in(named.get(key))}" for key, item in told.items())


def _in(metric: Any) -> str:
    return f" in {metric}" if metric else ""


def _faithfulness(provenance: Mapping[str, Any]) -> str:
    value = provenance.get("faithfulness")
    if not isinstance(value, Mapping) or not isinstance(value.get("circuit"), int | float):
        return ""
    chance = value.get("random")
    beside = f", a random circuit of the same size {chance:.3f}" if isinstance(chance, int | float) else ""
    return f"{value['circuit']:.3f} ({value.get('metric', 'metric')}){beside}"
